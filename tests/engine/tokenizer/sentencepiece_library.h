// sentencepiece's own library, as something to compare with. Its headers bring their own absl::string_view, so that no file
// can include both them and abseil.
#ifndef RATION_TESTS_ENGINE_TOKENIZER_SENTENCEPIECE_LIBRARY_H_
#define RATION_TESTS_ENGINE_TOKENIZER_SENTENCEPIECE_LIBRARY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace ration {

// The bytes of a tokenizer.model trained on `sentences`; aborts if the trainer refuses `options`.
std::string TrainSentencePieceModel(const std::unordered_map<std::string, std::string>& options,
                                    const std::vector<std::string>& sentences);

class SentencePieceLibrary {
 public:
  // Aborts if the library does not take the model.
  explicit SentencePieceLibrary(const std::string& model);
  ~SentencePieceLibrary();

  int32_t size() const;
  std::vector<int32_t> Encode(const std::string& text) const;
  std::string Decode(const std::vector<int32_t>& ids) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ration

#endif  // RATION_TESTS_ENGINE_TOKENIZER_SENTENCEPIECE_LIBRARY_H_
