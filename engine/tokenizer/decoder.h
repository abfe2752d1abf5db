// tokenizer.json's "decoder": from tokens to text, token by token, so that a stream and a whole decode are the same
// code.
// Layer: engine/tokenizer. Thread-compatible; copyable. Reading the file is tokenizer_json's work.
#ifndef RATION_ENGINE_TOKENIZER_DECODER_H_
#define RATION_ENGINE_TOKENIZER_DECODER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace ration {

struct DecoderStep {
  enum class Kind {
    kReplace,       // in each token, every `pattern` (not empty) becomes `content`
    kByteFallback,  // a run of tokens "<0xNN>" becomes one token if its bytes are valid UTF-8, else one U+FFFD for each
    kFuse,          // all tokens become one
    kStrip,  // from each token, up to `start` times `content` (one character) at its beginning, `stop` times at its end
    kMetaspace,  // `content` (one character) becomes a space; in the first token, with `drop_in_first`, nothing
    kJoin,       // `content` between the tokens (a file without a decoder joins with spaces)
    kByteLevel,  // all tokens become one: the bytes that their characters stand for (byte_level.h); a longest beginning
                 // of a character that is not completed, or a byte that begins none, becomes one U+FFFD
  };
  Kind kind = Kind::kFuse;
  std::string pattern;
  std::string content;
  int64_t start = 0, stop = 0;
  bool drop_in_first = false;
};

class DecoderChain {
 public:
  // `steps` must outlive the chain. REQUIRES: no kByteFallback or kByteLevel after a kFuse or kByteLevel.
  explicit DecoderChain(const std::vector<DecoderStep>* steps) : steps_(steps), states_(steps->size()) {}

  // Appends to `text` what became certain. REQUIRES: `token` is valid UTF-8. What is appended is whole characters.
  void Push(absl::string_view token, std::string& text) { Emit(0, {token, true, true}, text); }
  // The end of the tokens: appends what was held back.
  void Finish(std::string& text);

 private:
  // A token or a part of one, cut between characters.
  struct Part {
    absl::string_view text;
    bool begins;  // a new token begins here
    bool ends;    // this is the token's end
  };
  struct State {
    std::string
        pending;  // kReplace: a beginning of `pattern`; kByteFallback: the bytes of the run; kByteLevel: of a character
    size_t char_begin = 0;  // kByteFallback: where the unfinished last character of `pending` begins
    bool broken = false;    // kByteFallback: the run is invalid, its bytes are out
    bool started = false;   // kFuse, kByteLevel, kMetaspace, kJoin: there was a token
    bool in_first = false;  // kMetaspace
    bool at_front = false;  // kStrip: only stripped characters so far
    int64_t front = 0;      // kStrip: characters stripped from the front
    int64_t held = 0;       // kStrip: times `content` at the end, not yet given out
  };

  void Emit(size_t step, Part part, std::string& text);
  void EmitReplaced(size_t step, Part part, std::string& text);
  void EmitBytes(size_t step, Part part, std::string& text);
  void EmitStripped(size_t step, Part part, std::string& text);
  void EmitByteLevel(size_t step, Part part, std::string& text);
  void FlushBytes(size_t step, std::string& text);

  const std::vector<DecoderStep>* steps_;
  std::vector<State> states_;
};

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_DECODER_H_
