// What each tenant has had of the server and what it may still have: service for fair sharing, a token bucket, the
// pages and places its running requests hold. Pure accounting: knows no sequences, no queue, no clock (AdvanceTo brings
// the time).
//
// Fair sharing is the Virtual Token Counter (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024): a
// tenant's *service* is the tokens computed for it, a generated one counting kGeneratedCost prompt tokens, over its
// weight. Who wants to be admitted is ordered by service plus what was admitted but is not computed yet; prompts that
// share a step by service alone. A tenant that comes back to an empty line of its own is lifted to the least service
// among the others that wait (not those that only their own quota holds back), else among those that run, else to that
// of the tenant admitted last: while away it saves up nothing. Ties go to the tenant with fewer running requests, then
// to the one set first.
//
// Priorities (see Order): each tenant stands with the priority of its first request. Among tenants of equal priority
// service decides and nothing else. Between priorities the time since which a tenant was not served does, earlier by
// `priority_aging` for each level: a level goes first, but a tenant that it kept waiting for so long gets one request
// in. A backlog does not age: only its first request stands against other tenants.
//
// The bucket holds one second's tokens. Prompts are taken from it at admission, generated tokens as they come, below
// zero if need be; while it is below zero nothing of the tenant is admitted, but what runs goes on. So no request is
// too large for it, and over time the rate holds.
//
// Layer: engine/scheduler. Thread-compatible: used only by the engine thread.
// Invariants: (1) Tenants are numbered 0 (kOther: everyone not listed) to size() - 1, in the order they were set. (2)
// now() never goes back. (3) running and reserved counts are >= 0.
#ifndef RATION_ENGINE_SCHEDULER_TENANT_LEDGER_H_
#define RATION_ENGINE_SCHEDULER_TENANT_LEDGER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/scheduler/tenant_quota.h"

namespace ration {

class TenantLedger {
 public:
  static constexpr size_t kMaxTenants = 1024;       // that may be set; bounds the cost of a step and of the metrics
  static constexpr size_t kMaxNameBytes = 128;
  static constexpr int32_t kOther = 0;
  static constexpr const char* kOtherName = "other";
  static constexpr double kGeneratedCost = 2;  // of a generated token in prompt tokens, as the paper weighs them

  // priority_aging >= 0: what a level of priority is worth in time; 0: priorities mean nothing.
  explicit TenantLedger(absl::Duration priority_aging);

  // InvalidArgument names tenant, field, limit and value.
  static absl::Status Validate(const std::vector<TenantQuota>& quotas);
  // Replaces the tenants. Service starts anew for all (so that nobody cashes in what an earlier quota withheld),
  // buckets go on under the same name; all that runs and waits must be booked again. REQUIRES: Validate(quotas) is OK.
  void SetTenants(std::vector<TenantQuota> quotas);

  int32_t size() const { return static_cast<int32_t>(accounts_.size()); }  // >= 1
  int32_t Find(absl::string_view tenant) const;  // kOther if it is not listed
  const TenantQuota& quota(int32_t tenant) const { return accounts_[tenant].quota; }
  int64_t running(int32_t tenant) const { return accounts_[tenant].running; }
  int64_t reserved_bytes(int32_t tenant) const { return accounts_[tenant].reserved_bytes; }
  double service(int32_t tenant) const { return accounts_[tenant].service; }

  void AdvanceTo(absl::Time now);
  absl::Time now() const { return now_; }

  // Its line was empty and gets a request. `waiting`: the tenants that wait already.
  void ComeBack(int32_t tenant, absl::Span<const int32_t> waiting);
  // A request is admitted, with its reservation; `prompt_tokens` are taken from the bucket (0 after a preemption).
  void Admit(int32_t tenant, int64_t reserved_bytes, int64_t prompt_tokens);
  // A running request goes.
  void Leave(int32_t tenant, int64_t reserved_bytes);
  // Books what runs already, after SetTenants.
  void BookRunning(int32_t tenant, int64_t reserved_bytes);
  // Tokens were computed for the tenant, for the first time.
  void BookPrefill(int32_t tenant, int64_t tokens);
  void BookGenerated(int32_t tenant);
  // Tokens that running requests have still to compute of their prefill; for Order.
  void ClearPending();
  void AddPending(int32_t tenant, int64_t tokens) { accounts_[tenant].pending_tokens += tokens; }

  // Whether another reservation keeps within max_kv_bytes.
  bool HasRoom(int32_t tenant, int64_t reserved_bytes) const;
  // The bucket is below zero.
  bool Throttled(int32_t tenant) const { return RefillTime(tenant) > now_; }
  // When the bucket is at zero again if nothing is taken from it meanwhile; InfinitePast if it is not below.
  absl::Time RefillTime(int32_t tenant) const;
  // At the last look only its own quota kept all of it from being admitted.
  void SetHeldBack(int32_t tenant, bool held) { accounts_[tenant].held_back = held; }

  struct Candidate {
    int32_t tenant = 0;
    int32_t priority = 0;  // of its first waiting request
  };
  // Brings `candidates` into the order in which they may be admitted; what stands behind the first `limit` is left as
  // it comes. O(n log n + limit * number of priorities).
  void Order(std::vector<Candidate>& candidates, size_t limit);
  // Whether the prompts of `a` go before those of `b` in a step.
  bool PrefillsBefore(int32_t a, int32_t b) const;

 private:
  struct Account {
    TenantQuota quota;
    double service = 0;
    int64_t running = 0;
    int64_t reserved_bytes = 0;
    int64_t pending_tokens = 0;
    bool held_back = false;
    absl::Time unserved_since = absl::InfinitePast();
    double bucket = 0;  // tokens at bucket_time; only with a rate
    absl::Time bucket_time = absl::InfinitePast();
  };

  static double Capacity(const Account& account) { return *account.quota.max_tokens_per_second; }  // one second's
  double Claim(int32_t tenant) const;  // service, as if what is pending had been computed
  void TakeFromBucket(Account& account, int64_t tokens);

  const absl::Duration priority_aging_;
  absl::Time now_ = absl::InfinitePast();
  std::vector<Account> accounts_;
  absl::flat_hash_map<std::string, int32_t> by_name_;
  int32_t last_admitted_ = kOther;
  std::vector<Candidate> sorted_;  // of Order; kept for its capacity
};

}  // namespace ration

#endif  // RATION_ENGINE_SCHEDULER_TENANT_LEDGER_H_
