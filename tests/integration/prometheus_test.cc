// A real Prometheus scrapes the server, and promtool asks it what it saw. Both come with Debian's package prometheus; without it the test
// is skipped. (promtool's checks of the page are in server_test.)
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/puppet_server.h"

namespace ration {
namespace {

using ::testing::HasSubstr;

constexpr char kPrometheus[] = "/usr/bin/prometheus";
constexpr char kPromtool[] = "/usr/bin/promtool";

bool Missing() { return access(kPrometheus, X_OK) != 0 || access(kPromtool, X_OK) != 0; }
constexpr char kSkipped[] = "NOT TESTED: the Debian package prometheus is not installed (deploy/packages-test.txt)";

// Runs a shell command; its output, both streams, and its exit status.
std::pair<int, std::string> Shell(const std::string& command) {
  FILE* pipe = popen(absl::StrCat(command, " 2>&1").c_str(), "r");
  std::string output;
  std::array<char, 4096> buffer;
  for (size_t n; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) output.append(buffer.data(), n);
  return {WEXITSTATUS(pclose(pipe)), output};
}

std::string TempPath(const std::string& name) { return absl::StrCat(::testing::TempDir(), "/", getpid(), "-", name); }

// A Prometheus that scrapes one port ten times a second, on a free port of its own.
class Prometheus {
 public:
  explicit Prometheus(int metrics_port) {
    const std::string config = TempPath("prometheus.yml");
    std::ofstream(config) << "global: {scrape_interval: 100ms, scrape_timeout: 100ms}\n"
                          << "scrape_configs:\n- job_name: ration\n  static_configs:\n  - targets: ['127.0.0.1:" << metrics_port << "']\n";
    int fds[2];
    EXPECT_EQ(pipe(fds), 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(fds[1], STDERR_FILENO);
      close(fds[0]);
      close(fds[1]);
      const std::string config_flag = "--config.file=" + config;
      const std::string data_flag = "--storage.tsdb.path=" + TempPath("prometheus-data");
      execl(kPrometheus, kPrometheus, config_flag.c_str(), data_flag.c_str(), "--web.listen-address=127.0.0.1:0",
            static_cast<char*>(nullptr));
      _exit(127);
    }
    close(fds[1]);
    log_ = fdopen(fds[0], "r");
    // It says which port it took: ... msg="Listening on" address=127.0.0.1:43359
    char* line = nullptr;
    size_t capacity = 0;
    while (port_ == 0 && getline(&line, &capacity, log_) > 0) {
      const std::string text(line);
      const std::string mark = "msg=\"Listening on\" address=127.0.0.1:";
      const size_t at = text.find(mark);
      if (at == std::string::npos) continue;
      EXPECT_TRUE(absl::SimpleAtoi(text.substr(at + mark.size()), &port_)) << text;
    }
    free(line);
  }
  ~Prometheus() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    fclose(log_);
  }
  int port() const { return port_; }
  // The answer to a query, asked again until it holds `expected` or half a minute has passed.
  std::string Ask(const std::string& query, const std::string& expected) const {
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    std::string answer;
    do {
      answer = Shell(absl::StrCat(kPromtool, " query instant http://127.0.0.1:", port_, " '", query, "'")).second;
    } while (answer.find(expected) == std::string::npos && absl::Now() < deadline);
    return answer;
  }

 private:
  pid_t pid_ = -1;
  FILE* log_ = nullptr;
  int port_ = 0;
};

PuppetServer::Options WithMetrics() {
  PuppetServer::Options options;
  options.with_metrics = true;
  return options;
}

TEST(RealPrometheus, ScrapesTheServerAndSeesItsNumbersChange) {
  if (Missing()) GTEST_SKIP() << kSkipped;
  PuppetServer server(WithMetrics());
  server.puppet().ChangeStats([](EngineStats* stats) {
    stats->kv_used_bytes = 256 << 10;
    stats->regrouped_token_layers[0][2] = 84;
    stats->requests_finished[static_cast<size_t>(FinishReason::kShed)] = 3;
    stats->step_seconds.Observe(0.01);
  });
  Prometheus prometheus(server.server().metrics_port());
  ASSERT_GT(prometheus.port(), 0);
  EXPECT_THAT(prometheus.Ask("up", "=> 1 @"), HasSubstr("=> 1 @"));
  EXPECT_THAT(prometheus.Ask("ration_kv_usage_ratio", "=> 0.25 @"), HasSubstr("=> 0.25 @"));
  EXPECT_THAT(prometheus.Ask("ration_regrouped_tokens_total{from=\"1\",to=\"3\"}", "=> 42 @"), HasSubstr("=> 42 @"));
  EXPECT_THAT(prometheus.Ask("ration_requests_total{outcome=\"shed\"}", "=> 3 @"), HasSubstr("=> 3 @"));
  EXPECT_THAT(prometheus.Ask("ration_step_seconds_count", "=> 1 @"), HasSubstr("=> 1 @"));
  server.puppet().ChangeStats([](EngineStats* stats) { stats->kv_used_bytes = 512 << 10; });
  EXPECT_THAT(prometheus.Ask("ration_kv_usage_ratio", "=> 0.5 @"), HasSubstr("=> 0.5 @"));
}

}  // namespace
}  // namespace ration
