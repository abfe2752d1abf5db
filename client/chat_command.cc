// rationctl chat: one question, or a conversation at the terminal.
#include <cstdint>
#include <istream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <google/protobuf/util/json_util.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "client/chat_session.h"
#include "client/command_util.h"
#include "client/commands.h"
#include "client/json_output.h"

namespace ration {
namespace {

constexpr absl::string_view kSynopsis =
    R"(Talks to a model that has a chat template. Each answer is shown as it comes and remembered.

  rationctl chat [FLAGS] TEXT               one question
  rationctl chat [FLAGS]                    a conversation, one line a turn; /help tells what else can be typed

A line that ends in a backslash goes on in the next one. Ctrl-C stops the answer; between answers it ends the program.
)";

constexpr absl::string_view kHelp =
    R"(/reset   forget what was said
/quit    end (so does the end of the input)
/help    this text
A line that ends in a backslash goes on in the next one. Ctrl-C stops the answer.
)";

struct ChatFlags {
  CommonFlags common;
  std::string system;
  std::optional<std::string> user;
  std::string template_variables;
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  std::optional<uint64_t> seed;
  std::optional<int64_t> max_new_tokens;
  std::vector<std::string> stop;

  void AddTo(FlagSet& flags) {
    common.AddTo(flags, "Print the server's messages as JSON, one a line.");
    flags.Section("Conversation");
    flags.Add("system", "TEXT", &system, "The system message that opens it. Default: none.");
    flags.Add("user", "TEXT", &user, "The question, instead of an argument.");
    flags.Add("template_variables", "JSON", &template_variables,
              "An object of variables for the model's chat template, e.g. '{\"enable_thinking\": false}'.");
    flags.Section("Choosing tokens");
    flags.Add("temperature", "NUMBER", &temperature, ">= 0; 0 always takes the likeliest token. Default 1.");
    flags.Add("top_k", "COUNT", &top_k, "Only the COUNT likeliest tokens; 0: all. Default 0.");
    flags.Add("top_p", "SHARE", &top_p, "Only the likeliest tokens that make up SHARE of the probability. Default 1.");
    flags.Add("seed", "NUMBER", &seed, "The same seed gives the same answer again. Default: the server chooses.");
    flags.Section("Ending");
    flags.Add("max_new_tokens", "COUNT", &max_new_tokens, "Tokens of an answer at most. Default 128.");
    flags.Add("stop", "TEXT", &stop, "End an answer before this text; may be given several times.");
  }
};

absl::StatusOr<v1::GenerateRequest> BuildRequest(const ChatFlags& flags) {
  v1::GenerateRequest request;
  v1::Sampling& sampling = *request.mutable_sampling();
  if (flags.temperature.has_value()) sampling.set_temperature(*flags.temperature);
  if (flags.top_k.has_value()) sampling.set_top_k(*flags.top_k);
  if (flags.top_p.has_value()) sampling.set_top_p(*flags.top_p);
  if (flags.seed.has_value()) sampling.set_seed(*flags.seed);
  if (flags.max_new_tokens.has_value()) request.mutable_stopping()->set_max_new_tokens(*flags.max_new_tokens);
  for (const std::string& stop : flags.stop) request.mutable_stopping()->add_stop_strings(stop);
  if (!flags.template_variables.empty()) {
    const auto parsed = google::protobuf::util::JsonStringToMessage(
        flags.template_variables, request.mutable_messages()->mutable_template_variables());
    if (!parsed.ok()) return absl::InvalidArgumentError("--template_variables: must be a JSON object");
  }
  return request;
}

// One turn, shown. The exit status that it alone would have.
int Turn(ChatSession& session, const std::string& text, const ChatFlags& flags, const Console& console,
         Cancellation* cancellation) {
  bool at_line_start = true;
  const absl::Status status = session.Say(
      text,
      [&](const v1::GenerateResponse& message) {
        if (flags.common.json) {
          *console.out << ToJson(message) << "\n";
        } else if (!message.text().empty()) {
          *console.out << (console.out_is_terminal ? TerminalSafe(message.text()) : message.text());
          at_line_start = message.text().back() == '\n';
        }
        console.out->flush();
        return console.out->good();
      },
      cancellation);
  if (!flags.common.json && !at_line_start) *console.out << "\n" << std::flush;
  return status.ok() ? kExitOk : RpcError(status, flags.common, console, cancellation);
}

// A line, and those that it is continued in. False at the end of the input.
bool ReadTurn(const Console& console, std::string& turn) {
  turn.clear();
  const auto prompt = [&console](absl::string_view text) {
    if (console.in_is_terminal) *console.out << Bold(text, console.colors && console.out_is_terminal) << std::flush;
  };
  prompt("> ");
  for (std::string line; std::getline(*console.in, line); prompt("| ")) {
    const bool continued = absl::EndsWith(line, "\\");
    absl::StrAppend(&turn, absl::StripSuffix(line, "\\"), continued ? "\n" : "");
    if (!continued) return true;
  }
  return !turn.empty();
}

int Converse(ChatSession& session, const ChatFlags& flags, const Console& console, Cancellation* cancellation) {
  if (console.in_is_terminal) *console.err << "/help tells what can be typed; /quit ends.\n";
  int exit_status = kExitOk;
  for (std::string turn; ReadTurn(console, turn);) {
    const absl::string_view command = absl::StripAsciiWhitespace(turn);
    if (command.empty()) continue;
    if (command == "/quit" || command == "/exit") return exit_status;
    if (command == "/help") {
      *console.err << kHelp;
    } else if (command == "/reset") {
      session.Reset();
      *console.err << "(a new conversation)\n";
    } else if (command[0] == '/') {
      *console.err << "no command " << TerminalSafe(command) << "; /help lists them\n";
    } else {
      exit_status = Turn(session, turn, flags, console, cancellation);
      if (!console.out->good()) return exit_status;
      if (exit_status == kExitInterrupted) exit_status = kExitOk;
      cancellation->Reset();
    }
  }
  if (console.in_is_terminal) *console.out << "\n";
  return exit_status;
}

}  // namespace

int ChatCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation) {
  ChatFlags flags;
  FlagSet flag_set;
  flags.AddTo(flag_set);
  std::vector<std::string> rest;
  if (const std::optional<int> done =
          ParseOrExplain(flag_set, flags.common, "chat", kSynopsis, arguments, console, rest)) {
    return *done;
  }
  absl::StatusOr<v1::GenerateRequest> request = BuildRequest(flags);
  if (!request.ok()) return UsageError("chat", request.status().message(), console);

  const std::unique_ptr<GenerationClient> client = GenerationClient::Create(flags.common.server, flags.common.transport);
  ChatSession session(client.get(), *std::move(request), flags.system);
  if (rest.empty() && !flags.user.has_value()) return Converse(session, flags, console, cancellation);
  const absl::StatusOr<std::string> text = ReadInput(rest, flags.user, std::nullopt, "question", console);
  if (!text.ok()) return UsageError("chat", text.status().message(), console);
  return Turn(session, *text, flags, console, cancellation);
}

}  // namespace ration
