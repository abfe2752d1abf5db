#include "engine/chat/jinja/template.h"

#include "absl/strings/str_cat.h"
#include "engine/chat/jinja/evaluator.h"
#include "engine/chat/jinja/parser.h"
#include "engine/tokenizer/utf8.h"

namespace ration::jinja {
namespace {

absl::Status Named(absl::string_view name, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(name, ":", status.message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Template>> Template::Parse(absl::string_view source, std::string name) {
  if (source.size() > kMaxTemplateBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": has ", source.size(), " bytes; the limit is ", kMaxTemplateBytes));
  }
  if (const size_t offset = FindInvalidUtf8(source); offset != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": not valid UTF-8 at byte ", offset));
  }
  absl::StatusOr<Body> body = ParseTemplate(source);
  if (!body.ok()) return Named(name, body.status());
  return std::unique_ptr<const Template>(new Template(std::move(name), *std::move(body)));
}

absl::StatusOr<std::string> Template::Render(const Variables& variables, absl::Time now,
                                             const RenderLimits& limits) const {
  Evaluator evaluator(limits, now);
  for (const auto& [name, value] : variables) evaluator.Set(name, value);
  absl::StatusOr<std::string> text = evaluator.Run(body_);
  if (!text.ok() && !absl::IsAborted(text.status())) return Named(name_, text.status());
  return text;
}

}  // namespace ration::jinja
