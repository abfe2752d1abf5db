// What every tokenizer must keep, whatever file it was made from; for the fuzz targets.
#ifndef RATION_TESTS_FUZZ_TOKENIZER_PROMISES_H_
#define RATION_TESTS_FUZZ_TOKENIZER_PROMISES_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/tokenizer.h"

namespace ration {

// Ends the program unless `parsed` is a refusal with a message that is fit to be shown, or a tokenizer that encodes and
// decodes a text of its own, `text` and ids in an order that no text gives (drawn from `seed`) as tokenizer.h says.
void CheckPromises(const absl::StatusOr<std::unique_ptr<Tokenizer>>& parsed, absl::string_view text,
                   absl::string_view seed);

}  // namespace ration

#endif  // RATION_TESTS_FUZZ_TOKENIZER_PROMISES_H_
