// Attention over the trie of a pass.
//
// Keys come in blocks of BLOCK neighbouring depths of one path. A row sees exactly one block of each span of depths, and each of
// its keys at a column that its depth alone decides: whatever else is in the pass, a row's sums are formed in the same order.
// Keys that a row does not see add exact zeros.

struct AttentionParameters {
    const element* qkv;      // [rows, (heads + 2 · kv_heads) · head_dim]
    const element* carried;  // [entries, 2 · kv_heads · head_dim]: the path that the pass was handed
    element* out;            // [queries, heads · head_dim]
    const unsigned* rows;    // the row of each query
    const unsigned* depths;  // the depth of each query
    const unsigned* keys;    // [blocks, BLOCK]: a carried entry or, counted on from there, a row; NONE
    const unsigned* firsts;  // of each block: the first row that sees it
    const unsigned* ends;    // and one past the last
    const unsigned* starts;  // and the depth of its first key
    const unsigned* lists;   // the blocks that the queries of a tile see, by rising depth
    const unsigned* tiles;   // where the list of each tile begins, and where the last one ends
    const unsigned* shallow; // the least depth of a tile's queries
    unsigned queries;
    unsigned heads;
    unsigned kv_heads;
    unsigned entries;
    unsigned window;         // NONE where there is none
    float scale;
    float softcap;           // 0 where there is none
};

__device__ __forceinline__ const element* key_of(const AttentionParameters& p, unsigned index, unsigned kv) {
    size_t dim = HEAD_DIM, width = 2 * p.kv_heads * dim;
    if (index < p.entries) return p.carried + index * width + kv * dim;
    size_t stride = (p.heads + 2 * p.kv_heads) * dim;
    return p.qkv + (index - p.entries) * stride + (p.heads + kv) * dim;
}

__device__ __forceinline__ bool is_beyond_window(const AttentionParameters& p, unsigned block, unsigned depth) {
    return p.window != NONE && p.starts[block] + BLOCK + p.window <= depth + 1;
}

