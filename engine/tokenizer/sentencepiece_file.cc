// See sentencepiece_file.h.
#include "engine/tokenizer/sentencepiece_file.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/tokenizer/tokenizer_spec.h"
#include "engine/tokenizer/utf8.h"

namespace ration {
namespace {

// A field of a message: `number` for the integer kinds (a float's bits too), `bytes` for strings and messages.
struct Field {
  uint64_t tag = 0;
  uint64_t number = 0;
  absl::string_view bytes;
};

class FieldReader {
 public:
  explicit FieldReader(absl::string_view bytes) : rest_(bytes), size_(bytes.size()) {}
  bool Done() const { return rest_.empty(); }

  absl::StatusOr<Field> Next() {
    uint64_t key = 0, length = 0;
    Field field;
    bool whole = Varint(key);
    field.tag = key >> 3;
    switch (key & 7) {
      case 0:
        whole = whole && Varint(field.number);
        break;
      case 1:
        whole = whole && Fixed(8, field.number);
        break;
      case 2:
        whole = whole && Varint(length) && length <= rest_.size();
        if (whole) {
          field.bytes = rest_.substr(0, length);
          rest_.remove_prefix(length);
        }
        break;
      case 5:
        whole = whole && Fixed(4, field.number);
        break;
      default:
        whole = false;  // groups, which the format gave up before sentencepiece was written
    }
    if (!whole || field.tag == 0) {
      return absl::InvalidArgumentError(absl::StrCat("not a sentencepiece model: breaks off at byte ",
                                                     size_ - rest_.size(), " of a message of ", size_));
    }
    return field;
  }

 private:
  bool Varint(uint64_t& number) {
    number = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      number |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  bool Fixed(size_t bytes, uint64_t& number) {
    if (rest_.size() < bytes) return false;
    for (size_t i = 0; i < bytes; ++i) number |= static_cast<uint64_t>(static_cast<unsigned char>(rest_[i])) << (8 * i);
    rest_.remove_prefix(bytes);
    return true;
  }

  absl::string_view rest_;
  size_t size_;
};

absl::Status ForEachField(absl::string_view message, absl::FunctionRef<absl::Status(const Field&)> visit) {
  FieldReader reader(message);
  while (!reader.Done()) {
    RATION_ASSIGN_OR_RETURN(const Field field, reader.Next());
    RATION_RETURN_IF_ERROR(visit(field));
  }
  return absl::OkStatus();
}

absl::StatusOr<SentencePieceFile::Piece> ReadPiece(absl::string_view message) {
  SentencePieceFile::Piece piece;
  uint64_t type = 1;
  RATION_RETURN_IF_ERROR(ForEachField(message, [&](const Field& field) {
    if (field.tag == 1) piece.text = std::string(field.bytes);
    if (field.tag == 2) {
      const auto bits = static_cast<uint32_t>(field.number);
      std::memcpy(&piece.score, &bits, sizeof(piece.score));
    }
    if (field.tag == 3) type = field.number;
    return absl::OkStatus();
  }));
  if (piece.text.empty()) return absl::InvalidArgumentError("the text is empty");
  if (piece.text.size() > kMaxTokenBytes) {
    return absl::InvalidArgumentError(absl::StrCat("has ", piece.text.size(), " bytes; the limit is ", kMaxTokenBytes));
  }
  if (FindInvalidUtf8(piece.text) != absl::string_view::npos) return absl::InvalidArgumentError("not valid UTF-8");
  if (!std::isfinite(piece.score)) return absl::InvalidArgumentError("the score is no number");
  if (type < 1 || type > 6) return absl::InvalidArgumentError(absl::StrCat("unknown type ", type));
  piece.type = static_cast<SentencePieceFile::PieceType>(type);
  return piece;
}

absl::Status ReadTrainerSpec(absl::string_view message, SentencePieceFile& file) {
  return ForEachField(message, [&](const Field& field) {
    switch (field.tag) {
      case 3:
        if (field.number < 1 || field.number > 4) {
          return absl::InvalidArgumentError(absl::StrCat("trainer_spec.model_type: unknown type ", field.number));
        }
        file.model_type = static_cast<SentencePieceFile::ModelType>(field.number);
        break;
      case 24:
        file.treat_whitespace_as_suffix = field.number != 0;
        break;
      case 35:
        file.byte_fallback = field.number != 0;
        break;
      case 46:
        file.bos_piece = std::string(field.bytes);
        break;
      case 47:
        file.eos_piece = std::string(field.bytes);
        break;
      default:
        break;
    }
    return absl::OkStatus();
  });
}

absl::Status ReadNormalizerSpec(absl::string_view message, SentencePieceFile& file) {
  return ForEachField(message, [&](const Field& field) {
    switch (field.tag) {
      case 2:
        file.has_character_map = !field.bytes.empty();
        break;
      case 3:
        file.add_dummy_prefix = field.number != 0;
        break;
      case 4:
        file.remove_extra_whitespaces = field.number != 0;
        break;
      case 5:
        file.escape_whitespaces = field.number != 0;
        break;
      default:
        break;
    }
    return absl::OkStatus();
  });
}

}  // namespace

absl::StatusOr<SentencePieceFile> ReadSentencePieceFile(absl::string_view bytes) {
  if (bytes.size() > kMaxTokenizerModelBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", bytes.size(), " bytes; the limit is ", kMaxTokenizerModelBytes));
  }
  SentencePieceFile file;
  RATION_RETURN_IF_ERROR(ForEachField(bytes, [&](const Field& field) -> absl::Status {
    if (field.tag == 2) return ReadTrainerSpec(field.bytes, file);
    if (field.tag == 3) return ReadNormalizerSpec(field.bytes, file);
    if (field.tag != 1) return absl::OkStatus();
    if (file.pieces.size() == kMaxSentencePieces) {
      return absl::InvalidArgumentError(absl::StrCat("has more than ", kMaxSentencePieces, " pieces"));
    }
    absl::StatusOr<SentencePieceFile::Piece> piece = ReadPiece(field.bytes);
    if (!piece.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("pieces[", file.pieces.size(), "]: ", piece.status().message()));
    }
    file.pieces.push_back(*std::move(piece));
    return absl::OkStatus();
  }));
  if (file.pieces.empty()) return absl::InvalidArgumentError("not a sentencepiece model: it has no pieces");

  absl::flat_hash_map<absl::string_view, size_t> id_of_text;
  id_of_text.reserve(file.pieces.size());
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const auto [other, inserted] = id_of_text.try_emplace(file.pieces[id].text, id);
    if (!inserted) {
      return absl::InvalidArgumentError(absl::StrCat("pieces[", id, "]: ", Quoted(file.pieces[id].text),
                                                     " is that of pieces[", other->second, "] too"));
    }
  }
  return file;
}

}  // namespace ration
