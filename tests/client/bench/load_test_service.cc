#include "tests/client/bench/load_test_service.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/client/fake_generation_service.h"

namespace ration::testing {
namespace {

bool IsEach(int64_t number, int64_t every) { return every > 0 && number % every == 0; }

void SetFinish(const v1::GenerateRequest& request, v1::Finish* finish) {
  finish->set_reason(v1::FINISH_REASON_LENGTH);
  finish->set_prompt_tokens(request.token_ids().ids_size());
  finish->set_generated_tokens(request.stopping().max_new_tokens());
  finish->set_queue_seconds(0.001);
  v1::KvAccounting& kv = *finish->mutable_kv();
  kv.set_peak_bytes(4096);
  kv.set_stored_bytes(1000);
  kv.set_full_bytes(4000);
  kv.add_prompt_tokens_per_expert(request.token_ids().ids_size());
  kv.add_generated_tokens_per_expert(request.stopping().max_new_tokens());
  kv.set_tokens_regrouped(2);
}

}  // namespace

LoadTestService::LoadTestService() {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  builder.RegisterService(&control_);
  server_ = builder.BuildAndStart();
  target_ = absl::StrCat("127.0.0.1:", port);
}

LoadTestService::~LoadTestService() { server_->Shutdown(); }

std::vector<v1::GenerateRequest> LoadTestService::requests() {
  std::lock_guard<std::mutex> lock(mutex_);
  return requests_;
}

grpc::Status LoadTestService::GenerateStream(grpc::ServerContext* context, const v1::GenerateRequest* request,
                                             grpc::ServerWriter<v1::GenerateResponse>* writer) {
  int64_t number = 0;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    requests_.push_back(*request);
    number = static_cast<int64_t>(requests_.size());
    changed_.notify_all();
    const auto enough = [this] { return static_cast<int64_t>(requests_.size()) >= wait_for_streams; };
    if (!changed_.wait_for(lock, std::chrono::seconds(20), enough)) {
      return grpc::Status(grpc::StatusCode::INTERNAL, "the other streams did not come");
    }
  }
  if (on_stream) on_stream();
  if (IsEach(number, reject_every)) {
    return StatusWithRetryInfo(grpc::StatusCode::RESOURCE_EXHAUSTED,
                               absl::StrCat("the queue is full at request ", number), absl::Milliseconds(1));
  }
  for (int64_t i = 0; i < request->stopping().max_new_tokens(); ++i) {
    v1::GenerateResponse response;
    response.add_token_ids(1);
    if (i == 0) response.mutable_prompt_info()->set_prompt_tokens(request->token_ids().ids_size());
    if (i + 1 == request->stopping().max_new_tokens() && !hang) SetFinish(*request, response.mutable_finish());
    if (!writer->Write(response)) return grpc::Status::CANCELLED;
    if (IsEach(number, fail_every)) return grpc::Status(grpc::StatusCode::INTERNAL, "broken");
    // The synchronous API can only be polled; the pause keeps the processor free for the client.
    while (hang && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
  }
  return grpc::Status::OK;
}

grpc::Status LoadTestService::Tokenize(grpc::ServerContext*, const v1::TokenizeRequest* request,
                                       v1::TokenizeResponse* response) {
  for (char c : request->text()) response->add_ids(static_cast<unsigned char>(c));
  return grpc::Status::OK;
}

grpc::Status LoadTestService::GetModelInfo(grpc::ServerContext*, const v1::GetModelInfoRequest*,
                                           v1::GetModelInfoResponse* response) {
  response->set_vocab_size(256);
  response->set_context_tokens(context_tokens);
  response->add_experts()->set_group_size(2);
  return grpc::Status::OK;
}

grpc::Status LoadTestService::ControlService::GetState(grpc::ServerContext*, const v1::GetStateRequest*,
                                                       v1::ServerState* state) {
  if (service_->states.empty()) return grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "");
  *state = service_->states.front();
  return grpc::Status::OK;
}

grpc::Status LoadTestService::ControlService::WatchState(grpc::ServerContext* context, const v1::WatchStateRequest*,
                                                         grpc::ServerWriter<v1::ServerState>* writer) {
  for (const v1::ServerState& state : service_->states) writer->Write(state);
  while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
  return grpc::Status::CANCELLED;
}

}  // namespace ration::testing
