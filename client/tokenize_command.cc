// rationctl tokenize: text to token ids.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/command_util.h"
#include "client/commands.h"
#include "client/json_output.h"

namespace ration {
namespace {

constexpr absl::string_view kSynopsis =
    R"(Shows the tokens of a text, one a line: its id, a tab, its spelling in the vocabulary.

  rationctl tokenize [FLAGS] TEXT
  rationctl tokenize [FLAGS] -              reads the text from standard input
)";

}  // namespace

int TokenizeCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation) {
  CommonFlags common;
  std::optional<std::string> text_file;
  bool add_special_tokens = true;
  bool ids_only = false;
  FlagSet flags;
  common.AddTo(flags, "Print {\"ids\": [...], \"tokens\": [...]} on one line.");
  flags.Section("Tokens");
  flags.Add("text_file", "PATH", &text_file, "File that holds the text; - is standard input.");
  flags.Add("add_special_tokens", &add_special_tokens,
            "Add what the model's template adds, usually a token for the beginning. On by default; --noadd_special_tokens.");
  flags.Add("ids", &ids_only, "Print only the ids, on one line, as --token_ids and detokenize take them.");
  std::vector<std::string> rest;
  if (const std::optional<int> done = ParseOrExplain(flags, common, "tokenize", kSynopsis, arguments, console, rest)) {
    return *done;
  }
  const absl::StatusOr<std::string> text = ReadInput(rest, std::nullopt, text_file, "text", console);
  if (!text.ok()) return UsageError("tokenize", text.status().message(), console);

  const std::unique_ptr<GenerationClient> client = GenerationClient::Create(common.server, common.transport);
  const absl::StatusOr<v1::TokenizeResponse> response = client->Tokenize(*text, add_special_tokens, cancellation);
  if (!response.ok()) return RpcError(response.status(), common, console, cancellation);
  if (common.json) {
    *console.out << ToJson(*response) << "\n";
  } else if (ids_only) {
    *console.out << absl::StrJoin(response->ids(), ",") << "\n";
  } else {
    for (int i = 0; i < response->ids_size(); ++i) {
      const std::string token = i < response->tokens_size() ? response->tokens(i) : "";
      *console.out << response->ids(i) << "\t" << (console.out_is_terminal ? TerminalSafe(token) : token) << "\n";
    }
  }
  return kExitOk;
}

}  // namespace ration
