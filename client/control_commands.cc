// rationctl ratio, budget, policy, state and drain: what an operator reads and changes. Without a value, the first three show.
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "client/command_util.h"
#include "client/commands.h"
#include "client/control_client.h"
#include "client/control_output.h"

namespace ration {
namespace {

constexpr absl::string_view kRatioSynopsis =
    R"(Shows the ratio of the experts, or fixes it for tokens not yet routed (manual mode). "auto" gives it back to the governor.

  rationctl ratio [FLAGS] [RATIO|auto]

Example: rationctl ratio 3:1:6
)";
constexpr absl::string_view kBudgetSynopsis =
    R"(Shows the bytes that the KV cache may use, or changes them while requests run; returns when the new budget holds.

  rationctl budget [FLAGS] [BYTES]

BYTES may have a unit: KiB, MiB, GiB, TiB. Example: rationctl budget 512MiB
)";
constexpr absl::string_view kPolicySynopsis =
    R"(Shows the policy in force, or changes what is given, all of it or nothing.

  rationctl policy [FLAGS]

Example: rationctl policy --floor=0.5 --ladder=1:0:0 --ladder=1:1:1 --ladder=0:0:1
)";
constexpr absl::string_view kStateSynopsis =
    R"(Shows memory, ratio, load and counters of the server, once.

  rationctl state [FLAGS]
)";
constexpr absl::string_view kDrainSynopsis =
    R"(Takes no new requests from now on and waits for the running ones. The process stays.

  rationctl drain [FLAGS]
)";

// The common part of a command: flags, and at most `max_arguments` arguments.
struct ControlCommand {
  CommonFlags common;
  FlagSet flags;
  std::vector<std::string> rest;
  std::optional<int64_t> expected_epoch;

  void AddExpectedEpoch() {
    flags.Section("Safety");
    flags.Add("expected_epoch", "N", &expected_epoch, "Change nothing, and fail, if another change came after epoch N.");
  }
  std::optional<int> Parse(absl::string_view name, absl::string_view synopsis, absl::Span<const std::string> arguments,
                           const Console& console, size_t max_arguments) {
    common.AddControlTo(flags, "Print one JSON object.");
    if (std::optional<int> done = ParseOrExplain(flags, common, name, synopsis, arguments, console, rest)) return done;
    if (rest.size() <= max_arguments) return std::nullopt;
    return UsageError(name, absl::StrCat("takes ", max_arguments == 0 ? "no arguments" : "one argument", ", not \"",
                                         rest[max_arguments], "\""),
                      console);
  }
  std::unique_ptr<ControlClient> Connect() const { return ControlClient::Create(common.server, common.transport); }
};

// "512MiB" -> bytes. InvalidArgument quotes the text.
absl::StatusOr<int64_t> ParseBytes(absl::string_view text) {
  constexpr const char* kUnits[] = {"", "k", "m", "g", "t"};
  std::string lower = absl::AsciiStrToLower(absl::StripAsciiWhitespace(text));
  absl::string_view number = lower;
  if (!absl::ConsumeSuffix(&number, "ib")) absl::ConsumeSuffix(&number, "b");
  double factor = 1;
  for (int unit = 4; unit > 0; --unit) {
    if (absl::ConsumeSuffix(&number, kUnits[unit])) {
      factor = std::ldexp(1.0, 10 * unit);
      break;
    }
  }
  number = absl::StripAsciiWhitespace(number);
  double value = 0;
  const bool digits = !number.empty() && number.find_first_not_of("0123456789.") == absl::string_view::npos;
  if (digits && absl::SimpleAtod(number, &value) && value * factor < std::ldexp(1.0, 62)) {
    return static_cast<int64_t>(value * factor);
  }
  return absl::InvalidArgumentError(absl::StrCat("BYTES must be a size such as 512MiB or 1073741824, not \"", text, "\""));
}

int PrintState(const ControlCommand& command, const Console& console, Cancellation* cancellation) {
  const absl::StatusOr<v1::ServerState> state = command.Connect()->GetState(cancellation);
  if (!state.ok()) return RpcError(state.status(), command.common, console, cancellation);
  *console.out << (command.common.json ? MessageToJson(*state) + "\n" : StateText(*state, console.colors && console.out_is_terminal));
  return kExitOk;
}

// Prints the answer as JSON or `text`.
int PrintAnswer(const google::protobuf::Message& answer, absl::string_view text, const ControlCommand& command,
                const Console& console) {
  if (command.common.json) {
    *console.out << MessageToJson(answer) << "\n";
  } else {
    *console.out << text << "\n";
  }
  return kExitOk;
}

