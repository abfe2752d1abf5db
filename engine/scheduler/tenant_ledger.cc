#include "engine/scheduler/tenant_ledger.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/quote.h"

namespace ration {
namespace {

constexpr double kLeastWeight = 1e-3, kMostWeight = 1e3;

absl::Status Invalid(const TenantQuota& quota, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("tenant ", Quoted(quota.tenant), ": ", what));
}

}  // namespace

TenantLedger::TenantLedger(absl::Duration priority_aging) : priority_aging_(priority_aging) { SetTenants({}); }

absl::Status TenantLedger::Validate(const std::vector<TenantQuota>& quotas) {
  if (quotas.size() > kMaxTenants) {
    return absl::InvalidArgumentError(absl::StrCat("tenants: at most ", kMaxTenants, " can be set, not ", quotas.size()));
  }
  absl::flat_hash_set<absl::string_view> names;
  for (const TenantQuota& quota : quotas) {
    if (quota.tenant.empty()) return absl::InvalidArgumentError("tenant: the name must not be empty");
    if (quota.tenant.size() > kMaxNameBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("tenant: the name must have at most ", kMaxNameBytes, " bytes, not ", quota.tenant.size()));
    }
    if (!std::all_of(quota.tenant.begin(), quota.tenant.end(), absl::ascii_isprint)) {
      return Invalid(quota, "the name must be of printable ASCII characters");
    }
    if (quota.tenant == kOtherName) return Invalid(quota, "the name stands for everyone who is not listed");
    if (!names.insert(quota.tenant).second) return Invalid(quota, "listed twice");
    if (!(quota.weight >= kLeastWeight && quota.weight <= kMostWeight)) {
      return Invalid(quota, absl::StrCat("weight: must be in [", kLeastWeight, ", ", kMostWeight, "], not ", quota.weight));
    }
    if (quota.max_kv_bytes.has_value() && *quota.max_kv_bytes < 1) {
      return Invalid(quota, absl::StrCat("max_kv_bytes: must be at least 1, not ", *quota.max_kv_bytes));
    }
    if (quota.max_queued_requests.has_value() && *quota.max_queued_requests < 0) {
      return Invalid(quota, absl::StrCat("max_queued_requests: must not be negative, not ", *quota.max_queued_requests));
    }
    if (quota.max_tokens_per_second.has_value() &&
        !(*quota.max_tokens_per_second > 0 && std::isfinite(*quota.max_tokens_per_second))) {
      return Invalid(quota, absl::StrCat("max_tokens_per_second: must be > 0 and finite, not ", *quota.max_tokens_per_second));
    }
  }
  return absl::OkStatus();
}

void TenantLedger::SetTenants(std::vector<TenantQuota> quotas) {
  std::vector<Account> accounts(1 + quotas.size());
  accounts[kOther].quota.tenant = kOtherName;
  absl::flat_hash_map<std::string, int32_t> by_name;
  for (size_t i = 0; i < quotas.size(); ++i) {
    Account& account = accounts[1 + i];
    account.quota = std::move(quotas[i]);
    by_name.emplace(account.quota.tenant, static_cast<int32_t>(1 + i));
    if (!account.quota.max_tokens_per_second.has_value()) continue;
    account.bucket = Capacity(account);
    account.bucket_time = now_;
    const auto before = by_name_.find(account.quota.tenant);
    if (before == by_name_.end() || !accounts_[before->second].quota.max_tokens_per_second.has_value()) continue;
    Account& old = accounts_[before->second];
    TakeFromBucket(old, 0);
    account.bucket = std::min(account.bucket, old.bucket);
  }
  accounts_ = std::move(accounts);
  by_name_ = std::move(by_name);
  last_admitted_ = kOther;
}

int32_t TenantLedger::Find(absl::string_view tenant) const {
  const auto found = by_name_.find(tenant);
  return found == by_name_.end() ? kOther : found->second;
}

void TenantLedger::AdvanceTo(absl::Time now) { now_ = std::max(now_, now); }

void TenantLedger::ComeBack(int32_t tenant, absl::Span<const int32_t> waiting) {
  Account& account = accounts_[tenant];
  account.unserved_since = now_;
  account.held_back = false;
  std::optional<double> least;
  const auto consider = [&least](const Account& other) {
    least = least.has_value() ? std::min(*least, other.service) : other.service;
  };
  for (int32_t other : waiting) {
    if (other != tenant && !accounts_[other].held_back) consider(accounts_[other]);
  }
  const bool alone_in_line = !least.has_value();
  for (int32_t other = 0; alone_in_line && other < size(); ++other) {
    if (other != tenant && accounts_[other].running > 0) consider(accounts_[other]);
  }
  if (!least.has_value()) consider(accounts_[last_admitted_]);
  account.service = std::max(account.service, *least);
}

