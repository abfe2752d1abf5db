#include "server/delivery_thread.h"

#include <utility>

namespace ration {

DeliveryThread::DeliveryThread() : thread_([this] { Loop(); }) {}

DeliveryThread::~DeliveryThread() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    wake_.Signal();
  }
  thread_.join();
}

void DeliveryThread::Schedule(std::shared_ptr<Deliverable> deliverable) {
  MutexLock lock(&mutex_);
  ready_.push_back(std::move(deliverable));
  if (ready_.size() == 1) wake_.Signal();  // otherwise the thread has been woken and not yet come to take them
}

void DeliveryThread::Loop() {
  std::vector<std::shared_ptr<Deliverable>> batch;
  while (true) {
    {
      MutexLock lock(&mutex_);
      while (ready_.empty() && !stop_) wake_.Wait(&mutex_);
      if (ready_.empty()) return;
      batch.swap(ready_);
    }
    for (std::shared_ptr<Deliverable>& deliverable : batch) deliverable->Deliver();
    batch.clear();
  }
}

}  // namespace ration
