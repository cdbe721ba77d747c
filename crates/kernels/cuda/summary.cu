// What the next-token distributions of rows say: log-softmax in slices of the vocabulary, of which only what was asked for, the
// entropy and the most probable tokens are kept. A slice has one size, so that a row's sums run in one order.

#define SLICE 4096u
#define TOP 5u

typedef unsigned long long u64;

struct SummaryParameters {
    const float* logits;      // [rows, vocabulary]
    double* parts;            // [rows, slices, 3]: the largest, the mass and the moment around it
    u64* keys;                // [rows, slices, TOP]: the largest logits with their tokens
    const unsigned* asked;    // tokens, row by row
    const unsigned* firsts;   // where the tokens of a row begin, and where the last ends
    double* entropies;        // [rows]
    double* tops;             // [rows, TOP]: log-probabilities
    unsigned* tokens;         // [rows, TOP]
    double* found;            // the log-probabilities of `asked`
    unsigned vocabulary;
    unsigned slices;
    float scale;
    float softcap;
};

__device__ __forceinline__ float logit_at(
    const float* logits, unsigned vocabulary, float scale, float softcap, size_t row, unsigned token
) {
    return capped(__fmul_rn(logits[row * vocabulary + token], scale), softcap);
}

// A number that is larger where a logit comes before another: the larger one, on a tie the lower token. Not a number comes before
// nothing.
__device__ __forceinline__ u64 key_of(float logit, unsigned token) {
    if (logit != logit) return 0;
    unsigned bits = __float_as_uint(__fadd_rn(logit, 0.0f)); // one zero
    unsigned ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return static_cast<u64>(ordered) << 32 | ~token;
}

__device__ __forceinline__ float logit_of(u64 key) {
    unsigned ordered = static_cast<unsigned>(key >> 32);
    return key == 0 ? -INFINITE : __uint_as_float(ordered & 0x80000000u ? ordered ^ 0x80000000u : ~ordered);
}

__device__ __forceinline__ unsigned token_of(u64 key) { return key == 0 ? NONE : ~static_cast<unsigned>(key); }

__device__ __forceinline__ u64 warp_largest(u64 key) {
    for (unsigned step = 16; step > 0; step /= 2) {
        u64 other = __shfl_xor_sync(EVERY_LANE, key, step);
        key = other > key ? other : key;
    }
    return key;
}

__device__ __forceinline__ double warp_sum(double x) {
    for (unsigned step = 16; step > 0; step /= 2) x += __shfl_xor_sync(EVERY_LANE, x, step);
    return x;
}

// The largest keys of a warp, by falling size, of those that its lanes have: each key once.
template <unsigned EACH>
__device__ __forceinline__ void warp_top(const u64 (&keys)[EACH], u64 (&top)[TOP]) {
    u64 mine = 0;
#pragma unroll
    for (unsigned i = 0; i < EACH; i++) mine = keys[i] > mine ? keys[i] : mine;
#pragma unroll
    for (unsigned round = 0; round < TOP; round++) {
        top[round] = warp_largest(mine);
        // The lane that had it goes on with its next.
        if (mine == top[round]) {
            u64 next = 0;
#pragma unroll
            for (unsigned i = 0; i < EACH; i++) next = keys[i] < mine && keys[i] > next ? keys[i] : next;
            mine = next;
        }
    }
}

