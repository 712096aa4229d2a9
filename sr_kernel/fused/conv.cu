// A 3x3 convolution (or 2x2, a phase of one over a doubled picture) with what follows it, for NVIDIA GPUs of capability 9.
//
// Activations are planes of half-precision pixels with a border of zeros, flat (sr_kernel/fused/plane.py): a tap is an
// offset, and no load needs a mask. A warpgroup owns 64 pixels of a row and walks down. Every input row comes to shared
// memory once (TMA, 66 pixels of 64 channels, 128-byte swizzle); its pixels go to registers once a column tap (ldmatrix,
// which takes any row) and enter as many accumulators as there are row taps, for the output rows that it touches. All
// weights stay in shared memory. Each warpgroup has its own ring of stages and its own share of the rows, so that one
// stores a row while the tensor cores work for another.
//
// Set by the host, one program each: OUTPUTS 8, 32 or 64; TAPS 3 or 2; SOURCE_STEPS and EXTRA_STEPS, of 16 channels, of
// the first and of the second input; MODE 0: act(conv), 1: res + alpha * conv, 2: res2 + alpha * (res + alpha * conv);
// GROUPS of warps that multiply; STAGES of each; BFLOAT.

struct alignas(16) Vec { u32 part[4]; };  // 8 samples

struct Geometry {
    int height, width;           // of an input image; a row of it takes width + 1 pixels
    int blocks, lines, share;    // 64 pixels of a row; rows of all blocks of all images; how many of them a group takes
    int first_row, first_column; // of the taps, relative to the output pixel
    int out_first, out_image, out_row, out_step;  // pixels: of the first image's first one, then per image, row, column
    int out_channels, out_at;    // of a pixel of the output plane, and the first one that is written
    float alpha;
};

constexpr int PIXELS = 64, CHUNK = 64, ROW_BYTES = CHUNK * 2, BOX = PIXELS + 2, BOX_BYTES = BOX * ROW_BYTES;
constexpr int STAGE_BYTES = (BOX_BYTES + 1023) / 1024 * 1024;
constexpr int CHUNKS = 1 + (EXTRA_STEPS + 3) / 4, STEPS = SOURCE_STEPS + EXTRA_STEPS;
constexpr int TILE_BYTES = OUTPUTS * ROW_BYTES, WEIGHT_BYTES = CHUNKS * TAPS * TAPS * TILE_BYTES;
constexpr int SUMS = OUTPUTS / 2;              // accumulators of a thread for one output row
constexpr int HELD = TAPS == 3 ? 3 : 4;        // steps whose pixels are in registers: one loading, two multiplying
static_assert(TAPS == 3 || STEPS % 4 == 0, "which registers a step takes must be known when this is compiled");
constexpr int VECTORS = OUTPUTS == 64 ? 2 : 1; // of 8 channels, that a thread stores for a pixel

// ---- what is shared

struct Ring { u64 full[STAGES], empty[STAGES]; };
struct Shared {
    u64 loaded;
    Ring rings[GROUPS];
    float bias[OUTPUTS], slope[OUTPUTS];
};

static_assert(sizeof(Shared) <= 2048, "program.py counts so many bytes beside weights and stages");

struct Piece { int image, x0, y0, rows; };  // of a group's share: what lies in one block of one image

// The lines of all blocks, block by block and image by image, are cut into equal shares.
__device__ __forceinline__ Piece piece_of(int line, int end, const Geometry& g) {
    int column = line / g.height, y0 = line % g.height;
    return {column / g.blocks, (column % g.blocks) * PIXELS, y0, min(g.height - y0, end - line)};
}

struct Place {  // where a ring stands
    int slot = 0;
    u32 phase;
    __device__ __forceinline__ explicit Place(u32 phase) : phase(phase) {}
    __device__ __forceinline__ void next() {
        if (++slot == STAGES) { slot = 0; phase ^= 1; }
    }
};

// ---- one thread fills the ring of one group

