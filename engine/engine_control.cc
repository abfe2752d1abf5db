// Changes while the engine runs: ratio, policy, the budget and tenants. What may be changed is checked by the BudgetController; here a change is
// carried to everything that depends on it.
#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/byte_size.h"
#include "engine/base/check.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/engine_core.h"

namespace ration {
namespace {

// What regrouping towards a smaller budget may take of each step, and at least: the change goes on step by step.
constexpr double kBudgetChangeShare = 0.5;
constexpr absl::Duration kLeastBudgetChangeTime = absl::Milliseconds(2);

absl::Status NoKnob(const char* what) {
  return absl::FailedPreconditionError(
      absl::StrCat("the server runs with a fixed ratio (policy static or preempt), so ", what, " cannot be changed"));
}

}  // namespace

absl::StatusOr<int64_t> EngineCore::SetRatio(const Ratio& ratio, std::optional<int64_t> expected_epoch) {
  if (options_.budget_policy != BudgetPolicy::kGovernor) return NoKnob("the ratio");
  RATION_ASSIGN_OR_RETURN(const int64_t epoch, controller_->SetRatio(ratio, expected_epoch));
  ApplyPolicy();
  return epoch;
}

absl::StatusOr<int64_t> EngineCore::SetPolicy(const PolicyChange& change, std::optional<int64_t> expected_epoch) {
  const bool queue_only = !change.mode && !change.floor && !change.ceiling && !change.ladder && !change.rise_per_second &&
                          !change.dead_band && !change.headroom && !change.admission_overcommit;
  if (options_.budget_policy != BudgetPolicy::kGovernor && !queue_only) return NoKnob("the policy but for queue limits");
  RATION_ASSIGN_OR_RETURN(const int64_t epoch, controller_->SetPolicy(change, expected_epoch));
  ApplyPolicy();
  return epoch;
}

void EngineCore::ApplyPolicy() {
  const Policy& policy = controller_->policy();
  budget_.set_overcommit(policy.admission_overcommit);
  budget_.set_headroom_pages(static_cast<int64_t>(policy.gains.headroom * static_cast<double>(budget_.num_pages())));
  if (options_.budget_policy != BudgetPolicy::kGovernor) budget_.set_headroom_pages(0);
  scheduler_->set_max_queued_requests(policy.max_queued_requests);
  scheduler_->ReconsiderAdmission();
  UpdateGauges(clock_->Now());
}

void EngineCore::SetBudget(const BudgetChange& change, std::optional<int64_t> expected_epoch, BudgetDone done) {
  if (absl::Status current = controller_->CheckEpoch(expected_epoch); !current.ok()) return done(std::move(current));
  const int64_t num_pages = PagesOf(change.budget_bytes);
  if (num_pages < 1 || num_pages > std::numeric_limits<int32_t>::max()) {
    return done(absl::InvalidArgumentError(absl::StrCat(
        "budget_bytes: must be in [", spec_.page_bytes(), ", ",
        spec_.page_bytes() * int64_t{std::numeric_limits<int32_t>::max()}, "], one page to the most a pool can have, not ",
        change.budget_bytes)));
  }
  // What running requests hold on to: their reservations, and under kPreempt what the largest may need alone.
  int64_t smallest = budget_.covered() || options_.budget_policy == BudgetPolicy::kStatic ? budget_.reserved_pages() : 0;
  for (SchedulableSequence* running : scheduler_->running()) {
    smallest = std::max(smallest, SequenceOf(running)->least_pages);
  }
  if (num_pages < smallest && !change.shed) {
    const int64_t bytes = smallest * spec_.page_bytes();
    return done(WithSmallestBudget(
        absl::FailedPreconditionError(absl::StrCat(
            "budget_bytes: running requests need ", bytes, " bytes (", FormatByteSize(bytes),
            ") even at their floors, more than ", change.budget_bytes, "; ask for at least that, wait, or shed requests")),
        bytes));
  }
  const absl::Time now = clock_->Now();
  if (num_pages >= cache_.num_pages()) {
    if (absl::Status resized = store_ == nullptr ? absl::OkStatus() : store_->Resize(num_pages); !resized.ok()) {
      return done(std::move(resized));
    }
    cache_.Grow(num_pages);
  }
  if (pending_.has_value()) {
    std::exchange(pending_->done, nullptr)(absl::AbortedError("a later change of the budget came first"));
    pending_.reset();
  }
  controller_->BumpEpoch();
  pending_.emplace();
  pending_->num_pages = num_pages;
  pending_->started = now;
  pending_->used_pages_before = cache_.used_pages();
  pending_->regrouped_before = stats_.regrouped_total();
  pending_->preemptions_before = stats_.preemptions;
  pending_->done = std::move(done);
  budget_.set_num_pages(num_pages);
  ApplyPolicy();
  if (change.shed) pending_->requests_shed = Shed(num_pages, now);
  RefuseWhatCannotFit(now);
  ContinueBudgetChange(now);
}

int64_t EngineCore::Shed(int64_t num_pages, absl::Time now) {
  int64_t shed = 0;
  for (;;) {
    SchedulableSequence* victim = nullptr;
    bool too_large = false;
    for (SchedulableSequence* running : scheduler_->running()) {
      if (victim == nullptr || running->priority <= victim->priority) victim = running;
    }
    for (SchedulableSequence* running : scheduler_->running()) {
      if (SequenceOf(running)->least_pages <= num_pages) continue;
      victim = running;  // alone it is too large
      too_large = true;
    }
    const bool over = options_.budget_policy != BudgetPolicy::kPreempt &&
                      controller_->policy().admission_overcommit == 1 && budget_.reserved_pages() > num_pages;
    if (victim == nullptr || (!over && !too_large)) return shed;
    FinishEarly(SequenceOf(victim), FinishReason::kShed, now);
    ++shed;
  }
}

void EngineCore::RefuseWhatCannotFit(absl::Time now) {
  std::vector<SchedulableSequence*> all;
  scheduler_->queue().Front(scheduler_->queue().size(), all);
  for (SchedulableSequence* waiting : all) {
    Sequence* const sequence = SequenceOf(waiting);
    const bool too_large = sequence->least_pages > budget_.num_pages();
    if (!too_large && !ExceedsQuota(sequence->tenant, sequence->least_pages)) continue;
    const TenantQuota& quota = scheduler_->ledger().quota(sequence->tenant);
    const std::string needs = FormatByteSize(sequence->least_pages * spec_.page_bytes());
    FinishEarly(sequence, FinishReason::kShed, now,
                absl::ResourceExhaustedError(
                    too_large ? absl::StrCat("needs ", needs, " of KV cache at its floor; the budget was lowered to ",
                                             FormatByteSize(budget_.num_pages() * spec_.page_bytes()), " while it waited")
                              : absl::StrCat("tenant quota max_kv_bytes: needs ", needs, " of KV cache; the quota of tenant ",
                                             Quoted(quota.tenant), " was lowered to ", FormatByteSize(*quota.max_kv_bytes),
                                             " while it waited")));
  }
}

bool EngineCore::ExceedsQuota(int32_t tenant, int64_t pages) const {
  const TenantQuota& quota = scheduler_->ledger().quota(tenant);
  return options_.budget_policy != BudgetPolicy::kPreempt && quota.max_kv_bytes.has_value() &&
         pages * spec_.page_bytes() > *quota.max_kv_bytes;
}

absl::Status EngineCore::SetTenants(std::vector<TenantQuota> quotas) {
  const absl::Time now = clock_->Now();
  scheduler_->AdvanceTo(now);
  RATION_RETURN_IF_ERROR(scheduler_->SetTenants(std::move(quotas), [this](const SchedulableSequence& sequence) {
    return scheduler_->ledger().Find(static_cast<const Sequence&>(sequence).request().tenant);
  }));
  const TenantLedger& ledger = scheduler_->ledger();
  std::vector<TenantStats> before = std::exchange(stats_.tenants, {});
  for (int32_t tenant = 0; ledger.size() > 1 && tenant < ledger.size(); ++tenant) {
    const TenantQuota& quota = ledger.quota(tenant);
    const auto same = std::find_if(before.begin(), before.end(),
                                   [&quota](const TenantStats& stats) { return stats.tenant == quota.tenant; });
    TenantStats& stats = stats_.tenants.emplace_back(same == before.end() ? TenantStats() : std::move(*same));
    stats.tenant = quota.tenant;
    stats.weight = quota.weight;
    stats.max_kv_bytes = quota.max_kv_bytes;
  }
  RefuseWhatCannotFit(now);
  UpdateGauges(now);
  return absl::OkStatus();
}

void EngineCore::ContinueBudgetChange(absl::Time now) {
  const absl::Duration slice = std::max(kLeastBudgetChangeTime, last_step_ * kBudgetChangeShare);
  if (options_.budget_policy == BudgetPolicy::kGovernor) {
    if (!RegroupTo(pending_->num_pages, /*to_floor=*/true, slice) && clock_->Now() - now <= slice &&
        !budget_.covered()) {
      while (cache_.used_pages() > pending_->num_pages && scheduler_->num_running() > 1) PreemptOne();
    }
  } else if (options_.budget_policy == BudgetPolicy::kPreempt) {
    while (cache_.used_pages() > pending_->num_pages && scheduler_->num_running() > 1) PreemptOne();
  }
  if (cache_.used_pages() <= pending_->num_pages) CompleteBudgetChange(clock_->Now());
}

void EngineCore::CompleteBudgetChange(absl::Time now) {
  if (pending_->num_pages < cache_.num_pages()) {
    std::vector<PageMove> copies;
    cache_.Shrink(pending_->num_pages, copies);
    if (store_ != nullptr) {
      store_->CopyPages(copies);
      // Less memory is not refused.
      const absl::Status resized = store_->Resize(pending_->num_pages);
      RATION_CHECK(resized.ok());
    }
    now = clock_->Now();
  }
  BudgetResult result;
  result.epoch = controller_->epoch();
  result.budget_bytes = pending_->num_pages * spec_.page_bytes();
  result.seconds = absl::ToDoubleSeconds(now - pending_->started);
  result.reclaimed_bytes = std::max<int64_t>(0, pending_->used_pages_before - cache_.used_pages()) * spec_.page_bytes();
  UpdateGauges(now);
  result.regrouped_token_layers = stats_.regrouped_total() - pending_->regrouped_before;
  result.requests_shed = pending_->requests_shed;
  result.requests_preempted = stats_.preemptions - pending_->preemptions_before;
  const BudgetDone done = std::move(pending_->done);
  pending_.reset();
  UpdateGauges(now);
  done(result);
}

}  // namespace ration
