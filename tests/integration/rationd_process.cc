#include "tests/integration/rationd_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/integration/puppet_server.h"

extern char** environ;

namespace ration {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Rationd::Rationd(const std::vector<std::string>& flags) {
  static int serial = 0;
  output_ = absl::StrCat(::testing::TempDir(), "/rationd", ++serial, "_", getpid(), ".log");
  std::vector<std::string> arguments = {"server/rationd"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, output_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  EXPECT_EQ(posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0);
  posix_spawn_file_actions_destroy(&actions);
}

std::unique_ptr<Rationd> Rationd::Serving(const std::string& model, const std::vector<std::string>& flags) {
  const std::string port_file = absl::StrCat(::testing::TempDir(), "/ports_", getpid(), "_", absl::ToUnixNanos(absl::Now()));
  std::vector<std::string> all = {"--model=" + model, "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0",
                                  "--control_listen=127.0.0.1:0", "--threads=1", "--kv_budget=4MiB", "--port_file=" + port_file};
  all.insert(all.end(), flags.begin(), flags.end());
  auto rationd = std::make_unique<Rationd>(all);
  while (access(port_file.c_str(), R_OK) != 0 && rationd->IsRunning()) absl::SleepFor(absl::Milliseconds(5));
  std::istringstream(ReadFile(port_file)) >> rationd->port_ >> rationd->metrics_port_ >> rationd->control_port_ >>
      rationd->health_port_;
  EXPECT_GT(rationd->port_, 0) << rationd->output();
  EXPECT_GT(rationd->metrics_port_, 0);
  EXPECT_GT(rationd->control_port_, 0);
  rationd->channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", rationd->port_), grpc::InsecureChannelCredentials());
  rationd->stub_ = v1::Generation::NewStub(rationd->channel_);
  return rationd;
}

Rationd::~Rationd() {
  if (!IsRunning()) return;
  Signal(SIGKILL);
  Wait();
}

void Rationd::Signal(int number) { kill(pid_, number); }

int Rationd::Wait() {
  if (!reaped_) waitpid(pid_, &wait_status_, 0);
  reaped_ = true;
  return WIFEXITED(wait_status_) ? WEXITSTATUS(wait_status_) : -1;
}

bool Rationd::IsRunning() {
  if (!reaped_ && waitpid(pid_, &wait_status_, WNOHANG) == pid_) reaped_ = true;
  return !reaped_;
}

std::string Rationd::output() const { return ReadFile(output_); }

v1::GenerateRequest LongRequest(int64_t tokens) {
  v1::GenerateRequest request = SimpleRequest("long", tokens);
  request.mutable_stopping()->set_ignore_eos(true);
  request.mutable_sampling()->set_seed(1);
  return request;
}

}  // namespace ration
