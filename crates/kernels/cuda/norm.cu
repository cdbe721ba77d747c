// RMSNorm and LayerNorm of rows, of the residual stream or added to it. One block a row: a row's sums run over fixed lanes, so
// that its bits do not depend on its neighbours.

struct NormParameters {
    float* hidden;          // [rows, width]: the residual stream
    const float* delta;     // [rows, width]: rows whose norm is added to the stream; or none, and the stream is normed
    const float* weight;    // [width]
    const float* bias;      // [width], or none
    element* out;           // [rows, width], or none
    float* out_wide;        // the same in f32, or none
    unsigned* broken;       // the lowest place at which a mean square was not finite
    unsigned width;
    unsigned place;
    float scale;            // of what is added
    float eps;
    unsigned centred;
};

// Four numbers of a norm, and where they go.
__device__ __forceinline__ void put_normed(const NormParameters& p, size_t begin, unsigned at, float4 x, float centre, float factor) {
    float4 w = *reinterpret_cast<const float4*>(p.weight + at), b = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (p.bias) b = *reinterpret_cast<const float4*>(p.bias + at);
    float4 normed = make_float4(w.x * ((x.x - centre) * factor) + b.x, w.y * ((x.y - centre) * factor) + b.y,
                                w.z * ((x.z - centre) * factor) + b.z, w.w * ((x.w - centre) * factor) + b.w);
    if (p.delta) {
        float4* hidden = reinterpret_cast<float4*>(p.hidden + begin + at);
        float4 sum = *hidden;
        *hidden = make_float4(sum.x + p.scale * normed.x, sum.y + p.scale * normed.y,
                              sum.z + p.scale * normed.z, sum.w + p.scale * normed.w);
    } else if (p.out) {
        __align__(16) element out[4] = {narrowed(normed.x), narrowed(normed.y), narrowed(normed.z), narrowed(normed.w)};
#if ELEMENT == 0
        *reinterpret_cast<float4*>(p.out + begin + at) = *reinterpret_cast<const float4*>(out);
#else
        *reinterpret_cast<uint2*>(p.out + begin + at) = *reinterpret_cast<const uint2*>(out);
#endif
    } else {
        *reinterpret_cast<float4*>(p.out_wide + begin + at) = normed;
    }
}

// Rows that a block holds in registers: so many times four numbers a thread.
#define HELD 8u

KERNEL(norm_rows, NormParameters, 256) {
    SHARED(float, of_warps, 32);
    if (p.width % 4 == 0 && p.width <= 256 * 4 * HELD) {
        size_t begin = static_cast<size_t>(blockIdx.x) * p.width;
        const float* x = p.delta ? p.delta + begin : p.hidden + begin;
        float4 held[HELD];
        float sum = 0.0f, square = 0.0f;
#pragma unroll
        for (unsigned i = 0; i < HELD; i++) {
            unsigned at = (i * 256 + threadIdx.x) * 4;
            held[i] = at < p.width ? *reinterpret_cast<const float4*>(x + at) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            sum += (held[i].x + held[i].y) + (held[i].z + held[i].w);
            square = fmaf(held[i].x, held[i].x, fmaf(held[i].y, held[i].y, square));
            square = fmaf(held[i].z, held[i].z, fmaf(held[i].w, held[i].w, square));
        }
        float centre = 0.0f;
        if (p.centred) {
            centre = block_sum(sum, of_warps) / p.width;
            square = 0.0f;
#pragma unroll
            for (unsigned i = 0; i < HELD; i++) {
                if ((i * 256 + threadIdx.x) * 4 >= p.width) continue;
                float a = held[i].x - centre, b = held[i].y - centre, c = held[i].z - centre, d = held[i].w - centre;
                square = fmaf(a, a, fmaf(b, b, square));
                square = fmaf(c, c, fmaf(d, d, square));
            }
        }
        float mean = block_sum(square, of_warps) / p.width;
        if (threadIdx.x == 0 && !(mean < INFINITE)) atomicMin(p.broken, p.place);
        float factor = 1.0f / sqrtf(mean + p.eps);
#pragma unroll
        for (unsigned i = 0; i < HELD; i++) {
            unsigned at = (i * 256 + threadIdx.x) * 4;
            if (at < p.width) put_normed(p, begin, at, held[i], centre, factor);
        }
        return;
    }
    size_t begin = static_cast<size_t>(blockIdx.x) * p.width;
    float* hidden = p.hidden + begin;
    const float* x = p.delta ? p.delta + begin : hidden;
    float sum = 0.0f, square = 0.0f;
    for (unsigned i = threadIdx.x; i < p.width; i += blockDim.x) {
        sum += x[i];
        square = fmaf(x[i], x[i], square);
    }
    float centre = 0.0f;
    if (p.centred) {
        centre = block_sum(sum, of_warps) / p.width;
        square = 0.0f;
        for (unsigned i = threadIdx.x; i < p.width; i += blockDim.x) {
            float off = x[i] - centre;
            square = fmaf(off, off, square);
        }
    }
    float mean = block_sum(square, of_warps) / p.width;
    // Infinite and not a number are not below infinity.
    if (threadIdx.x == 0 && !(mean < INFINITE)) atomicMin(p.broken, p.place);
    float factor = 1.0f / sqrtf(mean + p.eps);
    for (unsigned i = threadIdx.x; i < p.width; i += blockDim.x) {
        float normed = p.weight[i] * ((x[i] - centre) * factor) + (p.bias ? p.bias[i] : 0.0f);
        if (p.delta) hidden[i] += p.scale * normed;
        else if (p.out) p.out[begin + i] = narrowed(normed);
        else p.out_wide[begin + i] = normed;
    }
}

struct NormGroupsParameters {
    element* rows;          // [rows, stride]
    const float* weight;    // as wide as all groups
    const float* bias;      // or none
    const unsigned* starts; // the first column of each group, and one past the last
    unsigned stride;
    float eps;
    unsigned centred;
};

// Norms neighbouring groups of the first columns of each row in place: one block a row and group.
KERNEL(norm_groups, NormGroupsParameters, 128) {
    SHARED(float, of_warps, 32);
    unsigned start = p.starts[blockIdx.y], width = p.starts[blockIdx.y + 1] - start;
    element* x = p.rows + static_cast<size_t>(blockIdx.x) * p.stride + start;
    float sum = 0.0f, square = 0.0f;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
        float value = widened(x[i]);
        sum += value;
        square = fmaf(value, value, square);
    }
    float centre = 0.0f;
    if (p.centred) {
        centre = block_sum(sum, of_warps) / width;
        square = 0.0f;
        for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
            float off = widened(x[i]) - centre;
            square = fmaf(off, off, square);
        }
    }
    float factor = 1.0f / sqrtf(block_sum(square, of_warps) / width + p.eps);
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
        float normed = p.weight[start + i] * ((widened(x[i]) - centre) * factor);
        x[i] = narrowed(normed + (p.bias ? p.bias[start + i] : 0.0f));
    }
}
