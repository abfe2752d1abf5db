// Small tokenizer.json texts for the tests of this folder, put together from parts.
#ifndef RATION_TESTS_ENGINE_TOKENIZER_TEST_JSON_H_
#define RATION_TESTS_ENGINE_TOKENIZER_TEST_JSON_H_

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "engine/tokenizer/tokenizer.h"

namespace ration {

// A BPE file whose ids are the places in `tokens`; every other part is absent.
inline nlohmann::json BpeJson(const std::vector<std::string>& tokens, const std::vector<std::string>& merges) {
  nlohmann::json vocab = nlohmann::json::object();
  for (size_t id = 0; id < tokens.size(); ++id) vocab[tokens[id]] = id;
  return {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

inline absl::StatusOr<std::unique_ptr<Tokenizer>> Parse(const nlohmann::json& json) {
  return ParseTokenizer(json.dump());
}

inline std::unique_ptr<Tokenizer> MustParse(const nlohmann::json& json) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Parse(json);
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer.status();
    return nullptr;
  }
  return *std::move(tokenizer);
}

}  // namespace ration

#endif  // RATION_TESTS_ENGINE_TOKENIZER_TEST_JSON_H_
