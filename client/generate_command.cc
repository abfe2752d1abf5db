// rationctl generate: streams a generation to the terminal or, as JSON, to a script.
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/command_util.h"
#include "client/commands.h"
#include "client/json_output.h"
#include "client/stats_table.h"

namespace ration {
namespace {

constexpr absl::string_view kSynopsis =
    R"(Generates text after a prompt and shows it as it comes.

  rationctl generate [FLAGS] PROMPT
  rationctl generate [FLAGS] -              reads the prompt from standard input
  rationctl generate [FLAGS] --token_ids=1,403,407

The text goes to standard output, what it cost (tokens per expert, KV bytes, times) to standard error. With --json every
message of the stream is one line of JSON: the first has "prompt_info", the last "finish"; an error is a line with "error".
Ctrl-C cancels the request on the server. Exit status: 0 done, 1 error of the server, 2 wrong usage, 130 interrupted.
)";

struct GenerateFlags {
  CommonFlags common;
  std::optional<std::string> prompt;
  std::optional<std::string> prompt_file;
  std::optional<std::vector<int32_t>> token_ids;
  std::optional<float> temperature;
  bool greedy = false;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<float> presence_penalty;
  std::optional<float> frequency_penalty;
  std::vector<std::pair<int32_t, float>> logit_bias;
  std::optional<uint64_t> seed;
  std::optional<int64_t> max_new_tokens;
  std::optional<int64_t> min_new_tokens;
  std::vector<std::string> stop;
  std::optional<std::vector<int32_t>> stop_token_ids;
  bool include_stop_string = false;
  bool ignore_eos = false;
  std::optional<int32_t> top_logprobs;
  bool echo_prompt = false;
  bool keep_special_tokens = false;
  std::string request_id;
  std::optional<absl::Duration> time_limit;
  std::optional<absl::Duration> queue_time_limit;
  std::optional<int32_t> priority;
  std::optional<double> kv_floor;
  bool stream = true;
  std::optional<bool> stats;

