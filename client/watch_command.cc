// rationctl watch: a live view at a terminal, one line (or JSON object) for each state elsewhere.
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/command_util.h"
#include "client/commands.h"
#include "client/control_client.h"
#include "client/control_output.h"
#include "client/watch_view.h"

namespace ration {
namespace {

constexpr absl::string_view kSynopsis =
    R"(Shows memory, ratio and load live, until Ctrl-C. Without a terminal, one line for each state.

  rationctl watch [FLAGS]
)";

// The terminal's width now: it may have changed since the start.
int Columns(const Console& console) {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return console.columns;
}

// A terminal's second screen with the cursor hidden, for as long as it lives.
class Screen {
 public:
  explicit Screen(std::ostream* out) : out_(out) { *out_ << "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J" << std::flush; }
  ~Screen() { *out_ << "\x1b[?25h\x1b[?1049l" << std::flush; }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // Overwrites line by line in one write, so that nothing flickers.
  void Show(const std::vector<std::string>& lines) {
    std::string frame = "\x1b[H";
    for (const std::string& line : lines) absl::StrAppend(&frame, frame.size() == 3 ? "" : "\r\n", line, "\x1b[K");
    absl::StrAppend(&frame, "\x1b[J");
    *out_ << frame << std::flush;
  }

 private:
  std::ostream* const out_;
};

}  // namespace

int WatchCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation) {
  CommonFlags common;
  FlagSet flags;
  std::optional<absl::Duration> interval;
  std::optional<int64_t> count;
  flags.Section("Watch");
  flags.Add("interval", "DURATION", &interval, "Time between two states, 20ms to 1m. Default: 500ms.");
  flags.Add("count", "N", &count, "End after N states.");
  common.AddControlTo(flags, "Print each state as one JSON object.");
  std::vector<std::string> rest;
  if (const std::optional<int> done = ParseOrExplain(flags, common, "watch", kSynopsis, arguments, console, rest)) return *done;
  if (!rest.empty()) return UsageError("watch", absl::StrCat("takes no arguments, not \"", rest[0], "\""), console);
  if (count.has_value() && *count < 1) return UsageError("watch", absl::StrCat("--count must be >= 1, not ", *count), console);

  v1::WatchStateRequest request;
  if (interval.has_value()) request.set_interval_ms(absl::ToInt64Milliseconds(*interval));
  const char* term = std::getenv("TERM");
  const bool dumb = term == nullptr || absl::string_view(term) == "dumb";
  const bool live = console.out_is_terminal && !common.json && !dumb;
  WatchView view(common.server, console.colors);
  std::optional<Screen> screen;
  std::vector<std::string> last;
  int64_t seen = 0;
  const absl::Status status = ControlClient::Create(common.server, common.transport)
                                  ->WatchState(
                                      request,
                                      [&](const v1::ServerState& state) {
                                        if (live) {
                                          if (!screen.has_value()) screen.emplace(console.out);
                                          view.Add(state);
                                          last = view.Draw(Columns(console));
                                          screen->Show(last);
                                        } else {
                                          *console.out << (common.json ? MessageToJson(state) : StateLine(state)) << "\n"
                                                       << std::flush;
                                        }
                                        return ++seen != count.value_or(0);
                                      },
                                      cancellation);
  screen.reset();
  for (const std::string& line : last) *console.out << line << "\n";  // the last frame stays
  console.out->flush();
  if (cancellation != nullptr && cancellation->cancelled() && seen > 0) return kExitOk;  // Ctrl-C is how a watch ends
  if (!status.ok()) return RpcError(status, common, console, cancellation);
  return kExitOk;
}

}  // namespace ration
