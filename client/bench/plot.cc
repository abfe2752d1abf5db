// gnuplot reads its program from standard input and writes the picture to standard output, so that no path is ever
// quoted in it, and it is started without a shell.
// Layer: client/bench.
#include "client/bench/plot.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

extern char** environ;

namespace ration {
namespace {

// Panels share the left and right margins, hence the time axis. Colours are those of Okabe and Ito, told apart by
// colour-blind people too.
constexpr absl::string_view kProgram = R"(set datafile separator ","
set multiplot layout 3,1 margins 0.1,0.86,0.09,0.96 spacing 0.04
set grid xtics ytics linecolor "#dddddd" linewidth 1
set border 3 linecolor "#666666"
set tics nomirror
set key at graph 1.02,1 left top reverse Left samplen 1.5 spacing 1.3
set xrange [XMIN:XMAX]
set format x ""
set ylabel "pressure" offset 1
set yrange [0:1.05]
plot 1 with lines linecolor "#999999" dashtype 2 title "budget", \
     $state using 1:2 with filledcurves y1=0 fillcolor "#cc0072b2" notitle, \
     $state using 1:2 with lines linewidth 2 linecolor "#0072b2" title "used"
set ylabel "KV fraction"
plot $state using 1:3 with steps linewidth 2 linecolor "#e69f00" title "requested", \
     $state using 1:4 with lines linewidth 2 linecolor "#d55e00" title "realised"
set ylabel "requests"
set yrange [0:*]
set xlabel "seconds"
set format x
plot $state using 1:5 with steps linewidth 2 linecolor "#009e73" title "running", \
     $state using 1:6 with steps linewidth 2 linecolor "#cc79a7" title "waiting"
)";

constexpr size_t kMaxPoints = 2000;  // more than the picture has columns

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

// The exit status of gnuplot, reading from `script_fd`, writing to `path`.
absl::StatusOr<int> RunGnuplot(int script_fd, const std::string& path) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, script_fd, STDIN_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // Ctrl-C works in it although this process may have blocked it.
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  std::string name = "gnuplot";
  char* arguments[] = {name.data(), nullptr};
  pid_t process = 0;
  const int error = posix_spawnp(&process, name.c_str(), &actions, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) {
    return absl::NotFoundError("gnuplot is not installed (Debian: apt-get install gnuplot-nox); no picture was drawn");
  }
  if (error != 0) return absl::ErrnoToStatus(error, "cannot start gnuplot");
  int status = 0;
  while (waitpid(process, &status, 0) < 0) {
    if (errno != EINTR) return absl::ErrnoToStatus(errno, "cannot wait for gnuplot");
  }
  return status;
}

}  // namespace

absl::Status CheckPlotPath(absl::string_view path) {
  if (absl::EndsWith(path, ".svg") || absl::EndsWith(path, ".png")) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("must end with .svg or .png, not \"", path, "\""));
}

std::string TimelineScript(absl::Span<const StateSample> samples, absl::string_view path) {
  std::string script = absl::EndsWith(path, ".png")
                           ? "set terminal pngcairo size 1400,900 fontscale 1.2 background \"white\"\n"
                           : "set terminal svg size 1000,640 dynamic background \"white\"\n";
  absl::StrAppend(&script, "$state << END\n");
  const size_t step = std::max<size_t>(1, (samples.size() + kMaxPoints - 1) / kMaxPoints);
  for (size_t i = 0; i < samples.size(); i += step) {
    // Of the samples that one point stands for, those of the highest pressure and queue: peaks are what matters.
    StateSample point = samples[i];
    for (const StateSample& sample : samples.subspan(i, step)) {
      point.pressure = std::max(point.pressure, sample.pressure);
      point.running = std::max(point.running, sample.running);
      point.waiting = std::max(point.waiting, sample.waiting);
    }
    absl::StrAppendFormat(&script, "%.3f,%.6f,%.6f,%.6f,%d,%d\n", point.seconds, point.pressure, point.kv_fraction,
                          point.realised_kv_fraction, point.running, point.waiting);
  }
  absl::StrAppend(&script, "END\n");
  const double first = samples.empty() ? 0 : samples.front().seconds;
  const double last = samples.empty() ? 1 : samples.back().seconds;
  absl::StrAppendFormat(&script, "XMIN = %.3f\nXMAX = %.3f\n", std::min(0.0, first), last);
  return absl::StrCat(script, kProgram);
}

absl::Status DrawTimeline(absl::Span<const StateSample> samples, const std::string& path) {
  if (absl::Status status = CheckPlotPath(path); !status.ok()) return status;
  if (samples.size() < 2) {
    return absl::FailedPreconditionError(
        absl::StrCat("a picture needs 2 samples of the state, there are ", samples.size()));
  }
  const std::unique_ptr<std::FILE, FileCloser> script(std::tmpfile());
  if (script == nullptr) return absl::ErrnoToStatus(errno, "cannot create a temporary file for gnuplot");
  const std::string program = TimelineScript(samples, path);
  if (std::fwrite(program.data(), 1, program.size(), script.get()) != program.size() ||
      std::fflush(script.get()) != 0) {
    return absl::ErrnoToStatus(errno, "cannot write a temporary file for gnuplot");
  }
  lseek(fileno(script.get()), 0, SEEK_SET);
  // Before gnuplot is started, so that its error and that of the path are told apart.
  if (absl::Status status = WriteFile(path, ""); !status.ok()) return status;
  absl::StatusOr<int> exit_status = RunGnuplot(fileno(script.get()), path);
  if (exit_status.ok() && *exit_status == 0) return absl::OkStatus();
  std::remove(path.c_str());  // nothing rather than a broken picture
  if (!exit_status.ok()) return exit_status.status();
  return absl::InternalError(absl::StrCat("gnuplot failed with status ", *exit_status));
}

}  // namespace ration
