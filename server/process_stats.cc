#include "server/process_stats.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace ration {
namespace {

std::string ReadFile(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The number after `key` at the start of a line of `text`; 0 if there is none.
int64_t NumberAfter(const std::string& text, const std::string& key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, key)) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    int64_t value = 0;
    return !words.empty() && absl::SimpleAtoi(words[0], &value) ? value : 0;
  }
  return 0;
}

int64_t CountOpenFds() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return 0;
  int64_t count = -3;  // ".", ".." and the directory itself
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

}  // namespace

ProcessStats ReadProcessStats() {
  ProcessStats stats;
  const std::string stat = ReadFile("/proc/self/stat");
  const size_t name_end = stat.rfind(')');  // the name in field 2 may hold spaces; the others may not
  if (name_end != std::string::npos) {
    // fields[0] is field 3 of proc(5).
    const std::vector<std::string> fields = absl::StrSplit(stat.substr(name_end + 1), ' ', absl::SkipEmpty());
    const auto number = [&fields](size_t field) {
      double value = 0;
      return field - 3 < fields.size() && absl::SimpleAtod(fields[field - 3], &value) ? value : 0.0;
    };
    const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    stats.cpu_seconds = (number(14) + number(15)) / ticks;
    stats.threads = static_cast<int64_t>(number(20));
    const double boot_time = static_cast<double>(NumberAfter(ReadFile("/proc/stat"), "btime"));
    if (boot_time > 0) stats.start_time_seconds = boot_time + number(22) / ticks;
    stats.virtual_memory_bytes = static_cast<int64_t>(number(23));
    stats.resident_memory_bytes = static_cast<int64_t>(number(24)) * sysconf(_SC_PAGESIZE);
  }
  stats.open_fds = CountOpenFds();
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) stats.max_fds = static_cast<int64_t>(limit.rlim_cur);
  return stats;
}

int64_t AvailableMemoryBytes() { return NumberAfter(ReadFile("/proc/meminfo"), "MemAvailable:") * 1024; }

}  // namespace ration
