// What attention on tensor cores shares: weights of scores, and values added by them.

#if ELEMENT != 0 && HEAD_DIM % 16 == 0 && HEAD_DIM <= 256

__device__ __forceinline__ unsigned pair_of(float low, float high) {
    return static_cast<unsigned>(narrowed(low)) | static_cast<unsigned>(narrowed(high)) << 16;
}

// Scores are kept in powers of two.
#define LOG2_E 1.4426950408889634f

// The weights that scores of one of a lane's two rows become, in their place, and their sum over the columns of this lane. `most` is
// the largest score that the row has seen, minus infinity where it has seen none.
template <unsigned COUNT>
__device__ __forceinline__ float weighed(float (&scores)[COUNT][4], unsigned half, float most) {
    float base = most == -INFINITE ? 0.0f : most, sum = 0.0f;
#pragma unroll
    for (unsigned n = 0; n < COUNT; n++) {
#pragma unroll
        for (unsigned c = 0; c < 2; c++) {
            float weight = quick_exp2(scores[n][half * 2 + c] - base);
            scores[n][half * 2 + c] = weight;
            sum += weight;
        }
    }
    return sum;
}

// Adds sixteen values by their weights; `v` is this lane's row of them.
__device__ __forceinline__ void add_values(
    float (&sums)[HEAD_DIM / 8][4], const float (&low)[4], const float (&high)[4], const element* v
) {
    const unsigned a[4] = {pair_of(low[0], low[1]), pair_of(low[2], low[3]),
                           pair_of(high[0], high[1]), pair_of(high[2], high[3])};
#pragma unroll
    for (unsigned d = 0; d < HEAD_DIM; d += 16) {
        unsigned b[4];
        ldmatrix_x4_transposed(b, v + d);
        const unsigned left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
        MMA(sums[d / 8], a, left);
        MMA(sums[d / 8 + 1], a, right);
    }
}

// This lane's fragments of sixteen rows of queries: `low` and `high` are its two rows, null where there is none.
__device__ __forceinline__ void load_queries(unsigned (&a)[4], const element* low, const element* high) {
    a[0] = low ? *reinterpret_cast<const unsigned*>(low) : 0;
    a[1] = high ? *reinterpret_cast<const unsigned*>(high) : 0;
    a[2] = low ? *reinterpret_cast<const unsigned*>(low + 8) : 0;
    a[3] = high ? *reinterpret_cast<const unsigned*>(high + 8) : 0;
}

#endif
