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
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "engine/engine_runner.h"
#include "proto/generation.pb.h"
#include "server/delivery_thread.h"
#include "server/request_conversion.h"
#include "server/request_log.h"
#include "server/security/access_control.h"

namespace ration {

// The engine's name for a request: two tenants may use the same id, and never reach each other's requests with it. Tenants' names have
// no '/', and where there is the tenant "" there is no other.
inline std::string EngineRequestId(absl::string_view tenant, absl::string_view request_id) {
  return tenant.empty() ? std::string(request_id) : absl::StrCat(tenant, "/", request_id);
}

// Which requests the engine holds, so that a drain can end what is left, and an operator any. Keyed by call: two calls may claim one id
// for a moment, until the engine refuses the second.
class LiveCalls {
 public:
  void Add(const void* call, std::string engine_id, std::string request_id) {
    MutexLock lock(&mutex_);
    requests_.emplace(call, Request{std::move(engine_id), std::move(request_id)});
  }
  void Remove(const void* call) {
    MutexLock lock(&mutex_);
    requests_.erase(call);
  }
  std::vector<std::string> engine_ids() const {
    MutexLock lock(&mutex_);
    std::vector<std::string> ids;
    ids.reserve(requests_.size());
    for (const auto& [call, request] : requests_) ids.push_back(request.engine_id);
    return ids;
  }
  // Of every tenant's requests with one of these ids.
  std::vector<std::string> EngineIdsOf(const absl::flat_hash_set<absl::string_view>& request_ids) const {
    MutexLock lock(&mutex_);
    std::vector<std::string> ids;
    for (const auto& [call, request] : requests_) {
      if (request_ids.contains(request.request_id)) ids.push_back(request.engine_id);
    }
    return ids;
  }

 private:
  struct Request {
    std::string engine_id;
    std::string request_id;  // as its client has it
  };
  mutable Mutex mutex_;
  absl::flat_hash_map<const void*, Request> requests_ ABSL_GUARDED_BY(mutex_);
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
  const AccessControl* access = nullptr;
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
