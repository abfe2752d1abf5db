// The threads that run one engine step's kernels. One parallel loop at a time; the calling thread takes part.
// Work is handed out from a shared counter in small pieces, so a thread that loses its core for a while delays only its own
// piece. Waiting threads spin for some tens of microseconds and then sleep on a futex: barriers that only spin collapse as
// soon as anything else needs a core.
// Layer: kernels/cpu. Thread-compatible: ParallelFor is called by one thread at a time (the engine thread).
#ifndef RATION_KERNELS_CPU_THREAD_POOL_H_
#define RATION_KERNELS_CPU_THREAD_POOL_H_

#include <cstdint>
#include <memory>
#include <type_traits>

namespace ration::kernels::cpu {

class ThreadPool {
 public:
  // num_threads >= 1, the calling thread included; 1 runs everything inline.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // Calls body(index, thread) once for every index in [0, count), thread in [0, num_threads), and returns when all are
  // done; what the bodies wrote is then visible to the caller. Not reentrant: a body must not call ParallelFor.
  // `grain` (>= 1) indices are handed out at a time; a loop of at most `grain` indices runs inline on the caller. Handing
  // out costs about a microsecond, so choose the grain such that a piece is worth several.
  template <typename Body>
  void ParallelFor(int64_t count, Body&& body, int64_t grain = 1) {
    using Fn = std::remove_reference_t<Body>;
    if (count <= grain || num_threads_ == 1) {
      for (int64_t index = 0; index < count; ++index) body(index, 0);
      return;
    }
    Run(count, grain,
        [](void* context, int64_t begin, int64_t end, int thread) {
          Fn& fn = *static_cast<Fn*>(context);
          for (int64_t index = begin; index < end; ++index) fn(index, thread);
        },
        const_cast<std::remove_const_t<Fn>*>(&body));
  }

 private:
  using Task = void (*)(void* context, int64_t begin, int64_t end, int thread);
  void Run(int64_t count, int64_t grain, Task task, void* context);

  struct State;
  const int num_threads_;
  std::unique_ptr<State> state_;
};

}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_THREAD_POOL_H_
