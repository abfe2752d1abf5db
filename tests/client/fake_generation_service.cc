#include "tests/client/fake_generation_service.h"

#include <grpcpp/server_builder.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "proto/google/rpc/status.pb.h"

namespace ration::testing {
namespace {

std::string AuthorizationOf(const grpc::ServerContext& context) {
  const auto found = context.client_metadata().find("authorization");
  return found == context.client_metadata().end() ? "none" : std::string(found->second.data(), found->second.size());
}

}  // namespace

FakeGenerationService::FakeGenerationService(const std::shared_ptr<grpc::ServerCredentials>& credentials) {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", credentials, &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  target_ = absl::StrCat("127.0.0.1:", port);
}

FakeGenerationService::~FakeGenerationService() { server_->Shutdown(); }

grpc::Status FakeGenerationService::Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                                             v1::GenerateResponse* response) {
  static_cast<void>(context);
  generate_request = *request;
  if (!replies.empty()) *response = replies[0];
  return status;
}

grpc::Status FakeGenerationService::GenerateStream(grpc::ServerContext* context, const v1::GenerateRequest* request,
                                                   grpc::ServerWriter<v1::GenerateResponse>* writer) {
  generate_request = *request;
  authorization = AuthorizationOf(*context);
  for (const v1::GenerateResponse& reply : replies) writer->Write(reply);
  if (hang) {
    // The synchronous API can only be polled; the pause keeps the processor free for the client.
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    client_gone.Notify();
    return grpc::Status(grpc::StatusCode::CANCELLED, "the client has gone");
  }
  return status;
}

grpc::Status FakeGenerationService::Abort(grpc::ServerContext*, const v1::AbortRequest* request, v1::AbortResponse*) {
  abort_request = *request;
  return status;
}

grpc::Status FakeGenerationService::Tokenize(grpc::ServerContext*, const v1::TokenizeRequest* request,
                                             v1::TokenizeResponse* response) {
  tokenize_request = *request;
  if (request->add_special_tokens()) {
    response->add_ids(1);
    response->add_tokens("<s>");
  }
  for (char c : request->text()) {
    response->add_ids(static_cast<unsigned char>(c));
    response->add_tokens(std::string(1, c));
  }
  return status;
}

grpc::Status FakeGenerationService::Detokenize(grpc::ServerContext*, const v1::DetokenizeRequest* request,
                                               v1::DetokenizeResponse* response) {
  detokenize_request = *request;
  for (int32_t id : request->ids()) response->mutable_text()->push_back(static_cast<char>(id));
  return status;
}

grpc::Status FakeGenerationService::GetModelInfo(grpc::ServerContext* context, const v1::GetModelInfoRequest*,
                                                 v1::GetModelInfoResponse* response) {
  authorization = AuthorizationOf(*context);
  *response = model_info;
  return status;
}

grpc::Status StatusWithRetryInfo(grpc::StatusCode code, const std::string& message, absl::Duration delay) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(delay));
  info.mutable_retry_delay()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(delay) % 1000000000));
  google::rpc::Status details;
  details.set_code(static_cast<int>(code));
  details.set_message(message);
  details.add_details()->PackFrom(info);
  return grpc::Status(code, message, details.SerializeAsString());
}

std::vector<v1::GenerateResponse> StoryReplies() {
  std::vector<v1::GenerateResponse> replies(3);
  for (v1::GenerateResponse& reply : replies) reply.set_request_id("story-1");
  replies[0].mutable_prompt_info()->set_prompt_tokens(3);
  replies[0].mutable_prompt_info()->set_seed(18446744073709551615u);
  replies[0].mutable_prompt_info()->set_ratio_epoch(2);
  replies[0].set_text("Once");
  replies[0].add_token_ids(403);
  replies[1].set_text(" upon");
  replies[1].add_token_ids(407);
  replies[2].set_text(" a time");
  replies[2].add_token_ids(261);
  replies[2].add_token_ids(378);
  v1::Finish& finish = *replies[2].mutable_finish();
  finish.set_reason(v1::FINISH_REASON_LENGTH);
  finish.set_prompt_tokens(3);
  finish.set_generated_tokens(4);
  finish.set_queue_seconds(0.0015);
  finish.set_time_to_first_token_seconds(0.02);
  finish.set_total_seconds(0.05);
  v1::KvAccounting& kv = *finish.mutable_kv();
  kv.set_peak_bytes(122880);
  kv.set_stored_bytes(80000);
  kv.set_full_bytes(160000);
  for (double tokens : {1.0, 0.4, 1.6}) kv.add_prompt_tokens_per_expert(tokens);
  for (double tokens : {1.0, 0.0, 2.0}) kv.add_generated_tokens_per_expert(tokens);
  kv.add_ratio_epochs(2);
  return replies;
}

}  // namespace ration::testing
