#include "server/security/security.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"

namespace ration {

absl::StatusOr<std::unique_ptr<Security>> Security::Create(const SecurityOptions& options, UseQuotas use_quotas) {
  std::unique_ptr<Security> security = absl::WrapUnique(new Security(options, std::move(use_quotas)));
  if (security->tls_files_.has_value()) RATION_RETURN_IF_ERROR(security->tls_files_->Load());
  if (security->access_files_.has_value()) RATION_RETURN_IF_ERROR(security->access_files_->Load());
  if (security->tls_files_.has_value() || security->access_files_.has_value()) {
    security->timer_.At(absl::Now() + options.poll_interval, [self = security.get()] { self->PollAndAgain(); });
  }
  return security;
}

absl::Status Security::Check(const SecurityOptions& options) {
  return Create(options, [](const std::vector<TenantQuota>& /*quotas*/) {}).status();
}

Security::Security(const SecurityOptions& options, UseQuotas use_quotas) : options_(options), use_quotas_(std::move(use_quotas)) {
  if (options.has_tls()) {
    std::vector<WatchedFiles::File> files = {{"tls_cert", options.tls.cert}, {"tls_key", options.tls.key}};
    if (options.has_mutual_tls()) files.push_back({"tls_client_ca", options.tls.client_ca});
    tls_files_.emplace(std::move(files), [this](const std::vector<std::string>& contents) { return UseTls(contents); });
    credentials_ = tls_ = std::make_shared<TlsServerCredentials>(options.has_mutual_tls());
  } else {
    credentials_ = grpc::InsecureServerCredentials();
  }
  if (options.has_access_file()) {
    access_files_.emplace(std::vector<WatchedFiles::File>{{"access_file", options.access_file}},
                          [this](const std::vector<std::string>& contents) { return UseAccess(contents); });
  }
}

absl::Status Security::UseTls(const std::vector<std::string>& contents) {
  TlsMaterial material;
  material.certificate_chain = contents[0];
  material.private_key = contents[1];
  if (contents.size() > 2) material.client_ca = contents[2];
  RATION_RETURN_IF_ERROR(CheckTlsMaterial(material, options_.tls, absl::Now()));
  tls_->Use(std::move(material));
  return absl::OkStatus();
}

absl::Status Security::UseAccess(const std::vector<std::string>& contents) {
  absl::StatusOr<std::shared_ptr<const AccessTable>> table = AccessTable::Parse(contents[0]);
  if (!table.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--access_file: ", options_.access_file, ": ", table.status().message()));
  }
  access_.Use(*table);
  use_quotas_((*table)->quotas());
  return absl::OkStatus();
}

void Security::PollAndAgain() {
  if (tls_files_.has_value()) tls_files_->Poll();
  if (access_files_.has_value()) access_files_->Poll();
  timer_.At(absl::Now() + options_.poll_interval, [this] { PollAndAgain(); });
}

}  // namespace ration
