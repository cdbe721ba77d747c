// Attention over the trie of a pass, and of one new row each over paths that are kept in pages.
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

struct PagesParameters {
    const element* qkv;      // [rows, (heads + 2 · kv_heads) · head_dim]
    const element* pages;    // [pages · 64, 2 · kv_heads · head_dim]
    element* out;            // [rows, heads · head_dim]
    const unsigned* tables;  // [rows, longest]: the pages of each path by depth
    const unsigned* depths;  // the depth of each new row
    unsigned rows;
    unsigned longest;
    unsigned heads;
    unsigned kv_heads;
    unsigned window;
    float scale;
    float softcap;
};

// The same over pages of 64 depths, for one new row each.
KERNEL(attention_pages, PagesParameters, 128) {
    unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    unsigned row = blockIdx.x * (blockDim.x / 32) + warp, head = blockIdx.y;
    SHARED(float, of_queries, 4 * HEAD_DIM);
    float* q = of_queries + warp * HEAD_DIM;
    if (row >= p.rows) return;
    unsigned depth = p.depths[row], kv = head / (p.heads / p.kv_heads);
    size_t stride = (p.heads + 2 * p.kv_heads) * HEAD_DIM, width = 2 * p.kv_heads * HEAD_DIM;
    for (unsigned i = lane; i < HEAD_DIM; i += 32) q[i] = widened(p.qkv[row * stride + head * HEAD_DIM + i]);
    __syncwarp(EVERY_LANE);
    constexpr unsigned PARTS = (HEAD_DIM + 31) / 32;
    float sums[PARTS] = {}, largest = -INFINITE, mass = 0.0f;
    unsigned first = p.window == NONE || depth + 1 < p.window ? 0 : depth + 1 - p.window;
    for (unsigned start = first / 32 * 32; start <= depth; start += 32) {
        unsigned at = start + lane;
        bool seen = at >= first && at <= depth;
        size_t index = seen ? p.tables[row * p.longest + at / 64] * 64 + at % 64 : 0;
        float score = 0.0f;
        if (seen) {
            const element* key = p.pages + index * width + kv * HEAD_DIM;
            for (unsigned i = 0; i < HEAD_DIM; i++) score = fmaf(q[i], widened(key[i]), score);
        }
        score = seen ? capped(score * p.scale, p.softcap) : -INFINITE;
        float most = score;
        for (unsigned step = 16; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(EVERY_LANE, most, step));
        most = fmaxf(most, largest);
        float weight = seen ? expf(score - most) : 0.0f, shrunk = expf(largest - most), sum = weight;
        for (unsigned step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(EVERY_LANE, sum, step);
        mass = mass * shrunk + sum;
        largest = most;
        for (unsigned i = 0; i < PARTS; i++) sums[i] *= shrunk;
        unsigned low = static_cast<unsigned>(index);
        for (unsigned from = 0; from < 32; from++) {
            size_t other = __shfl_sync(EVERY_LANE, low, from);
            float other_weight = __shfl_sync(EVERY_LANE, weight, from);
            if (start + from < first || start + from > depth) continue;
            const element* value = p.pages + other * width + (p.kv_heads + kv) * HEAD_DIM;
            for (unsigned i = 0; i < PARTS; i++) {
                unsigned dimension = i * 32 + lane;
                if (dimension < HEAD_DIM) sums[i] = fmaf(other_weight, widened(value[dimension]), sums[i]);
            }
        }
    }
    element* out = p.out + (static_cast<size_t>(row) * p.heads + head) * HEAD_DIM;
    for (unsigned i = 0; i < PARTS; i++) {
        unsigned dimension = i * 32 + lane;
        if (dimension < HEAD_DIM) out[dimension] = narrowed(sums[i] / mass);
    }
}

#if ELEMENT != 0 && HEAD_DIM % 16 == 0

__device__ __forceinline__ unsigned pair_of(float low, float high) {
    return static_cast<unsigned>(narrowed(low)) | static_cast<unsigned>(narrowed(high)) << 16;
}

// On tensor cores: TILE queries of one head, sixteen a warp; blocks of keys pass through shared memory.
KERNEL(attention, AttentionParameters, TILE * 2) {
    constexpr unsigned DIM = HEAD_DIM, WIDTH = DIM + 8; // eight more, so that rows fall on different banks
    DYNAMIC_SHARED(room);
    element* q = reinterpret_cast<element*>(room);      // [TILE, WIDTH]
    element* k = q + TILE * WIDTH;                      // [BLOCK, WIDTH]
    element* v = k + BLOCK * WIDTH;                     // [BLOCK, WIDTH]
    unsigned tile = blockIdx.x, head = blockIdx.y, kv = head / (p.heads / p.kv_heads);
    unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, pair = lane % 4;
    size_t stride = (p.heads + 2 * p.kv_heads) * DIM;
    constexpr unsigned PARTS = DIM / 8; // of sixteen bytes
    for (unsigned i = threadIdx.x; i < TILE * PARTS; i += blockDim.x) {
        unsigned query = tile * TILE + i / PARTS;
        uint4 part = make_uint4(0, 0, 0, 0);
        if (query < p.queries) {
            const element* from = p.qkv + p.rows[query] * stride + head * DIM + i % PARTS * 8;
            part = *reinterpret_cast<const uint4*>(from);
        }
        *reinterpret_cast<uint4*>(q + i / PARTS * WIDTH + i % PARTS * 8) = part;
    }
    // The two rows of this lane.
    unsigned rows[2], depths[2];
#pragma unroll
    for (unsigned half = 0; half < 2; half++) {
        unsigned query = tile * TILE + warp * 16 + group + 8 * half;
        rows[half] = query < p.queries ? p.rows[query] : NONE;
        depths[half] = query < p.queries ? p.depths[query] : 0;
    }
    float sums[DIM / 8][4] = {}, largest[2] = {-INFINITE, -INFINITE}, mass[2] = {0.0f, 0.0f};
    for (unsigned at = p.tiles[tile]; at < p.tiles[tile + 1]; at++) {
        unsigned block = p.lists[at];
        if (is_beyond_window(p, block, p.shallow[tile])) continue;
        __syncthreads();
        for (unsigned i = threadIdx.x; i < BLOCK * PARTS; i += blockDim.x) {
            unsigned place = i / PARTS, index = p.keys[block * BLOCK + place];
            uint4 key = make_uint4(0, 0, 0, 0), value = key;
            if (index != NONE) {
                const element* from = key_of(p, index, kv) + i % PARTS * 8;
                key = *reinterpret_cast<const uint4*>(from);
                value = *reinterpret_cast<const uint4*>(from + p.kv_heads * DIM);
            }
            *reinterpret_cast<uint4*>(k + place * WIDTH + i % PARTS * 8) = key;
            *reinterpret_cast<uint4*>(v + place * WIDTH + i % PARTS * 8) = value;
        }
        __syncthreads();
        float scores[BLOCK / 8][4] = {};
#pragma unroll
        for (unsigned d = 0; d < DIM; d += 16) {
            unsigned a[4];
            ldmatrix_x4(a, q + (warp * 16 + lane % 16) * WIDTH + d + lane / 16 * 8);
#pragma unroll
            for (unsigned n = 0; n < BLOCK; n += 16) {
                unsigned b[4];
                ldmatrix_x4(b, k + (n + lane / 16 * 8 + lane % 8) * WIDTH + d + lane / 8 % 2 * 8);
                const unsigned low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
                MMA(scores[n / 8], a, low);
                MMA(scores[n / 8 + 1], a, high);
            }
        }
        unsigned first = p.firsts[block], end = p.ends[block], start = p.starts[block];
#pragma unroll
        for (unsigned half = 0; half < 2; half++) {
            bool here = rows[half] != NONE && rows[half] >= first && rows[half] < end;
            float most = -INFINITE;
#pragma unroll
            for (unsigned n = 0; n < BLOCK / 8; n++) {
#pragma unroll
                for (unsigned c = 0; c < 2; c++) {
                    // A key that is not there is deeper than its row.
                    unsigned depth = start + n * 8 + pair * 2 + c;
                    bool seen = here && depth <= depths[half] && (p.window == NONE || depths[half] - depth < p.window);
                    float score = capped(scores[n][half * 2 + c] * p.scale, p.softcap);
                    scores[n][half * 2 + c] = seen ? score : -INFINITE;
                    most = fmaxf(most, scores[n][half * 2 + c]);
                }
            }
            most = fmaxf(most, __shfl_xor_sync(EVERY_LANE, most, 1));
            most = fmaxf(most, __shfl_xor_sync(EVERY_LANE, most, 2));
            most = fmaxf(most, largest[half]);
            // Where nothing was seen yet there is nothing to shrink.
            float shrunk = most == -INFINITE ? 1.0f : expf(largest[half] - most);
            float sum = 0.0f;
#pragma unroll
            for (unsigned n = 0; n < BLOCK / 8; n++) {
#pragma unroll
                for (unsigned c = 0; c < 2; c++) {
                    float score = scores[n][half * 2 + c];
                    float weight = score == -INFINITE ? 0.0f : expf(score - most);
                    scores[n][half * 2 + c] = weight;
                    sum += weight;
                }
            }
            mass[half] = mass[half] * shrunk + sum;
            largest[half] = most;
#pragma unroll
            for (unsigned n = 0; n < DIM / 8; n++) {
                sums[n][half * 2] *= shrunk;
                sums[n][half * 2 + 1] *= shrunk;
            }
        }
#pragma unroll
        for (unsigned n = 0; n < BLOCK; n += 16) {
            const float* low = scores[n / 8];
            const float* high = scores[n / 8 + 1];
            const unsigned a[4] = {pair_of(low[0], low[1]), pair_of(low[2], low[3]),
                                   pair_of(high[0], high[1]), pair_of(high[2], high[3])};
#pragma unroll
            for (unsigned d = 0; d < DIM; d += 16) {
                unsigned b[4];
                ldmatrix_x4_transposed(b, v + (n + lane % 16) * WIDTH + d + lane / 16 * 8);
                const unsigned left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
                MMA(sums[d / 8], a, left);
                MMA(sums[d / 8 + 1], a, right);
            }
        }
    }
#pragma unroll
    for (unsigned half = 0; half < 2; half++) {
        float whole = mass[half];
        whole += __shfl_xor_sync(EVERY_LANE, whole, 1);
        whole += __shfl_xor_sync(EVERY_LANE, whole, 2);
        if (rows[half] == NONE) continue;
        size_t query = tile * TILE + warp * 16 + group + 8 * half;
        element* out = p.out + (query * p.heads + head) * DIM + pair * 2;
#pragma unroll
        for (unsigned n = 0; n < DIM / 8; n++) {
            *reinterpret_cast<unsigned*>(out + n * 8) = pair_of(sums[n][half * 2] / whole, sums[n][half * 2 + 1] / whole);
        }
    }
}

#endif
