// model.safetensors.index.json: which file of a sharded checkpoint holds which tensor.
// Layer: engine/weights. Stateless functions; thread-safe.
#ifndef RATION_ENGINE_WEIGHTS_SHARD_INDEX_H_
#define RATION_ENGINE_WEIGHTS_SHARD_INDEX_H_

#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ration {

// Tensor name -> file name, from the file's text; `path` stands for the file in messages. Shards lie in the directory itself, since a
// name with a separator could reach outside: InvalidArgument names the tensor and the rule. Never empty.
absl::StatusOr<absl::flat_hash_map<std::string, std::string>> ParseShardIndex(absl::string_view text, const std::string& path);

}  // namespace ration

#endif  // RATION_ENGINE_WEIGHTS_SHARD_INDEX_H_
