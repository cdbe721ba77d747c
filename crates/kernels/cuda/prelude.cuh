// What every kernel begins with: how rows are stored, and the warp-wide products.
//
// ELEMENT says what rows are held as: 0 for f32, 1 for bf16, 2 for f16. A kernel takes one structure of parameters, which
// the host lays out alike. Where CONCORD_EMULATED is defined, the source runs on a processor instead (emulated-cuda/).

#ifndef CONCORD_EMULATED

#define KERNEL(name, Parameters, threads) \
    extern "C" __global__ void __launch_bounds__(threads) name(const Parameters p)
#define SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]

__device__ __forceinline__ float bf16_to_float(unsigned short x) {
    return __uint_as_float(static_cast<unsigned>(x) << 16);
}

// To the nearest, ties to even; not a number stays one.
__device__ __forceinline__ unsigned short float_to_bf16(float x) {
    unsigned short narrow;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrow) : "f"(x));
    return narrow;
}

__device__ __forceinline__ float f16_to_float(unsigned short x) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x));
    return wide;
}

__device__ __forceinline__ unsigned short float_to_f16(float x) {
    unsigned short narrow;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow) : "f"(x));
    return narrow;
}

// d += a · b: a is 16 rows of 16, b sixteen rows of 8 by columns, each lane with its fragment.
__device__ __forceinline__ void mma_16816_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_16816_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four matrices of 8 by 8; lanes 8i to 8i + 7 name the rows of the i-th.
__device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const void* row) {
    unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
        : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

__device__ __forceinline__ void ldmatrix_x4_transposed(unsigned (&r)[4], const void* row) {
    unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
        : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

__device__ __forceinline__ float quick_exp2(float x) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}

// Sixteen bytes on their way to shared memory, or as many zeros; they have come when everything that was issued was waited for.
__device__ __forceinline__ void copy_async_16(void* to, const void* from, bool any) {
    unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
    int bytes = any ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(at), "l"(from), "r"(bytes) : "memory");
}

__device__ __forceinline__ void copies_issued() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for all but the last so many that were issued at once.
template <unsigned LATER>
__device__ __forceinline__ void copies_wait_but() { asm volatile("cp.async.wait_group %0;" :: "n"(LATER) : "memory"); }

__device__ __forceinline__ void copies_wait() { copies_wait_but<0>(); }

#endif

#define NONE 0xffffffffu
#define EVERY_LANE 0xffffffffu
#define INFINITE __uint_as_float(0x7f800000u)

#if ELEMENT == 0
typedef float element;
__device__ __forceinline__ float widened(element x) { return x; }
__device__ __forceinline__ element narrowed(float x) { return x; }
#else
typedef unsigned short element;
#if ELEMENT == 1
__device__ __forceinline__ float widened(element x) { return bf16_to_float(x); }
__device__ __forceinline__ element narrowed(float x) { return float_to_bf16(x); }
#define MMA mma_16816_bf16
#else
__device__ __forceinline__ float widened(element x) { return f16_to_float(x); }
__device__ __forceinline__ element narrowed(float x) { return float_to_f16(x); }
#define MMA mma_16816_f16
#endif
#endif

// What a score becomes under a soft cap; 0 is none.
__device__ __forceinline__ float capped(float score, float cap) {
    return cap > 0.0f ? cap * tanhf(score / cap) : score;
}

// The sum of a number over the threads of a block, the same on each: lanes first, then warps, always in one order.
__device__ __forceinline__ float block_sum(float x, float* of_warps) {
    for (unsigned step = 16; step > 0; step /= 2) x += __shfl_xor_sync(EVERY_LANE, x, step);
    unsigned warps = blockDim.x / 32;
    __syncthreads();
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0.0f;
    for (unsigned warp = 0; warp < warps; warp++) sum += of_warps[warp];
    return sum;
}
