// Oniguruma, the regular expressions that Hugging Face's tokenizers use, as something to compare with. Its own header does
// not go together with POSIX's, which GoogleTest includes.
#ifndef RATION_TESTS_ENGINE_TOKENIZER_ONIGURUMA_H_
#define RATION_TESTS_ENGINE_TOKENIZER_ONIGURUMA_H_

#include <memory>
#include <string>

namespace ration {

class Oniguruma {
 public:
  // In Ruby's syntax, over UTF-8. Aborts if the expression is not valid.
  explicit Oniguruma(const std::string& pattern);
  ~Oniguruma();

  // `text` with every match in brackets. REQUIRES: the expression never matches the empty text.
  std::string Mark(const std::string& text) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ration

#endif  // RATION_TESTS_ENGINE_TOKENIZER_ONIGURUMA_H_
