#include "server/control_service.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "server/control_conversion.h"
#include "server/control_reactors.h"
#include "server/process_stats.h"
#include "server/wire_format.h"

namespace ration {
namespace {

// How often Drain looks whether the last request has ended.
constexpr absl::Duration kIdleCheckInterval = absl::Milliseconds(20);

template <typename Request>
std::optional<int64_t> ExpectedEpoch(const Request& request) {
  if (!request.has_expected_epoch()) return std::nullopt;
  return request.expected_epoch();
}

}  // namespace

// A call that changes something, on its way through the engine. Outlives the service if the engine's answer comes late.
// Thread-compatible: one thread has it at a time.
class ControlChange {
 public:
  ControlChange(std::shared_ptr<PendingCall> call, std::shared_ptr<const ControlLog> log, ControlSummary summary)
      : call_(std::move(call)), log_(std::move(log)), summary_(std::move(summary)) {}

  // Each writes the line first: who sees the change can find it in the log.
  void Answer(const google::protobuf::Message& message, int64_t epoch) {
    summary_.epoch = epoch;
    Record(absl::OkStatus());
    call_->Answer(message);
  }
  grpc::ServerUnaryReactor* End(const absl::Status& status) {
    Record(status);
    return call_->Refuse(status);
  }
  // For a change that is made before the call ends.
  void Record(const absl::Status& status) {
    summary_.status = status;
    log_->Write(summary_);
  }
  const std::shared_ptr<PendingCall>& call() const { return call_; }
  bool refused() const { return !summary_.status.ok(); }

