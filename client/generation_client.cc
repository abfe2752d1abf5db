#include "client/generation_client.h"

#include <utility>

#include "client/rpc_error.h"

namespace ration {
bool Cancellation::Cancel() {
  std::lock_guard<std::mutex> lock(mutex_);
  cancelled_ = true;
  if (context_ == nullptr) return false;
  context_->TryCancel();
  return true;
}

void Cancellation::Reset() {
  std::lock_guard<std::mutex> lock(mutex_);
  cancelled_ = false;
}

bool Cancellation::cancelled() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return cancelled_;
}

void Cancellation::Begin(grpc::ClientContext* context) {
  std::lock_guard<std::mutex> lock(mutex_);
  context_ = context;
  if (cancelled_) context->TryCancel();
}

void Cancellation::End() {
  std::lock_guard<std::mutex> lock(mutex_);
  context_ = nullptr;
}

// The context of one call, known to its Cancellation for as long as it lives.
class GenerationClient::Call {
 public:
  explicit Call(Cancellation* cancellation) : cancellation_(cancellation) {
    if (cancellation_ != nullptr) cancellation_->Begin(&context_);
  }
  ~Call() {
    if (cancellation_ != nullptr) cancellation_->End();
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  grpc::ClientContext* context() { return &context_; }

 private:
  grpc::ClientContext context_;
  Cancellation* const cancellation_;
};

std::unique_ptr<GenerationClient> GenerationClient::Create(const std::string& target, const Transport& transport) {
  return std::make_unique<GenerationClient>(CreateChannel(target, transport));
}

GenerationClient::GenerationClient(std::shared_ptr<grpc::Channel> channel)
    : stub_(v1::Generation::NewStub(std::move(channel))) {}

absl::StatusOr<v1::GenerateResponse> GenerationClient::Generate(const v1::GenerateRequest& request,
                                                                Cancellation* cancellation) {
  Call call(cancellation);
  v1::GenerateResponse response;
  const grpc::Status status = stub_->Generate(call.context(), request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response;
}

absl::Status GenerationClient::GenerateStream(const v1::GenerateRequest& request,
                                              absl::FunctionRef<bool(const v1::GenerateResponse&)> on_message,
                                              Cancellation* cancellation) {
  Call call(cancellation);
  const std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader = stub_->GenerateStream(call.context(), request);
  v1::GenerateResponse message;
  bool finished = false;
  while (reader->Read(&message)) {
    finished = finished || message.has_finish();
    if (!on_message(message)) {
      call.context()->TryCancel();
      while (reader->Read(&message)) {
      }
      reader->Finish().ok();  // required before the context goes; what it says no longer matters
      return absl::CancelledError("the receiver wanted no more");
    }
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok()) return FromGrpcStatus(status);
  if (!finished) return absl::InternalError("the stream ended without its last message");
  return absl::OkStatus();
}

absl::Status GenerationClient::Abort(absl::Span<const std::string> request_ids, Cancellation* cancellation) {
  Call call(cancellation);
  v1::AbortRequest request;
  for (const std::string& id : request_ids) request.add_request_ids(id);
  v1::AbortResponse response;
  return FromGrpcStatus(stub_->Abort(call.context(), request, &response));
}

absl::StatusOr<v1::TokenizeResponse> GenerationClient::Tokenize(absl::string_view text, bool add_special_tokens,
                                                                Cancellation* cancellation) {
  Call call(cancellation);
  v1::TokenizeRequest request;
  request.set_text(std::string(text));
  request.set_add_special_tokens(add_special_tokens);
  v1::TokenizeResponse response;
  const grpc::Status status = stub_->Tokenize(call.context(), request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response;
}

absl::StatusOr<std::string> GenerationClient::Detokenize(absl::Span<const int32_t> ids, bool skip_special_tokens,
                                                         Cancellation* cancellation) {
  Call call(cancellation);
  v1::DetokenizeRequest request;
  for (int32_t id : ids) request.add_ids(id);
  request.set_skip_special_tokens(skip_special_tokens);
  v1::DetokenizeResponse response;
  const grpc::Status status = stub_->Detokenize(call.context(), request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return std::move(*response.mutable_text());
}

absl::StatusOr<v1::GetModelInfoResponse> GenerationClient::GetModelInfo(Cancellation* cancellation) {
  Call call(cancellation);
  v1::GetModelInfoResponse response;
  const grpc::Status status = stub_->GetModelInfo(call.context(), v1::GetModelInfoRequest(), &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response;
}

}  // namespace ration
