// Renders chat templates from a file, for comparison with other implementations (golden/README.md): reads JSON lines
// {"template": ..., "messages": [...], "add_generation_prompt": ..., "variables": {...}, "special_tokens": {...}} from
// standard input and writes one JSON line each, {"text": ...} or {"error": ...}.
#include <iostream>
#include <string>

#include <nlohmann/json.hpp>

#include "tests/engine/chat/json_value.h"

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const auto input = nlohmann::ordered_json::parse(line);
    const absl::StatusOr<std::string> text = ration::RenderCase(input["template"].get<std::string>(), input);
    nlohmann::ordered_json output;
    if (text.ok()) {
      output["text"] = *text;
    } else {
      output["error"] = std::string(text.status().message());
    }
    std::cout << output.dump() << "\n";
  }
}
