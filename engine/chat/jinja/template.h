// A Jinja template, as far as chat templates use the language (docs/chat.md has the list): parsed once, rendered
// many times.
// Layer: engine/chat/jinja, at its top. Immutable; thread-safe.
#ifndef RATION_ENGINE_CHAT_JINJA_TEMPLATE_H_
#define RATION_ENGINE_CHAT_JINJA_TEMPLATE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/chat/jinja/ast.h"
#include "engine/chat/jinja/budget.h"
#include "engine/chat/jinja/value.h"

namespace ration::jinja {

inline constexpr size_t kMaxTemplateBytes = 256 << 10;

class Template {
 public:
  using Variables = std::vector<std::pair<std::string, Value>>;

  // `name` begins the messages of all errors, with line and column: "chat_template:3:14: filter \"xmlattr\" is not
  // supported".
  static absl::StatusOr<std::unique_ptr<const Template>> Parse(absl::string_view source, std::string name);

  // `now` is what strftime_now() tells. InvalidArgument: where and what; Aborted: the template called raise_exception,
  // with that message alone.
  absl::StatusOr<std::string> Render(const Variables& variables, absl::Time now,
                                     const RenderLimits& limits = RenderLimits()) const;

 private:
  Template(std::string name, Body body) : name_(std::move(name)), body_(std::move(body)) {}
  const std::string name_;
  const Body body_;
};

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_TEMPLATE_H_
