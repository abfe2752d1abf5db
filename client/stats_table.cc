#include "client/stats_table.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/console.h"

namespace ration {
namespace {

double At(const google::protobuf::RepeatedField<double>& values, int index) {
  return index < values.size() ? values.Get(index) : 0.0;
}

// Token counts are means over the layers: whole numbers are shown as such.
std::string Tokens(double count) {
  const std::string text = absl::StrFormat("%.1f", count);
  return text.size() > 2 && text.substr(text.size() - 2) == ".0" ? text.substr(0, text.size() - 2) : text;
}

std::string Percent(double part, double whole) {
  return whole > 0 ? absl::StrFormat("%.1f %%", 100 * part / whole) : "-";
}

// Like Percent, without the digit nobody needs.
std::string RoundPercent(double part, double whole) { return absl::StrFormat("%.0f %%", 100 * part / whole); }

using Row = std::vector<std::string>;

std::string RenderTable(const std::vector<Row>& rows, bool colored) {
  std::vector<int> widths(rows[0].size(), 0);
  for (const Row& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], DisplayWidth(row[c]));
  }
  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line = " ";
    for (size_t c = 0; c < rows[r].size(); ++c) {
      const std::string padding(widths[c] - DisplayWidth(rows[r][c]), ' ');
      absl::StrAppend(&line, " ", c == 0 ? "" : "  ", c == 0 ? rows[r][c] + padding : padding + rows[r][c]);
    }
    absl::StripTrailingAsciiWhitespace(&line);
    absl::StrAppend(&text, r == 0 ? Dim(line, colored) : line, "\n");
  }
  return text;
}

std::string FinishText(const v1::Finish& finish) {
  switch (finish.stopped_by_case()) {
    case v1::Finish::kStopTokenId:
      return absl::StrCat("ended by token ", finish.stop_token_id());
    case v1::Finish::kStopString:
      return absl::StrCat("ended by \"", TerminalSafe(finish.stop_string()), "\"");
    default:
      return finish.reason() == v1::FINISH_REASON_LENGTH ? "ended at the length limit" : "ended";
  }
}

std::string TimesText(const v1::Finish& finish) {
  std::string text = absl::StrCat("queued ", HumanSeconds(finish.queue_seconds()), ", first token after ",
                                  HumanSeconds(finish.time_to_first_token_seconds()));
  const double decode_seconds = finish.total_seconds() - finish.time_to_first_token_seconds();
  if (finish.generated_tokens() > 1 && decode_seconds > 0) {
    const double rate = static_cast<double>(finish.generated_tokens() - 1) / decode_seconds;
    absl::StrAppend(&text, ", then ", HumanNumber(rate), " tokens/s");
  }
  return text;
}

}  // namespace

std::string ExpertLabel(int32_t group_size) {
  return group_size == 1 ? "keeps all heads" : absl::StrCat("keeps 1/", group_size);
}

std::string StatsTable(const v1::Finish& finish, absl::Span<const int32_t> group_sizes, bool colored) {
  const v1::KvAccounting& kv = finish.kv();
  const int experts = std::max(kv.prompt_tokens_per_expert_size(), kv.generated_tokens_per_expert_size());
  double prompt_sum = 0;
  double generated_sum = 0;
  for (int e = 0; e < experts; ++e) {
    prompt_sum += At(kv.prompt_tokens_per_expert(), e);
    generated_sum += At(kv.generated_tokens_per_expert(), e);
  }
  std::string text;
  if (experts > 0) {
    std::vector<Row> rows = {{"tokens cached by", "prompt", "generated", "share"}};
    for (int e = 0; e < experts; ++e) {
      const double prompt = At(kv.prompt_tokens_per_expert(), e);
      const double generated = At(kv.generated_tokens_per_expert(), e);
      std::string label = absl::StrCat("expert ", e + 1);
      if (e < static_cast<int>(group_sizes.size())) absl::StrAppend(&label, "  ", ExpertLabel(group_sizes[e]));
      rows.push_back({label, Tokens(prompt), Tokens(generated), Percent(prompt + generated, prompt_sum + generated_sum)});
    }
    if (experts > 1) rows.push_back({"all", Tokens(prompt_sum), Tokens(generated_sum), ""});
    absl::StrAppend(&text, RenderTable(rows, colored), "\n");
  }
  if (kv.full_bytes() > 0) {
    std::string line = absl::StrCat("KV cache ", HumanBytes(kv.stored_bytes()), " of ", HumanBytes(kv.full_bytes()), " at full (",
                                    RoundPercent(kv.stored_bytes(), kv.full_bytes()), ")");
    absl::StrAppend(&text, "  ", Bold(line, colored), ", in ", HumanBytes(kv.peak_bytes()), " of pages\n");
  }
  absl::StrAppend(&text, "  ", finish.generated_tokens(), finish.generated_tokens() == 1 ? " token" : " tokens", " for a prompt of ",
                  finish.prompt_tokens(), ", ", FinishText(finish), "\n  ", TimesText(finish), "\n");
  return text;
}

}  // namespace ration
