// Room for a step. The guarantee: the pages in use never exceed the budget, and no admitted request fails or is preempted for want of
// one. Admission keeps the sum of what running requests can be brought down to (FloorPages) within the budget; PlanWithRoom brings them
// down as far as a step needs. See docs/budget_control.md for the proof.
#include <algorithm>
#include <array>

#include "engine/base/check.h"
#include "engine/engine_core.h"
#include "engine/router/routing.h"

namespace ration {
namespace {

// The governor regroups for the demand of so many steps ahead, so that the hard bound seldom has to.
constexpr int64_t kNearSteps = 8;
// What the governor's regrouping may take of a step's time, so that decode latency stays flat; at least kLeastRegroupTime.
constexpr double kRegroupShare = 0.2;
constexpr absl::Duration kLeastRegroupTime = absl::Milliseconds(1);
// Regrouped between two looks at the clock.
constexpr int64_t kPagesAtOnce = 512;
// kPreempt: share of the pages that admission leaves free, so that what runs can go on for a while (vLLM's watermark).
constexpr double kWatermark = 0.01;

// The experts that a router may send a token to.
std::array<bool, kMaxExperts> Reachable(const DecodeRouter& router) {
  std::array<bool, kMaxExperts> reachable{};
  for (int e = 0; e < router.ratio().num_experts(); ++e) {
    reachable[e] = router.ratio().ppm(e) > 0 || router.rule() == DecodeRule::kArgmax;
  }
  return reachable;
}

}  // namespace

int64_t EngineCore::PagesToReserve(const Ratio& floor, int64_t prompt_tokens, int64_t tokens) const {
  if (options_.budget_policy == BudgetPolicy::kGovernor) return FloorPages(spec_, floor, tokens);
  return spec_.WorstCasePages(*RouterFor(floor), prompt_tokens, tokens - prompt_tokens);
}

std::shared_ptr<const DecodeRouter> EngineCore::RouterFor(const Ratio& floor) const {
  // The paper's argmax tracks no ratio, so it is for those only that have no floor to keep.
  const bool no_floor = floor == Ratio::AllTo(spec_.num_experts() - 1, spec_.num_experts());
  return no_floor ? routers_->Get(RatioFor(floor)) : routers_->GetThreshold(RatioFor(floor));
}

GovernorDecision EngineCore::Govern(absl::Time now) {
  demand_.clear();
  const auto demand_of = [this](double floor) -> DemandClass& {
    for (DemandClass& demand : demand_) {
      if (demand.floor == floor) return demand;
    }
    demand_.emplace_back().floor = floor;
    return demand_.back();
  };
  courses_.clear();
  int64_t cached_tokens = 0, expected_tokens = 0;  // expected: if all reached their ends together
  const auto expect = [&](const Sequence& sequence) {
    const int64_t growth =
        static_cast<int64_t>(expected_output_share_ * static_cast<double>(sequence.generation_left()));
    courses_.push_back({sequence.computed_tokens + sequence.prefill_left(), growth});
    expected_tokens += sequence.prefill_left() + growth;
    const int64_t cached = sequence.computed_tokens;
    return spec_.SequenceBytes(0, cached + sequence.prefill_left() + growth) - spec_.SequenceBytes(0, cached);
  };
  int64_t near_tokens = 0;
  for (SchedulableSequence* running : scheduler_->running()) {
    const Sequence& sequence = *SequenceOf(running);
    DemandClass& demand = demand_of(sequence.kv_floor);
    demand.cached_bytes += sequence.kv->stored_bytes();
    demand.cached_full_bytes += sequence.kv->full_bytes();
    demand.demand_full_bytes += expect(sequence);
    cached_tokens += sequence.computed_tokens;
    near_tokens += sequence.in_prefill() ? std::min(sequence.prefill_left(), options_.max_batched_tokens)
                                         : std::min(kNearSteps, sequence.generation_left());
  }
  // Those that wait count as far as they could run: what a tenant's own quota holds back makes nobody's tokens cheaper.
  const int64_t places = options_.max_running_requests - scheduler_->num_running();
  scheduler_->LikelyNext(std::min(places, RequestQueue::kMaxLookahead), next_);
  for (SchedulableSequence* waiting : next_) {
    const Sequence& sequence = *SequenceOf(waiting);
    demand_of(sequence.kv_floor).waiting_full_bytes += expect(sequence);
  }
  // Not all are there at their ends together: what is expected of all is brought down to the peak.
  if (expected_tokens > 0) {
    const double together = static_cast<double>(PeakTokens(courses_) - cached_tokens) / static_cast<double>(expected_tokens);
    const auto scale = [together](int64_t bytes) {
      return static_cast<int64_t>(std::clamp(together, 0.0, 1.0) * static_cast<double>(bytes));
    };
    for (DemandClass& demand : demand_) {
      demand.demand_full_bytes = scale(demand.demand_full_bytes);
      demand.waiting_full_bytes = scale(demand.waiting_full_bytes);
    }
  }
  GovernorInput input;
  input.budget_bytes = budget_.num_pages() * spec_.page_bytes();
  input.waste_bytes = cache_.waste_bytes();
  input.classes = demand_;
  input.near_demand_bytes = static_cast<int64_t>(
      static_cast<double>(std::min(near_tokens, kNearSteps * options_.max_batched_tokens) * spec_.bytes_per_token(0)) *
      controller_->fraction());
  if (last_governed_ != absl::InfinitePast()) input.elapsed_seconds = absl::ToDoubleSeconds(now - last_governed_);
  input.elapsed_seconds = std::max(0.0, input.elapsed_seconds);
  last_governed_ = now;
  return controller_->Update(input);
}

bool EngineCore::FitsOptimistically(const SchedulableSequence& sequence) const {
  const auto pages_for = [this](const SchedulableSequence& s) {
    return spec_.WorstCasePages(*RouterFor(static_cast<const Sequence&>(s).floor_ratio), s.prefill_tokens, 1);
  };
  int64_t promised = pages_for(sequence);
  for (const SchedulableSequence* running : scheduler_->running()) {
    if (running->in_prefill()) promised += std::max<int64_t>(0, pages_for(*running) - running->kv->pages_held());
  }
  if (scheduler_->num_running() > 0) {
    promised += static_cast<int64_t>(kWatermark * static_cast<double>(cache_.num_pages()));
  }
  return promised <= cache_.free_pages();
}

void EngineCore::AdmitWaiting(const GovernorDecision& decision) {
  if (options_.budget_policy == BudgetPolicy::kPreempt) {
    scheduler_->ReconsiderAdmission();  // what fits changes with every page
    scheduler_->Admit([this](const SchedulableSequence& sequence) { return FitsOptimistically(sequence); });
    return;
  }
  // Held back, unless that would leave the engine with nothing to do.
  if (!decision.admit && scheduler_->num_running() > 0) {
    scheduler_->ReconsiderAdmission();
    return;
  }
  if (controller_->policy().mode == ControlMode::kAuto || options_.budget_policy == BudgetPolicy::kStatic) {
    scheduler_->Admit([](const SchedulableSequence&) { return true; });
    return;
  }
  // An operator's ratio is to hold: no more requests than fit at it, though their floors would let more in.
  scheduler_->Admit([this](const SchedulableSequence& sequence) {
    const auto pages = [this](const SchedulableSequence& s) {
      const Sequence& at = static_cast<const Sequence&>(s);
      return FloorPages(spec_, RatioFor(at.floor_ratio), at.prompt_tokens() + at.request().stopping.max_new_tokens);
    };
    if (scheduler_->num_running() == 0) return true;
    int64_t needed = pages(sequence) + budget_.headroom_pages();
    for (const SchedulableSequence* running : scheduler_->running()) needed += pages(*running);
    return needed <= budget_.num_pages();
  });
}

void EngineCore::RegroupAhead(const GovernorDecision& decision) {
  const absl::Duration limit = std::max(kLeastRegroupTime, last_step_ * kRegroupShare);
  RegroupTo(PagesOf(decision.regroup_to_bytes), /*to_floor=*/false, limit);
}

void EngineCore::AssignRouters(const SchedulerOutput& plan, bool at_floor) {
  const int64_t epoch = controller_->epoch();
  for (const ScheduledSequence& scheduled : plan.sequences) {
    Sequence* const sequence = SequenceOf(scheduled.sequence);
    if (at_floor) {
      // Thresholds, whatever the rule: only they bound what an expert takes.
      sequence->SetRouter(routers_->GetThreshold(sequence->floor_ratio), epoch, /*keep_debts=*/false);
    } else if (sequence->router() == nullptr || sequence->ratio_epoch() != epoch || sequence->routed_at_floor) {
      sequence->SetRouter(RouterFor(sequence->floor_ratio), epoch, /*keep_debts=*/true);
    }
    sequence->routed_at_floor = at_floor;
  }
}

int64_t EngineCore::PagesForPlan(const SchedulerOutput& plan, bool precise) const {
  int64_t pages = 0;
  for (const ScheduledSequence& scheduled : plan.sequences) {
    const Sequence& sequence = *SequenceOf(scheduled.sequence);
    if (precise && scheduled.prefill) {
      for (int64_t layer = 0; layer < spec_.num_layers(); ++layer) {
        const ExpertCounts quota =
            NextQuota(sequence.router()->ratio(), sequence.routing().counts[layer], scheduled.num_tokens);
        for (int e = 0; e < spec_.num_experts(); ++e) {
          const int64_t slots = spec_.slots_per_page(e);
          const int64_t tokens = sequence.kv->num_tokens(layer, e) + quota.count[e];
          pages += (tokens + slots - 1) / slots - sequence.kv->num_pages(layer, e);
        }
      }
      continue;
    }
    const std::array<bool, kMaxExperts> reachable = Reachable(*sequence.router());
    pages += cache_.MaxNewPages(*sequence.kv, absl::MakeConstSpan(reachable.data(), spec_.num_experts()),
                                scheduled.num_tokens);
  }
  return pages;
}

const SchedulerOutput& EngineCore::PlanWithRoom(absl::Time now) {
  for (;;) {
    const SchedulerOutput& plan = scheduler_->Plan();
    StartAdmitted(plan, now);
    AssignRouters(plan, /*at_floor=*/false);
    if (options_.budget_policy == BudgetPolicy::kStatic) return plan;  // worst cases are reserved

    // While a smaller budget is steered to, the pages in use must not become more.
    const int64_t limit =
        pending_.has_value() ? std::max(pending_->num_pages, cache_.used_pages()) : cache_.num_pages();
    if (cache_.used_pages() + PagesForPlan(plan, /*precise=*/false) <= limit) return plan;
    int64_t needed = PagesForPlan(plan, /*precise=*/true);
    if (cache_.used_pages() + needed <= limit) return plan;
    if (options_.budget_policy == BudgetPolicy::kGovernor) {
      // To the ratio in force a little more than needed, which the governor would take soon anyway; to the floors no more than that.
      for (const bool to_floor : {false, true}) {
        const int64_t spare = to_floor ? 0 : budget_.headroom_pages();
        while (RegroupTo(limit - needed - spare, to_floor, absl::InfiniteDuration())) {
          // A page regrouped may have been the tail that this step's tokens were to go into.
          needed = PagesForPlan(plan, /*precise=*/true);
          if (cache_.used_pages() + needed <= limit) return plan;
        }
      }
      // Everything that runs is at its floor. If this step's tokens go there too, they have room by what was reserved.
      AssignRouters(plan, /*at_floor=*/true);
      if (budget_.covered()) return plan;
      if (cache_.used_pages() + PagesForPlan(plan, /*precise=*/true) <= limit) return plan;
    }
    // A single sequence always has room: requests larger than the budget are refused.
    if (scheduler_->num_running() == 1) return plan;
    PreemptOne();
  }
}

bool EngineCore::RegroupTo(int64_t pages, bool to_floor, absl::Duration limit) {
  if (cache_.used_pages() <= pages) return true;
  const absl::Time start = clock_->Now();
  victims_.clear();
  for (SchedulableSequence* running : scheduler_->running()) victims_.push_back(SequenceOf(running));
  // Who is furthest above the others first, among equals in priority.
  std::stable_sort(victims_.begin(), victims_.end(), [](const Sequence* a, const Sequence* b) {
    if (a->priority != b->priority) return a->priority < b->priority;
    return static_cast<double>(a->kv->stored_bytes()) * static_cast<double>(b->kv->full_bytes()) >
           static_cast<double>(b->kv->stored_bytes()) * static_cast<double>(a->kv->full_bytes());
  });
  bool worked = false;
  const auto regroup = [&](Sequence* sequence, const Ratio& target) {
    while (cache_.used_pages() > pages && clock_->Now() - start <= limit) {
      const int64_t before = sequence->kv->regrouped_token_layers();
      regrouper_.Regroup(*sequence->kv, target, std::min(cache_.used_pages() - pages, kPagesAtOnce));
      regrouper_.Flush();
      if (sequence->kv->regrouped_token_layers() == before) break;
      worked = true;
    }
  };
  for (size_t first = 0, end = 0; first < victims_.size(); first = end) {
    while (end < victims_.size() && victims_[end]->priority == victims_[first]->priority) ++end;
    for (size_t i = first; i < end; ++i) regroup(victims_[i], RatioFor(victims_[i]->floor_ratio));
    for (size_t i = first; to_floor && i < end; ++i) regroup(victims_[i], victims_[i]->floor_ratio);
  }
  if (worked) stats_.regroup_seconds.Observe(absl::ToDoubleSeconds(clock_->Now() - start));
  return cache_.used_pages() <= pages;
}

void EngineCore::PreemptOne() {
  SchedulableSequence* victim = nullptr;
  for (SchedulableSequence* running : scheduler_->running()) {  // in order of admission: the last among equals is the youngest
    if (victim == nullptr || running->priority <= victim->priority) victim = running;
  }
  Sequence* const sequence = SequenceOf(victim);
  sequence->PrepareRecompute();
  scheduler_->Preempt(sequence);
  ++stats_.preemptions;
  UpdateTimer(sequence);
}

}  // namespace ration
