#include "server/request_log.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/finish_names.h"
#include "server/logging.h"

namespace ration {
namespace {

constexpr size_t kMaxPromptBytes = 200;

// Microseconds are precise enough, and short to read.
double Seconds(absl::Duration duration) { return std::round(absl::ToDoubleSeconds(duration) * 1e6) / 1e6; }

bool IsOurFault(const absl::Status& status) {
  return absl::IsInternal(status) || absl::IsUnknown(status) || absl::IsDataLoss(status);
}

}  // namespace

std::string RequestLog::PromptToLog(const v1::GenerateRequest& request) const {
  if (!options_.prompts) return "";
  if (request.has_text()) return Beginning(request.text(), kMaxPromptBytes);
  std::string text;
  for (const v1::ChatMessage& message : request.messages().messages()) {
    if (text.size() > kMaxPromptBytes) break;
    absl::StrAppend(&text, text.empty() ? "" : "\n", Beginning(message.role(), kMaxPromptBytes), ": ",
                    Beginning(message.content(), kMaxPromptBytes));
  }
  return Beginning(text, kMaxPromptBytes);
}

void RequestLog::Write(const RequestSummary& summary) const {
  const bool served = summary.status.ok() || absl::IsCancelled(summary.status);
  if (logger_ == nullptr || options_.requests == LoggedRequests::kNone) return;
  if (options_.requests == LoggedRequests::kErrors && served) return;
  LogFields fields;
  fields["request_id"] = summary.request_id;
  if (!summary.tenant.empty()) fields["tenant"] = summary.tenant;
  if (!summary.trace_id.empty()) fields["trace_id"] = summary.trace_id;
  fields["method"] = summary.method;
  fields["peer"] = summary.peer;
  fields["status"] = summary.status.ok() ? "OK" : absl::StatusCodeToString(summary.status.code());
  fields["outcome"] = summary.finish.has_value() ? OutcomeName(summary.finish->reason) : "refused";
  if (summary.finish.has_value()) {
    const FinishInfo& finish = *summary.finish;
    fields["prompt_tokens"] = summary.prompt_tokens;
    fields["generated_tokens"] = finish.generated_tokens;
    fields["queue_seconds"] = Seconds(finish.queue_time);
    if (finish.generated_tokens > 0) fields["time_to_first_token_seconds"] = Seconds(finish.time_to_first_token);
    fields["peak_kv_bytes"] = finish.kv.peak_kv_bytes;
    if (finish.kv.full_kv_bytes > 0) {
      const double fraction = static_cast<double>(finish.kv.stored_kv_bytes) / static_cast<double>(finish.kv.full_kv_bytes);
      fields["kv_fraction"] = std::round(fraction * 1e4) / 1e4;
    }
    fields["tokens_regrouped"] = finish.kv.tokens_regrouped;
  } else if (summary.prompt_tokens > 0) {
    fields["prompt_tokens"] = summary.prompt_tokens;
  }
  fields["total_seconds"] = Seconds(summary.total_time);
  if (!summary.prompt.empty()) fields["prompt"] = summary.prompt;
  if (options_.prompts && !summary.status.ok()) fields["error"] = Beginning(std::string(summary.status.message()), kMaxPromptBytes);
  LogEvent(*logger_, IsOurFault(summary.status) ? spdlog::level::err : spdlog::level::info, "request", fields);
}

}  // namespace ration
