// The gRPC service ration.v1.Generation, on gRPC's callback API: no thread waits for a call. Works on raw bytes (wire_format.h says
// why). Generating calls live in generate_reactor; the rest is answered here at once.
// Layer: server. Thread-safe.
#ifndef RATION_SERVER_GENERATION_SERVICE_H_
#define RATION_SERVER_GENERATION_SERVICE_H_

#include <initializer_list>

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "proto/generation.grpc.pb.h"
#include "server/call_context.h"

namespace ration {

namespace internal {
using V1 = v1::Generation;
using RawGenerationService = V1::WithRawCallbackMethod_Generate<V1::WithRawCallbackMethod_GenerateStream<
    V1::WithRawCallbackMethod_Abort<V1::WithRawCallbackMethod_Tokenize<V1::WithRawCallbackMethod_Detokenize<
        V1::WithRawCallbackMethod_GetModelInfo<V1::Service>>>>>>;
}  // namespace internal

class GenerationService final : public internal::RawGenerationService {
 public:
  // `context` must outlive the service.
  explicit GenerationService(CallContext* context) : context_(context) {}

  grpc::ServerUnaryReactor* Generate(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerateStream(grpc::CallbackServerContext* call,
                                                             const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* Abort(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;

 private:
  absl::Status DoAbort(const Caller& caller, const v1::AbortRequest& request, v1::AbortResponse* response);
  absl::Status DoTokenize(const Caller& caller, const v1::TokenizeRequest& request, v1::TokenizeResponse* response);
  absl::Status DoTokenizeMessages(const v1::TokenizeRequest& request, v1::TokenizeResponse* response);
  absl::Status DoDetokenize(const Caller& caller, const v1::DetokenizeRequest& request, v1::DetokenizeResponse* response);
  absl::Status DoGetModelInfo(const Caller& caller, const v1::GetModelInfoRequest& request, v1::GetModelInfoResponse* response);

  // Checks that the caller has one of `roles`, parses, runs `handler`, serialises: a whole call that never waits.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* AnswerNow(grpc::CallbackServerContext* call, const grpc::ByteBuffer& request_bytes,
                                      grpc::ByteBuffer* response_bytes, std::initializer_list<Role> roles,
                                      absl::Status (GenerationService::*handler)(const Caller&, const Request&, Response*));

  CallContext* const context_;
};

}  // namespace ration

#endif  // RATION_SERVER_GENERATION_SERVICE_H_
