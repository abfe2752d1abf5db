// Where the settings come from: the command line over the file that --config names, over the defaults of config.proto.
// Layer: server. Value type; thread-compatible.
#ifndef RATION_SERVER_CONFIG_SOURCE_H_
#define RATION_SERVER_CONFIG_SOURCE_H_

#include <map>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/config.pb.h"

namespace ration {

class ConfigSource {
 public:
  // `arguments` are without the program's name. InvalidArgument is one line that names the flag, or the file with line and column.
  static absl::StatusOr<ConfigSource> Read(absl::Span<const std::string> arguments);

  // What is set, by whomever; a field that is absent has its default.
  const v1::ServerConfig& config() const { return config_; }

  // An error about a setting starts with "--name: ". If the file set it, the result starts with "FILE:LINE:COLUMN: name: " instead, so
  // that the operator looks in the right place.
  absl::Status Explain(const absl::Status& status) const;

 private:
  // Takes from the file what was not `given` on the command line.
  absl::Status MergeFile(const std::string& path, const std::set<std::string>& given);

  v1::ServerConfig config_;
  std::map<std::string, std::string> places_;  // of the fields that the file decided: "FILE:LINE:COLUMN"
};

// A file that, given to --config, sets everything that is in force now, defaults included: one line a field, lists several.
std::string ToConfigFile(const v1::ServerConfig& config);

}  // namespace ration

#endif  // RATION_SERVER_CONFIG_SOURCE_H_