// One block a slice and row.
KERNEL(summarise_slices, SummaryParameters, 256) {
    SHARED(u64, best, 8 * TOP);
    SHARED(double, sums, 16);
    constexpr unsigned EACH = SLICE / 256;
    size_t row = blockIdx.y, part = row * p.slices + blockIdx.x;
    unsigned begin = blockIdx.x * SLICE, me = threadIdx.x, warp = me / 32, lane = me % 32;
    float values[EACH];
    u64 keys[EACH], top[TOP];
#pragma unroll
    for (unsigned i = 0; i < EACH; i++) {
        unsigned token = begin + i * 256 + me;
        bool is_there = token < p.vocabulary;
        values[i] = is_there ? logit_at(p.logits, p.vocabulary, p.scale, p.softcap, row, token) : -INFINITE;
        keys[i] = is_there ? key_of(values[i], token) : 0;
    }
    warp_top(keys, top);
    if (lane < TOP) {
        u64 key = top[0];
#pragma unroll
        for (unsigned i = 1; i < TOP; i++) key = lane == i ? top[i] : key;
        best[warp * TOP + lane] = key;
    }
    __syncthreads();
    u64 first = 0;
    for (unsigned i = 0; i < 8; i++) first = best[i * TOP] > first ? best[i * TOP] : first;
    float largest = logit_of(first), mass = 0.0f, moment = 0.0f;
#pragma unroll
    for (unsigned i = 0; i < EACH; i++) {
        if (begin + i * 256 + me < p.vocabulary) {
            // What is infinitely improbable has no weight; where all of a slice is, that must not hide the others.
            float off = values[i] - largest, weight = values[i] == -INFINITE ? 0.0f : expf(off);
            mass += weight;
            // What has no weight has no moment, however far off it is.
            moment += weight == 0.0f ? 0.0f : off * weight;
        }
    }
    double mass_of_warp = warp_sum(mass), moment_of_warp = warp_sum(moment);
    if (lane == 0) {
        sums[warp] = mass_of_warp;
        sums[8 + warp] = moment_of_warp;
    }
    __syncthreads();
    if (warp > 0) return;
    u64 candidates[2] = {best[lane], lane < 8 * TOP - 32 ? best[32 + lane] : 0};
    warp_top(candidates, top);
    if (lane == 0) {
        double mass = 0.0, moment = 0.0;
        for (unsigned i = 0; i < 8; i++) {
            mass += sums[i];
            moment += sums[8 + i];
        }
        p.parts[part * 3] = largest;
        p.parts[part * 3 + 1] = mass;
        p.parts[part * 3 + 2] = moment;
#pragma unroll
        for (unsigned i = 0; i < TOP; i++) p.keys[part * TOP + i] = top[i];
    }
}

// One warp a row: the slices together, then what was asked for.
KERNEL(summarise_rows, SummaryParameters, 32) {
    size_t row = blockIdx.x, first = row * p.slices;
    unsigned lane = threadIdx.x;
    double largest = -INFINITE, mass = 0.0, moment = 0.0;
    for (unsigned slice = lane; slice < p.slices; slice += 32) largest = fmax(largest, p.parts[(first + slice) * 3]);
    for (unsigned step = 16; step > 0; step /= 2) largest = fmax(largest, __shfl_xor_sync(EVERY_LANE, largest, step));
    for (unsigned slice = lane; slice < p.slices; slice += 32) {
        const double* part = p.parts + (first + slice) * 3;
        double off = part[0] - largest, factor = exp(off);
        // A mass that is not a number must show, however far off it is.
        if (factor == 0.0 && part[1] == part[1]) continue;
        mass += factor * part[1];
        moment += factor * (part[2] + off * part[1]);
    }
    mass = warp_sum(mass);
    moment = warp_sum(moment);
    double log_mass = log(mass);
    if (lane == 0) p.entropies[row] = log_mass - moment / mass;
    u64 last = ~0ull;
    for (unsigned round = 0; round < TOP; round++) {
        u64 mine = 0;
        for (unsigned i = lane; i < p.slices * TOP; i += 32) {
            u64 key = p.keys[first * TOP + i];
            mine = key < last && key > mine ? key : mine;
        }
        last = warp_largest(mine);
        if (lane == 0) {
            p.tokens[row * TOP + round] = token_of(last);
            p.tops[row * TOP + round] = static_cast<double>(logit_of(last)) - largest - log_mass;
        }
    }
    for (unsigned at = p.firsts[row] + lane; at < p.firsts[row + 1]; at += 32) {
        float logit = logit_at(p.logits, p.vocabulary, p.scale, p.softcap, row, p.asked[at]);
        p.found[at] = static_cast<double>(logit) - largest - log_mass;
    }
}

// ---- Tokens drawn from distributions that were summarised. `choice.rs` has the same steps.

