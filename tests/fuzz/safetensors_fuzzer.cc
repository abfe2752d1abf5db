// Any bytes as a safetensors file: refused with a message, or tensors that lie inside the file, tile it and are
// readable.
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "engine/base/check.h"
#include "engine/weights/safetensors.h"

namespace ration {
namespace {

void Run(absl::string_view input) {
  const absl::StatusOr<std::unique_ptr<SafetensorsFile>> parsed = SafetensorsFile::Parse(input, "fuzz.safetensors");
  if (!parsed.ok()) {
    const absl::string_view message = parsed.status().message();
    RATION_CHECK(parsed.status().code() == absl::StatusCode::kInvalidArgument);
    RATION_CHECK(absl::StartsWith(message, "fuzz.safetensors: ") && message.size() < 2000);
    for (char c : message) RATION_CHECK(static_cast<unsigned char>(c) >= 0x20);  // one line of a log
    return;
  }
  const SafetensorsFile& file = **parsed;
  const uint8_t* begin = reinterpret_cast<const uint8_t*>(input.data());
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) header_bytes = header_bytes << 8 | begin[i];
  int64_t total = 0;
  uint64_t sum = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    RATION_CHECK(tensor.data >= begin + 8 + header_bytes && tensor.num_bytes >= 0);
    RATION_CHECK(tensor.num_bytes <= begin + input.size() - tensor.data);
    int64_t elements = 1;
    for (int64_t dim : tensor.shape) {
      RATION_CHECK(dim >= 0);
      elements *= dim;
    }
    RATION_CHECK(tensor.num_bytes == elements * (tensor.dtype == StoredDType::kF32 ? 4 : 2));
    for (int64_t i = 0; i < tensor.num_bytes; ++i) sum += tensor.data[i];
    total += tensor.num_bytes;
    RATION_CHECK(file.Find(name) == &tensor);
  }
  RATION_CHECK(total == static_cast<int64_t>(input.size() - 8 - header_bytes));
  volatile uint64_t keep = sum;  // the reads above must happen
  (void)keep;
}

}  // namespace
}  // namespace ration

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ration::Run(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
