// Mixtures of experts: where each row goes, the products of each expert's rows, and their sums by row. Nothing goes to the host, and no
// row's bits depend on where others go.
//
// An entry is a row and one of its experts. The rows of an expert are packed: they begin at a whole number of TILE.

#define TILE 128u

struct RouteParameters {
    const float* logits;    // [rows, experts]
    unsigned* chosen;       // [rows, choices]: experts, rising
    float* weights;         // [rows, choices]
    unsigned rows;
    unsigned experts;       // 512 at most
    unsigned choices;       // 32 at most
    unsigned normalised;    // weights of the chosen ones sum to one
};

// A warp a row: the most probable experts, equal ones by lower number.
KERNEL(route, RouteParameters, 128) {
    unsigned row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= p.rows) return;
    const float* logits = p.logits + static_cast<size_t>(row) * p.experts;
    float mine[16], largest = -INFINITE, whole = 0.0f;
#pragma unroll
    for (unsigned i = 0; i < 16; i++) {
        unsigned expert = i * 32 + lane;
        mine[i] = expert < p.experts ? logits[expert] : -INFINITE;
        largest = fmaxf(largest, mine[i]);
    }
    for (unsigned step = 16; step > 0; step /= 2) largest = fmaxf(largest, __shfl_xor_sync(EVERY_LANE, largest, step));
#pragma unroll
    for (unsigned i = 0; i < 16; i++) {
        mine[i] = expf(mine[i] - largest);
        whole += i * 32 + lane < p.experts ? mine[i] : 0.0f;
    }
    for (unsigned step = 16; step > 0; step /= 2) whole += __shfl_xor_sync(EVERY_LANE, whole, step);
    unsigned taken = 0, pick = NONE; // a bit an expert of this lane; the pick of this lane's number
    float of_pick = 0.0f, of_picks = 0.0f;
    for (unsigned choice = 0; choice < p.choices; choice++) {
        unsigned best = NONE;
        float value = -1.0f, own = 0.0f; // what is no number is less than everything
#pragma unroll
        for (unsigned i = 0; i < 16; i++) {
            unsigned expert = i * 32 + lane;
            if (expert >= p.experts || taken >> i & 1u) continue;
            float of_it = mine[i] >= 0.0f ? mine[i] : -0.5f;
            if (of_it > value) value = of_it, best = expert, own = mine[i];
        }
        for (unsigned step = 16; step > 0; step /= 2) {
            float other = __shfl_xor_sync(EVERY_LANE, value, step), of_other = __shfl_xor_sync(EVERY_LANE, own, step);
            unsigned expert = __shfl_xor_sync(EVERY_LANE, best, step);
            if (other > value || (other == value && expert < best)) value = other, best = expert, own = of_other;
        }
        if (best % 32 == lane) taken |= 1u << best / 32;
        if (choice == lane) pick = best, of_pick = own;
        of_picks += own;
    }
    unsigned before = 0;
    for (unsigned choice = 0; choice < p.choices; choice++) before += __shfl_sync(EVERY_LANE, pick, choice) < pick;
    if (lane < p.choices) {
        size_t at = static_cast<size_t>(row) * p.choices + before;
        p.chosen[at] = pick;
        p.weights[at] = of_pick / (p.normalised ? of_picks : whole);
    }
}

struct GatherParameters {
    const unsigned* chosen; // [rows, choices]
    unsigned* lists;        // [experts, rows]: the rows of each, rising
    unsigned* ranks;        // [rows, choices]: the place of an entry in its list
    unsigned* counts;       // [experts]
    unsigned rows;
    unsigned choices;
};

// A block an expert.
KERNEL(gather_rows, GatherParameters, 1024) {
    SHARED(unsigned, of_warps, 32);
    unsigned expert = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32, count = 0;
    size_t entries = static_cast<size_t>(p.rows) * p.choices;
    for (size_t from = 0; from < entries; from += 1024) {
        size_t at = from + threadIdx.x;
        bool mine = at < entries && p.chosen[at] == expert;
        unsigned votes = __ballot_sync(EVERY_LANE, mine);
        if (lane == 0) of_warps[warp] = __popc(votes);
        __syncthreads();
        unsigned before = count;
        for (unsigned other = 0; other < 32; other++) {
            if (other < warp) before += of_warps[other];
            count += of_warps[other];
        }
        __syncthreads();
        if (mine) {
            unsigned rank = before + __popc(votes & ((1u << lane) - 1));
            p.lists[static_cast<size_t>(expert) * p.rows + rank] = static_cast<unsigned>(at / p.choices);
            p.ranks[at] = rank;
        }
    }
    if (threadIdx.x == 0) p.counts[expert] = count;
}

