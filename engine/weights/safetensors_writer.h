// Writes tensors as one safetensors file that SafetensorsFile (and any other reader of the format) opens.
// Not a streaming writer: all tensors are in memory. For tools and tests.
// Layer: engine/weights. Stateless; thread-safe, except for two writers of one path, of which the last wins.
#ifndef RATION_ENGINE_WEIGHTS_SAFETENSORS_WRITER_H_
#define RATION_ENGINE_WEIGHTS_SAFETENSORS_WRITER_H_

#include <ATen/core/Tensor.h>

#include <string>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"

namespace ration {

// Tensors are stored in their own dtype (kFloat, kHalf or kBFloat16), row-major, whatever their strides, device or
// gradients. The data section starts at a multiple of 64 bytes and every tensor at a multiple of its element size. The
// file appears under `path` complete or not at all: it is written beside it under another name, synced and renamed.
// `metadata` goes to the header's "__metadata__"; HF readers expect {"format": "pt"}.
// InvalidArgument names a tensor of another dtype or with a name that is not UTF-8; Internal or PermissionDenied names
// the path and the system's reason, and leaves what was there before.
absl::Status WriteSafetensors(const std::string& path, const absl::btree_map<std::string, at::Tensor>& tensors,
                              const absl::btree_map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace ration

#endif  // RATION_ENGINE_WEIGHTS_SAFETENSORS_WRITER_H_
