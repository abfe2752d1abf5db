// See byte_level.h.
#include "engine/tokenizer/byte_level.h"

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/tokenizer/utf8.h"

namespace ration {
namespace {

struct Alphabet {
  std::array<char32_t, 256> character_of_byte{};
  std::array<int16_t, 0x180> byte_of_character{};  // -1: stands for none

  Alphabet() {
    byte_of_character.fill(-1);
    char32_t next = 0x100;
    for (size_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      const char32_t character = printable ? static_cast<char32_t>(byte) : next++;
      character_of_byte[byte] = character;
      byte_of_character[character] = static_cast<int16_t>(byte);
    }
  }
};

const Alphabet& TheAlphabet() {
  static const Alphabet alphabet;
  return alphabet;
}

}  // namespace

void AppendByteCharacters(absl::string_view bytes, std::string& characters) {
  const Alphabet& alphabet = TheAlphabet();
  for (char byte : bytes) {
    const char32_t c = alphabet.character_of_byte[static_cast<unsigned char>(byte)];
    if (c < 0x80) {
      characters.push_back(static_cast<char>(c));
    } else {
      characters.push_back(static_cast<char>(0xC0 | (c >> 6)));
      characters.push_back(static_cast<char>(0x80 | (c & 0x3F)));
    }
  }
}

void AppendBytesOfToken(absl::string_view token, std::string& bytes) {
  const Alphabet& alphabet = TheAlphabet();
  const size_t size = bytes.size();
  for (absl::string_view rest = token; !rest.empty(); rest.remove_prefix(static_cast<size_t>(Utf8CharLength(rest)))) {
    const char32_t c = FirstCodePoint(rest);
    const int byte = c < alphabet.byte_of_character.size() ? alphabet.byte_of_character[c] : -1;
    if (byte < 0) {
      bytes.resize(size);
      bytes.append(token.data(), token.size());
      return;
    }
    bytes.push_back(static_cast<char>(byte));
  }
}

}  // namespace ration
