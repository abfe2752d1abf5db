// Any bytes as model.safetensors.index.json: refused with a message of one line, or names of files in the same directory.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "engine/base/check.h"
#include "engine/weights/shard_index.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto index = ration::ParseShardIndex(absl::string_view(reinterpret_cast<const char*>(data), size), "DIR/index.json");
  if (!index.ok()) {
    const absl::string_view message = index.status().message();
    RATION_CHECK(index.status().code() == absl::StatusCode::kInvalidArgument);
    RATION_CHECK(absl::StartsWith(message, "DIR/index.json: ") && message.size() < 2000);
    for (char c : message) RATION_CHECK(static_cast<unsigned char>(c) >= 0x20);
    return 0;
  }
  RATION_CHECK(!index->empty());
  for (const auto& [tensor, file] : *index) {
    RATION_CHECK(!file.empty() && file != "." && file != ".." && file.find('/') == std::string::npos);
  }
  return 0;
}