#define SLICES 128u
#define LISTED 2048u
#define WHOLE 17592186044416.0f // 2^44
#define MOST_BITS 44

struct ChoiceParameters {
    const float* logits;      // [rows, vocabulary]
    const double* entropies;  // of the summaries
    const double* tops;
    const unsigned* top_tokens;
    const u64* draws;         // [rows]: 2^64ths
    const u64* nuclei;        // [rows]: 2^64ths of all; 0 for all
    const float* colder;      // [rows]: what differences are multiplied by; 0 takes the most probable token
    double* log_probs;        // [rows]
    unsigned* tokens;         // [rows]
    unsigned vocabulary;
    unsigned slices;
    float scale;
    float softcap;
};

// e^x as the processor has it (`exp.rs`), to the bit.
__device__ __forceinline__ float exp_as_there(float x) {
    const float magic = 12582912.0f;
    x = fminf(fmaxf(x, -87.0f), 88.0f);
    float shifted = fmaf(x, 1.44269504f, magic), power = __fsub_rn(shifted, magic);
    float r = fmaf(power, 2.1219444e-4f, fmaf(power, -0.6933594f, x));
    float s = 1.9875691e-4f;
    s = fmaf(s, r, 1.3982e-3f);
    s = fmaf(s, r, 8.333452e-3f);
    s = fmaf(s, r, 4.1665796e-2f);
    s = fmaf(s, r, 1.6666665e-1f);
    s = fmaf(s, r, 0.5f);
    float series = fmaf(s, __fmul_rn(r, r), __fadd_rn(r, 1.0f));
    unsigned exponent = (__float_as_uint(shifted) - __float_as_uint(magic) + 127u) << 23;
    return __fmul_rn(series, __uint_as_float(exponent));
}

struct Row {
    const ChoiceParameters& p;
    size_t row;
    float largest, colder;

    __device__ __forceinline__ float logit(unsigned token) const {
        return logit_at(p.logits, p.vocabulary, p.scale, p.softcap, row, token);
    }

    // The weight of a token, as so many 2^-44ths of the largest.
    __device__ __forceinline__ u64 weight(unsigned token) const {
        float x = logit(token), whole = __fmul_rn(exp_as_there(__fmul_rn(__fsub_rn(x, largest), colder)), WHOLE);
        return x == x && whole >= 1.0f ? static_cast<u64>(whole) : 0;
    }
};

