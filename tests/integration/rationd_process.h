// The server's binary as a child process, for tests of what only a process can do: command lines, signals, being killed.
// For one test's thread. The test's data must have //server:rationd.
#ifndef RATION_TESTS_INTEGRATION_RATIOND_PROCESS_H_
#define RATION_TESTS_INTEGRATION_RATIOND_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/channel.h>

#include "proto/generation.grpc.pb.h"

namespace ration {

// Killed if the test leaves it behind.
class Rationd {
 public:
  explicit Rationd(const std::vector<std::string>& flags);
  // One that serves `model` and is ready. Addresses are free ports unless `flags` say otherwise.
  static std::unique_ptr<Rationd> Serving(const std::string& model, const std::vector<std::string>& flags);
  ~Rationd();

  void Signal(int number);
  // The exit status; -1 if a signal ended it.
  int Wait();
  bool IsRunning();
  // All of standard output and error so far.
  std::string output() const;
  v1::Generation::Stub& stub() { return *stub_; }
  const std::shared_ptr<grpc::Channel>& channel() { return channel_; }
  int port() const { return port_; }
  int metrics_port() const { return metrics_port_; }
  int control_port() const { return control_port_; }
  int health_port() const { return health_port_; }

 private:
  pid_t pid_ = 0;
  int wait_status_ = 0;
  bool reaped_ = false;
  std::string output_;
  int port_ = 0, metrics_port_ = 0, control_port_ = 0, health_port_ = 0;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Generation::Stub> stub_;
};

std::string ReadFile(const std::string& path);

// A request that generates this many tokens, whatever they are.
v1::GenerateRequest LongRequest(int64_t tokens);

}  // namespace ration

#endif  // RATION_TESTS_INTEGRATION_RATIOND_PROCESS_H_
