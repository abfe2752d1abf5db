// Where in a template something stands, and errors that say so.
// Layer: engine/chat/jinja. Stateless; thread-safe.
#ifndef RATION_ENGINE_CHAT_JINJA_POSITION_H_
#define RATION_ENGINE_CHAT_JINJA_POSITION_H_

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace ration::jinja {

struct Position {
  int line = 1;    // from 1
  int column = 1;  // from 1, in characters
};

// InvalidArgument "LINE:COLUMN: MESSAGE".
inline absl::Status ErrorAt(Position at, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(at.line, ":", at.column, ": ", message));
}
// The same code, with the position before the message.
inline absl::Status ErrorAt(Position at, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(at.line, ":", at.column, ": ", status.message()));
}

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_POSITION_H_
