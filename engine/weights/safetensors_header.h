// The JSON header of a safetensors file, read into plain entries: {name: {"dtype", "shape", "data_offsets"},
// "__metadata__": {text: text}}. Checks the form only; whether the entries fit the file is safetensors.cc's business.
// Layer: engine/weights. Stateless; thread-safe.
#ifndef RATION_ENGINE_WEIGHTS_SAFETENSORS_HEADER_H_
#define RATION_ENGINE_WEIGHTS_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ration {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;              // as written; may be unknown
  std::vector<uint64_t> shape;    // at most 8 dimensions; the product may overflow
  std::vector<uint64_t> offsets;  // [begin, end) in the data section; unchecked
};

// The entries in the header's order; "__metadata__" is checked and dropped. InvalidArgument says which tensor and what
// is wrong with it; the caller adds the file's name. Stops at the first thing the format does not allow, so that a
// large header of nonsense costs no memory.
absl::StatusOr<std::vector<SafetensorsEntry>> ParseSafetensorsHeader(absl::string_view json);

}  // namespace ration

#endif  // RATION_ENGINE_WEIGHTS_SAFETENSORS_HEADER_H_
