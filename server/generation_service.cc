#include "server/generation_service.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/tokenizer/tokenizer.h"
#include "server/chat_conversion.h"
#include "server/generate_reactor.h"
#include "server/request_conversion.h"
#include "server/status_util.h"
#include "server/wire_format.h"

namespace ration {
namespace {

void AddTokens(const std::vector<int32_t>& ids, const Tokenizer& tokenizer, v1::TokenizeResponse* response) {
  response->mutable_ids()->Add(ids.begin(), ids.end());
  for (int32_t id : ids) response->add_tokens(std::string(tokenizer.IdToToken(id)));
}

}  // namespace

template <typename Request, typename Response>
grpc::ServerUnaryReactor* GenerationService::AnswerNow(grpc::CallbackServerContext* call, const grpc::ByteBuffer& request_bytes,
                                                       grpc::ByteBuffer* response_bytes, std::initializer_list<Role> roles,
                                                       absl::Status (GenerationService::*handler)(const Caller&, const Request&,
                                                                                                  Response*)) {
  Request request;
  Response response;
  const absl::StatusOr<Caller> caller = context_->access->Authorize(*call, roles);
  absl::Status status = caller.status();
  if (status.ok()) status = ParseMessage(request_bytes, &request);
  if (status.ok()) status = (this->*handler)(*caller, request, &response);
  if (status.ok()) *response_bytes = SerializeMessage(response);
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

grpc::ServerUnaryReactor* GenerationService::Generate(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  return GenerateUnaryReactor::Start(context_, call, *request, response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::GenerateStream(grpc::CallbackServerContext* call,
                                                                              const grpc::ByteBuffer* request) {
  return GenerateStreamReactor::Start(context_, call, *request);
}

grpc::ServerUnaryReactor* GenerationService::Abort(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                                   grpc::ByteBuffer* response) {
  return AnswerNow(call, *request, response, {Role::kGenerate, Role::kControl}, &GenerationService::DoAbort);
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  return AnswerNow(call, *request, response, {Role::kGenerate}, &GenerationService::DoTokenize);
}

grpc::ServerUnaryReactor* GenerationService::Detokenize(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* response) {
  return AnswerNow(call, *request, response, {Role::kGenerate}, &GenerationService::DoDetokenize);
}

grpc::ServerUnaryReactor* GenerationService::GetModelInfo(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                                          grpc::ByteBuffer* response) {
  return AnswerNow(call, *request, response, {Role::kGenerate}, &GenerationService::DoGetModelInfo);
}

absl::Status GenerationService::DoAbort(const Caller& caller, const v1::AbortRequest& request, v1::AbortResponse* /*response*/) {
  RATION_RETURN_IF_ERROR(CheckLimits(request, context_->request_limits));
  if (caller.may_control) {
    const absl::flat_hash_set<absl::string_view> ids(request.request_ids().begin(), request.request_ids().end());
    for (const std::string& engine_id : context_->live_calls.EngineIdsOf(ids)) context_->runner->Abort(engine_id);
    return absl::OkStatus();
  }
  for (const std::string& id : request.request_ids()) context_->runner->Abort(EngineRequestId(caller.tenant, id));
  return absl::OkStatus();
}

absl::Status GenerationService::DoTokenize(const Caller& /*caller*/, const v1::TokenizeRequest& request, v1::TokenizeResponse* response) {
  if (request.has_messages()) return DoTokenizeMessages(request, response);
  RATION_RETURN_IF_ERROR(CheckTextLength("text", request.text(), context_->request_limits));
  RATION_RETURN_IF_ERROR(RequireTokenizer("text", context_->model));
  const Tokenizer& tokenizer = *context_->model.tokenizer;
  const bool add_special_tokens = !request.has_add_special_tokens() || request.add_special_tokens();
  RATION_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer.Encode(request.text(), add_special_tokens));
  AddTokens(ids, tokenizer, response);
  return absl::OkStatus();
}

absl::Status GenerationService::DoTokenizeMessages(const v1::TokenizeRequest& request, v1::TokenizeResponse* response) {
  RATION_RETURN_IF_ERROR(CheckMessages(request.messages(), context_->request_limits));
  RATION_RETURN_IF_ERROR(RequireTokenizer("messages", context_->model));
  RATION_ASSIGN_OR_RETURN(std::string text, RenderMessages(request.messages(), context_->model, context_->request_limits));
  RATION_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, EncodeRendered(text, request.add_special_tokens(), context_->model));
  AddTokens(ids, *context_->model.tokenizer, response);
  response->set_text(std::move(text));
  return absl::OkStatus();
}

absl::Status GenerationService::DoDetokenize(const Caller& /*caller*/, const v1::DetokenizeRequest& request, v1::DetokenizeResponse* response) {
  RATION_RETURN_IF_ERROR(CheckIdCount("ids", request.ids_size(), context_->request_limits));
  RATION_RETURN_IF_ERROR(RequireTokenizer("ids", context_->model));
  const Tokenizer& tokenizer = *context_->model.tokenizer;
  for (int i = 0; i < request.ids_size(); ++i) {
    if (request.ids(i) < 0 || request.ids(i) >= tokenizer.vocab_size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("ids[", i, "]: must be in [0, ", tokenizer.vocab_size(), "), not ", request.ids(i)));
    }
  }
  const bool skip_special_tokens = !request.has_skip_special_tokens() || request.skip_special_tokens();
  RATION_ASSIGN_OR_RETURN(*response->mutable_text(), tokenizer.Decode(request.ids(), skip_special_tokens));
  return absl::OkStatus();
}

absl::Status GenerationService::DoGetModelInfo(const Caller& /*caller*/, const v1::GetModelInfoRequest& /*request*/, v1::GetModelInfoResponse* response) {
  *response = context_->model_info;
  const EngineStats stats = context_->runner->Stats();
  response->set_ratio_epoch(stats.policy_epoch);
  response->set_kv_fraction(stats.requested_kv_fraction);
  response->set_kv_budget_bytes(stats.kv_budget_bytes);
  for (int e = 0; e < std::min(response->experts_size(), stats.num_experts); ++e) {
    response->mutable_experts(e)->set_ratio(stats.ratio[e]);
  }
  return absl::OkStatus();
}

}  // namespace ration