// The plain form: one warp a query and head, lanes over keys for scores and over dimensions for values.
KERNEL(attention_plain, AttentionParameters, 128) {
    unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    unsigned query = blockIdx.x * (blockDim.x / 32) + warp, head = blockIdx.y;
    SHARED(float, of_queries, 4 * HEAD_DIM);
    float* q = of_queries + warp * HEAD_DIM;
    if (query >= p.queries) return;
    unsigned row = p.rows[query], depth = p.depths[query], kv = head / (p.heads / p.kv_heads);
    size_t stride = (p.heads + 2 * p.kv_heads) * HEAD_DIM;
    for (unsigned i = lane; i < HEAD_DIM; i += 32) q[i] = widened(p.qkv[row * stride + head * HEAD_DIM + i]);
    __syncwarp(EVERY_LANE);
    constexpr unsigned PARTS = (HEAD_DIM + 31) / 32;
    float sums[PARTS] = {}, largest = -INFINITE, mass = 0.0f;
    unsigned tile = query / TILE;
    for (unsigned at = p.tiles[tile]; at < p.tiles[tile + 1]; at++) {
        unsigned block = p.lists[at];
        if (row < p.firsts[block] || row >= p.ends[block] || is_beyond_window(p, block, depth)) continue;
        for (unsigned part = 0; part < BLOCK; part += 32) {
            unsigned place = part + lane, of_key = p.starts[block] + place;
            unsigned index = place < BLOCK ? p.keys[block * BLOCK + place] : NONE;
            bool seen = index != NONE && of_key <= depth && (p.window == NONE || depth - of_key < p.window);
            float score = 0.0f;
            if (seen) {
                const element* key = key_of(p, index, kv);
                for (unsigned i = 0; i < HEAD_DIM; i++) score = fmaf(q[i], widened(key[i]), score);
            }
            score = seen ? capped(score * p.scale, p.softcap) : -INFINITE;
            float most = score;
            for (unsigned step = 16; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(EVERY_LANE, most, step));
            most = fmaxf(most, largest);
            if (most == -INFINITE) continue;
            float weight = seen ? expf(score - most) : 0.0f, shrunk = expf(largest - most), sum = weight;
            for (unsigned step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(EVERY_LANE, sum, step);
            mass = mass * shrunk + sum;
            largest = most;
            for (unsigned i = 0; i < PARTS; i++) sums[i] *= shrunk;
            for (unsigned from = 0; from < 32; from++) {
                unsigned other = __shfl_sync(EVERY_LANE, seen ? index : NONE, from);
                float other_weight = __shfl_sync(EVERY_LANE, weight, from);
                if (other == NONE) continue;
                const element* value = key_of(p, other, kv) + p.kv_heads * HEAD_DIM;
                for (unsigned i = 0; i < PARTS; i++) {
                    unsigned dimension = i * 32 + lane;
                    if (dimension < HEAD_DIM) sums[i] = fmaf(other_weight, widened(value[dimension]), sums[i]);
                }
            }
        }
    }
    element* out = p.out + (static_cast<size_t>(query) * p.heads + head) * HEAD_DIM;
    for (unsigned i = 0; i < PARTS; i++) {
        unsigned dimension = i * 32 + lane;
        if (dimension < HEAD_DIM) out[dimension] = narrowed(sums[i] / mass);
    }
}

#if ELEMENT != 0 && HEAD_DIM % 16 == 0 && HEAD_DIM <= 256

// On tensor cores: TILE queries of TOGETHER heads that share keys, sixteen queries of one head a warp. Blocks of keys pass through
// shared memory, the next one on its way while one is attended to; a warp passes over a block that none of its rows sees.

#define WARPS (TILE / 16 * TOGETHER)

// Of the block that is attended to, which rows see it and where it begins.
struct Span {
    unsigned first, end, start;
};

__device__ __forceinline__ Span span_of(const AttentionParameters& p, unsigned block) {
    Span span = {p.firsts[block], p.ends[block], p.starts[block]};
    return span;
}

// The next block of a tile's list, from `at` on, that not all of its queries have left behind; `end` where there is none.
template <bool BARE>
__device__ __forceinline__ unsigned next_block(const AttentionParameters& p, unsigned at, unsigned end, unsigned shallow) {
    if (!BARE) while (at < end && is_beyond_window(p, p.lists[at], shallow)) at++;
    return at;
}

// BARE knows no window and no soft cap.
template <bool BARE>
__device__ __forceinline__ void attend(const AttentionParameters& p, element* room) {
    constexpr unsigned DIM = HEAD_DIM, WIDTH = DIM + 8; // eight more, so that rows fall on different banks
    constexpr unsigned PARTS = DIM / 8, THREADS = WARPS * 32, STAGE = 2 * BLOCK * WIDTH;
    constexpr unsigned LOADS = (BLOCK * PARTS + THREADS - 1) / THREADS; // of sixteen bytes of keys, a thread
    constexpr bool HOLDS = DIM <= QUERIES_HELD; // queries stay in registers
    element* of_queries = room + 2 * STAGE;     // [WARPS · 16, WIDTH] where they do not
    unsigned tile = blockIdx.x, head = blockIdx.y * TOGETHER, kv = head / (p.heads / p.kv_heads);
    unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, pair = lane % 4;
    head += warp % TOGETHER;
    size_t stride = (p.heads + 2 * p.kv_heads) * DIM;

    // The two rows of this lane.
    unsigned rows[2], depths[2];
    const element* queries[2];
#pragma unroll
    for (unsigned half = 0; half < 2; half++) {
        unsigned query = tile * TILE + warp / TOGETHER * 16 + group + 8 * half;
        bool any = query < p.queries;
        rows[half] = any ? p.rows[query] : NONE;
        depths[half] = any ? p.depths[query] : 0;
        queries[half] = any ? p.qkv + rows[half] * stride + head * DIM + pair * 2 : nullptr;
    }
    unsigned held[HOLDS ? DIM / 16 : 1][4];
#pragma unroll
    for (unsigned d = 0; d < DIM; d += 16) {
        unsigned a[4];
        load_queries(a, queries[0] ? queries[0] + d : nullptr, queries[1] ? queries[1] + d : nullptr);
        if (HOLDS) {
#pragma unroll
            for (unsigned i = 0; i < 4; i++) held[d / 16][i] = a[i];
        } else {
            element* to = of_queries + (warp * 16 + group) * WIDTH + d + pair * 2;
            *reinterpret_cast<unsigned*>(to) = a[0];
            *reinterpret_cast<unsigned*>(to + 8 * WIDTH) = a[1];
            *reinterpret_cast<unsigned*>(to + 8) = a[2];
            *reinterpret_cast<unsigned*>(to + 8 * WIDTH + 8) = a[3];
        }
    }
    if (!HOLDS) __syncwarp(EVERY_LANE);

    unsigned at = p.tiles[tile], end = p.tiles[tile + 1], shallow = p.shallow[tile];
    unsigned indices[LOADS]; // of the keys that this thread copies next
    auto look_up = [&](unsigned block) {
#pragma unroll
        for (unsigned i = 0; i < LOADS; i++) {
            unsigned place = (i * THREADS + threadIdx.x) / PARTS;
            indices[i] = place < BLOCK ? p.keys[block * BLOCK + place] : NONE;
        }
    };
    auto copy = [&](unsigned stage) {
#pragma unroll
        for (unsigned i = 0; i < LOADS; i++) {
            unsigned number = i * THREADS + threadIdx.x, place = number / PARTS, part = number % PARTS * 8;
            if (place >= BLOCK) break;
            bool any = indices[i] != NONE;
            const element* from = any ? key_of(p, indices[i], kv) + part : p.qkv;
            element* to = room + stage * STAGE + place * WIDTH + part;
            copy_async_16(to, from, any);
            copy_async_16(to + BLOCK * WIDTH, any ? from + p.kv_heads * DIM : from, any);
        }
        copies_issued();
    };

    float sums[DIM / 8][4] = {}, largest[2] = {-INFINITE, -INFINITE}, mass[2] = {0.0f, 0.0f};
    float scale = BARE ? p.scale * LOG2_E : p.scale;
    at = next_block<BARE>(p, at, end, shallow);
    Span span = {}, next = {};
    if (at < end) {
        unsigned block = p.lists[at];
        look_up(block);
        copy(0);
        span = span_of(p, block);
        at = next_block<BARE>(p, at + 1, end, shallow);
        if (at < end) {
            look_up(p.lists[at]);
            next = span_of(p, p.lists[at]);
        }
    } else {
        end = 0; // nothing is seen
    }
    for (unsigned stage = 0; end > 0; stage ^= 1) {
        // This block has come, for every thread, and everyone has left the one before, whose room the next one takes.
        copies_wait();
        __syncthreads();
        bool more = at < end;
        Span after = {};
        if (more) {
            copy(stage ^ 1);
            at = next_block<BARE>(p, at + 1, end, shallow);
            if (at < end) {
                look_up(p.lists[at]);
                after = span_of(p, p.lists[at]);
            }
        }
        // Columns of this block that each row sees: up to the last, and from the first of its window on. A key that is not there is
        // deeper than its row.
        int last[2], first[2];
#pragma unroll
        for (unsigned half = 0; half < 2; half++) {
            bool here = rows[half] >= span.first && rows[half] < span.end;
            last[half] = here ? static_cast<int>(depths[half]) - static_cast<int>(span.start) : -1;
            bool all = BARE || p.window == NONE || depths[half] < p.window;
            first[half] = all ? 0 : static_cast<int>(depths[half] + 1 - p.window) - static_cast<int>(span.start);
        }
        if (__any_sync(EVERY_LANE, last[0] >= 0 || last[1] >= 0)) {
            const element* k = room + stage * STAGE;
            const element* v = k + BLOCK * WIDTH;
            float scores[BLOCK / 8][4] = {};
#pragma unroll
            for (unsigned d = 0; d < DIM; d += 16) {
                unsigned a[4];
                if (HOLDS) {
#pragma unroll
                    for (unsigned i = 0; i < 4; i++) a[i] = held[HOLDS ? d / 16 : 0][i];
                } else {
                    ldmatrix_x4(a, of_queries + (warp * 16 + lane % 16) * WIDTH + d + lane / 16 * 8);
                }
#pragma unroll
                for (unsigned n = 0; n < BLOCK; n += 16) {
                    unsigned b[4];
                    ldmatrix_x4(b, k + (n + lane / 16 * 8 + lane % 8) * WIDTH + d + lane / 8 % 2 * 8);
                    const unsigned low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
                    MMA(scores[n / 8], a, low);
                    MMA(scores[n / 8 + 1], a, high);
                }
            }
#pragma unroll
            for (unsigned half = 0; half < 2; half++) {
                float most = largest[half];
#pragma unroll
                for (unsigned n = 0; n < BLOCK / 8; n++) {
#pragma unroll
                    for (unsigned c = 0; c < 2; c++) {
                        int column = static_cast<int>(n * 8 + pair * 2 + c);
                        float score = scores[n][half * 2 + c] * scale;
                        if (!BARE) score = capped(score, p.softcap) * LOG2_E;
                        bool seen = column <= last[half] && (BARE || column >= first[half]);
                        score = seen ? score : -INFINITE;
                        scores[n][half * 2 + c] = score;
                        most = fmaxf(most, score);
                    }
                }
                most = fmaxf(most, __shfl_xor_sync(EVERY_LANE, most, 1));
                most = fmaxf(most, __shfl_xor_sync(EVERY_LANE, most, 2));
                // Where nothing was seen yet there is nothing to shrink.
                float shrunk = most == -INFINITE ? 1.0f : quick_exp2(largest[half] - most);
                mass[half] = mass[half] * shrunk + weighed(scores, half, most);
                largest[half] = most;
#pragma unroll
                for (unsigned n = 0; n < DIM / 8; n++) {
                    sums[n][half * 2] *= shrunk;
                    sums[n][half * 2 + 1] *= shrunk;
                }
            }
#pragma unroll
            for (unsigned n = 0; n < BLOCK; n += 16) {
                add_values(sums, scores[n / 8], scores[n / 8 + 1], v + (n + lane % 16) * WIDTH + lane / 16 * 8);
            }
        }
        if (!more) break;
        span = next;
        next = after;
    }
#pragma unroll
    for (unsigned half = 0; half < 2; half++) {
        float whole = mass[half];
        whole += __shfl_xor_sync(EVERY_LANE, whole, 1);
        whole += __shfl_xor_sync(EVERY_LANE, whole, 2);
        if (rows[half] == NONE) continue;
        size_t query = tile * TILE + warp / TOGETHER * 16 + group + 8 * half;
        element* out = p.out + (query * p.heads + head) * DIM + pair * 2;
        float factor = 1.0f / whole;
#pragma unroll
        for (unsigned n = 0; n < DIM / 8; n++) {
            *reinterpret_cast<unsigned*>(out + n * 8) = pair_of(sums[n][half * 2] * factor, sums[n][half * 2 + 1] * factor);
        }
    }
}

KERNEL(attention, AttentionParameters, WARPS * 32) {
    DYNAMIC_SHARED(room);
    // One way for all threads.
    if (p.window == NONE && p.softcap == 0.0f) attend<true>(p, reinterpret_cast<element*>(room));
    else attend<false>(p, reinterpret_cast<element*>(room));
}

#endif
