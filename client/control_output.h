// The control API's messages for scripts (JSON) and for people (text).
// Layer: client. Stateless; thread-safe.
#ifndef RATION_CLIENT_CONTROL_OUTPUT_H_
#define RATION_CLIENT_CONTROL_OUTPUT_H_

#include <string>

#include <google/protobuf/message.h>

#include "proto/control.pb.h"

namespace ration {

// Any message of control.proto as one line of JSON: field names are the proto's, numbers are JSON numbers (null for what JSON has no
// number for), enums are their names without prefix ("auto", "governor"), absent optional fields are left out.
std::string MessageToJson(const google::protobuf::Message& message);

// "0.3:0.1:0.6", the shares of new tokens.
std::string RatioText(const v1::ServerState& state);
// "auto", "manual"; "governor", "static", "preempt".
std::string ModeText(v1::Mode mode);
std::string BudgetPolicyText(v1::BudgetPolicy policy);

// Several lines, labels dimmed if `colored`.
std::string StateText(const v1::ServerState& state, bool colored);
std::string PolicyText(const v1::Policy& policy, bool colored);

// One line for logs: time since the server's start, pressure, fractions, queue and counters.
std::string StateLine(const v1::ServerState& state);

// "12 s", "3 min 20 s", "2 h 5 min", "3 d 4 h".
std::string UptimeText(double seconds);

}  // namespace ration

#endif  // RATION_CLIENT_CONTROL_OUTPUT_H_
