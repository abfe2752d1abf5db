#include "client/transport.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>
#include <vector>

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_interceptor.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace ration {
namespace {

constexpr char kTokenVariable[] = "RATION_TOKEN";
constexpr absl::string_view kSystemAuthorities = "system";
constexpr size_t kMaxTokenBytes = 1024;

bool IsThisMachine(absl::string_view target) {
  const absl::string_view host = target.substr(0, target.rfind(':'));
  return host == "localhost" || host == "[::1]" || absl::StartsWith(target, "unix:") ||
         (absl::StartsWith(host, "127.") && host.find_first_not_of("0123456789.") == absl::string_view::npos);
}

// Adds the token to every call of a channel, whatever its kind.
class TokenInterceptor final : public grpc::experimental::Interceptor {
 public:
  explicit TokenInterceptor(const std::string& token) : token_(token) {}
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(grpc::experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->emplace("authorization", absl::StrCat("Bearer ", token_));
    }
    methods->Proceed();
  }

 private:
  const std::string& token_;
};

class TokenInterceptorFactory final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit TokenInterceptorFactory(std::string token) : token_(std::move(token)) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo* /*info*/) override {
    return new TokenInterceptor(token_);
  }

 private:
  const std::string token_;
};

absl::StatusOr<std::string> ReadFile(absl::string_view flag, const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return absl::InvalidArgumentError(absl::StrCat("--", flag, ": cannot read ", path, ": ", std::strerror(errno)));
  std::string content((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  if (stream.bad()) return absl::InvalidArgumentError(absl::StrCat("--", flag, ": cannot read ", path));
  return content;
}

// A PEM file with something of this kind in it.
absl::StatusOr<std::string> ReadPem(absl::string_view flag, const std::string& path, absl::string_view kind) {
  absl::StatusOr<std::string> content = ReadFile(flag, path);
  if (content.ok() && !absl::StrContains(*content, absl::StrCat(kind, "-----"))) {
    return absl::InvalidArgumentError(absl::StrCat("--", flag, ": ", path, ": holds no ", kind, " in PEM form"));
  }
  return content;
}

absl::StatusOr<std::string> CheckToken(absl::string_view source, absl::string_view text) {
  const absl::string_view token = absl::StripAsciiWhitespace(text);
  const bool good = !token.empty() && token.size() <= kMaxTokenBytes &&
                    std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 127; });
  if (good) return std::string(token);
  return absl::InvalidArgumentError(
      absl::StrCat(source, ": must hold one token of 1 to ", kMaxTokenBytes, " printable ASCII characters without spaces"));
}

}  // namespace

std::shared_ptr<grpc::Channel> CreateChannel(const std::string& target, const Transport& transport, bool own_connection) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);  // the whole of a long generation may come in one message
  if (IsThisMachine(target)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (own_connection) arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (!transport.server_name.empty()) arguments.SetSslTargetNameOverride(transport.server_name);
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (transport.tls) {
    credentials = grpc::SslCredentials({transport.authorities, transport.private_key, transport.certificate_chain});
  }
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  if (!transport.token.empty()) interceptors.push_back(std::make_unique<TokenInterceptorFactory>(transport.token));
  return grpc::experimental::CreateCustomChannelWithInterceptors(target, credentials, arguments, std::move(interceptors));
}

void TransportFlags::AddTo(FlagSet& flags) {
  flags.Section("Security");
  flags.Add("tls_ca", "FILE|system", &tls_ca,
            "Talk TLS; the server's certificate must come from an authority in this PEM file, or one that this system trusts. "
            "Default: no TLS.");
  flags.Add("tls_cert", "FILE", &tls_cert, "The client's own certificate, PEM, for a server that asks for one (mutual TLS).");
  flags.Add("tls_key", "FILE", &tls_key, "Its private key, PEM.");
  flags.Add("tls_server_name", "NAME", &tls_server_name,
            "The name in the server's certificate, where it is not the host in its address.");
  flags.Add("token_file", "FILE", &token_file, "File with the token to send. Default: $RATION_TOKEN, else none.");
  flags.Add("insecure", &insecure, "Send the token to another machine without TLS, for everybody on the way to read.");
}

absl::StatusOr<Transport> TransportFlags::Read() const {
  Transport transport;
  if (tls_cert.has_value() != tls_key.has_value()) {
    return absl::InvalidArgumentError(tls_cert.has_value() ? "--tls_cert: needs --tls_key=FILE, its private key"
                                                           : "--tls_key: needs --tls_cert=FILE, its certificate");
  }
  transport.tls = tls_ca.has_value();
  if (!transport.tls && (tls_cert.has_value() || tls_server_name.has_value())) {
    return absl::InvalidArgumentError(absl::StrCat("--", tls_cert.has_value() ? "tls_cert" : "tls_server_name",
                                                   ": applies only to TLS: give --tls_ca=FILE, or --tls_ca=system"));
  }
  const auto read_pem = [](absl::string_view flag, const std::optional<std::string>& path, absl::string_view kind,
                           std::string* to) {
    if (!path.has_value()) return absl::OkStatus();
    absl::StatusOr<std::string> content = ReadPem(flag, *path, kind);
    if (content.ok()) *to = *std::move(content);
    return content.status();
  };
  if (tls_ca != kSystemAuthorities) {
    if (absl::Status status = read_pem("tls_ca", tls_ca, "CERTIFICATE", &transport.authorities); !status.ok()) return status;
  }
  if (absl::Status status = read_pem("tls_cert", tls_cert, "CERTIFICATE", &transport.certificate_chain); !status.ok()) return status;
  if (absl::Status status = read_pem("tls_key", tls_key, "PRIVATE KEY", &transport.private_key); !status.ok()) return status;
  transport.server_name = tls_server_name.value_or("");

  absl::StatusOr<std::string> token = std::string();
  if (token_file.has_value()) {
    token = ReadFile("token_file", *token_file);
    if (token.ok()) token = CheckToken(absl::StrCat("--token_file: ", *token_file), *token);
  } else if (const char* value = std::getenv(kTokenVariable); value != nullptr && *value != '\0') {
    token = CheckToken(absl::StrCat("$", kTokenVariable), value);
  }
  if (!token.ok()) return token.status();
  transport.token = *std::move(token);
  return transport;
}

absl::Status TransportFlags::CheckTarget(const Transport& transport, absl::string_view target) const {
  if (transport.token.empty() || transport.tls || insecure || IsThisMachine(target)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(token_file.has_value() ? "--token_file" : "$RATION_TOKEN", ": the token would go to ",
                                                 target, " unencrypted; give --tls_ca=FILE, or --insecure if that is meant"));
}

}  // namespace ration
