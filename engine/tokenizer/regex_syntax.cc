// See regex_syntax.h.
#include "engine/tokenizer/regex_syntax.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/tokenizer/utf8.h"

namespace ration {
namespace {

// What \s, \w and \d stand for in Oniguruma with UTF-8. PCRE2's own \s has U+180E besides, its \w lacks marks.
constexpr char kSpaceItems[] =
    R"(\x09-\x0D\x20\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
constexpr char kWordItems[] = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
// Outside a class Oniguruma's \w takes Latin-1's superscripts and fractions too.
constexpr char kLoneWordItems[] = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
constexpr char kDigitItems[] = R"(\p{Nd})";

constexpr std::pair<absl::string_view, absl::string_view> kLongCategories[] = {
    {"letter", "L"}, {"mark", "M"},      {"number", "N"}, {"punctuation", "P"},
    {"symbol", "S"}, {"separator", "Z"}, {"other", "C"}};

constexpr absl::string_view kCategories[] = {
    "C",  "Cc", "Cf", "Cn", "Co", "Cs", "L",  "Ll", "Lm", "Lo", "Lt", "Lu", "M",  "Mc", "Me", "Mn", "N",  "Nd", "Nl",
    "No", "P",  "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z",  "Zl", "Zp", "Zs"};

class Translator {
 public:
  explicit Translator(absl::string_view pattern) : pattern_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (at_ < pattern_.size()) {
      switch (pattern_[at_]) {
        case '\\':
          RATION_RETURN_IF_ERROR(Escape(false));
          break;
        case '[':
          RATION_RETURN_IF_ERROR(Class());
          break;
        case '(':
          RATION_RETURN_IF_ERROR(OpenGroup());
          break;
        case ')':
          if (depth_ == 0) return Invalid("unmatched )");
          --depth_;
          Copy(1, true);
          break;
        case '|':
        case '^':
        case '$':
          Copy(1, false);
          break;
        case '.':
          Copy(1, true);
          break;
        case '?':
        case '*':
        case '+':
        case '{':
          RATION_RETURN_IF_ERROR(Quantifier());
          break;
        default:
          Literal();
          break;
      }
    }
    if (depth_ > 0) return Invalid("a group is not closed");
    return std::move(out_);
  }

 private:
  absl::Status Invalid(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(what, " at byte ", at_));
  }
  absl::Status Unsupported(absl::string_view what) const {
    return absl::UnimplementedError(absl::StrCat(what, " at byte ", at_, " is not supported"));
  }
  absl::string_view Rest() const { return pattern_.substr(at_); }
  bool Ahead(absl::string_view text) const { return Rest().substr(0, text.size()) == text; }

  void Copy(size_t bytes, bool repeatable) {
    absl::StrAppend(&out_, Rest().substr(0, bytes));
    at_ += bytes;
    repeatable_ = repeatable;
  }

  // A character that stands for itself, whatever PCRE2 would make of it bare.
  void AppendLiteral(char32_t c) {
    if (c < 0x80 && (absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == ' ')) {
      out_.push_back(static_cast<char>(c));
    } else {
      absl::StrAppendFormat(&out_, "\\x{%X}", static_cast<uint32_t>(c));
    }
  }

  void Literal() {
    AppendLiteral(FirstCodePoint(Rest()));
    at_ += static_cast<size_t>(Utf8CharLength(Rest()));
    repeatable_ = true;
  }

  absl::Status OpenGroup() {
    for (const absl::string_view opening : {"(?:", "(?>", "(?=", "(?!", "(?<=", "(?<!", "(?i:", "(?-i:"}) {
      if (!Ahead(opening)) continue;
      ++depth_;
      Copy(opening.size(), false);
      return absl::OkStatus();
    }
    if (at_ == 0 && Ahead("(?i)")) {  // elsewhere its reach differs
      Copy(4, false);
      return absl::OkStatus();
    }
    if (Ahead("(?") || Ahead("(*")) return Unsupported(Quoted(Rest().substr(0, 3)));
    ++depth_;
    out_ += "(?:";  // nothing can refer to what it captures
    ++at_;
    repeatable_ = false;
    return absl::OkStatus();
  }

