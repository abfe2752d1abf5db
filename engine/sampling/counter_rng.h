// Random numbers that are a function of (seed, position) and nothing else: Philox4x32-10 of Salmon, Moraes, Dror and Shaw
// ("Parallel random numbers: as easy as 1, 2, 3", 2011). There is no state to carry, save or share between sequences.
// Layer: engine/sampling. Pure functions; thread-safe.
#ifndef RATION_ENGINE_SAMPLING_COUNTER_RNG_H_
#define RATION_ENGINE_SAMPLING_COUNTER_RNG_H_

#include <array>
#include <cstdint>

namespace ration {

using PhiloxCounter = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;

// Ten rounds. Every bit of the result depends on every bit of `counter` and `key`.
inline PhiloxCounter Philox4x32(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// Uniform in [0, 1), a multiple of 2^-53.
inline double UniformAt(uint64_t seed, uint64_t position) {
  const PhiloxCounter bits = Philox4x32({static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), 0, 0},
                                        {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const uint64_t word = (uint64_t{bits[0]} << 32) | bits[1];
  return static_cast<double>(word >> 11) * 0x1p-53;
}

}  // namespace ration

#endif  // RATION_ENGINE_SAMPLING_COUNTER_RNG_H_
