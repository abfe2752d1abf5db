#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "client/commands.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_generation_service.h"

namespace ration {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class RationctlTest : public ::testing::Test {
 protected:
  RationctlTest() {
    service_.replies = testing::StoryReplies();
    for (int group_size : {1, 2, 4}) service_.model_info.add_experts()->set_group_size(group_size);
    console_.in = &in_;
    console_.out = &out_;
    console_.err = &err_;
  }

  // Runs a command against the fake server.
  int Run(std::vector<std::string> arguments) {
    if (!arguments.empty()) arguments.insert(arguments.begin() + 1, "--server=" + service_.target());
    return RunAsGiven(arguments);
  }
  int RunAsGiven(const std::vector<std::string>& arguments) {
    out_.str("");
    err_.str("");
    return RunRationctl(arguments, console_, &cancellation_);
  }
  std::vector<json> OutLines() {
    std::vector<json> lines;
    std::istringstream stream(out_.str());
    for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
    return lines;
  }

  testing::FakeGenerationService service_;
  std::istringstream in_;
  std::ostringstream out_;
  std::ostringstream err_;
  Console console_;
  Cancellation cancellation_;
};

TEST_F(RationctlTest, GenerateStreamsTheTextAndNothingElseToStandardOutput) {
  EXPECT_EQ(Run({"generate", "Tell me"}), kExitOk);
  EXPECT_EQ(out_.str(), "Once upon a time\n");
  EXPECT_EQ(err_.str(), "");
  EXPECT_EQ(service_.generate_request.text(), "Tell me");
}

TEST_F(RationctlTest, OnlyFlagsThatWereGivenAreSent) {
  ASSERT_EQ(Run({"generate", "x"}), kExitOk);
  EXPECT_EQ(service_.generate_request.sampling().ByteSizeLong(), 0u);
  EXPECT_EQ(service_.generate_request.stopping().ByteSizeLong(), 0u);
  EXPECT_EQ(service_.generate_request.response().ByteSizeLong(), 0u);
  EXPECT_FALSE(service_.generate_request.has_time_limit_ms());
}

TEST_F(RationctlTest, EveryFlagReachesItsField) {
  ASSERT_EQ(Run({"generate", "--prompt=x", "--temperature=0.5", "--top_k=40", "--top_p=0.9", "--min_p=0.1",
                 "--repetition_penalty=1.1", "--presence_penalty=0.2", "--frequency_penalty=-0.3", "--logit_bias=5:2,7:-100",
                 "--seed=42", "--max_new_tokens=9", "--min_new_tokens=3", "--stop=A", "--stop=B", "--stop_token_ids=2,3",
                 "--include_stop_string", "--ignore_eos", "--echo_prompt", "--keep_special_tokens", "--request_id=me",
                 "--time_limit=1500ms", "--json", "--top_logprobs=4", "--priority=-3",
                 "--kv_floor=0.5", "--queue_time_limit=2s"}),
            kExitOk)
      << err_.str();
  const v1::GenerateRequest& r = service_.generate_request;
  EXPECT_EQ(r.text(), "x");
  EXPECT_EQ(r.request_id(), "me");
  EXPECT_EQ(r.time_limit_ms(), 1500);
  EXPECT_EQ(r.queue_time_limit_ms(), 2000);
  EXPECT_EQ(r.priority(), -3);
  EXPECT_DOUBLE_EQ(r.kv_floor(), 0.5);
  EXPECT_FLOAT_EQ(r.sampling().temperature(), 0.5f);
  EXPECT_EQ(r.sampling().top_k(), 40);
  EXPECT_FLOAT_EQ(r.sampling().top_p(), 0.9f);
  EXPECT_FLOAT_EQ(r.sampling().min_p(), 0.1f);
  EXPECT_FLOAT_EQ(r.sampling().repetition_penalty(), 1.1f);
  EXPECT_FLOAT_EQ(r.sampling().presence_penalty(), 0.2f);
  EXPECT_FLOAT_EQ(r.sampling().frequency_penalty(), -0.3f);
  EXPECT_FLOAT_EQ(r.sampling().logit_bias().at(5), 2.0f);
  EXPECT_FLOAT_EQ(r.sampling().logit_bias().at(7), -100.0f);
  EXPECT_EQ(r.sampling().seed(), 42u);
  EXPECT_EQ(r.stopping().max_new_tokens(), 9);
  EXPECT_EQ(r.stopping().min_new_tokens(), 3);
  EXPECT_THAT(r.stopping().stop_strings(), ElementsAre("A", "B"));
  EXPECT_THAT(r.stopping().stop_token_ids(), ElementsAre(2, 3));
  EXPECT_TRUE(r.stopping().include_stop_string());
  EXPECT_TRUE(r.stopping().ignore_eos());
  EXPECT_EQ(r.response().top_logprobs(), 4);
  EXPECT_TRUE(r.response().echo_prompt());
  EXPECT_TRUE(r.response().keep_special_tokens());
}

TEST_F(RationctlTest, GreedyIsTemperatureZero) {
  ASSERT_EQ(Run({"generate", "--greedy", "x"}), kExitOk);
  EXPECT_TRUE(service_.generate_request.sampling().has_temperature());
  EXPECT_EQ(service_.generate_request.sampling().temperature(), 0);
}

TEST_F(RationctlTest, PromptComesFromStandardInputFileOrIds) {
  in_.str("from\nstdin");
  ASSERT_EQ(Run({"generate", "-"}), kExitOk);
  EXPECT_EQ(service_.generate_request.text(), "from\nstdin");

  in_.clear();
  in_.str("piped");
  ASSERT_EQ(Run({"generate"}), kExitOk);
  EXPECT_EQ(service_.generate_request.text(), "piped");

  const std::string path = ::testing::TempDir() + "/prompt.txt";
  std::ofstream(path) << "from a file";
  ASSERT_EQ(Run({"generate", "--prompt_file=" + path}), kExitOk);
  EXPECT_EQ(service_.generate_request.text(), "from a file");

  ASSERT_EQ(Run({"generate", "--token_ids=1,2"}), kExitOk);
  EXPECT_THAT(service_.generate_request.token_ids().ids(), ElementsAre(1, 2));

  ASSERT_EQ(Run({"generate", ""}), kExitOk);  // an empty prompt is the server's business
  EXPECT_EQ(service_.generate_request.prompt_case(), v1::GenerateRequest::kText);
}

TEST_F(RationctlTest, WrongUsageIsExplainedAndNothingIsSent) {
  console_.in_is_terminal = true;
  const std::vector<std::pair<std::vector<std::string>, std::string>> mistakes = {
      {{"generate"}, "no prompt given"},
      {{"generate", "two", "words"}, "one prompt expected, not 2 arguments; quote it"},
      {{"generate", "a", "--prompt=b"}, "more than one prompt"},
      {{"generate", "a", "--token_ids=1"}, "more than one prompt"},
      {{"generate", "--prompt_file=/does/not/exist"}, "cannot read /does/not/exist: No such file"},
      {{"generate", "a", "--top_k=x"}, "--top_k: must be a whole number, not \"x\""},
      {{"generate", "a", "--nosuch"}, "unknown flag --nosuch"},
      {{"generate", "a", "--top_logprobs=3"}, "--top_logprobs: needs --json"},
      {{"generate", "a", "--greedy", "--temperature=1"}, "--greedy is --temperature=0"},
      {{"abort"}, "no request id given"},
      {{"abort", "a", ""}, "a request id cannot be empty"},
      {{"tokenize"}, "no text given"},
      {{"detokenize", "1,x"}, "not \"x\""},
      {{"info", "extra"}, "takes no arguments"},
  };
  for (const auto& [arguments, message] : mistakes) {
    EXPECT_EQ(Run(arguments), kExitUsage) << arguments[0];
    EXPECT_THAT(err_.str(), HasSubstr(message));
    EXPECT_THAT(err_.str(), HasSubstr("Try: rationctl help " + arguments[0]));
    EXPECT_EQ(out_.str(), "");
  }
  EXPECT_EQ(service_.generate_request.ByteSizeLong(), 0u);
  EXPECT_EQ(service_.abort_request.ByteSizeLong(), 0u);
  EXPECT_EQ(RunAsGiven({}), kExitUsage);
  EXPECT_EQ(RunAsGiven({"genrate"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("no command \"genrate\""));
}

TEST_F(RationctlTest, HelpIsThereForEveryCommand) {
  EXPECT_EQ(RunAsGiven({"--help"}), kExitOk);
  for (const char* command : {"generate", "abort", "tokenize", "detokenize", "info"}) {
    EXPECT_EQ(RunAsGiven({"--help"}), kExitOk);
    EXPECT_THAT(out_.str(), HasSubstr(command));
    EXPECT_EQ(RunAsGiven({"help", command}), kExitOk);
    const std::string help = out_.str();
    EXPECT_THAT(help, HasSubstr("--server=HOST:PORT"));
    EXPECT_EQ(RunAsGiven({command, "--help"}), kExitOk);
    EXPECT_EQ(out_.str(), help);
  }
}

TEST_F(RationctlTest, JsonIsOneObjectALine) {
  ASSERT_EQ(Run({"generate", "--json", "x"}), kExitOk);
  const std::vector<json> lines = OutLines();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["prompt_info"]["prompt_tokens"], 3);
  EXPECT_EQ(lines[1]["text"], " upon");
  EXPECT_EQ(lines[2]["finish"]["kv"]["stored_bytes"], 80000);
  EXPECT_EQ(err_.str(), "");
}

TEST_F(RationctlTest, ErrorsOfTheServerAreShownWithCodeMessageAndRetry) {
  service_.replies.clear();
  service_.status =
      testing::StatusWithRetryInfo(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full: 4 of 4", absl::Seconds(2));
  EXPECT_EQ(Run({"generate", "x"}), kExitRpcError);
  EXPECT_EQ(err_.str(), "rationctl: RESOURCE_EXHAUSTED: the queue is full: 4 of 4 (try again in 2s)\n");
  EXPECT_EQ(out_.str(), "");

  EXPECT_EQ(Run({"generate", "--json", "x"}), kExitRpcError);
  EXPECT_EQ(out_.str(),
            "{\"error\":{\"code\":\"RESOURCE_EXHAUSTED\",\"message\":\"the queue is full: 4 of 4\","
            "\"retry_after_seconds\":2.0}}\n");

  for (const char* command : {"abort", "tokenize", "info"}) {
    std::vector<std::string> arguments = {command};
    if (arguments[0] != "info") arguments.push_back("x");
    EXPECT_EQ(Run(arguments), kExitRpcError);
    EXPECT_THAT(err_.str(), HasSubstr("the queue is full"));
  }
}

TEST_F(RationctlTest, ErrorInTheMiddleOfAStreamStartsOnALineOfItsOwn) {
  service_.replies.resize(2);
  service_.status = grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server is shutting down");
  EXPECT_EQ(Run({"generate", "x"}), kExitRpcError);
  EXPECT_EQ(out_.str(), "Once upon\n");
  EXPECT_EQ(err_.str(), "rationctl: UNAVAILABLE: the server is shutting down\n") << "it runs: no doubt about its address";
}

TEST_F(RationctlTest, UnreachableServerIsNamed) {
  std::string target;
  {
    testing::FakeGenerationService gone;
    target = gone.target();
  }
  EXPECT_EQ(RunAsGiven({"info", "--server=" + target}), kExitRpcError);
  EXPECT_THAT(err_.str(), HasSubstr("UNAVAILABLE"));
  EXPECT_THAT(err_.str(), HasSubstr("Is rationd running at " + target));
}

TEST_F(RationctlTest, StatsGoToStandardErrorWhenAskedForOrAtATerminal) {
  ASSERT_EQ(Run({"generate", "--stats", "x"}), kExitOk);
  EXPECT_EQ(out_.str(), "Once upon a time\n");
  EXPECT_THAT(err_.str(), HasSubstr("KV cache 78.1 KiB of 156 KiB at full (50 %)"));
  EXPECT_THAT(err_.str(), HasSubstr("expert 3  keeps 1/4"));
  EXPECT_THAT(err_.str(), Not(HasSubstr("\x1b")));

  console_.err_is_terminal = true;
  ASSERT_EQ(Run({"generate", "x"}), kExitOk);
  EXPECT_THAT(err_.str(), HasSubstr("KV cache"));
  ASSERT_EQ(Run({"generate", "--nostats", "x"}), kExitOk);
  EXPECT_EQ(err_.str(), "");
  ASSERT_EQ(Run({"generate", "--json", "x"}), kExitOk);
  EXPECT_EQ(err_.str(), "");

  console_.colors = true;
  ASSERT_EQ(Run({"generate", "x"}), kExitOk);
  EXPECT_THAT(err_.str(), HasSubstr("\x1b[1m"));
}

TEST_F(RationctlTest, TextIsMadeSafeForTerminalsOnly) {
  service_.replies[1].set_text(" up\x1b[2Jon");
  ASSERT_EQ(Run({"generate", "x"}), kExitOk);
  EXPECT_EQ(out_.str(), "Once up\x1b[2Jon a time\n");
  console_.out_is_terminal = true;
  ASSERT_EQ(Run({"generate", "x"}), kExitOk);
  EXPECT_EQ(out_.str(), "Once up\xEF\xBF\xBD[2Jon a time\n");
}

TEST_F(RationctlTest, PromptIsShownFirstWhenEchoed) {
  service_.replies[0].mutable_prompt_info()->set_text("Well. ");
  ASSERT_EQ(Run({"generate", "--echo_prompt", "Well. "}), kExitOk);
  EXPECT_EQ(out_.str(), "Well. Once upon a time\n");
}

TEST_F(RationctlTest, UnaryGenerationIsForThoseWhoWaitForAll) {
  service_.replies = {service_.replies[2]};
  ASSERT_EQ(Run({"generate", "--nostream", "x"}), kExitOk);
  EXPECT_EQ(out_.str(), " a time\n");
}

TEST_F(RationctlTest, InterruptCancelsOnTheServer) {
  service_.replies.resize(1);
  service_.hang = true;
  // Cancels as soon as the first text was written.
  class CancelOnFlush : public std::stringbuf {
   public:
    Cancellation* cancellation = nullptr;
    int sync() override {
      cancellation->Cancel();
      return std::stringbuf::sync();
    }
  } buffer;
  buffer.cancellation = &cancellation_;
  std::ostream out(&buffer);
  console_.out = &out;
  EXPECT_EQ(Run({"generate", "x"}), kExitInterrupted);
  service_.client_gone.WaitForNotification();
  EXPECT_EQ(buffer.str(), "Once\n");
  EXPECT_EQ(err_.str(), "rationctl: interrupted\n");
}

TEST_F(RationctlTest, OutputThatCannotBeWrittenEndsTheRequest) {
  service_.replies.resize(1);
  service_.hang = true;
  std::ostream broken(nullptr);  // every write fails
  console_.out = &broken;
  EXPECT_EQ(Run({"generate", "x"}), kExitRpcError);
  service_.client_gone.WaitForNotification();
}

TEST_F(RationctlTest, TokenizeListsIdsAndSpellings) {
  ASSERT_EQ(Run({"tokenize", "ab"}), kExitOk);
  EXPECT_EQ(out_.str(), "1\t<s>\n97\ta\n98\tb\n");
  ASSERT_EQ(Run({"tokenize", "--noadd_special_tokens", "--ids", "ab"}), kExitOk);
  EXPECT_EQ(out_.str(), "97,98\n");
  ASSERT_EQ(Run({"tokenize", "--json", "a"}), kExitOk);
  EXPECT_EQ(out_.str(), "{\"ids\":[1,97],\"tokens\":[\"<s>\",\"a\"]}\n");
  in_.str("c");
  ASSERT_EQ(Run({"tokenize", "--ids", "-"}), kExitOk);
  EXPECT_EQ(out_.str(), "1,99\n");
}

TEST_F(RationctlTest, DetokenizeTakesCommasSpacesAndStandardInput) {
  ASSERT_EQ(Run({"detokenize", "104,105"}), kExitOk);
  EXPECT_EQ(out_.str(), "hi\n");
  EXPECT_TRUE(service_.detokenize_request.skip_special_tokens());
  ASSERT_EQ(Run({"detokenize", "104", "105", "--json"}), kExitOk);
  EXPECT_EQ(out_.str(), "{\"text\":\"hi\"}\n");
  in_.str("104 105\n");
  ASSERT_EQ(Run({"detokenize", "--noskip_special_tokens"}), kExitOk);
  EXPECT_EQ(out_.str(), "hi\n");
  EXPECT_FALSE(service_.detokenize_request.skip_special_tokens());
}

TEST_F(RationctlTest, AbortSendsEveryIdInOneCall) {
  ASSERT_EQ(Run({"abort", "chat-1", "chat 2"}), kExitOk);
  EXPECT_THAT(service_.abort_request.request_ids(), ElementsAre("chat-1", "chat 2"));
  EXPECT_EQ(out_.str(), "");
  EXPECT_EQ(err_.str(), "");
  ASSERT_EQ(Run({"abort", "--json", "--", "--odd"}), kExitOk);
  EXPECT_THAT(service_.abort_request.request_ids(), ElementsAre("--odd"));
  EXPECT_EQ(out_.str(), "{\"request_ids\":[\"--odd\"]}\n");
}

TEST_F(RationctlTest, InfoShowsModelExpertsAndBudget) {
  v1::GetModelInfoResponse& info = service_.model_info;
  info.set_name("stories-mixsga");
  info.set_architecture("LlamaForCausalLM");
  info.set_family("Llama");
  info.set_sliding_window(4096);
  info.set_sliding_layers(13);
  info.set_context_tokens(8192);
  v1::KvCapacity& half = *info.add_capacities();
  half.set_kv_fraction(0.5);
  half.set_ratio("0.3:0.1:0.6");
  half.set_bytes_per_token(640);
  half.set_tokens(4096);
  info.set_num_kv_heads(4);
  info.set_kv_budget_bytes(int64_t{256} << 20);
  info.set_full_kv_bytes_per_token(1280);
  info.set_kv_fraction(0.5);
  info.set_routed(true);
  info.mutable_experts(2)->set_ratio(0.6);
  info.mutable_experts(2)->set_bytes_per_token(320);
  ASSERT_EQ(Run({"info"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("stories-mixsga, Llama (LlamaForCausalLM)"));
  EXPECT_THAT(out_.str(), HasSubstr("13 layers see the last 4096 tokens only"));
  EXPECT_THAT(out_.str(), HasSubstr("at 50 %    ratio 0.3:0.1:0.6, 640 B a token: 4096 tokens fit the budget, 0.5 full contexts"));
  info.set_untrained_routing("recency");
  ASSERT_EQ(Run({"info"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("UNTRAINED, recency: what is squeezed costs quality"));
  EXPECT_THAT(out_.str(), HasSubstr("256 MiB budget"));
  EXPECT_THAT(out_.str(), HasSubstr("50.0 % of full"));
  EXPECT_THAT(out_.str(), HasSubstr("60.0 % of tokens, keeps 1/4, 320 B a token"));
  ASSERT_EQ(Run({"info", "--json"}), kExitOk);
  EXPECT_EQ(OutLines().at(0)["kv_budget_bytes"], 256 << 20);
}

TEST_F(RationctlTest, ServerComesFromTheEnvironmentUnlessNamed) {
  ASSERT_EQ(setenv("RATION_SERVER", service_.target().c_str(), 1), 0);
  EXPECT_EQ(RunAsGiven({"info", "--json"}), kExitOk);
  ASSERT_EQ(unsetenv("RATION_SERVER"), 0);
}

}  // namespace
}  // namespace ration
