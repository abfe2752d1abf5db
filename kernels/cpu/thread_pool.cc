// See the header. Protocol: the caller publishes a loop's fields and then a ticket (generation, next piece); whoever moves
// the ticket on owns the piece it moved past. A worker that wakes late finds no piece left and delays nobody.
//
// Invariants: (1) The fields of a loop change only while the ticket is closed (next piece == kClosed) or exhausted, and a
// generation is never used twice; so a successful compare-exchange on the ticket proves that the fields read just before
// belong to that generation. (2) `unfinished` counts pieces of the current loop not yet run; Run returns when it is 0.
#include "kernels/cpu/thread_pool.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <thread>
#include <vector>

namespace ration::kernels::cpu {
namespace {

// Longer than the gaps between the loops of one decode step, shorter than a scheduler's time slice.
constexpr auto kSpinTime = std::chrono::microseconds(50);
constexpr uint32_t kClosed = UINT32_MAX;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Waits up to kSpinTime for `ready`; false if it did not become true.
template <typename Ready>
bool Spin(const Ready& ready) {
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      Pause();
    }
  } while (std::chrono::steady_clock::now() - start < kSpinTime);
  return false;
}

void FutexWait(std::atomic<uint32_t>& word, uint32_t expected) {
  static_assert(sizeof(word) == sizeof(uint32_t), "a futex is a plain 32-bit word");
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void FutexWake(std::atomic<uint32_t>& word, int count) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

constexpr uint64_t Ticket(uint32_t generation, uint32_t piece) { return (uint64_t{generation} << 32) | piece; }

}  // namespace

struct ThreadPool::State {
  // Moved by every thread; alone on its cache line.
  alignas(64) std::atomic<uint64_t> ticket{Ticket(0, kClosed)};
  alignas(64) std::atomic<int64_t> unfinished{0};
  std::atomic<uint32_t> caller_sleeps{0};  // futex: 1 while the caller sleeps for unfinished == 0
  // The current loop; read by all. Release/acquire, so that invariant (1) holds.
  alignas(64) std::atomic<Task> task{nullptr};
  std::atomic<void*> context{nullptr};
  std::atomic<int64_t> count{0};
  std::atomic<int64_t> grain{1};
  std::atomic<uint32_t> pieces{0};
  // Sleeping workers.
  alignas(64) std::atomic<uint32_t> epoch{0};  // futex: moves when a loop is published or the pool stops
  std::atomic<int> sleepers{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;

  bool HasWork() const {
    const uint64_t now = ticket.load(std::memory_order_acquire);
    return static_cast<uint32_t>(now) < pieces.load(std::memory_order_acquire);
  }

  // Runs pieces of the current loop until none is left.
  void RunPieces(int thread) {
    uint64_t now = ticket.load(std::memory_order_acquire);
    while (true) {
      const uint32_t piece = static_cast<uint32_t>(now);
      const Task run = task.load(std::memory_order_acquire);
      void* const run_context = context.load(std::memory_order_acquire);
      const int64_t run_count = count.load(std::memory_order_acquire);
      const int64_t run_grain = grain.load(std::memory_order_acquire);
      if (piece >= pieces.load(std::memory_order_acquire)) return;  // also when closed
      if (!ticket.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      const int64_t begin = piece * run_grain;
      const int64_t end = begin + run_grain < run_count ? begin + run_grain : run_count;
      run(run_context, begin, end, thread);
      // Sequentially consistent with the caller's "announce sleep, then look again".
      if (unfinished.fetch_sub(1, std::memory_order_seq_cst) == 1 &&
          caller_sleeps.load(std::memory_order_seq_cst) == 1) {
        caller_sleeps.store(0, std::memory_order_seq_cst);
        FutexWake(caller_sleeps, 1);
      }
      now = ticket.load(std::memory_order_acquire);
    }
  }

  void Work(int thread) {
    while (!stop.load(std::memory_order_acquire)) {
      RunPieces(thread);
      if (Spin([this] { return HasWork() || stop.load(std::memory_order_relaxed); })) continue;
      const uint32_t before = epoch.load(std::memory_order_seq_cst);
      sleepers.fetch_add(1, std::memory_order_seq_cst);
      if (!HasWork() && !stop.load(std::memory_order_seq_cst)) FutexWait(epoch, before);
      sleepers.fetch_sub(1, std::memory_order_seq_cst);
    }
  }

  void WakeWorkers() {
    epoch.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers.load(std::memory_order_seq_cst) > 0) FutexWake(epoch, INT_MAX);
  }
};

ThreadPool::ThreadPool(int num_threads)
    : num_threads_(num_threads < 1 ? 1 : num_threads), state_(std::make_unique<State>()) {
  for (int thread = 1; thread < num_threads_; ++thread) {
    state_->workers.emplace_back([state = state_.get(), thread] { state->Work(thread); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stop.store(true, std::memory_order_seq_cst);
  state_->WakeWorkers();
  for (std::thread& worker : state_->workers) worker.join();
}

void ThreadPool::Run(int64_t count, int64_t grain, Task task, void* context) {
  State& state = *state_;
  // A ticket has 32 bits for pieces.
  while ((count + grain - 1) / grain >= kClosed) grain *= 2;
  const uint32_t pieces = static_cast<uint32_t>((count + grain - 1) / grain);
  const uint32_t generation = static_cast<uint32_t>(state.ticket.load(std::memory_order_relaxed) >> 32) + 1;
  state.ticket.store(Ticket(generation, kClosed), std::memory_order_seq_cst);
  state.task.store(task, std::memory_order_release);
  state.context.store(context, std::memory_order_release);
  state.count.store(count, std::memory_order_release);
  state.grain.store(grain, std::memory_order_release);
  state.pieces.store(pieces, std::memory_order_release);
  state.unfinished.store(pieces, std::memory_order_release);
  state.ticket.store(Ticket(generation, 0), std::memory_order_seq_cst);
  state.WakeWorkers();

  state.RunPieces(0);
  const auto done = [&state] { return state.unfinished.load(std::memory_order_acquire) == 0; };
  if (Spin(done)) return;
  while (!done()) {
    state.caller_sleeps.store(1, std::memory_order_seq_cst);
    if (state.unfinished.load(std::memory_order_seq_cst) != 0) FutexWait(state.caller_sleeps, 1);
    state.caller_sleeps.store(0, std::memory_order_seq_cst);
  }
}

}  // namespace ration::kernels::cpu