__device__ __forceinline__ void copy_rows(
    const Map* source, const Map* extra, const Geometry& g, Ring& ring, u32 stages, int line, int end) {
    Place at(1);  // of a new barrier the phase before its first counts as over: every stage is free
    while (line < end) {
        Piece t = piece_of(line, end, g);
        line += t.rows;
        int pixel = (t.image * (g.height + 1) + t.y0 + 1 + g.first_row) * (g.width + 1) + t.x0 + 1 + g.first_column;
        for (int row = 0; row < t.rows + TAPS - 1; ++row, pixel += g.width + 1) {
#pragma unroll
            for (int chunk = 0; chunk < CHUNKS; ++chunk) {
                u32 full = shared_address(&ring.full[at.slot]);
                barrier_wait(shared_address(&ring.empty[at.slot]), at.phase);
                barrier_expect(full, BOX_BYTES);
                int channel = chunk == 0 ? 0 : (chunk - 1) * CHUNK;
                load_box(stages + at.slot * STAGE_BYTES, chunk == 0 ? source : extra, channel, pixel, full);
                at.next();
            }
        }
    }
    // One stage more than is multiplied: who multiplies reads one step ahead.
    barrier_wait(shared_address(&ring.empty[at.slot]), at.phase);
    barrier_expect(shared_address(&ring.full[at.slot]), BOX_BYTES);
    load_box(stages + at.slot * STAGE_BYTES, source, 0, 0, shared_address(&ring.full[at.slot]));
}

// ---- one warpgroup multiplies and stores

struct Consumer {
    const Geometry& g;
    Shared& shared;
    Ring& ring;
    u32 stages;
    u32 weights;       // address of the first tile
    const unsigned short *res, *res2;
    unsigned short* out;
    int lane, warp;
    u32 lane_row, lane_half;
    Place at;          // of what is loaded
    int read = 0;      // slot of what is multiplied
    float sums[TAPS][SUMS];
    u32 held[HELD][TAPS][4];
    Vec first[2][VECTORS], second[2][VECTORS];

    __device__ static constexpr bool ends_chunk(int step) {
        return step == SOURCE_STEPS - 1 || step == STEPS - 1 || (step >= SOURCE_STEPS && (step - SOURCE_STEPS) % 4 == 3);
    }

    // The pixels of step STEP of a row, for every column tap, on their way; waits for the stage where a chunk begins.
    template <int HOLD, int STEP> __device__ __forceinline__ void load() {
        constexpr bool of_source = STEP < SOURCE_STEPS;
        constexpr int within = of_source ? STEP : (STEP - SOURCE_STEPS) % 4;
        if (within == 0) barrier_wait(shared_address(&ring.full[at.slot]), at.phase);
        u32 stage = stages + at.slot * STAGE_BYTES;
#pragma unroll
        for (int kx = 0; kx < TAPS; ++kx) {
            u32 row = lane_row + kx;
            load_pixels(held[HOLD][kx], stage + row * ROW_BYTES + (((within * 2 + lane_half) ^ (row & 7)) << 4));
        }
        if (ends_chunk(STEP)) at.next();
    }

    // A stage goes back when its last products have begun: until then its pixels may not have reached the registers, of any
    // lane, without which no product begins.
    __device__ __forceinline__ void give_back() {
        if (lane == 0) barrier_arrive(shared_address(&ring.empty[read]));
        if (++read == STAGES) read = 0;
    }

    template <int TURN, int STEP> __device__ __forceinline__ void steps() {
        if constexpr (STEP < STEPS) {
            constexpr int hold = (TURN * STEPS + STEP) % HELD, next = (TURN * STEPS + STEP + 1) % HELD;
            constexpr int chunk = STEP < SOURCE_STEPS ? 0 : 1 + (STEP - SOURCE_STEPS) / 4;
            constexpr int within = STEP < SOURCE_STEPS ? STEP : (STEP - SOURCE_STEPS) % 4;
            products_wait<1>();  // the one before the last is over: what it held is free
            u32 tiles = opaque(weights);
            products_begin();
            load<next, (STEP + 1) % STEPS>();
#pragma unroll
            for (int kx = 0; kx < TAPS; ++kx) {
#pragma unroll
                for (int ky = 0; ky < TAPS; ++ky) {
                    u32 tile = ((chunk * TAPS + ky) * TAPS + kx) * TILE_BYTES + within * 32;
                    bool adds = !(STEP == 0 && kx == 0 && ky == 0);
                    multiply(sums[(TURN - ky + TAPS) % TAPS], held[hold][kx], described(tiles + tile), adds);
                }
            }
            products_end();
            if (ends_chunk(STEP)) give_back();
            steps<TURN, STEP + 1>();
        }
    }

