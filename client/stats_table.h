// What a request cost, as a small table for people: tokens per expert, KV bytes against full KV, times.
// Layer: client. Stateless; thread-safe.
#ifndef RATION_CLIENT_STATS_TABLE_H_
#define RATION_CLIENT_STATS_TABLE_H_

#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "proto/generation.pb.h"

namespace ration {

// "keeps all heads", "keeps 1/2", "keeps 1/4" for group sizes 1, 2, 4.
std::string ExpertLabel(int32_t group_size);

// Several lines, the last one ended. `group_sizes`: one an expert; empty if not known.
std::string StatsTable(const v1::Finish& finish, absl::Span<const int32_t> group_sizes, bool colored);

}  // namespace ration

#endif  // RATION_CLIENT_STATS_TABLE_H_