  // Reads "{n}", "{n,}", "{,m}" or "{n,m}" at the front of `text`; its length, 0 if it is none.
  static size_t ReadInterval(absl::string_view text, std::string& interval, bool& exact) {
    const size_t close = text.find('}');
    if (close == absl::string_view::npos) return 0;
    const absl::string_view inside = text.substr(1, close - 1);
    const size_t comma = inside.find(',');
    const absl::string_view low = inside.substr(0, comma);
    const absl::string_view high = comma == absl::string_view::npos ? low : inside.substr(comma + 1);
    exact = comma == absl::string_view::npos;
    for (const absl::string_view bound : {low, high}) {
      for (char c : bound) {
        if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return 0;
      }
    }
    if (low.empty() && high.empty()) return 0;
    interval = exact ? absl::StrCat("{", low, "}") : absl::StrCat("{", low.empty() ? "0" : low, ",", high, "}");
    return close + 1;
  }

  absl::Status Quantifier() {
    bool interval = false, exact = false;
    std::string text(1, pattern_[at_]);
    size_t length = 1;
    if (pattern_[at_] == '{') {
      length = ReadInterval(Rest(), text, exact);
      if (length == 0) {  // not an interval: an ordinary brace
        Literal();
        return absl::OkStatus();
      }
      interval = true;
    }
    if (!repeatable_) return Unsupported("a quantifier without anything plain to repeat");
    at_ += length;
    out_ += text;
    if (at_ < pattern_.size() && (pattern_[at_] == '?' || pattern_[at_] == '+')) {
      // "{2}?" and "{2}+" are not lazy and possessive in Ruby's syntax.
      if (interval && (exact || pattern_[at_] == '+')) return Unsupported(absl::StrCat("a suffix to ", Quoted(text)));
      out_.push_back(pattern_[at_++]);
    }
    repeatable_ = false;
    return absl::OkStatus();
  }

  // \x41, \x{41}, \u0041: the character's number; at_ moves behind it.
  absl::StatusOr<char32_t> HexEscape() {
    absl::string_view digits;
    size_t length;
    if (Ahead("\\x{")) {
      const size_t close = Rest().find('}');
      if (close == absl::string_view::npos) return Invalid("\\x{ is not closed");
      digits = Rest().substr(3, close - 3);
      length = close + 1;
    } else {
      const size_t count = Ahead("\\x") ? 2 : 4;
      digits = Rest().substr(2, count);
      if (digits.size() != count) return Invalid("too few hexadecimal digits");
      length = 2 + count;
    }
    uint32_t number = 0;
    if (digits.empty() || digits.size() > 6 || !absl::SimpleHexAtoi(digits, &number) || digits[0] == '-' ||
        digits[0] == '+' || digits[0] == ' ') {
      return Invalid("not a hexadecimal number");
    }
    if (number > 0x10FFFF || (number >= 0xD800 && number <= 0xDFFF)) return Invalid("not a character");
    if (length == 4 && number >= 0x80) return Unsupported("a lone byte");
    at_ += length;
    return static_cast<char32_t>(number);
  }

  // \p{Name}, \p{^Name}, \P{Name}.
  absl::Status Property() {
    const size_t close = Rest().find('}');
    if (!(Ahead("\\p{") || Ahead("\\P{")) || close == absl::string_view::npos) {
      return Invalid("a property must be written \\p{Name}");
    }
    bool negated = pattern_[at_ + 1] == 'P';
    absl::string_view name = Rest().substr(3, close - 3);
    if (!name.empty() && name[0] == '^') {
      negated = !negated;
      name.remove_prefix(1);
    }
    for (char c : name) {
      if (!absl::ascii_isalpha(static_cast<unsigned char>(c)) && c != '_' && c != ' ')
        return Invalid("not a property name");
    }
    std::string meaning;
    for (const absl::string_view category : kCategories) {
      if (absl::EqualsIgnoreCase(name, category)) meaning = std::string(category);
    }
    for (const auto& [long_name, category] : kLongCategories) {
      if (absl::EqualsIgnoreCase(name, long_name)) meaning = std::string(category);
    }
    if (absl::EqualsIgnoreCase(name, "alphabetic") || absl::EqualsIgnoreCase(name, "white_space")) {
      meaning = std::string(name);
    }
    // Else a script; of the script alone, not of the scripts that may use the character, as PCRE2 would have it.
    if (meaning.empty()) meaning = absl::StrCat("sc:", name);
    absl::StrAppend(&out_, negated ? "\\P{" : "\\p{", meaning, "}");
    at_ += close + 1;
    return absl::OkStatus();
  }