    __device__ __forceinline__ long long pixel_of(const Piece& t, int row, int x) const {
        long long line = g.out_first + (long long)t.image * g.out_image + (long long)(t.y0 + row) * g.out_row;
        return line + (long long)x * g.out_step;
    }

    __device__ __forceinline__ void load_residuals(const Piece& t, int row) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            int x = t.x0 + warp * 16 + (lane >> 2) + half * 8;
            if (x < g.width) {
                long long place = pixel_of(t, row, x) * g.out_channels + g.out_at + (lane & 3) * 8;
#pragma unroll
                for (int v = 0; v < VECTORS; ++v) {
                    first[half][v] = *reinterpret_cast<const Vec*>(res + place + v * 32);
                    if (MODE == 2) second[half][v] = *reinterpret_cast<const Vec*>(res2 + place + v * 32);
                }
            }
        }
    }

    // Of four threads each with two channels of four groups of eight: each gets one group.
    __device__ __forceinline__ Vec gathered(u32 a, u32 b, u32 c, u32 d) const {
        bool odd = lane & 1, high = lane & 2;
        u32 p = __shfl_xor_sync(~0u, odd ? a : b, 1), q = __shfl_xor_sync(~0u, odd ? c : d, 1);
        u32 e = odd ? p : a, f = odd ? b : p, g2 = odd ? q : c, h = odd ? d : q;
        u32 r = __shfl_xor_sync(~0u, high ? e : g2, 2), s = __shfl_xor_sync(~0u, high ? f : h, 2);
        return high ? Vec{{r, s, g2, h}} : Vec{{e, f, r, s}};
    }

    __device__ __forceinline__ void store(const float (&made)[SUMS], const Piece& t, int row) {
        u32 pairs[2][OUTPUTS / 8];
#pragma unroll
        for (int j = 0; j < OUTPUTS / 8; ++j) {
            int channel = j * 8 + (lane & 3) * 2;
            float2 bias = *reinterpret_cast<const float2*>(&shared.bias[channel]);
            float2 slope = *reinterpret_cast<const float2*>(&shared.slope[channel]);
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float low = made[j * 4 + half * 2] + bias.x, high = made[j * 4 + half * 2 + 1] + bias.y;
                if (MODE == 0) {
                    low = low >= 0 ? low : low * slope.x;
                    high = high >= 0 ? high : high * slope.y;
                }
                pairs[half][j] = packed(low, high);
            }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            int x = t.x0 + warp * 16 + (lane >> 2) + half * 8;
            long long place = pixel_of(t, row, x) * g.out_channels + g.out_at;
#if OUTPUTS == 8
            if (x < g.width) *reinterpret_cast<u32*>(out + place + (lane & 3) * 2) = pairs[half][0];
#else
#pragma unroll
            for (int v = 0; v < VECTORS; ++v) {
                const u32* p = &pairs[half][v * 4];
                Vec vec = gathered(p[0], p[1], p[2], p[3]);
                if (MODE >= 1) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        float low, high, a, b;
                        unpacked(vec.part[i], low, high);
                        unpacked(first[half][v].part[i], a, b);
                        low = a + g.alpha * low, high = b + g.alpha * high;
                        if (MODE == 2) {
                            unpacked(second[half][v].part[i], a, b);
                            low = a + g.alpha * low, high = b + g.alpha * high;
                        }
                        vec.part[i] = packed(low, high);
                    }
                }
                if (x < g.width) *reinterpret_cast<Vec*>(out + place + v * 32 + (lane & 3) * 8) = vec;
            }
