// What is done to rows number by number: rotation by depth, activations, gathering and adding rows, widening weights.

struct RotateParameters {
    element* rows;          // [rows, stride]
    const float* cos;       // [positions, half]
    const float* sin;
    const unsigned* depths; // by row
    unsigned stride;
    unsigned heads;
    unsigned head_dim;
    unsigned half;          // pairs (i, i + half) of a head are turned
};

// One block a row.
KERNEL(rotate, RotateParameters, 256) {
    element* row = p.rows + static_cast<size_t>(blockIdx.x) * p.stride;
    size_t angle = static_cast<size_t>(p.depths[blockIdx.x]) * p.half;
    for (unsigned pair = threadIdx.x; pair < p.heads * p.half; pair += blockDim.x) {
        unsigned i = pair % p.half;
        element* low = row + pair / p.half * p.head_dim + i;
        element* high = low + p.half;
        float x = widened(*low), y = widened(*high), cos = p.cos[angle + i], sin = p.sin[angle + i];
        *low = narrowed(x * cos - y * sin);
        *high = narrowed(y * cos + x * sin);
    }
}

struct ClampParameters {
    element* values;
    unsigned long long count;
    float bound;
};

KERNEL(clamp, ClampParameters, 256) {
    unsigned long long step = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
    for (unsigned long long at = blockIdx.x * blockDim.x + threadIdx.x; at < p.count; at += step) {
        float x = widened(p.values[at]);
        // Not a number stays one.
        p.values[at] = narrowed(x > p.bound ? p.bound : x < -p.bound ? -p.bound : x);
    }
}

struct ActivateParameters {
    const element* in;      // [rows, width], or gates and ups side by side, [rows, 2 · width]
    element* out;           // [rows, width]
    unsigned width;
    unsigned gated;
    unsigned kind;          // 0 SiLU, 1 GELU, 2 GELU by tanh, 3 ReLU
};

template <unsigned KIND>
__device__ __forceinline__ float activated(float x) {
    // The quick exponential and division are off by some units of 2^-23, which is less than what halves are rounded to.
    if (KIND == 0) return __fdividef(x, 1.0f + __expf(-x));
    if (KIND == 1) return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    // tanh is 2 σ(2 x) - 1.
    if (KIND == 2) return __fdividef(x, 1.0f + __expf(-1.5957691f * (x + 0.044715f * x * x * x)));
    return x > 0.0f || x != x ? x : 0.0f;
}

// Each thread takes sixteen bytes at a time where rows are aligned to that.
template <unsigned KIND, bool GATED>
__device__ __forceinline__ void activate_row(const ActivateParameters& p) {
    constexpr unsigned EACH = 16 / sizeof(element);
    const element* gates = p.in + static_cast<size_t>(blockIdx.y) * (GATED ? 2 : 1) * p.width;
    const element* ups = gates + p.width;
    element* out = p.out + static_cast<size_t>(blockIdx.y) * p.width;
    unsigned thread = blockIdx.x * blockDim.x + threadIdx.x, threads = gridDim.x * blockDim.x;
    if (p.width % EACH == 0) {
        for (unsigned at = thread * EACH; at < p.width; at += threads * EACH) {
            uint4 gate = *reinterpret_cast<const uint4*>(gates + at), up = gate;
            if (GATED) up = *reinterpret_cast<const uint4*>(ups + at);
            element* values = reinterpret_cast<element*>(&gate);
            const element* factors = reinterpret_cast<const element*>(&up);
#pragma unroll
            for (unsigned i = 0; i < EACH; i++) {
                float value = activated<KIND>(widened(values[i]));
                values[i] = narrowed(GATED ? value * widened(factors[i]) : value);
            }
            *reinterpret_cast<uint4*>(out + at) = gate;
        }
    } else {
        for (unsigned at = thread; at < p.width; at += threads) {
            float value = activated<KIND>(widened(gates[at]));
            out[at] = narrowed(GATED ? value * widened(ups[at]) : value);
        }
    }
}

template <unsigned KIND>
__device__ __forceinline__ void activate_kind(const ActivateParameters& p) {
    if (p.gated) activate_row<KIND, true>(p);
    else activate_row<KIND, false>(p);
}

// Blocks by columns and row. What is done is known to the compiler: one of eight ways, the same for all threads.
KERNEL(activate, ActivateParameters, 256) {
    if (p.kind == 0) activate_kind<0>(p);
    else if (p.kind == 1) activate_kind<1>(p);
    else if (p.kind == 2) activate_kind<2>(p);
    else activate_kind<3>(p);
}

