#include "server/listen_address.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/base/quote.h"

namespace ration {

bool ListenAddress::IsLoopback() const {
  return host == "localhost" || host == "::1" ||
         (absl::StartsWith(host, "127.") && host.find_first_not_of("0123456789.") == std::string::npos);
}

std::string ListenAddress::ToString() const {
  return host.find(':') == std::string::npos ? absl::StrCat(host, ":", port) : absl::StrCat("[", host, "]:", port);
}

absl::StatusOr<ListenAddress> ListenAddress::Parse(absl::string_view flag, absl::string_view text) {
  const size_t colon = text.rfind(':');
  ListenAddress address;
  absl::string_view host = colon == absl::string_view::npos ? "" : text.substr(0, colon);
  const bool bracketed = absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]");
  if (host.empty() || (!bracketed && absl::StrContains(host, ':')) || !absl::SimpleAtoi(text.substr(colon + 1), &address.port)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--", flag, ": must be HOST:PORT (an IPv6 host in brackets), not ", Quoted(text)));
  }
  if (address.port < 0 || address.port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("--", flag, ": the port must be in [0, 65535], not ", address.port));
  }
  address.host = std::string(host);
  return address;
}

}  // namespace ration
