// Where a command reads and writes, so that tests can stand in for the terminal; and how numbers and text are shown to people.
// Layer: client. Thread-compatible.
#ifndef RATION_CLIENT_CONSOLE_H_
#define RATION_CLIENT_CONSOLE_H_

#include <cstdint>
#include <istream>
#include <ostream>
#include <string>

#include "absl/strings/string_view.h"

namespace ration {

struct Console {
  std::istream* in = nullptr;
  std::ostream* out = nullptr;
  std::ostream* err = nullptr;
  bool in_is_terminal = false;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  bool colors = false;  // may escape sequences be written to the outputs that are terminals?
  int columns = 80;

  // Standard input, output and error of this process. Colours unless NO_COLOR is set and not empty, or TERM is "dumb".
  static Console Standard();
};

// `text` in bold or dimmed if `colored`, else as it is.
std::string Bold(absl::string_view text, bool colored);
std::string Dim(absl::string_view text, bool colored);

// `text` without the control characters that could play tricks on a terminal: all but line feed and tab become U+FFFD.
std::string TerminalSafe(absl::string_view text);

// Three significant digits, binary units: "512 B", "78.1 KiB", "1.50 MiB".
std::string HumanBytes(int64_t bytes);

// Three significant digits: "850 us", "12.3 ms", "4.05 s"; "0 ms" for nothing.
std::string HumanSeconds(double seconds);

// Three significant digits or all before the point: "0.93", "12.5", "1480".
std::string HumanNumber(double value);

// Columns that `text` takes at a terminal, for text with characters of one column each.
int DisplayWidth(absl::string_view text);

}  // namespace ration

#endif  // RATION_CLIENT_CONSOLE_H_