struct DifferParameters {
    const unsigned* left;
    const unsigned* right;
    unsigned* differ;        // becomes 1 where a word is another
    unsigned long long count;
};

KERNEL(differ, DifferParameters, 256) {
    unsigned long long step = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
    bool other = false;
    for (unsigned long long at = blockIdx.x * blockDim.x + threadIdx.x; at < p.count; at += step) {
        other |= p.left[at] != p.right[at];
    }
    if (other) atomicOr(p.differ, 1u);
}

struct NarrowParameters {
    const float* in;
    element* out;
    unsigned long long count;
};

KERNEL(narrow, NarrowParameters, 256) {
    unsigned long long step = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
    for (unsigned long long at = blockIdx.x * blockDim.x + threadIdx.x; at < p.count; at += step) {
        p.out[at] = narrowed(p.in[at]);
    }
}

struct EmbedParameters {
    const element* table;    // [vocabulary, width]
    const element* learned;  // [positions, width], or none
    const unsigned* tokens;
    const unsigned* depths;
    float* out;              // [rows, width]
    unsigned width;
    float scale;
};

// One block a row.
KERNEL(embed, EmbedParameters, 256) {
    const element* row = p.table + static_cast<size_t>(p.tokens[blockIdx.x]) * p.width;
    const element* learned = p.learned ? p.learned + static_cast<size_t>(p.depths[blockIdx.x]) * p.width : nullptr;
    float* out = p.out + static_cast<size_t>(blockIdx.x) * p.width;
    for (unsigned i = threadIdx.x; i < p.width; i += blockDim.x) {
        out[i] = widened(row[i]) * p.scale + (learned ? widened(learned[i]) : 0.0f);
    }
}

struct CopyRowsParameters {
    const unsigned char* from;
    unsigned char* to;
    const unsigned* from_rows;  // by row that is copied, or none: in order
    const unsigned* to_rows;    // the same
    unsigned long long from_stride, to_stride; // bytes
    unsigned bytes;             // of a row, a multiple of 2
};

// One block a row, by sixteen bytes where everything is aligned to that.
KERNEL(copy_rows, CopyRowsParameters, 128) {
    size_t from_row = p.from_rows ? p.from_rows[blockIdx.x] : blockIdx.x;
    size_t to_row = p.to_rows ? p.to_rows[blockIdx.x] : blockIdx.x;
    const unsigned char* from = p.from + from_row * p.from_stride;
    unsigned char* to = p.to + to_row * p.to_stride;
    size_t ends = reinterpret_cast<size_t>(from) | reinterpret_cast<size_t>(to) | p.bytes;
    if (ends % 16 == 0) {
        for (unsigned i = threadIdx.x; i < p.bytes / 16; i += blockDim.x) {
            reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[i];
        }
    } else {
        for (unsigned i = threadIdx.x; i < p.bytes / 2; i += blockDim.x) {
            reinterpret_cast<unsigned short*>(to)[i] = reinterpret_cast<const unsigned short*>(from)[i];
        }
    }
}

struct AddRowsParameters {
    float* to;               // [.., width]
    const float* from;       // [rows, width]
    const unsigned* to_rows; // by row that is added, each once, or none: in order
    const float* weights;    // by row, or none
    unsigned width;
    float scale;
    unsigned gates;          // weights are σ of what stands there
};

// to[row] += scale · weight · from, one block a row.
KERNEL(add_rows, AddRowsParameters, 256) {
    size_t row = p.to_rows ? p.to_rows[blockIdx.x] : blockIdx.x;
    float weight = p.weights ? p.weights[blockIdx.x] : 1.0f;
    float factor = p.scale * (p.gates ? 1.0f / (1.0f + expf(-weight)) : weight);
    float* to = p.to + row * p.width;
    const float* from = p.from + static_cast<size_t>(blockIdx.x) * p.width;
    for (unsigned i = threadIdx.x; i < p.width; i += blockDim.x) to[i] += factor * from[i];
}

struct WidenParameters {
    const signed char* in;   // [out, in]
    const float* scales;     // [out]
    element* out;            // [out, in]
    unsigned width;
};

// Weights of eight bits as what products multiply, one block an output.
KERNEL(widen, WidenParameters, 256) {
    size_t begin = static_cast<size_t>(blockIdx.x) * p.width;
    float scale = p.scales[blockIdx.x];
    for (unsigned i = threadIdx.x; i < p.width; i += blockDim.x) {
        p.out[begin + i] = narrowed(static_cast<float>(p.in[begin + i]) * scale);
    }
}
