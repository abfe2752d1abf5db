// The version of this server, as GetModelInfo, the metrics and --version report it.
#ifndef RATION_SERVER_VERSION_H_
#define RATION_SERVER_VERSION_H_

namespace ration {

inline constexpr char kServerVersion[] = "0.1.0";

}  // namespace ration

#endif  // RATION_SERVER_VERSION_H_