void TenantLedger::Admit(int32_t tenant, int64_t reserved_bytes, int64_t prompt_tokens) {
  BookRunning(tenant, reserved_bytes);
  Account& account = accounts_[tenant];
  account.unserved_since = now_;
  account.held_back = false;
  last_admitted_ = tenant;
  TakeFromBucket(account, prompt_tokens);
}

void TenantLedger::Leave(int32_t tenant, int64_t reserved_bytes) {
  Account& account = accounts_[tenant];
  --account.running;
  account.reserved_bytes -= reserved_bytes;
  RATION_CHECK(account.running >= 0 && account.reserved_bytes >= 0);
}

void TenantLedger::BookRunning(int32_t tenant, int64_t reserved_bytes) {
  ++accounts_[tenant].running;
  accounts_[tenant].reserved_bytes += reserved_bytes;
}

void TenantLedger::BookPrefill(int32_t tenant, int64_t tokens) {
  accounts_[tenant].service += static_cast<double>(tokens) / accounts_[tenant].quota.weight;
}

void TenantLedger::BookGenerated(int32_t tenant) {
  accounts_[tenant].service += kGeneratedCost / accounts_[tenant].quota.weight;
  TakeFromBucket(accounts_[tenant], 1);
}

void TenantLedger::ClearPending() {
  for (Account& account : accounts_) account.pending_tokens = 0;
}

bool TenantLedger::HasRoom(int32_t tenant, int64_t reserved_bytes) const {
  const Account& account = accounts_[tenant];
  return !account.quota.max_kv_bytes.has_value() || account.reserved_bytes + reserved_bytes <= *account.quota.max_kv_bytes;
}

void TenantLedger::TakeFromBucket(Account& account, int64_t tokens) {
  if (!account.quota.max_tokens_per_second.has_value()) return;
  if (account.bucket_time < now_) {
    const double filled = account.bucket_time == absl::InfinitePast()
                              ? Capacity(account)
                              : account.bucket + Capacity(account) * absl::ToDoubleSeconds(now_ - account.bucket_time);
    account.bucket = std::min(Capacity(account), filled);
    account.bucket_time = now_;
  }
  account.bucket -= static_cast<double>(tokens);
}

absl::Time TenantLedger::RefillTime(int32_t tenant) const {
  const Account& account = accounts_[tenant];
  if (!account.quota.max_tokens_per_second.has_value() || account.bucket >= 0) return absl::InfinitePast();
  return account.bucket_time + absl::Seconds(-account.bucket / *account.quota.max_tokens_per_second);
}

double TenantLedger::Claim(int32_t tenant) const {
  const Account& account = accounts_[tenant];
  return account.service + static_cast<double>(account.pending_tokens) / account.quota.weight;
}

void TenantLedger::Order(std::vector<Candidate>& candidates, size_t limit) {
  if (priority_aging_ == absl::ZeroDuration()) {
    for (Candidate& candidate : candidates) candidate.priority = 0;
  }
  std::sort(candidates.begin(), candidates.end(), [this](const Candidate& a, const Candidate& b) {
    if (a.priority != b.priority) return a.priority > b.priority;
    return std::make_tuple(Claim(a.tenant), running(a.tenant), a.tenant) <
           std::make_tuple(Claim(b.tenant), running(b.tenant), b.tenant);
  });
  if (candidates.empty() || candidates.front().priority == candidates.back().priority) return;

  // The priorities' runs are merged by who of their first ones was left unserved for longest.
  struct Run {
    size_t next, end;
  };
  std::vector<Run> runs;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (i == 0 || candidates[i].priority != candidates[i - 1].priority) runs.push_back({i, i});
    ++runs.back().end;
  }
  const auto due = [&](const Run& run) {
    const Candidate& first = candidates[run.next];
    return accounts_[first.tenant].unserved_since - first.priority * priority_aging_;
  };
  sorted_.clear();
  while (sorted_.size() < std::min(limit, candidates.size())) {
    Run* best = nullptr;
    for (Run& run : runs) {
      if (run.next < run.end && (best == nullptr || due(run) < due(*best))) best = &run;
    }
    sorted_.push_back(candidates[best->next++]);
  }
  for (const Run& run : runs) sorted_.insert(sorted_.end(), candidates.begin() + run.next, candidates.begin() + run.end);
  candidates.swap(sorted_);
}

bool TenantLedger::PrefillsBefore(int32_t a, int32_t b) const {
  return std::make_tuple(service(a), running(a), a) < std::make_tuple(service(b), running(b), b);
}

}  // namespace ration
