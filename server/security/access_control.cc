#include "server/security/access_control.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace ration {
namespace {

constexpr char kMetadataKey[] = "authorization";
constexpr absl::string_view kScheme = "Bearer ";

bool Has(const Caller& caller, Role role) { return role == Role::kGenerate ? caller.may_generate : caller.may_control; }

absl::string_view NameOf(Role role) { return role == Role::kGenerate ? "ROLE_GENERATE" : "ROLE_CONTROL"; }

}  // namespace

void AccessControl::Use(std::shared_ptr<const AccessTable> table) {
  MutexLock lock(&mutex_);
  table_ = std::move(table);
}

absl::StatusOr<Caller> AccessControl::Authorize(const grpc::CallbackServerContext& call, std::initializer_list<Role> roles,
                                                std::string* tenant) const {
  std::vector<absl::string_view> values;
  const auto [begin, end] = call.client_metadata().equal_range(kMetadataKey);
  for (auto it = begin; it != end; ++it) values.emplace_back(it->second.data(), it->second.size());
  return Authorize(values, roles, tenant);
}

absl::StatusOr<Caller> AccessControl::Authorize(const std::vector<absl::string_view>& authorization,
                                                std::initializer_list<Role> roles, std::string* tenant) const {
  absl::StatusOr<Caller> caller = Decide(authorization, roles, tenant);
  if (absl::IsUnauthenticated(caller.status())) num_unauthenticated_.fetch_add(1, std::memory_order_relaxed);
  if (absl::IsPermissionDenied(caller.status())) num_permission_denied_.fetch_add(1, std::memory_order_relaxed);
  return caller;
}

absl::StatusOr<Caller> AccessControl::Decide(const std::vector<absl::string_view>& authorization, std::initializer_list<Role> roles,
                                             std::string* tenant) const {
  std::shared_ptr<const AccessTable> table;
  {
    MutexLock lock(&mutex_);
    table = table_;
  }
  if (table == nullptr) {
    Caller anybody;
    anybody.may_generate = anybody.may_control = true;
    return anybody;
  }
  if (authorization.empty()) {
    return absl::UnauthenticatedError("a token is needed: metadata \"authorization: Bearer TOKEN\"");
  }
  if (authorization.size() > 1) return absl::UnauthenticatedError("authorization: more than one value was sent");
  absl::string_view token = authorization[0];
  if (!absl::StartsWithIgnoreCase(token, kScheme)) {
    return absl::UnauthenticatedError("authorization: must be of the form \"Bearer TOKEN\"");
  }
  token.remove_prefix(kScheme.size());
  const Caller* caller = table->Find(token);
  if (caller == nullptr) return absl::UnauthenticatedError("authorization: the token is not known here");
  if (tenant != nullptr) *tenant = caller->tenant;
  for (const Role role : roles) {
    if (Has(*caller, role)) return *caller;
  }
  std::string needed;
  for (const Role role : roles) absl::StrAppend(&needed, needed.empty() ? "" : " or ", NameOf(role));
  return absl::PermissionDeniedError(absl::StrCat("this call needs ", needed, ", which the token of ", caller->tenant, " does not have"));
}

}  // namespace ration