#endif
        }
    }

    // Input row `row` of a piece; TURN is row % TAPS. The output row that it completes is stored.
    template <int TURN> __device__ __forceinline__ void walk(const Piece& t, int row) {
        bool completes = row >= TAPS - 1;
        if (MODE >= 1 && completes) load_residuals(t, row - (TAPS - 1));
        steps<TURN, 0>();
        products_wait<0>();
        if (completes) store(sums[(TURN + 1) % TAPS], t, row - (TAPS - 1));
    }

    __device__ __forceinline__ void run(int line, int end) {
        load<0, 0>();
        while (line < end) {
            Piece t = piece_of(line, end, g);
            line += t.rows;
            int most = t.rows + TAPS - 1, row = 0;
            while (true) {
                walk<0>(t, row);
                if (++row == most) { moved<1 % TAPS>(); break; }
                walk<1 % TAPS>(t, row);
                if (++row == most) { moved<2 % TAPS>(); break; }
#if TAPS == 3
                walk<2>(t, row);
                if (++row == most) break;
#endif
            }
        }
    }

    // A piece that ended before turn TURN: the pixels that were loaded ahead go where turn 0 looks for them.
    template <int TURN> __device__ __forceinline__ void moved() {
        constexpr int from = (TURN * STEPS) % HELD;
        if constexpr (from != 0) {
#pragma unroll
            for (int kx = 0; kx < TAPS; ++kx)
#pragma unroll
                for (int i = 0; i < 4; ++i) held[0][kx][i] = held[from][kx][i];
        }
    }
};

extern "C" __global__ void __launch_bounds__((GROUPS + 1) * 128, 1) conv(
    const __grid_constant__ Map source, const __grid_constant__ Map extra, const char* __restrict__ weights,
    const float* __restrict__ bias, const float* __restrict__ slope, const unsigned short* __restrict__ res,
    const unsigned short* __restrict__ res2, unsigned short* __restrict__ out, const __grid_constant__ Geometry g) {
    SHARED;
    u32 base = shared_address(raw);
    Shared& shared = *reinterpret_cast<Shared*>(raw + WEIGHT_BYTES + GROUPS * STAGES * STAGE_BYTES);
    int group = __shfl_sync(~0u, threadIdx.x / 128, 0);  // told to be the same in a warp: products must not diverge
    if (threadIdx.x == 0) {
        barrier_init(shared_address(&shared.loaded), 1);
        for (int i = 0; i < GROUPS; ++i)
            for (int j = 0; j < STAGES; ++j) {
                barrier_init(shared_address(&shared.rings[i].full[j]), 1);
                barrier_init(shared_address(&shared.rings[i].empty[j]), 4);
            }
        barriers_made();
    }
    for (int i = threadIdx.x; i < OUTPUTS; i += blockDim.x) {
        shared.bias[i] = bias[i];
        shared.slope[i] = slope[i];
    }
    __syncthreads();
    u32 loaded = shared_address(&shared.loaded);
    if (group == GROUPS) {
        give_registers<GROUPS == 3 ? 32 : 40>();
        int mine = threadIdx.x / 32 - GROUPS * 4;
        if (mine < GROUPS && threadIdx.x % 32 == 0) {
            if (mine == 0) {
                barrier_expect(loaded, WEIGHT_BYTES);
                for (int done = 0; done < WEIGHT_BYTES; done += TILE_BYTES) {
                    load_bulk(base + done, weights + done, TILE_BYTES, loaded);
                }
            }
            u32 stages = base + WEIGHT_BYTES + mine * STAGES * STAGE_BYTES;
            int share = blockIdx.x * GROUPS + mine;
            int line = min(g.lines, share * g.share), end = min(g.lines, (share + 1) * g.share);
            copy_rows(&source, &extra, g, shared.rings[mine], stages, line, end);
        }
    } else {
        take_registers<GROUPS == 3 ? 160 : 232>();
        int lane = threadIdx.x % 32, warp = __shfl_sync(~0u, threadIdx.x / 32 % 4, 0);
        Consumer me{g, shared, shared.rings[group], base + WEIGHT_BYTES + group * STAGES * STAGE_BYTES, base, res, res2, out,
                    lane, warp, (u32)(warp * 16 + (lane & 15)), (u32)(lane >> 4), Place(0)};
#pragma unroll
        for (int i = 0; i < TAPS; ++i)
#pragma unroll
            for (int j = 0; j < SUMS; ++j) me.sums[i][j] = 0;
        barrier_wait(loaded, 0);
        int share = blockIdx.x * GROUPS + group;
        me.run(min(g.lines, share * g.share), min(g.lines, (share + 1) * g.share));
    }
}
