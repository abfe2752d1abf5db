// Generation and Control services without an engine, over real gRPC on a free loopback port, for many streams at a
// time: as many tokens as asked for, refusals and failures on demand, states as told. Thread rule: set the public
// members before calls are made.
#ifndef RATION_TESTS_CLIENT_BENCH_LOAD_TEST_SERVICE_H_
#define RATION_TESTS_CLIENT_BENCH_LOAD_TEST_SERVICE_H_

#include <grpcpp/server.h>
#include <grpcpp/server_context.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "proto/control.grpc.pb.h"
#include "proto/generation.grpc.pb.h"

namespace ration::testing {

class LoadTestService final : public v1::Generation::Service {
 public:
  LoadTestService();
  ~LoadTestService() override;

  const std::string& target() const { return target_; }  // HOST:PORT of both services

  int64_t context_tokens = 512;
  int64_t reject_every = 0;             // the n-th, 2n-th... stream is refused with a retry hint; 0: none
  int64_t fail_every = 0;               // ... ends with INTERNAL after one token; 0: none
  int64_t wait_for_streams = 0;         // no stream answers before so many are open together (at most 20 s)
  bool hang = false;                    // streams stay open after one token until the client goes
  std::function<void()> on_stream;      // when a stream begins
  std::vector<v1::ServerState> states;  // of the control API

  // What was asked for so far.
  std::vector<v1::GenerateRequest> requests();

 private:
  class ControlService final : public v1::Control::Service {
   public:
    explicit ControlService(const LoadTestService* service) : service_(service) {}

   private:
    grpc::Status GetState(grpc::ServerContext*, const v1::GetStateRequest*, v1::ServerState* state) override;
    grpc::Status WatchState(grpc::ServerContext* context, const v1::WatchStateRequest* request,
                            grpc::ServerWriter<v1::ServerState>* writer) override;
    const LoadTestService* const service_;
  };

  grpc::Status GenerateStream(grpc::ServerContext* context, const v1::GenerateRequest* request,
                              grpc::ServerWriter<v1::GenerateResponse>* writer) override;
  grpc::Status Tokenize(grpc::ServerContext*, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override;
  grpc::Status GetModelInfo(grpc::ServerContext*, const v1::GetModelInfoRequest*,
                            v1::GetModelInfoResponse* response) override;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<v1::GenerateRequest> requests_;  // guarded by mutex_

  ControlService control_{this};
  std::string target_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace ration::testing

#endif  // RATION_TESTS_CLIENT_BENCH_LOAD_TEST_SERVICE_H_
