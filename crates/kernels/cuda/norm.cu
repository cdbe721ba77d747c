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

KERNEL(norm_rows, NormParameters, 256) {
    SHARED(float, of_warps, 32);
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