  // `set_item`: set if what was read is a set of characters and not one.
  absl::Status Escape(bool in_class, bool* set_item = nullptr) {
    repeatable_ = true;
    if (at_ + 1 >= pattern_.size()) return Invalid("nothing follows the backslash");
    const char c = pattern_[at_ + 1];
    const auto one = [&](char32_t character) {
      AppendLiteral(character);
      at_ += 2;
      return absl::OkStatus();
    };
    const auto set = [&](absl::string_view items, bool negated) -> absl::Status {
      if (set_item != nullptr) *set_item = true;
      if (!in_class) {
        absl::StrAppend(&out_, negated ? "[^" : "[", items, "]");
      } else if (!negated) {
        absl::StrAppend(&out_, items);
      } else if (items == kDigitItems) {
        out_ += "\\P{Nd}";
      } else if (items == kSpaceItems) {
        out_ += "\\P{White_Space}";
      } else {
        return Unsupported("\\W in a class");
      }
      at_ += 2;
      return absl::OkStatus();
    };
    switch (c) {
      case 's':
        return set(kSpaceItems, false);
      case 'S':
        return set(kSpaceItems, true);
      case 'd':
        return set(kDigitItems, false);
      case 'D':
        return set(kDigitItems, true);
      case 'w':
        return set(in_class ? kWordItems : kLoneWordItems, false);
      case 'W':
        return set(kLoneWordItems, true);
      case 'p':
      case 'P':
        if (set_item != nullptr) *set_item = true;
        return Property();
      case 't':
        return one('\t');
      case 'n':
        return one('\n');
      case 'v':
        return one('\v');
      case 'f':
        return one('\f');
      case 'r':
        return one('\r');
      case 'a':
        return one('\a');
      case 'e':
        return one(0x1B);
      case 'x':
      case 'u': {
        RATION_ASSIGN_OR_RETURN(const char32_t character, HexEscape());
        AppendLiteral(character);
        return absl::OkStatus();
      }
      case 'A':
      case 'z':
      case 'Z':
        if (in_class) break;
        Copy(2, false);
        return absl::OkStatus();
      default:
        break;
    }
    if (absl::ascii_isalnum(static_cast<unsigned char>(c))) return Unsupported(Quoted(Rest().substr(0, 2)));
    ++at_;
    Literal();
    return absl::OkStatus();
  }

  // One character of a class, or (then `set`) a set of them, appended to `out_`.
  absl::Status ClassItem(bool& set) {
    set = false;
    if (pattern_[at_] == '\\') return Escape(true, &set);
    Literal();
    return absl::OkStatus();
  }

  absl::Status Class() {
    ++at_;
    out_ += Ahead("^") ? "[^" : "[";
    if (Ahead("^")) ++at_;
    int nested = 0;
    if (Ahead("]")) return Unsupported("] as the first of a class");
    while (true) {
      if (at_ >= pattern_.size()) return Invalid("a class is not closed");
      if (Ahead("&&")) return Unsupported("an intersection of classes");
      if (Ahead("[:")) return Unsupported("\"[:\"");
      if (Ahead("[^")) return Unsupported("a negated class inside a class");
      if (Ahead("[")) {  // a union: its brackets say nothing
        ++at_;
        ++nested;
        if (Ahead("]")) return Unsupported("] as the first of a class");
        continue;
      }
      if (Ahead("]")) {
        ++at_;
        if (nested-- == 0) break;
        continue;
      }
      bool set = false;
      RATION_RETURN_IF_ERROR(ClassItem(set));
      // A hyphen before a character makes a range; at the end, or beside a set, it is itself.
      if (!Ahead("-") || at_ + 1 >= pattern_.size() || pattern_[at_ + 1] == ']') continue;
      if (set || pattern_[at_ + 1] == '[') return Unsupported("a hyphen beside a set of characters");
      ++at_;
      out_.push_back('-');
      RATION_RETURN_IF_ERROR(ClassItem(set));
      if (set) return Unsupported("a range that ends with a set of characters");
    }
    out_ += "]";
    repeatable_ = true;
    return absl::OkStatus();
  }

  absl::string_view pattern_;
  size_t at_ = 0;
  int depth_ = 0;
  bool repeatable_ = false;  // what was written last can take a quantifier
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> TranslateRegex(absl::string_view pattern) { return Translator(pattern).Run(); }

}  // namespace ration
