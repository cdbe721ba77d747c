// The norms of heads, and their rotation by depth, in place: of each row its first heads, which are those of queries and of keys.

struct HeadsParameters {
    element* rows;          // [rows, stride]
    const float* weight;    // of the norm, as wide as all heads; or none: there is no norm
    const float* bias;      // or none
    const float* cos;       // [positions, half], or none: nothing is turned
    const float* sin;
    const unsigned* depths; // by row
    unsigned long long count; // of rows
    unsigned stride;
    unsigned heads;
    unsigned head_dim;
    unsigned half;          // pairs (i, i + half) of a head are turned
    unsigned first;         // heads of the first of two groups that are normed as one each
    float eps;
    unsigned centred;
};

#define EACH 8u

__device__ __forceinline__ void load_eight(float (&x)[EACH], const element* from) {
#if ELEMENT == 0
    float4 low = reinterpret_cast<const float4*>(from)[0], high = reinterpret_cast<const float4*>(from)[1];
    x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w, x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
#else
    uint4 all = *reinterpret_cast<const uint4*>(from);
    const element* each = reinterpret_cast<const element*>(&all);
#pragma unroll
    for (unsigned i = 0; i < EACH; i++) x[i] = widened(each[i]);
#endif
}

__device__ __forceinline__ void store_eight(element* to, const float (&x)[EACH]) {
#if ELEMENT == 0
    reinterpret_cast<float4*>(to)[0] = make_float4(x[0], x[1], x[2], x[3]);
    reinterpret_cast<float4*>(to)[1] = make_float4(x[4], x[5], x[6], x[7]);
#else
    uint4 all;
    element* each = reinterpret_cast<element*>(&all);
#pragma unroll
    for (unsigned i = 0; i < EACH; i++) each[i] = narrowed(x[i]);
    *reinterpret_cast<uint4*>(to) = all;
#endif
}

// Eight numbers of the first half of a head, and those that they are turned with.
struct Pairs {
    float low[EACH], high[EACH];
};

__device__ __forceinline__ float sum_of(const Pairs& x) {
    float sum = 0.0f;
#pragma unroll
    for (unsigned i = 0; i < EACH; i++) sum += x.low[i] + x.high[i];
    return sum;
}

__device__ __forceinline__ float squares_of(const Pairs& x, float centre) {
    float sum = 0.0f;
#pragma unroll
    for (unsigned i = 0; i < EACH; i++) {
        float low = x.low[i] - centre, high = x.high[i] - centre;
        sum = fmaf(low, low, fmaf(high, high, sum));
    }
    return sum;
}

// What is at `column` of the heads, normed where there is a norm, and turned where that is asked for.
__device__ __forceinline__ void put_turned(
    const HeadsParameters& p, Pairs& x, size_t row, unsigned column, unsigned i, float centre, float factor
) {
    if (p.weight) {
#pragma unroll
        for (unsigned e = 0; e < EACH; e++) {
            x.low[e] = p.weight[column + e] * ((x.low[e] - centre) * factor);
            x.high[e] = p.weight[column + p.half + e] * ((x.high[e] - centre) * factor);
            if (p.bias) {
                x.low[e] += p.bias[column + e];
                x.high[e] += p.bias[column + p.half + e];
            }
        }
    }
    if (p.cos) {
        size_t angle = static_cast<size_t>(p.depths[row]) * p.half + i;
        float cos[EACH], sin[EACH];
#pragma unroll
        for (unsigned e = 0; e < EACH; e += 4) {
            *reinterpret_cast<float4*>(cos + e) = *reinterpret_cast<const float4*>(p.cos + angle + e);
            *reinterpret_cast<float4*>(sin + e) = *reinterpret_cast<const float4*>(p.sin + angle + e);
        }
#pragma unroll
        for (unsigned e = 0; e < EACH; e++) {
            float low = x.low[e], high = x.high[e];
            x.low[e] = low * cos[e] - high * sin[e];
            x.high[e] = high * cos[e] + low * sin[e];
        }
    }
    element* to = p.rows + row * p.stride + column;
    store_eight(to, x.low);
    store_eight(to + p.half, x.high);
}

// A thread sixteen numbers of a head, which is normed by itself by neighbouring lanes.
KERNEL(turn_heads, HeadsParameters, 256) {
    unsigned lanes = p.half / EACH, items = p.heads * lanes;
    size_t at = static_cast<size_t>(blockIdx.x) * 256 + threadIdx.x;
    bool any = at < p.count * items;
    size_t row = any ? at / items : 0;
    unsigned item = any ? static_cast<unsigned>(at % items) : 0, i = item % lanes * EACH;
    unsigned column = item / lanes * p.head_dim + i;
    Pairs x;
    load_eight(x.low, p.rows + row * p.stride + column);
    load_eight(x.high, p.rows + row * p.stride + column + p.half);
    float centre = 0.0f, factor = 1.0f;
    if (p.weight) {
        if (p.centred) {
            centre = sum_of(x);
            for (unsigned step = lanes / 2; step > 0; step /= 2) centre += __shfl_xor_sync(EVERY_LANE, centre, step);
            centre /= p.head_dim;
        }
        float square = squares_of(x, centre);
        for (unsigned step = lanes / 2; step > 0; step /= 2) square += __shfl_xor_sync(EVERY_LANE, square, step);
        factor = 1.0f / sqrtf(square / p.head_dim + p.eps);
    }
    if (any) put_turned(p, x, row, column, i, centre, factor);
}

// The heads of queries normed as one, and those of keys: a block a row and group.
KERNEL(turn_groups, HeadsParameters, 256) {
    SHARED(float, of_warps, 32);
    size_t row = blockIdx.x;
    unsigned lanes = p.half / EACH, from = blockIdx.y == 0 ? 0 : p.first;
    unsigned heads = blockIdx.y == 0 ? p.first : p.heads - p.first, width = heads * p.head_dim;
    const element* values = p.rows + row * p.stride;
    Pairs x;
    auto load = [&](unsigned item) {
        unsigned column = (from + item / lanes) * p.head_dim + item % lanes * EACH;
        load_eight(x.low, values + column);
        load_eight(x.high, values + column + p.half);
        return column;
    };
    float centre = 0.0f, square = 0.0f;
    if (p.centred) {
        for (unsigned item = threadIdx.x; item < heads * lanes; item += 256) {
            load(item);
            centre += sum_of(x);
        }
        centre = block_sum(centre, of_warps) / width;
    }
    for (unsigned item = threadIdx.x; item < heads * lanes; item += 256) {
        load(item);
        square += squares_of(x, centre);
    }
    float factor = 1.0f / sqrtf(block_sum(square, of_warps) / width + p.eps);
    for (unsigned item = threadIdx.x; item < heads * lanes; item += 256) {
        unsigned column = load(item);
        put_turned(p, x, row, column, item % lanes * EACH, centre, factor);
    }
}