int SetMode(v1::Policy policy, const ControlCommand& command, const Console& console, Cancellation* cancellation) {
  v1::SetPolicyRequest request;
  *request.mutable_policy() = std::move(policy);
  if (command.expected_epoch.has_value()) request.set_expected_epoch(*command.expected_epoch);
  const absl::StatusOr<v1::SetPolicyResponse> answer = command.Connect()->SetPolicy(request, cancellation);
  if (!answer.ok()) return RpcError(answer.status(), command.common, console, cancellation);
  const std::string text = absl::StrCat(PolicyText(answer->policy(), console.colors && console.out_is_terminal),
                                        "in force as epoch ", answer->epoch());
  return PrintAnswer(*answer, text, command, console);
}

}  // namespace

int StateCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation) {
  ControlCommand command;
  if (const std::optional<int> done = command.Parse("state", kStateSynopsis, arguments, console, 0)) return *done;
  return PrintState(command, console, cancellation);
}

int RatioCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation) {
  ControlCommand command;
  command.AddExpectedEpoch();
  if (const std::optional<int> done = command.Parse("ratio", kRatioSynopsis, arguments, console, 1)) return *done;
  if (command.rest.empty()) {
    const absl::StatusOr<v1::ServerState> state = command.Connect()->GetState(cancellation);
    if (!state.ok()) return RpcError(state.status(), command.common, console, cancellation);
    if (command.common.json) {
      *console.out << MessageToJson(*state) << "\n";
    } else {
      *console.out << RatioText(*state) << absl::StrFormat("  (KV fraction %.4g, ", state->kv_fraction())
                   << ModeText(state->mode()) << ", epoch " << state->epoch() << ")\n";
    }
    return kExitOk;
  }
  if (command.rest[0] == "auto") {
    v1::Policy policy;
    policy.set_mode(v1::MODE_AUTO);
    return SetMode(std::move(policy), command, console, cancellation);
  }
  v1::SetRatioRequest request;
  request.set_ratio(command.rest[0]);
  if (command.expected_epoch.has_value()) request.set_expected_epoch(*command.expected_epoch);
  const absl::StatusOr<v1::SetRatioResponse> answer = command.Connect()->SetRatio(request, cancellation);
  if (!answer.ok()) return RpcError(answer.status(), command.common, console, cancellation);
  return PrintAnswer(*answer,
                     absl::StrFormat("%s in force as epoch %d: KV fraction %.4g, manual mode", command.rest[0], answer->epoch(),
                                     answer->kv_fraction()),
                     command, console);
}

int BudgetCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation) {
  ControlCommand command;
  bool shed = false;
  command.flags.Section("Budget");
  command.flags.Add("shed", &shed,
                    "If what was promised to running requests does not fit, end those of the lowest priority instead of failing.");
  command.AddExpectedEpoch();
  if (const std::optional<int> done = command.Parse("budget", kBudgetSynopsis, arguments, console, 1)) return *done;
  if (command.rest.empty()) {
    const absl::StatusOr<v1::ServerState> state = command.Connect()->GetState(cancellation);
    if (!state.ok()) return RpcError(state.status(), command.common, console, cancellation);
    const std::string text =
        absl::StrFormat("%d bytes (%s), %.1f %% used, epoch %d", state->budget_bytes(), HumanBytes(state->budget_bytes()),
                        100 * state->pressure(), state->epoch());
    return PrintAnswer(*state, text, command, console);
  }
  const absl::StatusOr<int64_t> bytes = ParseBytes(command.rest[0]);
  if (!bytes.ok()) return UsageError("budget", bytes.status().message(), console);
  v1::SetBudgetRequest request;
  request.set_budget_bytes(*bytes);
  request.set_shed(shed);
  if (command.expected_epoch.has_value()) request.set_expected_epoch(*command.expected_epoch);
  const absl::StatusOr<v1::SetBudgetResponse> answer = command.Connect()->SetBudget(request, cancellation);
  if (!answer.ok()) return RpcError(answer.status(), command.common, console, cancellation);
  std::string text = absl::StrCat(HumanBytes(answer->budget_bytes()), " in force as epoch ", answer->epoch(), " after ",
                                  HumanSeconds(answer->seconds()), ": ", HumanBytes(answer->reclaimed_bytes()), " reclaimed, ",
                                  answer->regrouped_tokens(), " tokens regrouped");
  if (answer->requests_shed() > 0) absl::StrAppend(&text, ", ", answer->requests_shed(), " requests ended");
  if (answer->requests_preempted() > 0) absl::StrAppend(&text, ", ", answer->requests_preempted(), " preempted");
  return PrintAnswer(*answer, text, command, console);
}

int PolicyCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation) {
  ControlCommand command;
  std::optional<std::string> mode;
  std::optional<double> floor, ceiling, rise_per_second, dead_band, headroom, admission_overcommit;
  std::vector<std::string> ladder;
  std::optional<int64_t> max_queued_requests, max_queued_tokens;
  FlagSet& flags = command.flags;
  flags.Section("Policy");
  flags.Add("mode", "auto|manual", &mode, "auto: the governor chooses; manual: the ratio in force stays.");
  flags.Add("floor", "FRACTION", &floor, "KV fraction below which no token is brought, of requests that name none.");
  flags.Add("ceiling", "FRACTION", &ceiling, "KV fraction of new tokens at most.");
  flags.Add("ladder", "RATIO", &ladder, "A ratio between which the governor moves; give it once for each.");
  flags.Add("rise_per_second", "FRACTION", &rise_per_second, "KV fraction given back in a second at most.");
  flags.Add("dead_band", "FRACTION", &dead_band, "KV fraction that must be free before any is given back.");
  flags.Add("headroom", "SHARE", &headroom, "Share of the budget kept free.");
  flags.Add("max_queued_requests", "N", &max_queued_requests, "Requests that wait at most.");
  flags.Add("max_queued_tokens", "N", &max_queued_tokens, "Prompt tokens that wait at most.");
  flags.Add("admission_overcommit", "FACTOR", &admission_overcommit, "Above 1 the guarantee is given up.");
  command.AddExpectedEpoch();
  if (const std::optional<int> done = command.Parse("policy", kPolicySynopsis, arguments, console, 0)) return *done;
  v1::Policy policy;
  if (mode.has_value()) {
    if (*mode != "auto" && *mode != "manual") {
      return UsageError("policy", absl::StrCat("--mode must be auto or manual, not \"", *mode, "\""), console);
    }
    policy.set_mode(*mode == "auto" ? v1::MODE_AUTO : v1::MODE_MANUAL);
  }
  if (floor.has_value()) policy.set_floor(*floor);
  if (ceiling.has_value()) policy.set_ceiling(*ceiling);
  for (const std::string& knot : ladder) policy.add_ladder(knot);
  if (rise_per_second.has_value()) policy.set_rise_per_second(*rise_per_second);
  if (dead_band.has_value()) policy.set_dead_band(*dead_band);
  if (headroom.has_value()) policy.set_headroom(*headroom);
  if (max_queued_requests.has_value()) policy.set_max_queued_requests(*max_queued_requests);
  if (max_queued_tokens.has_value()) policy.set_max_queued_tokens(*max_queued_tokens);
  if (admission_overcommit.has_value()) policy.set_admission_overcommit(*admission_overcommit);
  if (policy.ByteSizeLong() > 0) return SetMode(std::move(policy), command, console, cancellation);
  const absl::StatusOr<v1::ServerState> state = command.Connect()->GetState(cancellation);
  if (!state.ok()) return RpcError(state.status(), command.common, console, cancellation);
  const std::string text = absl::StrCat(PolicyText(state->policy(), console.colors && console.out_is_terminal), "epoch ",
                                        state->epoch());
  return PrintAnswer(state->policy(), text, command, console);
}

int DrainCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation) {
  ControlCommand command;
  std::optional<absl::Duration> timeout;
  command.flags.Section("Drain");
  command.flags.Add("timeout", "DURATION", &timeout, "Return after this time even if requests are still running, e.g. 30s.");
  if (const std::optional<int> done = command.Parse("drain", kDrainSynopsis, arguments, console, 0)) return *done;
  v1::DrainRequest request;
  if (timeout.has_value()) request.set_timeout_ms(absl::ToInt64Milliseconds(*timeout));
  const absl::StatusOr<v1::DrainResponse> answer = command.Connect()->Drain(request, cancellation);
  if (!answer.ok()) return RpcError(answer.status(), command.common, console, cancellation);
  PrintAnswer(*answer, answer->idle() ? "drained: no request is running" : "draining: requests are still running", command, console);
  return answer->idle() ? kExitOk : kExitRpcError;
}

}  // namespace ration
