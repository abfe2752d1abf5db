// rationctl detokenize: token ids to text.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "client/command_util.h"
#include "client/commands.h"
#include "client/json_output.h"

namespace ration {
namespace {

constexpr absl::string_view kSynopsis =
    R"(Shows the text of token ids, which are separated by commas or spaces.

  rationctl detokenize [FLAGS] 1,403,407
  rationctl detokenize [FLAGS] -              reads the ids from standard input
)";

}  // namespace

int DetokenizeCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation) {
  CommonFlags common;
  bool skip_special_tokens = true;
  FlagSet flags;
  common.AddTo(flags, "Print {\"text\": \"...\"} on one line.");
  flags.Section("Text");
  flags.Add("skip_special_tokens", &skip_special_tokens,
            "Leave special tokens out of the text. On by default; --noskip_special_tokens.");
  std::vector<std::string> rest;
  if (const std::optional<int> done = ParseOrExplain(flags, common, "detokenize", kSynopsis, arguments, console, rest)) {
    return *done;
  }
  if (rest.size() > 1) rest = {absl::StrJoin(rest, " ")};
  const absl::StatusOr<std::string> input = ReadInput(rest, std::nullopt, std::nullopt, "list of token ids", console);
  if (!input.ok()) return UsageError("detokenize", input.status().message(), console);
  const absl::StatusOr<std::vector<int32_t>> ids = ParseTokenIds(*input);
  if (!ids.ok()) return UsageError("detokenize", ids.status().message(), console);

  const std::unique_ptr<GenerationClient> client = GenerationClient::Create(common.server, common.transport);
  const absl::StatusOr<std::string> text = client->Detokenize(*ids, skip_special_tokens, cancellation);
  if (!text.ok()) return RpcError(text.status(), common, console, cancellation);
  if (common.json) {
    *console.out << DetokenizedToJson(*text) << "\n";
  } else {
    *console.out << (console.out_is_terminal ? TerminalSafe(*text) : *text) << "\n";
  }
  return kExitOk;
}

}  // namespace ration
