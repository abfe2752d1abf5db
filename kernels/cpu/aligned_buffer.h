// Scratch memory aligned to cache lines that keeps its size between calls. Contents are undefined after Reserve.
// Layer: kernels/cpu. Thread-compatible.
#ifndef RATION_KERNELS_CPU_ALIGNED_BUFFER_H_
#define RATION_KERNELS_CPU_ALIGNED_BUFFER_H_

#include <cstdint>
#include <memory>
#include <new>

namespace ration::kernels::cpu {

template <typename T>
class AlignedBuffer {
 public:
  // At least `count` elements; throws std::bad_alloc like operator new.
  T* Reserve(int64_t count) {
    if (count > capacity_) {
      data_.reset();
      capacity_ = 0;
      data_.reset(static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t{kAlignment})));
      capacity_ = count;
    }
    return data_.get();
  }

 private:
  static constexpr size_t kAlignment = 64;
  struct Delete {
    void operator()(T* p) const { ::operator delete(p, std::align_val_t{kAlignment}); }
  };
  std::unique_ptr<T, Delete> data_;
  int64_t capacity_ = 0;
};

}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_ALIGNED_BUFFER_H_