// The weights of at least `least` of every slice, a warp a slice, and their sum.
__device__ __forceinline__ u64 weigh(const Row& row, u64 least, u64* of_slices) {
    unsigned lane = threadIdx.x % 32;
    __syncthreads();
    for (unsigned slice = threadIdx.x / 32; slice < row.p.slices; slice += 8) {
        u64 sum = 0;
        unsigned end = min((slice + 1) * SLICE, row.p.vocabulary);
        for (unsigned token = slice * SLICE + lane; token < end; token += 32) {
            u64 weight = row.weight(token);
            sum += weight >= least ? weight : 0;
        }
        for (unsigned step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(EVERY_LANE, sum, step);
        if (lane == 0) of_slices[slice] = sum;
    }
    __syncthreads();
    u64 total = 0;
    for (unsigned slice = 0; slice < row.p.slices; slice++) total += of_slices[slice];
    return total;
}

// The sum of a number over the threads of a block, the same on each.
__device__ __forceinline__ u64 block_total(u64 x, u64* of_warps) {
    for (unsigned step = 16; step > 0; step /= 2) x += __shfl_xor_sync(EVERY_LANE, x, step);
    __syncthreads();
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = x;
    __syncthreads();
    u64 sum = 0;
    for (unsigned warp = 0; warp < 8; warp++) sum += of_warps[warp];
    return sum;
}

// One block a row.
KERNEL(choose_rows, ChoiceParameters, 256) {
    SHARED(u64, of_slices, SLICES);
    SHARED(u64, of_threads, 256);
    SHARED(u64, listed, LISTED);
    SHARED(unsigned, shared_count, 1);
    SHARED(u64, shared_rest, 1);
    unsigned me = threadIdx.x;
    size_t at = blockIdx.x;
    unsigned token = p.top_tokens[at * TOP];
    double top = p.tops[at * TOP];
    // No token is one where nothing is a number.
    bool is_none = token >= p.vocabulary, is_broken = p.entropies[at] != p.entropies[at] || is_none;
    const double broken = static_cast<double>(__uint_as_float(0x7fc00000u));
    if (me == 0) {
        p.tokens[at] = is_none ? 0 : token;
        p.log_probs[at] = is_broken ? broken : top;
    }
    float colder = p.colder[at];
    if (colder == 0.0f || is_none) return;
    Row row{p, at, 0.0f, colder};
    row.largest = row.logit(token);
    u64 total = weigh(row, 0, of_slices), kept = total, least = 0;
    if (p.nuclei[at] != 0) {
        // The largest weight from which on there is enough, bit by bit: to its highest bit over all tokens, from there on over those of
        // that many bits alone.
        u64 wanted = __umul64hi(total, p.nuclei[at]) + 1, above = 0;
        int low = 0, high = MOST_BITS + 1; // its highest bit is in [low, high)
        while (high - low > 1) {
            int middle = (low + high) / 2;
            u64 mine = 0;
            for (unsigned other = me; other < p.vocabulary; other += 256) {
                u64 weight = row.weight(other);
                mine += weight >> middle ? weight : 0;
            }
            u64 sum = block_total(mine, of_threads);
            if (sum >= wanted) {
                low = middle;
            } else {
                high = middle;
                above = sum;
            }
        }
        __syncthreads();
        if (me == 0) shared_count[0] = 0;
        __syncthreads();
        for (unsigned other = me; other < p.vocabulary; other += 256) {
            u64 weight = row.weight(other);
            if (weight >> low == 1) {
                unsigned place = atomicAdd(&shared_count[0], 1u);
                if (place < LISTED) listed[place] = weight;
            }
        }
        __syncthreads();
        unsigned count = shared_count[0];
        least = 1ull << low;
        for (int bit = low - 1; bit >= 0; bit--) {
            u64 more = least | 1ull << bit, mine = 0;
            if (count <= LISTED) {
                for (unsigned i = me; i < count; i += 256) mine += listed[i] >= more ? listed[i] : 0;
            } else {
                for (unsigned other = me; other < p.vocabulary; other += 256) {
                    u64 weight = row.weight(other);
                    mine += weight >> low == 1 && weight >= more ? weight : 0;
                }
            }
            if (above + block_total(mine, of_threads) >= wanted) least = more;
        }
        kept = weigh(row, least, of_slices);
    }
    // The slice in which the running sum passes the draw, and how far.
    if (me == 0) {
        u64 target = __umul64hi(kept, p.draws[at]);
        unsigned slice = 0;
        while (slice < p.slices && of_slices[slice] <= target) target -= of_slices[slice++];
        shared_count[0] = slice;
        shared_rest[0] = target;
    }
    __syncthreads();
    unsigned slice = shared_count[0];
    if (slice == p.slices) return; // nothing has any weight
    constexpr unsigned EACH = SLICE / 256;
    unsigned begin = slice * SLICE + me * EACH, end = min(begin + EACH, p.vocabulary);
    u64 own = 0;
    for (unsigned other = begin; other < end; other++) {
        u64 weight = row.weight(other);
        own += weight >= least ? weight : 0;
    }
    __syncthreads();
    of_threads[me] = own;
    __syncthreads();
    u64 before = 0;
    for (unsigned other = 0; other < me; other++) before += of_threads[other];
    u64 target = shared_rest[0];
    if (before > target || before + own <= target) return;
    u64 sum = before;
    for (unsigned other = begin; other < end; other++) {
        u64 weight = row.weight(other);
        sum += weight >= least ? weight : 0;
        if (sum > target) {
            p.tokens[at] = other;
            if (!is_broken) p.log_probs[at] = static_cast<double>(row.logit(other)) - static_cast<double>(row.largest) + top;
            return;
        }
    }
}
