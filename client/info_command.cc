// rationctl info: what the server serves, and with how much KV memory.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/command_util.h"
#include "client/commands.h"
#include "client/json_output.h"
#include "client/stats_table.h"

namespace ration {
namespace {

constexpr absl::string_view kSynopsis =
    R"(Shows the model that is served, its experts and the KV budget.

  rationctl info [FLAGS]
)";

void PrintLine(const Console& console, absl::string_view name, absl::string_view value) {
  const std::string label = absl::StrFormat("%-11s", name);
  *console.out << Dim(label, console.colors && console.out_is_terminal) << value << "\n";
}

void PrintInfo(const v1::GetModelInfoResponse& info, const Console& console) {
  const bool colored = console.colors && console.out_is_terminal;
  const std::string name = console.out_is_terminal ? TerminalSafe(info.name()) : info.name();
  PrintLine(console, "model", absl::StrCat(Bold(name, colored), ", ", info.family(), " (", info.architecture(), "), ", info.compute_dtype(), ", ",
                                           HumanBytes(info.weight_bytes()), " of weights"));
  PrintLine(console, "shape", absl::StrCat(info.num_layers(), " layers, hidden size ", info.hidden_size(), ", ",
                                           info.num_query_heads(), " query and ", info.num_kv_heads(), " KV heads of ",
                                           info.head_dim()));
  if (info.sliding_window() > 0) {
    PrintLine(console, "windows", absl::StrCat(info.sliding_layers(), " layers see the last ", info.sliding_window(), " tokens only"));
  }
  PrintLine(console, "tokens", absl::StrCat("context ", info.context_tokens(), ", vocabulary ", info.vocab_size(),
                                            info.has_tokenizer() ? "" : ", no tokenizer: token ids only"));
  PrintLine(console, "chat", info.has_chat_template() ? "with the model's chat template"
                                                      : absl::StrCat("no: ", TerminalSafe(info.no_chat_template_reason())));
  const int64_t full = info.full_kv_bytes_per_token();
  PrintLine(console, "KV cache", absl::StrFormat("%s budget in pages of %s; %s a token at full", HumanBytes(info.kv_budget_bytes()),
                                                 HumanBytes(info.page_bytes()), HumanBytes(full)));
  PrintLine(console, "KV in use", absl::StrFormat("%.1f %% of full at the ratio in force (epoch %d)", 100 * info.kv_fraction(),
                                                  info.ratio_epoch()));
  for (int e = 0; e < info.experts_size(); ++e) {
    const v1::Expert& expert = info.experts(e);
    PrintLine(console, absl::StrCat("expert ", e + 1),
              absl::StrFormat("%5.1f %% of tokens, %s, %s a token", 100 * expert.ratio(), ExpertLabel(expert.group_size()),
                              HumanBytes(expert.bytes_per_token())));
  }
  for (const v1::KvCapacity& capacity : info.capacities()) {
    PrintLine(console, absl::StrFormat("at %g %%", 100 * capacity.kv_fraction()),
              absl::StrFormat("ratio %s, %s a token: %d tokens fit the budget, %.3g full contexts", capacity.ratio(),
                              HumanBytes(capacity.bytes_per_token()), capacity.tokens(),
                              static_cast<double>(capacity.tokens()) / static_cast<double>(info.context_tokens())));
  }
  const bool untrained = !info.untrained_routing().empty() && info.untrained_routing() != "none";
  if (untrained) {
    PrintLine(console, "routing", absl::StrCat("UNTRAINED, ", info.untrained_routing(), ": what is squeezed costs quality"));
  } else {
    PrintLine(console, "routing", info.routed() ? absl::StrCat("trained routers, windows of ", info.routing_window(), " tokens")
                                              : std::string("no routers in the checkpoint: full KV"));
  }
  PrintLine(console, "server", info.server_version());
}

}  // namespace

int InfoCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation) {
  CommonFlags common;
  FlagSet flags;
  common.AddTo(flags, "Print one JSON object.");
  std::vector<std::string> rest;
  if (const std::optional<int> done = ParseOrExplain(flags, common, "info", kSynopsis, arguments, console, rest)) return *done;
  if (!rest.empty()) return UsageError("info", absl::StrCat("takes no arguments, not \"", rest[0], "\""), console);

  const std::unique_ptr<GenerationClient> client = GenerationClient::Create(common.server, common.transport);
  const absl::StatusOr<v1::GetModelInfoResponse> info = client->GetModelInfo(cancellation);
  if (!info.ok()) return RpcError(info.status(), common, console, cancellation);
  if (common.json) {
    *console.out << ToJson(*info) << "\n";
  } else {
    PrintInfo(*info, console);
  }
  return kExitOk;
}

}  // namespace ration
