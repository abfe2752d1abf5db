// Writes a trained model as a Hugging Face directory that the engine opens: config.json with the "mixsga" object,
// model.safetensors, and the base model's tokenizer files.
// Layer: tools/train. Stateless; not for two writers of one directory at once.
#ifndef RATION_TOOLS_TRAIN_CHECKPOINT_OUTPUT_H_
#define RATION_TOOLS_TRAIN_CHECKPOINT_OUTPUT_H_

#include <string>

#include "absl/status/status.h"
#include "tools/train/llama_weights.h"

namespace ration {

// Files of `directory` (made if it is not there) are replaced one by one, each whole. config.json is base_directory's
// with weights.config.mixsga in it; tokenizer.json, tokenizer_config.json, special_tokens_map.json and
// generation_config.json are copied where base_directory has them. Fails with the path and the reason.
absl::Status WriteModelDirectory(const LlamaWeights& weights, const std::string& base_directory,
                                 const std::string& directory);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_CHECKPOINT_OUTPUT_H_
