// sr_kernel/fused/machine.cu for a CPU: a thread of the system for each of a block's threads. What a warp does together
// waits for the whole warp. Copies are there at once. Compiled before conv.cu, which knows no difference.

#include <atomic>
#include <barrier>
#include <cstdint>
#include <cstdlib>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>
#include <algorithm>

using std::min;
typedef unsigned int u32;
typedef unsigned long long u64;
struct float2 { float x, y; };
struct Dim { unsigned x; };
struct alignas(64) Map {  // a plane of pixels, and how it is cut
    const unsigned short* data;
    long long pixels;
    int channels;
};

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n)
#define SHARED char* raw = memory

struct Warp {
    std::barrier<> all{32};
    u32 words[32][4];
};
struct Counter {  // a barrier in shared memory
    std::atomic<u32> phase{0};
    std::atomic<int> left{0};
    std::atomic<long long> bytes{0};
    int count = 0;
    std::atomic_flag held = ATOMIC_FLAG_INIT;
};
constexpr int MEMORY = 227 * 1024;
inline char* memory = nullptr;                      // of the block that runs
inline std::vector<std::unique_ptr<Counter>> counters(MEMORY / 8);
inline std::barrier<>* everybody = nullptr;
thread_local inline Dim threadIdx, blockIdx, blockDim, gridDim;
thread_local inline Warp* warp_of = nullptr;

inline void fail(const char* what) { std::fprintf(stderr, "emulated: %s\n", what); std::abort(); }
inline void __syncthreads() { everybody->arrive_and_wait(); }
inline void __syncwarp() { warp_of->all.arrive_and_wait(); }
inline u32 __shfl_xor_sync(u32, u32 value, int with) {
    int lane = threadIdx.x % 32;
    warp_of->words[lane][0] = value;
    __syncwarp();
    u32 found = warp_of->words[lane ^ with][0];
    __syncwarp();
    return found;
}
inline u32 __shfl_sync(u32, u32 value, int from) {
    warp_of->words[threadIdx.x % 32][0] = value;
    __syncwarp();
    u32 found = warp_of->words[from][0];
    __syncwarp();
    return found;
}
inline u32 shared_address(const void* p) { return (u32)((const char*)p - memory); }

inline Counter& counter(u32 bar) {
    if (bar % 8 || bar >= MEMORY) fail("a barrier lies where none can");
    return *counters[bar / 8];
}
inline void settle(Counter& c, int arrivals, long long bytes) {
    while (c.held.test_and_set()) std::this_thread::yield();
    c.left -= arrivals;
    c.bytes += bytes;
    if (c.left < 0) fail("more arrived than were counted");
    if (c.left == 0 && c.bytes == 0) {
        c.left = c.count;
        c.phase++;
    }
    c.held.clear();
}
inline void barrier_init(u32 bar, u32 count) {
    counters[bar / 8] = std::make_unique<Counter>();
    counters[bar / 8]->count = counters[bar / 8]->left = (int)count;
}
inline void barriers_made() {}
inline void barrier_expect(u32 bar, u32 bytes) {
    Counter& c = counter(bar);
    while (c.held.test_and_set()) std::this_thread::yield();
    c.bytes += bytes;
    c.held.clear();
    settle(c, 1, 0);
}
inline void barrier_arrive(u32 bar) { settle(counter(bar), 1, 0); }
inline void barrier_wait(u32 bar, u32 phase) {  // for the phase of this parity to be over
    while ((counter(bar).phase & 1) == phase) std::this_thread::yield();
}
template <int REGISTERS> inline void give_registers() {}
template <int REGISTERS> inline void take_registers() {}
inline u32 opaque(u32 value) { return value; }

inline u32 swizzled(u32 address) { return address ^ ((address >> 7 & 7) << 4); }
inline void load_box(u32 to, const Map* map, int channel, int pixel, u32 bar) {
    if (to % 1024) fail("a box does not begin where its swizzle does");
    for (int row = 0; row < 66; ++row)
        for (int part = 0; part < 8; ++part)
            for (int i = 0; i < 8; ++i) {
                long long p = (long long)pixel + row;
                int c = channel + part * 8 + i;
                bool there = p >= 0 && p < map->pixels && c < map->channels;
                unsigned short value = there ? map->data[p * map->channels + c] : 0;
                std::memcpy(memory + swizzled(to + row * 128 + part * 16) + i * 2, &value, 2);
            }
    settle(counter(bar), 0, -66 * 128);
}
inline void load_bulk(u32 to, const void* from, u32 bytes, u32 bar) {
    if (to % 16 || bytes % 16) fail("a copy is not of 16 bytes");
    std::memcpy(memory + to, from, bytes);
    settle(counter(bar), 0, -(long long)bytes);
}
inline void load_pixels(u32 (&a)[4], u32 from) {
    int lane = threadIdx.x % 32;
    warp_of->words[lane][0] = from;
    __syncwarp();
    for (int m = 0; m < 4; ++m) std::memcpy(&a[m], memory + warp_of->words[m * 8 + lane / 4][0] + lane % 4 * 4, 4);
    __syncwarp();
}
inline void products_begin() {}
inline void products_end() {}
template <int LEFT> inline void products_wait() {}
inline u64 described(u32 address) { return (u64)(1u << 30 | 64) << 32 | (1u << 16 | address >> 4); }

inline float as_float(unsigned short bits) {
#ifdef BFLOAT
    u32 wide = (u32)bits << 16;
    float made;
    std::memcpy(&made, &wide, 4);
    return made;
#else
    _Float16 half;
    std::memcpy(&half, &bits, 2);
    return half;
#endif
}
inline unsigned short as_half(float value) {
#ifdef BFLOAT
    u32 wide;
    std::memcpy(&wide, &value, 4);
    return (unsigned short)((wide + 0x7fff + (wide >> 16 & 1)) >> 16);
#else
    _Float16 half = (_Float16)value;
    unsigned short bits;
    std::memcpy(&bits, &half, 2);
    return bits;
#endif
}
inline u32 packed(float low, float high) { return as_half(low) | (u32)as_half(high) << 16; }
inline void unpacked(u32 from, float& low, float& high) { low = as_float(from & 0xffff), high = as_float(from >> 16); }

inline void multiply(float (&d)[OUTPUTS / 2], const u32 (&a)[4], u64 b, int adds) {
    int lane = threadIdx.x % 32;
    std::memcpy(warp_of->words[lane], a, 16);
    __syncwarp();
    if (b >> 62 != 1 || (b >> 32 & 0x3fff) != 64) fail("weights are not described as they lie");
    u32 start = (u32)(b & 0x3fff) << 4;
    for (int half = 0; half < 2; ++half) {
        float pixels[16];
        for (int q = 0; q < 4; ++q)
            for (int k = 0; k < 4; ++k) {
                u32 word = warp_of->words[lane / 4 * 4 + q][half + k / 2 * 2];
                pixels[k / 2 * 8 + q * 2 + k % 2] = as_float(k % 2 ? word >> 16 : word & 0xffff);
            }
        for (int j = 0; j < OUTPUTS / 8; ++j)
            for (int i = 0; i < 2; ++i) {
                int n = j * 8 + lane % 4 * 2 + i;
                float sum = adds ? d[j * 4 + half * 2 + i] : 0;
                for (int k = 0; k < 16; ++k) {
                    unsigned short w;
                    std::memcpy(&w, memory + swizzled(start + n / 8 * 1024 + n % 8 * 128 + k * 2), 2);
                    sum += pixels[k] * as_float(w);
                }
                d[j * 4 + half * 2 + i] = sum;
            }
    }
    __syncwarp();
}
