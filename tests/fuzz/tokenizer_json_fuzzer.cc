// Any bytes as a tokenizer.json: refused with a message, or a tokenizer that keeps its promises on any text and any
// ids. The input is the file; after a NUL, which JSON cannot hold, comes a text to encode.
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/fuzz/tokenizer_promises.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = input.find('\0');
  const absl::string_view text = end == absl::string_view::npos ? absl::string_view() : input.substr(end + 1);
  ration::CheckPromises(ration::ParseTokenizer(input.substr(0, end)), text, input);
  return 0;
}
