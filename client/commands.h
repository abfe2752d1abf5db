// rationctl's commands, callable in process.
// Layer: client.
#ifndef RATION_CLIENT_COMMANDS_H_
#define RATION_CLIENT_COMMANDS_H_

#include <string>

#include "absl/types/span.h"
#include "client/console.h"
#include "client/generation_client.h"

namespace ration {

// Exit statuses of rationctl.
inline constexpr int kExitOk = 0;
inline constexpr int kExitRpcError = 1;    // the server refused or failed, or could not be reached
inline constexpr int kExitUsage = 2;       // the command line is wrong
inline constexpr int kExitInterrupted = 130;  // Ctrl-C

// Runs `rationctl ARGUMENTS...` and returns its exit status. Messages for people go to console.err. `cancellation` ends the call in
// progress from another thread.
int RunRationctl(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation);

// One command each; `arguments` without the command's name. `--help` is handled here too.
int GenerateCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation);
int ChatCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation);
int TokenizeCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation);
int DetokenizeCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation);
int AbortCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation);
int HealthCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation);
int InfoCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation);
// Of the control API.
int RatioCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation);
int BudgetCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation);
int PolicyCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation);
int StateCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation);
int WatchCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation);
int DrainCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation);

}  // namespace ration

#endif  // RATION_CLIENT_COMMANDS_H_
