// Attention of one new row each over paths that are kept in pages.

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

#if ELEMENT != 0 && HEAD_DIM % 16 == 0 && HEAD_DIM <= 256

// Paths in pages, on tensor cores: the query heads that share a K/V head are the rows of one product. A block has one piece of a path,
// PIECE depths, of which each warp has one page; the warps' sums are put together in their order, and so are the pieces'. Where pieces
// begin depends on depths alone, so that a text's sums do not depend on which others are written with it.

#define PAGE 64u
#define PIECE 256u

struct TextsParameters {
    const element* qkv;      // [rows, (heads + 2 · kv_heads) · head_dim]
    const element* pages;    // [pages · 64, 2 · kv_heads · head_dim]
    element* out;            // [rows, heads · head_dim]
    float* parts;            // [pieces, heads, head_dim + 2]: the sums, the largest score and the mass, of paths of several pieces
    const unsigned* firsts;  // where the pieces of each such path begin
    const unsigned* tables;  // [rows, longest]: the pages of each path by depth
    const unsigned* depths;  // the depth of each new row
    unsigned longest;
    unsigned heads;
    unsigned kv_heads;
    unsigned window;
    float scale;
    float softcap;
    unsigned end;
};

KERNEL(attention_texts, TextsParameters, 128) {
    constexpr unsigned DIM = HEAD_DIM, WIDTH = DIM + 8, PARTS = DIM / 8;
    SHARED(element, of_values, 4 * 16 * WIDTH);
    SHARED(float, of_scores, 2 * 16);
    float* of_sums = reinterpret_cast<float*>(of_values); // [16, DIM], when all values were taken
    unsigned row = blockIdx.x, kv = blockIdx.y, piece = blockIdx.z;
    unsigned depth = p.depths[row];
    if (piece * PIECE > depth) return;
    unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, pair = lane % 4;
    unsigned shared_heads = p.heads / p.kv_heads;
    size_t stride = (p.heads + 2 * p.kv_heads) * DIM, width = 2 * p.kv_heads * DIM;
    unsigned first = p.window == NONE || depth + 1 < p.window ? 0 : depth + 1 - p.window;
    unsigned start = piece * PIECE + warp * PAGE;
    bool any = start <= depth && start + PAGE > first;
    float sums[DIM / 8][4] = {}, largest[2] = {-INFINITE, -INFINITE}, mass[2] = {0.0f, 0.0f};
    if (any) {
        const element* q = p.qkv + row * stride + kv * shared_heads * DIM;
        const element* keys = p.pages + static_cast<size_t>(p.tables[row * p.longest + start / PAGE]) * PAGE * width + kv * DIM;
        const element* values = keys + p.kv_heads * DIM;
        float scores[PAGE / 8][4] = {};
#pragma unroll
        for (unsigned d = 0; d < DIM; d += 16) {
            unsigned a[4];
            const element* low = q + group * DIM + d + pair * 2;
            load_queries(a, group < shared_heads ? low : nullptr, group + 8 < shared_heads ? low + 8 * DIM : nullptr);
#pragma unroll
            for (unsigned n = 0; n < PAGE / 8; n++) {
                unsigned place = n * 8 + group, b[2] = {};
                // What is beyond the path is room that nobody wrote to.
                if (start + place <= depth) {
                    const element* key = keys + place * width + d + pair * 2;
                    b[0] = *reinterpret_cast<const unsigned*>(key);
                    b[1] = *reinterpret_cast<const unsigned*>(key + 8);
                }
                MMA(scores[n], a, b);
            }
        }
#pragma unroll
        for (unsigned half = 0; half < 2; half++) {
            float most = -INFINITE;
#pragma unroll
            for (unsigned n = 0; n < PAGE / 8; n++) {
#pragma unroll
                for (unsigned c = 0; c < 2; c++) {
                    unsigned at = start + n * 8 + pair * 2 + c;
                    float score = capped(scores[n][half * 2 + c] * p.scale, p.softcap) * LOG2_E;
                    score = at >= first && at <= depth ? score : -INFINITE;
                    scores[n][half * 2 + c] = score;
                    most = fmaxf(most, score);
                }
            }
            most = fmaxf(most, __shfl_xor_sync(EVERY_LANE, most, 1));
            most = fmaxf(most, __shfl_xor_sync(EVERY_LANE, most, 2));
            float sum = weighed(scores, half, most);
            sum += __shfl_xor_sync(EVERY_LANE, sum, 1);
            sum += __shfl_xor_sync(EVERY_LANE, sum, 2);
            largest[half] = most;
            mass[half] = sum;
        }
        element* v = of_values + warp * 16 * WIDTH;
#pragma unroll
        for (unsigned n = 0; n < PAGE; n += 16) {
            __syncwarp(EVERY_LANE);
            for (unsigned i = lane; i < 16 * PARTS; i += 32) {
                unsigned place = i / PARTS;
                uint4 part = make_uint4(0, 0, 0, 0);
                if (start + n + place <= depth) {
                    part = *reinterpret_cast<const uint4*>(values + (n + place) * width + i % PARTS * 8);
                }
                *reinterpret_cast<uint4*>(v + place * WIDTH + i % PARTS * 8) = part;
            }
            __syncwarp(EVERY_LANE);
            add_values(sums, scores[n / 8], scores[n / 8 + 1], v + lane % 16 * WIDTH + lane / 16 * 8);
        }
    }
    // The warps one after the other, each what it has of every head.
    for (unsigned turn = 0; turn < 4; turn++) {
        __syncthreads();
        if (warp != turn) continue;
#pragma unroll
        for (unsigned half = 0; half < 2; half++) {
            unsigned head = group + 8 * half;
            float before = turn == 0 ? -INFINITE : of_scores[head], mass_before = turn == 0 ? 0.0f : of_scores[16 + head];
            float most = fmaxf(before, largest[half]);
            float kept = before == -INFINITE ? 0.0f : quick_exp2(before - most);
            float factor = largest[half] == -INFINITE ? 0.0f : quick_exp2(largest[half] - most);
#pragma unroll
            for (unsigned n = 0; n < DIM / 8; n++) {
#pragma unroll
                for (unsigned c = 0; c < 2; c++) {
                    float* sum = of_sums + head * DIM + n * 8 + pair * 2 + c;
                    *sum = (turn == 0 ? 0.0f : *sum * kept) + sums[n][half * 2 + c] * factor;
                }
            }
            __syncwarp(EVERY_LANE);
            if (pair == 0) {
                of_scores[head] = most;
                of_scores[16 + head] = mass_before * kept + mass[half] * factor;
            }
        }
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < shared_heads * DIM; i += blockDim.x) {
        unsigned head = i / DIM;
        size_t of_head = static_cast<size_t>(row) * p.heads + kv * shared_heads + head;
        if (depth < PIECE) {
            p.out[of_head * DIM + i % DIM] = narrowed(of_sums[i] / of_scores[16 + head]);
            continue;
        }
        size_t of_piece = (static_cast<size_t>(p.firsts[row]) + piece) * p.heads + kv * shared_heads + head;
        float* part = p.parts + of_piece * (DIM + 2);
        part[i % DIM] = of_sums[i];
        if (i % DIM < 2) part[DIM + i % DIM] = of_scores[16 * (i % DIM) + head];
    }
}

