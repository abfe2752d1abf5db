#include "server/generate_reactor.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/chat_conversion.h"
#include "server/request_conversion.h"
#include "server/response_conversion.h"
#include "server/status_util.h"
#include "server/trace_context.h"
#include "server/wire_format.h"

namespace ration {
namespace {

constexpr char kTraceParent[] = "traceparent";
constexpr char kRequestId[] = "x-request-id";

// The call's deadline on the engine's clock.
absl::Time EngineDeadline(const grpc::CallbackServerContext& call, const Clock& clock) {
  const std::chrono::system_clock::time_point deadline = call.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return clock.Now() + (absl::FromChrono(deadline) - absl::Now());
}

// PermissionDenied if the request asks for more than its tenant may; one that asks for nothing gets no more than that.
absl::Status LimitPriority(const Caller& caller, v1::GenerateRequest* request) {
  if (request->priority() <= caller.max_priority) return absl::OkStatus();
  if (request->priority() > kMaxPriority) return absl::OkStatus();  // nobody's: ConvertRequest refuses it as out of range
  if (request->has_priority()) {
    return absl::PermissionDeniedError(absl::StrCat("priority: must be at most ", caller.max_priority, " for ", caller.tenant, ", not ",
                                                    request->priority()));
  }
  request->set_priority(caller.max_priority);
  return absl::OkStatus();
}

}  // namespace

GenerateCall::GenerateCall(CallContext* context, grpc::CallbackServerContext* call, const char* method)
    : context_(context), call_(call), request_id_(NewRequestId()), started_(context->clock->Now()) {
  summary_.method = method;
}

GenerateCall::~GenerateCall() {
  summary_.request_id = std::move(request_id_);
  summary_.total_time = context_->clock->Now() - started_;
  context_->request_log->Write(summary_);
}

void GenerateCall::ReadMetadata() {
  summary_.peer = call_->peer();
  const auto& metadata = call_->client_metadata();
  const auto [begin, end] = metadata.equal_range(kTraceParent);
  if (std::distance(begin, end) != 1) return;  // none, or nobody knows which
  const absl::string_view text(begin->second.data(), begin->second.size());
  if (std::optional<TraceContext> trace = TraceContext::Parse(text); trace.has_value()) {
    summary_.trace_id = std::move(trace->trace_id);
    call_->AddInitialMetadata(kTraceParent, std::string(text));
  }
}

void GenerateCall::SendIds() {
  // Metadata are printable ASCII; an id that is not is in the messages only.
  if (std::all_of(request_id_.begin(), request_id_.end(), [](char c) { return c >= 0x20 && c < 0x7f; })) {
    call_->AddInitialMetadata(kRequestId, request_id_);
  }
}

absl::Status GenerateCall::Submit(const grpc::ByteBuffer& bytes) {
  ReadMetadata();
  absl::Status status = TrySubmit(bytes);
  if (!status.ok()) SendIds();
  return status;
}

absl::Status GenerateCall::TrySubmit(const grpc::ByteBuffer& bytes) {
  RATION_ASSIGN_OR_RETURN(const Caller caller, context_->access->Authorize(*call_, {Role::kGenerate}, &summary_.tenant));
  // Then the place: when the queue is full, nothing of the request is even parsed.
  RATION_ASSIGN_OR_RETURN(std::unique_ptr<EngineRunner::Ticket> ticket, context_->runner->Admit());
  v1::GenerateRequest request;
  RATION_RETURN_IF_ERROR(ParseMessage(bytes, &request));
  if (request.request_id().empty()) request.set_request_id(request_id_);
  if (static_cast<int64_t>(request.request_id().size()) <= context_->request_limits.max_request_id_bytes) {
    request_id_ = request.request_id();
  }
  RATION_RETURN_IF_ERROR(CheckLimits(request, context_->request_limits));
  RATION_RETURN_IF_ERROR(LimitPriority(caller, &request));
  summary_.prompt = context_->request_log->PromptToLog(request);
  const auto text_bytes = static_cast<int64_t>(request.text().size()) + MessagesBytes(request.messages());
  RATION_RETURN_IF_ERROR(context_->runner->AdmitPrompt(ticket.get(), text_bytes, request.token_ids().ids_size()));
  const absl::Time deadline = EngineDeadline(*call_, *context_->clock);
  RATION_ASSIGN_OR_RETURN(
      ConvertedRequest converted,
      ConvertRequest(request, context_->model, context_->clock->Now(), deadline, context_->request_limits));
  context_->runner->SetPromptTokens(ticket.get(), text_bytes, static_cast<int64_t>(converted.request.prompt_tokens.size()));
  engine_id_ = EngineRequestId(caller.tenant, request_id_);
  converted.request.request_id = engine_id_;
  converted.request.tenant = caller.tenant;
  summary_.prompt_tokens = static_cast<int64_t>(converted.request.prompt_tokens.size());
  echo_text_ = std::move(converted.echo_text);
  ticket_ = std::move(ticket);
  EngineRunner::Ticket* const counted = ticket_.get();  // nobody else touches it before Submit
  context_->live_calls.Add(this, engine_id_, request_id_);
  SendIds();
  std::shared_ptr<GenerateCall> self = shared_from_this();
  context_->runner->Submit(std::move(converted.request), self, [self](absl::Status status) {
    self->LeaveEngine(nullptr);
    self->OnRejected(std::move(status));
  }, counted);
  return absl::OkStatus();
}

void GenerateCall::LeaveEngine(const FinishInfo* finish) {
  if (finish != nullptr) summary_.finish = *finish;
  context_->live_calls.Remove(this);
  ticket_.reset();
}

void GenerateCall::AbortInEngine() { context_->runner->Abort(engine_id_); }

grpc::Status GenerateCall::FinalStatus(const absl::Status& status) {
  summary_.status = status;
  return ToGrpcStatus(status);
}

void GenerateCall::Decorate(v1::GenerateResponse* response) {
  response->set_request_id(request_id_);
  if (response->has_prompt_info() && echo_text_.has_value()) {
    response->mutable_prompt_info()->set_text(*std::move(echo_text_));
    echo_text_.reset();
  }
}

// ---------------------------------------------------------------------------------------------------------- GenerateStream

GenerateStreamReactor* GenerateStreamReactor::Start(CallContext* context, grpc::CallbackServerContext* call,
                                                    const grpc::ByteBuffer& request) {
  std::shared_ptr<GenerateStreamReactor> reactor(new GenerateStreamReactor(context, call));
  reactor->self_ = reactor;
  // gRPC keeps what is started before this returns for later, and OnDone cannot run before.
  if (absl::Status status = reactor->Submit(request); !status.ok()) reactor->FinishOnce(status);
  return reactor.get();
}

bool GenerateStreamReactor::OnDelta(GenerationDelta delta) {
  const bool last = delta.finish.has_value();
  if (last) LeaveEngine(&*delta.finish);
  bool schedule = false;
  bool has_room = true;
  {
    MutexLock lock(&mutex_);
    if (finish_called_ || cancelled_) return true;
    if (last) {
      end_ = FinishStatus(*delta.finish);
      if (delta.finish->reason == FinishReason::kSlowReader) pieces_.clear();  // it would not read them either
    }
    buffered_bytes_ += ApproximateBytes(delta);
    pieces_.push_back(std::move(delta));
    has_room = static_cast<int64_t>(pieces_.size()) < context_->stream_limits.max_buffered_pieces &&
               buffered_bytes_ < context_->stream_limits.max_buffered_bytes;
    if (!has_room && !last) paused_ = true;
    if (!writing_ && !scheduled_) schedule = scheduled_ = true;
  }
  if (last) ArmUnreadEndAlarm();
  if (schedule) context_->delivery->Schedule(shared_from_this());
  return has_room;
}

void GenerateStreamReactor::OnRejected(absl::Status status) {
  {
    MutexLock lock(&mutex_);
    if (finish_called_ || cancelled_) return;
    end_ = std::move(status);
    scheduled_ = true;
  }
  context_->delivery->Schedule(shared_from_this());
}

void GenerateStreamReactor::Deliver() {
  std::vector<GenerationDelta> pieces;
  std::optional<absl::Status> end;
  bool resume = false;
  {
    MutexLock lock(&mutex_);
    scheduled_ = false;
    if (writing_ || finish_called_ || cancelled_) return;
    if (pieces_.empty() && !end_.has_value()) return;
    pieces.swap(pieces_);
    buffered_bytes_ = 0;
    end = end_;
    resume = paused_ && !end.has_value();
    paused_ = false;
    writing_ = true;
  }
  v1::GenerateResponse response;
  for (GenerationDelta& piece : pieces) AppendDelta(std::move(piece), &response);
  Decorate(&response);
  const bool has_content = HasContent(response);
  if (has_content) message_ = SerializeMessage(response);

  if (!end.has_value()) {
    if (resume) context_->runner->Resume(engine_id_);
    StartWrite(&message_);
    return;
  }
  if (has_content && !end->ok()) {  // OnWriteDone comes back for the status
    StartWrite(&message_);
    return;
  }
  {
    MutexLock lock(&mutex_);
    writing_ = false;
    if (finish_called_) return;  // cancelled just now
    finish_called_ = true;
  }
  if (has_content) {
    StartWriteAndFinish(&message_, grpc::WriteOptions(), FinalStatus(absl::OkStatus()));
  } else {
    Finish(FinalStatus(*end));
  }
}

void GenerateStreamReactor::OnWriteDone(bool ok) {
  bool cancelled;
  {
    MutexLock lock(&mutex_);
    writing_ = false;
    cancelled = cancelled_ || !ok;
  }
  if (!cancelled) return Deliver();
  AbortInEngine();
  FinishOnce(absl::CancelledError("the client went away"));
}

void GenerateStreamReactor::OnCancel() {
  bool writing;
  {
    MutexLock lock(&mutex_);
    cancelled_ = true;
    pieces_.clear();
    writing = writing_;
  }
  AbortInEngine();
  if (!writing) FinishOnce(absl::CancelledError("the client went away"));  // otherwise OnWriteDone does
}

void GenerateStreamReactor::FinishOnce(const absl::Status& status) {
  {
    MutexLock lock(&mutex_);
    if (finish_called_) return;
    finish_called_ = true;
    pieces_.clear();
  }
  Finish(FinalStatus(status));
}

void GenerateStreamReactor::ArmUnreadEndAlarm() {
  MutexLock lock(&call_mutex_);
  if (done_) return;
  alarm_ = std::make_unique<grpc::Alarm>();
  std::weak_ptr<GenerateCall> weak = weak_from_this();
  alarm_->Set(absl::ToChronoTime(absl::Now() + context_->stream_limits.unread_end_timeout), [weak](bool expired) {
    auto reactor = std::static_pointer_cast<GenerateStreamReactor>(weak.lock());
    if (!expired || reactor == nullptr) return;
    MutexLock alarm_lock(&reactor->call_mutex_);
    if (!reactor->done_) reactor->call_->TryCancel();
  });
}

void GenerateStreamReactor::OnDone() {
  std::unique_ptr<grpc::Alarm> alarm;
  {
    MutexLock lock(&call_mutex_);
    done_ = true;
    alarm = std::move(alarm_);
  }
  alarm.reset();  // cancels it
  std::shared_ptr<GenerateCall> self = std::move(self_);  // `this` may go with it
}

// ---------------------------------------------------------------------------------------------------------- Generate

GenerateUnaryReactor::GenerateUnaryReactor(CallContext* context, grpc::CallbackServerContext* call, grpc::ByteBuffer* response)
    : GenerateCall(context, call, "Generate"), response_(response) {}

GenerateUnaryReactor* GenerateUnaryReactor::Start(CallContext* context, grpc::CallbackServerContext* call,
                                                  const grpc::ByteBuffer& request, grpc::ByteBuffer* response) {
  std::shared_ptr<GenerateUnaryReactor> reactor(new GenerateUnaryReactor(context, call, response));
  reactor->self_ = reactor;
  if (absl::Status status = reactor->Submit(request); !status.ok()) reactor->FinishOnce(status);
  return reactor.get();
}

bool GenerateUnaryReactor::OnDelta(GenerationDelta delta) {
  const bool last = delta.finish.has_value();
  if (last) LeaveEngine(&*delta.finish);
  {
    MutexLock lock(&mutex_);
    if (finish_called_) return true;
    if (last) end_ = FinishStatus(*delta.finish);
    AppendDelta(std::move(delta), &collected_);
  }
  if (last) context_->delivery->Schedule(shared_from_this());
  return true;  // what can come is bounded by max_new_tokens
}

void GenerateUnaryReactor::OnRejected(absl::Status status) {
  {
    MutexLock lock(&mutex_);
    end_ = std::move(status);
  }
  context_->delivery->Schedule(shared_from_this());
}

void GenerateUnaryReactor::Deliver() {
  v1::GenerateResponse response;
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    if (finish_called_) return;
    finish_called_ = true;
    response.Swap(&collected_);
    status = *end_;
  }
  if (status.ok()) {
    Decorate(&response);
    *response_ = SerializeMessage(response);
  }
  Finish(FinalStatus(status));
}

void GenerateUnaryReactor::FinishOnce(const absl::Status& status) {
  {
    MutexLock lock(&mutex_);
    if (finish_called_) return;
    finish_called_ = true;
  }
  Finish(FinalStatus(status));
}

void GenerateUnaryReactor::OnCancel() {
  AbortInEngine();
  FinishOnce(absl::CancelledError("the client went away"));
}

void GenerateUnaryReactor::OnDone() { std::shared_ptr<GenerateCall> self = std::move(self_); }

}  // namespace ration
