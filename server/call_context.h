// What the calls of a server share: the engine, the model as requests see it, limits, and the table of calls that the engine is
// working on. Owned by Server; outlives every call.
// Layer: server. The plain members are set before the first call and constant from then on; LiveCalls is thread-safe.
#ifndef RATION_SERVER_CALL_CONTEXT_H_
#define RATION_SERVER_CALL_CONTEXT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "engine/engine_runner.h"
#include "proto/generation.pb.h"
#include "server/delivery_thread.h"
#include "server/request_conversion.h"
#include "server/request_log.h"

namespace ration {

// Which request ids the engine holds, so that a drain can end what is left. Keyed by call: two calls may claim one id for a
// moment, until the engine refuses the second.
class LiveCalls {
 public:
  void Add(const void* call, std::string request_id) {
    MutexLock lock(&mutex_);
    ids_.emplace(call, std::move(request_id));
  }
  void Remove(const void* call) {
    MutexLock lock(&mutex_);
    ids_.erase(call);
  }
  std::vector<std::string> request_ids() const {
    MutexLock lock(&mutex_);
    std::vector<std::string> ids;
    ids.reserve(ids_.size());
    for (const auto& [call, id] : ids_) ids.push_back(id);
    return ids;
  }

 private:
  mutable Mutex mutex_;
  absl::flat_hash_map<const void*, std::string> ids_ ABSL_GUARDED_BY(mutex_);
};

// How much output may wait for one client to read it, before its sequence is paused.
struct StreamLimits {
  int64_t max_buffered_pieces = 256;
  int64_t max_buffered_bytes = 64 << 10;
  // How long a client may leave the end of its stream unread before the call is cut off.
  absl::Duration unread_end_timeout = absl::Seconds(30);
};

struct CallContext {
  EngineRunner* runner = nullptr;
  DeliveryThread* delivery = nullptr;
  const Clock* clock = nullptr;  // the engine's
  ModelView model;
  RequestLimits request_limits;
  StreamLimits stream_limits;
  std::unique_ptr<const RequestLog> request_log;
  v1::GetModelInfoResponse model_info;
  LiveCalls live_calls;
};

}  // namespace ration

#endif  // RATION_SERVER_CALL_CONTEXT_H_
