// Carries output from the engine thread to gRPC: the engine only notes which calls have something to send, and one thread here
// turns it into messages and starts the writes, so that neither serialisation nor system calls take time from a step.
// Layer: server. Thread-safe.
#ifndef RATION_SERVER_DELIVERY_THREAD_H_
#define RATION_SERVER_DELIVERY_THREAD_H_

#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "engine/base/mutex.h"

namespace ration {

// Something with output to send.
class Deliverable {
 public:
  virtual ~Deliverable() = default;
  // Sends what there is, if the last write has ended. Runs on the delivery thread; must not wait for the client.
  virtual void Deliver() = 0;
};

class DeliveryThread {
 public:
  DeliveryThread();
  // Delivers what is scheduled, then joins.
  ~DeliveryThread();
  DeliveryThread(const DeliveryThread&) = delete;
  DeliveryThread& operator=(const DeliveryThread&) = delete;

  // Calls deliverable->Deliver() soon. Does not wait.
  void Schedule(std::shared_ptr<Deliverable> deliverable);

 private:
  void Loop();

  Mutex mutex_;
  CondVar wake_;
  std::vector<std::shared_ptr<Deliverable>> ready_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: starts when everything above is ready
};

}  // namespace ration

#endif  // RATION_SERVER_DELIVERY_THREAD_H_
