#include "engine/base/quote.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace ration {

std::string Quoted(absl::string_view text) {
  constexpr size_t kMaxBytes = 100;
  if (text.size() <= kMaxBytes) return absl::StrCat("\"", absl::Utf8SafeCHexEscape(text), "\"");
  size_t cut = kMaxBytes;  // not inside a UTF-8 character: its later bytes are 10xxxxxx
  while (cut > kMaxBytes - 4 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(text.substr(0, cut)), "...\"");
}

}  // namespace ration
