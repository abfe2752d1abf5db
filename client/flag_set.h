// The flags of one command: parsing and help text. Flags belong to a command here, not to the process, which abseil's flags do.
// Layer: client. Thread-compatible.
#ifndef RATION_CLIENT_FLAG_SET_H_
#define RATION_CLIENT_FLAG_SET_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace ration {

class FlagSet {
 public:
  // Starts a group of flags in the help text.
  void Section(std::string title);

  // Declares --name. Values go to `*value`, which must outlive Parse; it holds the default before. `placeholder` names the value
  // in the help text. A bool is a switch: --name, --noname.
  void Add(std::string name, bool* value, std::string help);
  void Add(std::string name, std::string placeholder, std::string* value, std::string help);
  void Add(std::string name, std::string placeholder, std::optional<std::string>* value, std::string help);
  void Add(std::string name, std::string placeholder, std::optional<float>* value, std::string help);
  void Add(std::string name, std::string placeholder, std::optional<double>* value, std::string help);
  void Add(std::string name, std::string placeholder, std::optional<int32_t>* value, std::string help);
  void Add(std::string name, std::string placeholder, std::optional<int64_t>* value, std::string help);
  void Add(std::string name, std::string placeholder, std::optional<uint64_t>* value, std::string help);
  void Add(std::string name, std::string placeholder, std::optional<absl::Duration>* value, std::string help);
  void Add(std::string name, std::optional<bool>* value, std::string help);
  // May be given several times; each value is taken as it is.
  void Add(std::string name, std::string placeholder, std::vector<std::string>* values, std::string help);
  // Numbers separated by commas or spaces; may be given several times.
  void Add(std::string name, std::string placeholder, std::optional<std::vector<int32_t>>* values, std::string help);
  // ID:NUMBER pairs separated by commas; may be given several times.
  void Add(std::string name, std::string placeholder, std::vector<std::pair<int32_t, float>>* values, std::string help);

  // Reads --name=value, --name value, --switch and --noswitch, anywhere; "--" ends the flags. Dashes inside names count as
  // underscores. Returns what is not a flag, in order ("-" is not a flag). InvalidArgument names the flag and what is wrong.
  absl::StatusOr<std::vector<std::string>> Parse(absl::Span<const std::string> arguments) const;

  // One entry a flag, wrapped at `columns`.
  std::string Help(int columns) const;

 private:
  struct Flag {
    std::string name;
    std::string placeholder;  // empty: a switch
    std::string help;
    std::function<absl::Status(absl::string_view)> set;  // gets "true" or "false" for a switch
    std::string section;
  };
  const Flag* Find(absl::string_view name) const;
  void Declare(std::string name, std::string placeholder, std::string help,
               std::function<absl::Status(absl::string_view)> set);

  std::string section_;
  std::vector<Flag> flags_;
};

// Token ids separated by commas or white space. InvalidArgument quotes the part that is not an id.
absl::StatusOr<std::vector<int32_t>> ParseTokenIds(absl::string_view text);

// `text` with line breaks so that no line is longer than `columns` where words allow it, each line after `indent` spaces.
std::string WrapText(absl::string_view text, int columns, int indent);

}  // namespace ration

#endif  // RATION_CLIENT_FLAG_SET_H_
