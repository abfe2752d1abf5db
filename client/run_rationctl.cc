// Finds the command and runs it.
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/commands.h"

namespace ration {
namespace {

constexpr absl::string_view kHelp =
    R"(rationctl talks to a Ration server.

  rationctl COMMAND [FLAGS] [ARGUMENT]

Commands
  generate      generate text after a prompt, shown as it comes
  abort         end requests by their ids
  chat          ask a question, or hold a conversation
  tokenize      text to token ids
  detokenize    token ids to text
  info          the model that is served, its experts and the KV budget
  health        whether the server is alive, or ready
  help COMMAND  the flags of a command

Commands for operators
  watch         a live view of memory, ratio and load
  state         the same once
  ratio         show or fix the ratio of the experts
  budget        show or change the bytes of the KV cache, while requests run
  policy        show or change floor, ceiling, ladder, gains and queue limits
  drain         take no new requests and wait for the running ones

Every command takes --json for scripts, and --server=HOST:PORT (default $RATION_SERVER, else 127.0.0.1:50051); those for
operators take --control=HOST:PORT (default $RATION_CONTROL, else 127.0.0.1:50052) instead.
Example: rationctl generate --max_new_tokens=200 "Once upon a time"
)";

struct Command {
  absl::string_view name;
  int (*run)(absl::Span<const std::string>, const Console&, Cancellation*);
};

constexpr Command kCommands[] = {{"generate", &GenerateCommand},
                                 {"abort", &AbortCommand},
                                 {"chat", &ChatCommand},
                                 {"tokenize", &TokenizeCommand},
                                 {"detokenize", &DetokenizeCommand},
                                 {"info", &InfoCommand},
                                 {"health", &HealthCommand},
                                 {"ratio", &RatioCommand},
                                 {"budget", &BudgetCommand},
                                 {"policy", &PolicyCommand},
                                 {"state", &StateCommand},
                                 {"watch", &WatchCommand},
                                 {"drain", &DrainCommand}};

const Command* Find(absl::string_view name) {
  for (const Command& command : kCommands) {
    if (command.name == name) return &command;
  }
  return nullptr;
}

int Unknown(absl::string_view name, const Console& console) {
  *console.err << "rationctl: no command \"" << TerminalSafe(name) << "\"\nTry: rationctl --help\n";
  return kExitUsage;
}

}  // namespace

int RunRationctl(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation) {
  if (arguments.empty()) {
    *console.err << kHelp;
    return kExitUsage;
  }
  const std::string& first = arguments[0];
  const bool help = first == "help" || first == "--help" || first == "-h";
  if (help && arguments.size() == 1) {
    *console.out << kHelp;
    return kExitOk;
  }
  const Command* command = Find(help ? arguments[1] : first);
  if (command == nullptr) return Unknown(help ? arguments[1] : first, console);
  if (help) {
    const std::string flag = "--help";
    return command->run({flag}, console, cancellation);
  }
  const int exit_status = command->run(arguments.subspan(1), console, cancellation);
  console.out->flush();
  return exit_status;
}

}  // namespace ration
