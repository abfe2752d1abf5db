// Reads JSON files of outside origin. Stricter than nlohmann::json::parse, which keeps the last of two equal keys and
// nests without limit: both are refused here. Layer: engine/base. Stateless; thread-safe.
#ifndef RATION_ENGINE_BASE_STRICT_JSON_H_
#define RATION_ENGINE_BASE_STRICT_JSON_H_

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ration {

// Arrays and objects inside one another; no file of ours needs more than ten.
inline constexpr int kMaxJsonDepth = 64;

// The whole of `text` as one JSON value. InvalidArgument starts with `name` (a file's name or path) and says where the
// text breaks off, which key occurs twice, or that the nesting is deeper than kMaxJsonDepth.
absl::StatusOr<nlohmann::json> ParseStrictJson(absl::string_view text, absl::string_view name);

// What an nlohmann exception says, without the library's prefix, on one line and of bounded length.
std::string JsonErrorText(const char* what);

}  // namespace ration

#endif  // RATION_ENGINE_BASE_STRICT_JSON_H_
