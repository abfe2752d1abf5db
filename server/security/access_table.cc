#include "server/security/access_table.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>
#include <openssl/crypto.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/byte_size.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "proto/access.pb.h"
#include "server/security/sha256.h"

namespace ration {
namespace {

constexpr int kMaxClients = 1024;
constexpr size_t kMaxTokens = 4096;
constexpr size_t kMaxNameBytes = 64;
constexpr size_t kMinTokenBytes = 16;
constexpr double kMinWeight = 0.001, kMaxWeight = 1000;

absl::Status Wrong(absl::string_view where, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

// Keeps the first error. protobuf's messages quote what they found, which may be a token, so only their kind is passed on.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    if (!text_.empty()) return;
    absl::string_view what = "not protobuf text";
    if (absl::StrContains(message, "has no field named")) {
      what = "no such field here";
    } else if (absl::StrContains(message, "Unknown enumeration value")) {
      what = "no such role (ROLE_GENERATE, ROLE_CONTROL)";
    } else if (absl::StartsWith(message, "Expected string")) {
      what = "a text in quotes is expected here";
    } else if (absl::StrContains(message, "is specified multiple times") || absl::StrContains(message, "Non-repeated field")) {
      what = "this field was given before";
    } else if (absl::StartsWith(message, "Expected integer") || absl::StartsWith(message, "Expected double")) {
      what = "a number is expected here";
    }
    text_ = absl::StrCat("line ", line + 1, ", column ", column + 1, ": ", what);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

absl::Status CheckName(absl::string_view where, absl::string_view name) {
  const bool good = !name.empty() && name.size() <= kMaxNameBytes && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
  if (good) return absl::OkStatus();
  return Wrong(where, absl::StrCat("name: must be 1 to ", kMaxNameBytes, " characters of A-Z a-z 0-9 . _ -, not ", Quoted(name)));
}

absl::StatusOr<std::string> HashOf(absl::string_view where, absl::string_view hex) {
  const bool good = hex.size() == 2 * kSha256Bytes && std::all_of(hex.begin(), hex.end(), [](char c) {
    return absl::ascii_isxdigit(static_cast<unsigned char>(c));
  });
  if (!good) return Wrong(where, absl::StrCat("token_sha256: must be ", 2 * kSha256Bytes, " hexadecimal digits"));
  return absl::HexStringToBytes(hex);
}

absl::Status CheckToken(absl::string_view where, absl::string_view token) {
  const bool good = token.size() >= kMinTokenBytes && token.size() <= kMaxTokenBytes &&
                    std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 127; });
  if (good) return absl::OkStatus();
  return Wrong(where, absl::StrCat("token: must be ", kMinTokenBytes, " to ", kMaxTokenBytes,
                                   " printable ASCII characters without spaces"));
}

absl::StatusOr<TenantQuota> ToQuota(absl::string_view where, const std::string& name, const v1::AccessConfig::Quota& from) {
  TenantQuota quota;
  quota.tenant = name;
  if (from.has_weight()) {
    if (!(from.weight() >= kMinWeight && from.weight() <= kMaxWeight)) {
      return Wrong(where, absl::StrCat("quota.weight: must be in [", kMinWeight, ", ", kMaxWeight, "], not ", from.weight()));
    }
    quota.weight = from.weight();
  }
  if (from.has_max_kv_bytes()) {
    const absl::StatusOr<int64_t> bytes = ParseByteSize(from.max_kv_bytes());
    if (!bytes.ok()) return Wrong(where, absl::StrCat("quota.max_kv_bytes: ", bytes.status().message()));
    if (*bytes < 1) return Wrong(where, absl::StrCat("quota.max_kv_bytes: must be >= 1, not ", *bytes));
    quota.max_kv_bytes = *bytes;
  }
  if (from.has_max_queued_requests()) {
    if (from.max_queued_requests() < 0) {
      return Wrong(where, absl::StrCat("quota.max_queued_requests: must be >= 0, not ", from.max_queued_requests()));
    }
    quota.max_queued_requests = from.max_queued_requests();
  }
  if (from.has_max_tokens_per_second()) {
    if (!(from.max_tokens_per_second() > 0 && std::isfinite(from.max_tokens_per_second()))) {
      return Wrong(where, absl::StrCat("quota.max_tokens_per_second: must be > 0, not ", from.max_tokens_per_second()));
    }
    quota.max_tokens_per_second = from.max_tokens_per_second();
  }
  return quota;
}

absl::StatusOr<int32_t> ToMaxPriority(absl::string_view where, const v1::AccessConfig::Quota& from) {
  if (!from.has_max_priority()) return kMaxPriority;
  if (from.max_priority() < -kMaxPriority || from.max_priority() > kMaxPriority) {
    return Wrong(where, absl::StrCat("quota.max_priority: must be in [", -kMaxPriority, ", ", kMaxPriority, "], not ", from.max_priority()));
  }
  return from.max_priority();
}

absl::Status AddRole(absl::string_view where, int role, Caller* caller) {
  if (role == v1::AccessConfig::ROLE_GENERATE) {
    caller->may_generate = true;
  } else if (role == v1::AccessConfig::ROLE_CONTROL) {
    caller->may_control = true;
  } else {
    return Wrong(where, absl::StrCat("roles: must be ROLE_GENERATE or ROLE_CONTROL, not number ", role));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const AccessTable>> AccessTable::Parse(absl::string_view text) {
  google::protobuf::TextFormat::Parser parser;
  FirstError error;
  parser.RecordErrorsTo(&error);
  v1::AccessConfig config;
  if (!parser.ParseFromString(std::string(text), &config)) return absl::InvalidArgumentError(error.text());
  if (config.clients().empty() || config.clients_size() > kMaxClients) {
    return absl::InvalidArgumentError(
        absl::StrCat("clients: must be 1 to ", kMaxClients, " entries, not ", config.clients_size()));
  }
  auto table = std::make_shared<AccessTable>();
  for (int i = 0; i < config.clients_size(); ++i) {
    const v1::AccessConfig::Client& client = config.clients(i);
    std::string where = absl::StrCat("clients[", i, "]");
    RATION_RETURN_IF_ERROR(CheckName(where, client.name()));
    absl::StrAppend(&where, " (", client.name(), ")");
    Caller caller;
    caller.tenant = client.name();
    for (const Caller& other : table->clients_) {
      if (other.tenant == caller.tenant) return Wrong(where, "name: another client has it; a client may have several tokens");
    }
    for (const int role : client.roles()) RATION_RETURN_IF_ERROR(AddRole(where, role, &caller));
    if (client.roles().empty()) return Wrong(where, "roles: at least one of ROLE_GENERATE and ROLE_CONTROL is needed");
    RATION_ASSIGN_OR_RETURN(caller.max_priority, ToMaxPriority(where, client.quota()));
    table->clients_.push_back(std::move(caller));
    RATION_ASSIGN_OR_RETURN(TenantQuota quota, ToQuota(where, client.name(), client.quota()));
    table->quotas_.push_back(std::move(quota));
    if (client.token_sha256().empty() && client.token().empty()) return Wrong(where, "a token_sha256 (or a token) is needed");
    for (const std::string& hex : client.token_sha256()) {
      RATION_ASSIGN_OR_RETURN(const std::string hash, HashOf(where, hex));
      RATION_RETURN_IF_ERROR(table->Add(where, hash));
    }
    for (const std::string& token : client.token()) {
      RATION_RETURN_IF_ERROR(CheckToken(where, token));
      RATION_RETURN_IF_ERROR(table->Add(where, Sha256(token)));
    }
  }
  return std::shared_ptr<const AccessTable>(std::move(table));
}

absl::Status AccessTable::Add(absl::string_view where, const std::string& sha256) {
  for (const Token& other : tokens_) {
    if (other.sha256 == sha256) {
      return Wrong(where, absl::StrCat("the same token was given before, for ", clients_[other.client].tenant));
    }
  }
  if (tokens_.size() == kMaxTokens) return Wrong(where, absl::StrCat("more than ", kMaxTokens, " tokens in the file"));
  tokens_.push_back({sha256, clients_.size() - 1});
  return absl::OkStatus();
}

const Caller* AccessTable::Find(absl::string_view token) const {
  if (token.size() > kMaxTokenBytes) return nullptr;
  const std::string presented = Sha256(token);
  // Every hash is compared, to its end, whether or not one has matched.
  const Caller* found = nullptr;
  for (const Token& candidate : tokens_) {
    if (CRYPTO_memcmp(candidate.sha256.data(), presented.data(), kSha256Bytes) == 0) found = &clients_[candidate.client];
  }
  return found;
}

}  // namespace ration