struct StartsParameters {
    const unsigned* counts; // [experts]
    unsigned* starts;       // [experts + 1]: the first tile of each, and one past the last
    unsigned experts;
};

KERNEL(tile_starts, StartsParameters, 32) {
    unsigned lane = threadIdx.x, before = 0;
    for (unsigned from = 0; from < p.experts; from += 32) {
        unsigned expert = from + lane;
        unsigned own = expert < p.experts ? (p.counts[expert] + TILE - 1) / TILE : 0, sum = own;
        for (unsigned step = 1; step < 32; step *= 2) {
            unsigned other = __shfl_up_sync(EVERY_LANE, sum, step);
            if (lane >= step) sum += other;
        }
        if (expert < p.experts) p.starts[expert] = before + sum - own;
        before += __shfl_sync(EVERY_LANE, sum, 31);
    }
    if (lane == 0) p.starts[p.experts] = before;
}

struct ExpertsParameters {
    const element* in;      // rows, or packed rows; [.., inner]
    const unsigned long long* weights; // by expert, where it is: [outer, inner], or gates and ups, [2 · outer, inner]
    void* out;              // packed rows [.., outer]: of the type of rows, or f32
    const unsigned* lists;  // [experts, rows]; or none, and `in` is packed
    const unsigned* counts; // [experts]
    const unsigned* starts; // [experts + 1]
    unsigned rows;
    unsigned experts;
    unsigned inner;         // a multiple of eight, as is
    unsigned outer;
    unsigned kind;          // of the activation, as in rows.cu
};

#if ELEMENT != 0

#define DEPTH 32u
#define STAGES 4u

__device__ __forceinline__ float opened(float x, unsigned kind) {
    if (kind == 0) return __fdividef(x, 1.0f + __expf(-x));
    if (kind == 1) return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    if (kind == 2) return __fdividef(x, 1.0f + __expf(-1.5957691f * (x + 0.044715f * x * x * x)));
    return x > 0.0f || x != x ? x : 0.0f;
}

// TILE rows of one expert by TILE outputs; of gates and what they open, half as many of each, opened at the end.
template <bool GATED>
__device__ __forceinline__ void expert_tile(const ExpertsParameters& p, element* room) {
    constexpr unsigned WIDTH = DEPTH + 8, PART = TILE * WIDTH, COLUMNS = GATED ? TILE / 2 : TILE;
    unsigned tile = blockIdx.y;
    if (tile >= p.starts[p.experts]) return;
    // The last expert that begins at or before this tile; one without rows begins where the next does.
    unsigned low = 0, high = p.experts;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (p.starts[middle] <= tile) low = middle;
        else high = middle;
    }
    unsigned expert = low, first = (tile - p.starts[expert]) * TILE, count = p.counts[expert];
    const element* weight = reinterpret_cast<const element*>(p.weights[expert]);
    unsigned column = blockIdx.x * COLUMNS;

    // Each thread copies eight numbers of two rows and of two outputs a step.
    const element *rows[2], *outputs[2];
    unsigned part = threadIdx.x % 4 * 8;