 private:
  const std::shared_ptr<PendingCall> call_;
  const std::shared_ptr<const ControlLog> log_;
  ControlSummary summary_;
};

namespace {

// Looks again and again, on the timer's thread, until the engine is idle and takes no more, the time is over or the call has ended.
void AnswerWhenIdle(std::shared_ptr<PendingCall> pending, EngineRunner* runner, TimerThread* timer, absl::Time deadline) {
  if (pending->ended()) return;
  const bool idle = runner->draining() && runner->WaitUntilIdle(absl::InfinitePast());
  if (idle || absl::Now() >= deadline) {
    v1::DrainResponse response;
    response.set_idle(idle);
    return pending->Answer(response);
  }
  timer->At(std::min(deadline, absl::Now() + kIdleCheckInterval),
            [pending = std::move(pending), runner, timer, deadline] { AnswerWhenIdle(pending, runner, timer, deadline); });
}

}  // namespace

ControlService::ControlService(Options options) : options_(std::move(options)) {}
ControlService::~ControlService() = default;

v1::ServerState ControlService::State() const {
  StateFacts facts;
  facts.experts = options_.experts;
  facts.bytes_per_token = options_.bytes_per_token;
  facts.uptime_seconds = absl::ToDoubleSeconds(absl::Now() - started_);
  facts.draining = options_.draining();
  facts.resident_bytes = ReadProcessStats().resident_memory_bytes;
  return ToProto(options_.runner->Stats(), facts);
}

void ControlService::EndWatches() {
  std::vector<std::weak_ptr<WatchReactor>> watches;
  {
    MutexLock lock(&mutex_);
    ending_ = true;
    watches.swap(watches_);
  }
  for (const std::weak_ptr<WatchReactor>& weak : watches) {
    if (const std::shared_ptr<WatchReactor> watch = weak.lock()) watch->End(absl::UnavailableError("the server is ending"));
  }
}

absl::Status ControlService::Open(const grpc::CallbackServerContext& call, const grpc::ByteBuffer& bytes,
                                  google::protobuf::Message* request, std::string* tenant) const {
  const absl::StatusOr<Caller> caller = options_.access->Authorize(call, {Role::kControl}, tenant);
  if (!caller.ok()) return caller.status();
  return ParseMessage(bytes, request);
}

std::shared_ptr<ControlChange> ControlService::OpenChange(const char* method, const grpc::CallbackServerContext& call,
                                                          const grpc::ByteBuffer& bytes, grpc::ByteBuffer* response,
                                                          google::protobuf::Message* request) const {
  ControlSummary summary;
  summary.method = method;
  summary.peer = call.peer();
  const absl::Status status = Open(call, bytes, request, &summary.tenant);
  if (status.ok()) summary.asked = request->ShortDebugString();
  auto change = std::make_shared<ControlChange>(PendingCall::Create(response), options_.log, std::move(summary));
  if (!status.ok()) change->End(status);
  return change;
}

grpc::ServerUnaryReactor* ControlService::GetState(grpc::CallbackServerContext* call, const grpc::ByteBuffer* bytes,
                                                   grpc::ByteBuffer* response) {
  const std::shared_ptr<PendingCall> pending = PendingCall::Create(response);
  v1::GetStateRequest request;
  if (absl::Status status = Open(*call, *bytes, &request); !status.ok()) return pending->Refuse(status);
  pending->Answer(State());
  return pending.get();
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* ControlService::WatchState(grpc::CallbackServerContext* call,
                                                                       const grpc::ByteBuffer* bytes) {
  const std::shared_ptr<WatchReactor> watch = WatchReactor::Create([this] { return SerializeMessage(State()); }, &timer_);
  v1::WatchStateRequest request;
  absl::Status status = Open(*call, *bytes, &request);
  absl::StatusOr<absl::Duration> interval = absl::InvalidArgumentError("");
  if (status.ok()) {
    interval = WatchInterval(request);
    status = interval.status();
  }
  if (status.ok()) {
    MutexLock lock(&mutex_);
    if (ending_) {
      status = absl::UnavailableError("the server is ending");
    } else {
      watches_.erase(std::remove_if(watches_.begin(), watches_.end(),
                                    [](const std::weak_ptr<WatchReactor>& other) { return other.expired(); }),
                     watches_.end());
      watches_.push_back(watch);
    }
  }
  if (status.ok()) {
    watch->Begin(*interval);
  } else {
    watch->End(std::move(status));
  }
  return watch.get();
}

grpc::ServerUnaryReactor* ControlService::SetRatio(grpc::CallbackServerContext* call, const grpc::ByteBuffer* bytes,
                                                   grpc::ByteBuffer* response) {
  v1::SetRatioRequest request;
  const std::shared_ptr<ControlChange> change = OpenChange("SetRatio", *call, *bytes, response, &request);
  if (change->refused()) return change->call().get();
  const absl::StatusOr<Ratio> ratio = ToRatio(request, options_.experts);
  if (!ratio.ok()) return change->End(ratio.status());
  const double kv_fraction = ratio->KvFraction(options_.experts);
  options_.runner->SetRatio(*ratio, ExpectedEpoch(request), [change, kv_fraction](absl::StatusOr<int64_t> epoch) {
    if (!epoch.ok()) return void(change->End(epoch.status()));
    v1::SetRatioResponse answer;
    answer.set_epoch(*epoch);
    answer.set_kv_fraction(kv_fraction);
    change->Answer(answer, *epoch);
  });
  return change->call().get();
}

grpc::ServerUnaryReactor* ControlService::SetBudget(grpc::CallbackServerContext* call, const grpc::ByteBuffer* bytes,
                                                    grpc::ByteBuffer* response) {
  v1::SetBudgetRequest request;
  const std::shared_ptr<ControlChange> change = OpenChange("SetBudget", *call, *bytes, response, &request);
  if (change->refused()) return change->call().get();
  BudgetChange budget;
  budget.budget_bytes = request.budget_bytes();
  budget.shed = request.shed();
  // The change goes on if the caller goes: it has been promised to nobody to be undone.
  options_.runner->SetBudget(budget, ExpectedEpoch(request),
                             [change, runner = options_.runner](absl::StatusOr<BudgetResult> result) {
                               if (!result.ok()) return void(change->End(result.status()));
                               change->Answer(ToProto(*result, runner->Stats().num_layers), result->epoch);
                             });
  return change->call().get();
}

grpc::ServerUnaryReactor* ControlService::SetPolicy(grpc::CallbackServerContext* call, const grpc::ByteBuffer* bytes,
                                                    grpc::ByteBuffer* response) {
  v1::SetPolicyRequest request;
  const std::shared_ptr<ControlChange> change = OpenChange("SetPolicy", *call, *bytes, response, &request);
  if (change->refused()) return change->call().get();
  absl::StatusOr<PolicyChange> policy_change = ToPolicyChange(request, options_.experts);
  if (!policy_change.ok()) return change->End(policy_change.status());
  options_.runner->SetPolicy(*std::move(policy_change), ExpectedEpoch(request),
                             [change](absl::StatusOr<int64_t> epoch, const Policy& policy) {
                               if (!epoch.ok()) return void(change->End(epoch.status()));
                               v1::SetPolicyResponse answer;
                               answer.set_epoch(*epoch);
                               *answer.mutable_policy() = ToProto(policy);
                               change->Answer(answer, *epoch);
                             });
  return change->call().get();
}

grpc::ServerUnaryReactor* ControlService::Drain(grpc::CallbackServerContext* call, const grpc::ByteBuffer* bytes,
                                                grpc::ByteBuffer* response) {
  v1::DrainRequest request;
  const std::shared_ptr<ControlChange> change = OpenChange("Drain", *call, *bytes, response, &request);
  if (change->refused()) return change->call().get();
  const absl::StatusOr<absl::Duration> timeout = DrainTimeout(request);
  if (!timeout.ok()) return change->End(timeout.status());
  change->Record(absl::OkStatus());
  options_.start_drain();
  AnswerWhenIdle(change->call(), options_.runner, &timer_, absl::Now() + *timeout);
  return change->call().get();
}

}  // namespace ration