  void AddTo(FlagSet& flags);
};

void GenerateFlags::AddTo(FlagSet& flags) {
  common.AddTo(flags, "Print the server's messages as JSON, one a line.");
  flags.Section("Prompt");
  flags.Add("prompt", "TEXT", &prompt, "The prompt, instead of an argument.");
  flags.Add("prompt_file", "PATH", &prompt_file, "File that holds the prompt; - is standard input.");
  flags.Add("token_ids", "IDS", &token_ids, "The prompt as token ids, used as they are, e.g. 1,403,407.");
  flags.Section("Choosing tokens");
  flags.Add("temperature", "NUMBER", &temperature, ">= 0; 0 always takes the likeliest token. Default 1.");
  flags.Add("greedy", &greedy, "The same as --temperature=0.");
  flags.Add("top_k", "COUNT", &top_k, "Only the COUNT likeliest tokens; 0: all. Default 0.");
  flags.Add("top_p", "SHARE", &top_p, "Only the likeliest tokens that make up SHARE of the probability. Default 1.");
  flags.Add("min_p", "SHARE", &min_p, "Only tokens with SHARE of the likeliest one's probability. Default 0.");
  flags.Add("repetition_penalty", "FACTOR", &repetition_penalty, "Above 1: tokens of prompt and output get less likely.");
  flags.Add("presence_penalty", "NUMBER", &presence_penalty, "Taken off the logits of tokens in the output; -2 to 2.");
  flags.Add("frequency_penalty", "NUMBER", &frequency_penalty, "The same for each time they occur; -2 to 2.");
  flags.Add("logit_bias", "ID:NUMBER", &logit_bias, "Added to a token's logit, -100 to 100; several: ID:NUMBER,ID:NUMBER.");
  flags.Add("seed", "NUMBER", &seed, "The same seed gives the same text again. Default: the server chooses.");
  flags.Section("Ending");
  flags.Add("max_new_tokens", "COUNT", &max_new_tokens, "Tokens at most. Default 128.");
  flags.Add("min_new_tokens", "COUNT", &min_new_tokens, "Tokens before anything may end the text. Default 0.");
  flags.Add("stop", "TEXT", &stop, "End before this text; may be given several times.");
  flags.Add("stop_token_ids", "IDS", &stop_token_ids, "End at any of these tokens.");
  flags.Add("include_stop_string", &include_stop_string, "Keep the text given by --stop in the output.");
  flags.Add("ignore_eos", &ignore_eos, "Go on after the model's end-of-text token.");
  flags.Add("time_limit", "TIME", &time_limit, "End with an error after this time, e.g. 30s or 500ms.");
  flags.Section("Memory and waiting");
  flags.Add("kv_floor", "SHARE", &kv_floor, "KV fraction below which no token is brought. Default: the server's.");
  flags.Add("priority", "NUMBER", &priority, "-100 to 100; higher goes first and is made cheaper last. Default 0.");
  flags.Add("queue_time_limit", "TIME", &queue_time_limit, "End with an error if it waits longer. Default: the server's.");
  flags.Section("Output");
  flags.Add("stats", &stats, "Show what the request cost. Default: only at a terminal.");
  flags.Add("echo_prompt", &echo_prompt, "Show the prompt before the text.");
  flags.Add("keep_special_tokens", &keep_special_tokens, "Leave special tokens in the text.");
  flags.Add("top_logprobs", "COUNT", &top_logprobs, "With --json: log-probabilities, and those of the COUNT likeliest; 0 to 20.");
  flags.Add("stream", &stream, "Show text as it comes; --nostream waits for all of it.");
  flags.Add("request_id", "ID", &request_id, "A name for the request, unique among those running.");
}

v1::GenerateRequest BuildRequest(const GenerateFlags& flags) {
  v1::GenerateRequest request;
  request.set_request_id(flags.request_id);
  v1::Sampling& sampling = *request.mutable_sampling();
  if (flags.temperature.has_value()) sampling.set_temperature(*flags.temperature);
  if (flags.greedy) sampling.set_temperature(0);
  if (flags.top_k.has_value()) sampling.set_top_k(*flags.top_k);
  if (flags.top_p.has_value()) sampling.set_top_p(*flags.top_p);
  if (flags.min_p.has_value()) sampling.set_min_p(*flags.min_p);
  if (flags.repetition_penalty.has_value()) sampling.set_repetition_penalty(*flags.repetition_penalty);
  if (flags.presence_penalty.has_value()) sampling.set_presence_penalty(*flags.presence_penalty);
  if (flags.frequency_penalty.has_value()) sampling.set_frequency_penalty(*flags.frequency_penalty);
  for (const auto& [id, bias] : flags.logit_bias) (*sampling.mutable_logit_bias())[id] = bias;
  if (flags.seed.has_value()) sampling.set_seed(*flags.seed);
  v1::Stopping& stopping = *request.mutable_stopping();
  if (flags.max_new_tokens.has_value()) stopping.set_max_new_tokens(*flags.max_new_tokens);
  if (flags.min_new_tokens.has_value()) stopping.set_min_new_tokens(*flags.min_new_tokens);
  for (const std::string& stop : flags.stop) stopping.add_stop_strings(stop);
  if (flags.stop_token_ids.has_value()) {
    for (int32_t id : *flags.stop_token_ids) stopping.add_stop_token_ids(id);
  }
  stopping.set_include_stop_string(flags.include_stop_string);
  stopping.set_ignore_eos(flags.ignore_eos);
  v1::ResponseOptions& response = *request.mutable_response();
  if (flags.top_logprobs.has_value()) response.set_top_logprobs(*flags.top_logprobs);
  response.set_echo_prompt(flags.echo_prompt);
  response.set_keep_special_tokens(flags.keep_special_tokens);
  if (flags.time_limit.has_value()) request.set_time_limit_ms(absl::ToInt64Milliseconds(*flags.time_limit));
  if (flags.queue_time_limit.has_value()) {
    request.set_queue_time_limit_ms(absl::ToInt64Milliseconds(*flags.queue_time_limit));
  }
  if (flags.priority.has_value()) request.set_priority(*flags.priority);
  if (flags.kv_floor.has_value()) request.set_kv_floor(*flags.kv_floor);
  return request;
}

// Writes a stream's messages as they come.
class Printer {
 public:
  Printer(const GenerateFlags& flags, const Console& console) : flags_(flags), console_(console) {}

