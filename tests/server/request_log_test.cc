#include "server/request_log.h"

#include <memory>
#include <sstream>
#include <string>

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include "absl/strings/str_cat.h"
#include "server/logging.h"

namespace ration {
namespace {

class RequestLogTest : public ::testing::Test {
 protected:
  RequestLogTest() {
    ConfigureLogging(LogFormat::kJson, spdlog::level::info, std::make_shared<spdlog::sinks::ostream_sink_mt>(text_));
  }
  // The line that `summary` leaves; null if none.
  LogFields LineOf(const RequestSummary& summary, const RequestLogOptions& options = {}) {
    text_.str("");
    RequestLog(options, spdlog::default_logger()).Write(summary);
    return text_.str().empty() ? LogFields() : LogFields::parse(text_.str());
  }
  static RequestSummary Served() {
    RequestSummary summary;
    summary.method = "GenerateStream";
    summary.request_id = "r";
    summary.tenant = "blue";
    summary.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    summary.peer = "ipv4:127.0.0.1:5";
    summary.prompt_tokens = 11;
    FinishInfo& finish = summary.finish.emplace();
    finish.reason = FinishReason::kStop;
    finish.generated_tokens = 7;
    finish.queue_time = absl::Microseconds(1500);
    finish.time_to_first_token = absl::Milliseconds(20);
    finish.kv.peak_kv_bytes = 4096;
    finish.kv.stored_kv_bytes = 1000;
    finish.kv.full_kv_bytes = 3000;
    finish.kv.tokens_regrouped = 2;
    summary.total_time = absl::Milliseconds(250);
    return summary;
  }

  std::ostringstream text_;
};

TEST_F(RequestLogTest, SaysWhoHowAndWhatItTook) {
  LogFields line = LineOf(Served());
  line.erase("time");
  EXPECT_EQ(line.dump(),
            "{\"level\":\"info\",\"message\":\"request\",\"request_id\":\"r\",\"tenant\":\"blue\","
            "\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"method\":\"GenerateStream\",\"peer\":\"ipv4:127.0.0.1:5\","
            "\"status\":\"OK\",\"outcome\":\"stop\",\"prompt_tokens\":11,\"generated_tokens\":7,\"queue_seconds\":0.0015,"
            "\"time_to_first_token_seconds\":0.02,\"peak_kv_bytes\":4096,\"kv_fraction\":0.3333,\"tokens_regrouped\":2,"
            "\"total_seconds\":0.25}");
}

TEST_F(RequestLogTest, LeavesOutWhatIsNotKnown) {
  RequestSummary summary;
  summary.method = "Generate";
  summary.request_id = "r";
  summary.status = absl::UnavailableError("draining");
  const LogFields line = LineOf(summary);
  EXPECT_EQ(line["status"], "UNAVAILABLE");
  EXPECT_EQ(line["outcome"], "refused");
  for (const char* name : {"tenant", "trace_id", "prompt_tokens", "generated_tokens", "kv_fraction", "prompt", "error"}) {
    EXPECT_FALSE(line.contains(name)) << name;
  }
}

TEST_F(RequestLogTest, LogsWhatWasAskedFor) {
  RequestSummary failed = Served(), cancelled = Served(), broken = Served();
  failed.status = absl::ResourceExhaustedError("full");
  cancelled.status = absl::CancelledError("gone");
  broken.status = absl::InternalError("oops");
  EXPECT_EQ(LineOf(failed)["level"], "info") << "the client's or the load's doing";
  EXPECT_EQ(LineOf(broken)["level"], "error") << "ours";
  RequestLogOptions options;
  options.requests = LoggedRequests::kErrors;
  EXPECT_TRUE(LineOf(Served(), options).is_null());
  EXPECT_TRUE(LineOf(cancelled, options).is_null());
  EXPECT_FALSE(LineOf(failed, options).is_null());
  options.requests = LoggedRequests::kNone;
  EXPECT_TRUE(LineOf(broken, options).is_null());
}

TEST_F(RequestLogTest, PromptsAndErrorTextsOnlyIfAllowed) {
  v1::GenerateRequest request;
  request.set_text("secret");
  RequestSummary summary = Served();
  summary.status = absl::InvalidArgumentError("about \"secret\"");
  summary.prompt = RequestLog({}, nullptr).PromptToLog(request);
  EXPECT_EQ(LineOf(summary).dump().find("secret"), std::string::npos);

  RequestLogOptions options;
  options.prompts = true;
  const RequestLog log(options, nullptr);
  summary.prompt = log.PromptToLog(request);
  EXPECT_EQ(LineOf(summary, options)["prompt"], "secret");
  EXPECT_EQ(LineOf(summary, options)["error"], "about \"secret\"");

  request.set_text(absl::StrCat(std::string(199, 'a'), "\xc3\xa9 and more"));
  EXPECT_EQ(log.PromptToLog(request), absl::StrCat(std::string(199, 'a'), "...")) << "whole characters";
  for (const char* role : {"system", "user"}) {
    v1::ChatMessage& message = *request.mutable_messages()->add_messages();
    message.set_role(role);
    message.set_content("hello");
  }
  EXPECT_EQ(log.PromptToLog(request), "system: hello\nuser: hello");
}

}  // namespace
}  // namespace ration