#pragma unroll
    for (unsigned i = 0; i < 2; i++) {
        unsigned line = threadIdx.x / 4 + i * 64, row = first + line;
        rows[i] = nullptr;
        if (row < count) {
            size_t at = p.lists ? p.lists[static_cast<size_t>(expert) * p.rows + row] : static_cast<size_t>(tile) * TILE + line;
            rows[i] = p.in + at * p.inner + part;
        }
        // The second half of a tile is what gates open.
        unsigned output = GATED ? column + line % COLUMNS : column + line;
        bool any = output < p.outer;
        size_t at = GATED && line >= COLUMNS ? static_cast<size_t>(p.outer) + output : output;
        outputs[i] = any ? weight + at * p.inner + part : nullptr;
    }
    auto copy = [&](unsigned step) {
        element* a = room + step % STAGES * 2 * PART + threadIdx.x / 4 * WIDTH + part;
        bool within = step * DEPTH + part < p.inner;
#pragma unroll
        for (unsigned i = 0; i < 2; i++) {
            bool row = within && rows[i], output = within && outputs[i];
            copy_async_16(a + i * 64 * WIDTH, row ? rows[i] + step * DEPTH : p.in, row);
            copy_async_16(a + PART + i * 64 * WIDTH, output ? outputs[i] + step * DEPTH : p.in, output);
        }
    };
    unsigned steps = (p.inner + DEPTH - 1) / DEPTH;
    for (unsigned step = 0; step + 1 < STAGES; step++) {
        if (step < steps) copy(step);
        copies_issued();
    }
    unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, pair = lane % 4;
    unsigned top = warp / 2 * 32, side = warp % 2;
    float sums[2][8][4] = {};
    for (unsigned step = 0; step < steps; step++) {
        // This step has come, for every thread, and everyone has left the one whose room the next one takes.
        copies_wait_but<STAGES - 2>();
        __syncthreads();
        if (step + STAGES - 1 < steps) copy(step + STAGES - 1);
        copies_issued();
        const element* a = room + step % STAGES * 2 * PART;
        const element* b = a + PART;
#pragma unroll
        for (unsigned d = 0; d < DEPTH; d += 16) {
            unsigned x[2][4];
#pragma unroll
            for (unsigned m = 0; m < 2; m++) ldmatrix_x4(x[m], a + (top + m * 16 + lane % 16) * WIDTH + d + lane / 16 * 8);
#pragma unroll
            for (unsigned n = 0; n < 4; n++) {
                unsigned line = GATED ? n / 2 * COLUMNS + side * 32 + n % 2 * 16 : side * 64 + n * 16, w[4];
                ldmatrix_x4(w, b + (line + lane / 16 * 8 + lane % 8) * WIDTH + d + lane / 8 % 2 * 8);
                const unsigned left[2] = {w[0], w[1]}, right[2] = {w[2], w[3]};
#pragma unroll
                for (unsigned m = 0; m < 2; m++) {
                    MMA(sums[m][n * 2], x[m], left);
                    MMA(sums[m][n * 2 + 1], x[m], right);
                }
            }
        }
    }
#pragma unroll
    for (unsigned m = 0; m < 2; m++) {
#pragma unroll
        for (unsigned half = 0; half < 2; half++) {
            unsigned line = top + m * 16 + group + half * 8;
            if (first + line >= count) continue;
            size_t out = (static_cast<size_t>(tile) * TILE + line) * p.outer;
#pragma unroll
            for (unsigned n = 0; n < (GATED ? 4 : 8); n++) {
                unsigned at = column + side * (GATED ? 32 : 64) + n * 8 + pair * 2;
                if (at >= p.outer) continue;
                float left = sums[m][n][half * 2], right = sums[m][n][half * 2 + 1];
                if (GATED) {
                    left = opened(left, p.kind) * sums[m][GATED ? n + 4 : 0][half * 2];
                    right = opened(right, p.kind) * sums[m][GATED ? n + 4 : 0][half * 2 + 1];
                    unsigned both = static_cast<unsigned>(narrowed(left)) | static_cast<unsigned>(narrowed(right)) << 16;
                    *reinterpret_cast<unsigned*>(static_cast<element*>(p.out) + out + at) = both;
                } else {
                    *reinterpret_cast<float2*>(static_cast<float*>(p.out) + out + at) = make_float2(left, right);
                }
            }
        }
    }
}

KERNEL(experts_up, ExpertsParameters, 256) {
    DYNAMIC_SHARED(room);
    expert_tile<true>(p, reinterpret_cast<element*>(room));
}

KERNEL(experts_down, ExpertsParameters, 256) {
    DYNAMIC_SHARED(room);
    expert_tile<false>(p, reinterpret_cast<element*>(room));
}

#endif

struct CombineParameters {
    const float* outs;      // packed rows [.., width]
    const unsigned* chosen; // [rows, choices]
    const unsigned* ranks;  // [rows, choices]
    const unsigned* starts; // [experts + 1]
    const float* weights;   // [rows, choices]
    float* sums;            // [rows, width]
    unsigned width;
    unsigned choices;
};

// One block a row: what its experts say, by their weights, in the order of their numbers.
KERNEL(combine, CombineParameters, 256) {
    size_t entry = static_cast<size_t>(blockIdx.x) * p.choices;
    for (unsigned i = threadIdx.x; i < p.width; i += blockDim.x) {
        float sum = 0.0f;
        for (unsigned choice = 0; choice < p.choices; choice++) {
            size_t place = static_cast<size_t>(p.starts[p.chosen[entry + choice]]) * TILE + p.ranks[entry + choice];
            sum = fmaf(p.weights[entry + choice], p.outs[place * p.width + i], sum);
        }
        p.sums[static_cast<size_t>(blockIdx.x) * p.width + i] = sum;
    }
}
