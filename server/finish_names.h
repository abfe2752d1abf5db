// How a request ended, as metrics and logs name it.
// Layer: server. Stateless.
#ifndef RATION_SERVER_FINISH_NAMES_H_
#define RATION_SERVER_FINISH_NAMES_H_

#include <cstddef>
#include <iterator>

#include "engine/request.h"

namespace ration {

inline constexpr const char* kOutcomes[] = {"stop", "length", "aborted", "deadline", "slow_reader", "shutdown", "shed", "error"};
static_assert(std::size(kOutcomes) == static_cast<size_t>(FinishReason::kCount));

inline const char* OutcomeName(FinishReason reason) { return kOutcomes[static_cast<size_t>(reason)]; }

}  // namespace ration

#endif  // RATION_SERVER_FINISH_NAMES_H_
