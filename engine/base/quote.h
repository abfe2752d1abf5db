// Text from outside, made fit for a message: quoted, escaped, shortened.
#ifndef RATION_ENGINE_BASE_QUOTE_H_
#define RATION_ENGINE_BASE_QUOTE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace ration {

// `text` in double quotes; control characters and quotes escaped; bytes above 127 stay as they are; cut after 100 bytes (then "..."
// follows), so that a hostile name can neither flood a log nor forge a line in it.
std::string Quoted(absl::string_view text);

}  // namespace ration

#endif  // RATION_ENGINE_BASE_QUOTE_H_
