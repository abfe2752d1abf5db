// A sentencepiece tokenizer.model of the BPE kind as a TokenizerSpec, with what tokenizer_config.json and
// added_tokens.json beside it add: the way Hugging Face's Llama tokenizers read such a directory.
// Layer: engine/tokenizer. Pure function; thread-safe.
//
// What cannot be said in a TokenizerSpec is refused by name: other kinds of model than BPE, character maps (NFKC ...),
// white space as a suffix, pieces marked unused.
#ifndef RATION_ENGINE_TOKENIZER_TOKENIZER_MODEL_H_
#define RATION_ENGINE_TOKENIZER_TOKENIZER_MODEL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/tokenizer_spec.h"

namespace ration {

// The texts of the files; an empty one stands for a file that is not there. Of tokenizer_config.json: add_bos_token
// (true), add_eos_token (false), legacy (true: every text between special tokens begins with the prefix, else only the
// first) and added_tokens_decoder. InvalidArgument or Unimplemented names the file and the part.
absl::StatusOr<TokenizerSpec> ParseTokenizerModel(absl::string_view model, absl::string_view tokenizer_config,
                                                  absl::string_view added_tokens);

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_TOKENIZER_MODEL_H_
