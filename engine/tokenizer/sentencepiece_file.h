// Reads sentencepiece's tokenizer.model, a serialised ModelProto: the pieces and the few settings that matter for
// encoding. Layer: engine/tokenizer. Pure function; thread-safe.
//
// Nothing below server/ knows protobuf, and sentencepiece's own library cannot be linked beside it (it exports an older
// protobuf's symbols). The wire format's five cases are read here; fields not named below are skipped.
#ifndef RATION_ENGINE_TOKENIZER_SENTENCEPIECE_FILE_H_
#define RATION_ENGINE_TOKENIZER_SENTENCEPIECE_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ration {

// The largest in use has 262,144 pieces and 5 MB.
inline constexpr size_t kMaxTokenizerModelBytes = size_t{64} << 20;
inline constexpr size_t kMaxSentencePieces = size_t{2} << 20;

struct SentencePieceFile {
  enum class PieceType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  enum class ModelType { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };
  struct Piece {
    std::string text;  // valid UTF-8, not empty, no other's
    float score = 0;   // finite
    PieceType type = PieceType::kNormal;
  };

  std::vector<Piece> pieces;  // by id
  // trainer_spec
  ModelType model_type = ModelType::kUnigram;
  bool byte_fallback = false;
  bool treat_whitespace_as_suffix = false;
  std::string bos_piece = "<s>", eos_piece = "</s>";
  // normalizer_spec
  bool has_character_map = false;  // some characters become others first, e.g. by NFKC
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

// InvalidArgument: "pieces[17]: ..." or the byte at which the file breaks off.
absl::StatusOr<SentencePieceFile> ReadSentencePieceFile(absl::string_view bytes);

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_SENTENCEPIECE_FILE_H_