// The pieces of each path together: a warp a row and head. A path of one piece is done already.
KERNEL(attention_join, TextsParameters, 32) {
    constexpr unsigned DIM = HEAD_DIM;
    unsigned row = blockIdx.x, head = blockIdx.y, depth = p.depths[row];
    if (depth < PIECE) return;
    size_t of_head = static_cast<size_t>(row) * p.heads + head, stride = p.heads * (DIM + 2);
    const float* parts = p.parts + static_cast<size_t>(p.firsts[row]) * stride + head * (DIM + 2);
    unsigned pieces = depth / PIECE + 1;
    float most = -INFINITE, mass = 0.0f;
    for (unsigned piece = 0; piece < pieces; piece++) most = fmaxf(most, parts[piece * stride + DIM]);
    for (unsigned piece = 0; piece < pieces; piece++) {
        const float* part = parts + piece * stride;
        mass += part[DIM] == -INFINITE ? 0.0f : part[DIM + 1] * quick_exp2(part[DIM] - most);
    }
    for (unsigned i = threadIdx.x; i < DIM; i += 32) {
        float sum = 0.0f;
        for (unsigned piece = 0; piece < pieces; piece++) {
            const float* part = parts + piece * stride;
            sum += part[DIM] == -INFINITE ? 0.0f : part[i] * quick_exp2(part[DIM] - most);
        }
        p.out[of_head * DIM + i] = narrowed(sum / mass);
    }
}

#endif