  // False when nobody takes the output any more.
  bool Print(const v1::GenerateResponse& message) {
    if (flags_.common.json) {
      *console_.out << ToJson(message) << "\n";
    } else {
      if (message.has_prompt_info()) {
        const std::string& prompt = message.prompt_info().text();
        *console_.out << Dim(Shown(prompt), console_.colors && console_.out_is_terminal && !prompt.empty());
        Remember(prompt);
      }
      *console_.out << Shown(message.text());
      Remember(message.text());
    }
    console_.out->flush();
    if (message.has_finish()) finish_ = message.finish();
    return console_.out->good();
  }

  // Ends the last line of text.
  void EndLine() {
    if (!flags_.common.json && !at_line_start_) *console_.out << "\n" << std::flush;
    at_line_start_ = true;
  }

  const v1::Finish& finish() const { return finish_; }

 private:
  std::string Shown(const std::string& text) const { return console_.out_is_terminal ? TerminalSafe(text) : text; }
  void Remember(const std::string& text) {
    if (!text.empty()) at_line_start_ = text.back() == '\n';
  }

  const GenerateFlags& flags_;
  const Console& console_;
  bool at_line_start_ = true;
  v1::Finish finish_;
};

absl::Status CheckFlags(const GenerateFlags& flags, const std::vector<std::string>& rest) {
  if (flags.greedy && flags.temperature.has_value() && *flags.temperature != 0) {
    return absl::InvalidArgumentError("--greedy is --temperature=0; give one of them");
  }
  if (flags.top_logprobs.has_value() && !flags.common.json) {
    return absl::InvalidArgumentError("--top_logprobs: needs --json to show them");
  }
  if (flags.token_ids.has_value() && (!rest.empty() || flags.prompt.has_value() || flags.prompt_file.has_value())) {
    return absl::InvalidArgumentError("more than one prompt given");
  }
  return absl::OkStatus();
}

// Sizes of the experts' groups, to label them; empty if the server does not tell.
std::vector<int32_t> GroupSizes(GenerationClient& client, Cancellation* cancellation) {
  std::vector<int32_t> sizes;
  if (const absl::StatusOr<v1::GetModelInfoResponse> info = client.GetModelInfo(cancellation); info.ok()) {
    for (const v1::Expert& expert : info->experts()) sizes.push_back(expert.group_size());
  }
  return sizes;
}

}  // namespace

int GenerateCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation) {
  GenerateFlags flags;
  FlagSet flag_set;
  flags.AddTo(flag_set);
  std::vector<std::string> rest;
  if (const std::optional<int> done =
          ParseOrExplain(flag_set, flags.common, "generate", kSynopsis, arguments, console, rest)) {
    return *done;
  }
  if (absl::Status status = CheckFlags(flags, rest); !status.ok()) return UsageError("generate", status.message(), console);
  v1::GenerateRequest request = BuildRequest(flags);
  if (flags.token_ids.has_value()) {
    for (int32_t id : *flags.token_ids) request.mutable_token_ids()->add_ids(id);
    request.mutable_token_ids();  // an empty list is a prompt too; the server says what is wrong with it
  } else {
    absl::StatusOr<std::string> prompt = ReadInput(rest, flags.prompt, flags.prompt_file, "prompt", console);
    if (!prompt.ok()) return UsageError("generate", prompt.status().message(), console);
    request.set_text(*std::move(prompt));
  }

  const std::unique_ptr<GenerationClient> client = GenerationClient::Create(flags.common.server, flags.common.transport);
  Printer printer(flags, console);
  absl::Status status;
  if (flags.stream) {
    status = client->GenerateStream(
        request, [&](const v1::GenerateResponse& message) { return printer.Print(message); }, cancellation);
  } else {
    const absl::StatusOr<v1::GenerateResponse> response = client->Generate(request, cancellation);
    status = response.status();
    if (response.ok()) printer.Print(*response);
  }
  printer.EndLine();
  if (!status.ok()) return RpcError(status, flags.common, console, cancellation);
  if (flags.stats.value_or(console.err_is_terminal && !flags.common.json)) {
    const std::vector<int32_t> group_sizes = GroupSizes(*client, cancellation);
    *console.err << "\n" << StatsTable(printer.finish(), group_sizes, console.colors && console.err_is_terminal);
  }
  return kExitOk;
}

}  // namespace ration
