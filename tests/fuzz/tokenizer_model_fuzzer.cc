// Any bytes as a sentencepiece tokenizer.model: refused with a message, or a tokenizer that keeps its promises. An input
// that begins with a brace begins with a tokenizer_config.json, up to a NUL; the model follows.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/fuzz/tokenizer_promises.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  absl::string_view config, model = input;
  if (!input.empty() && input[0] == '{') {
    config = input.substr(0, input.find('\0'));
    model.remove_prefix(std::min(config.size() + 1, input.size()));
  }
  ration::CheckPromises(ration::ParseSentencePieceTokenizer(model, config, ""), model.substr(0, 200), input);
  return 0;
}
