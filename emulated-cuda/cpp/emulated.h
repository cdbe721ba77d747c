// Runs CUDA kernel sources on the CPU: it is included before a kernel source when a plain C++ compiler compiles it.
//
// The threads of a block are fibers on one operating system thread, so a run is deterministic and a missing barrier
// shows as a wrong result instead of as a rare failure. System headers are avoided on purpose: a kernel source may
// define the usual short names itself, as it does for the real device compiler.
#pragma once

#include <stddef.h>

#define CONCORD_EMULATED 1

#define __device__
#define __host__
#define __global__
#define __constant__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

extern "C" {
void abort(void) noexcept __attribute__((noreturn));
char* getenv(const char*) noexcept;
void* aligned_alloc(size_t, size_t) noexcept;
void free(void*) noexcept;
int dprintf(int, const char*, ...);
int printf(const char*, ...);
int abs(int) noexcept;
float acosf(float) noexcept;
float asinf(float) noexcept;
float atanf(float) noexcept;
float atan2f(float, float) noexcept;
float cbrtf(float) noexcept;
float ceilf(float) noexcept;
float copysignf(float, float) noexcept;
float cosf(float) noexcept;
float coshf(float) noexcept;
float erff(float) noexcept;
float erfcf(float) noexcept;
float exp2f(float) noexcept;
float expf(float) noexcept;
float expm1f(float) noexcept;
float fabsf(float) noexcept;
float floorf(float) noexcept;
float fmaf(float, float, float) noexcept;
float fmaxf(float, float) noexcept;
float fminf(float, float) noexcept;
float fmodf(float, float) noexcept;
float ldexpf(float, int) noexcept;
float log1pf(float) noexcept;
float log2f(float) noexcept;
float log10f(float) noexcept;
float logf(float) noexcept;
float nearbyintf(float) noexcept;
float powf(float, float) noexcept;
float rintf(float) noexcept;
float roundf(float) noexcept;
float sinf(float) noexcept;
float sinhf(float) noexcept;
float sqrtf(float) noexcept;
float tanf(float) noexcept;
float tanhf(float) noexcept;
float truncf(float) noexcept;
double erf(double) noexcept;
double exp(double) noexcept;
double fabs(double) noexcept;
double floor(double) noexcept;
double fma(double, double, double) noexcept;
double fmax(double, double) noexcept;
double fmin(double, double) noexcept;
double log(double) noexcept;
double pow(double, double) noexcept;
double sqrt(double) noexcept;
double tanh(double) noexcept;
}

// ---- vector types ---------------------------------------------------------------------------------------------

struct alignas(8) float2 { float x, y; };
struct float3 { float x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct int3 { int x, y, z; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct uint3 { unsigned x, y, z; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
};

static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline int2 make_int2(int x, int y) { return {x, y}; }
static inline int3 make_int3(int x, int y, int z) { return {x, y, z}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// ---- arithmetic -----------------------------------------------------------------------------------------------

static inline unsigned __float_as_uint(float value) { unsigned bits; __builtin_memcpy(&bits, &value, 4); return bits; }
static inline float __uint_as_float(unsigned bits) { float value; __builtin_memcpy(&value, &bits, 4); return value; }
static inline int __float_as_int(float value) { return (int)__float_as_uint(value); }
static inline float __int_as_float(int bits) { return __uint_as_float((unsigned)bits); }

static inline float __expf(float x) { return expf(x); }
static inline float quick_exp2(float x) { return exp2f(x); }
static inline float __exp10f(float x) { return powf(10.0f, x); }
static inline float __logf(float x) { return logf(x); }
static inline float __log2f(float x) { return log2f(x); }
static inline float __powf(float x, float y) { return powf(x, y); }
static inline float __sinf(float x) { return sinf(x); }
static inline float __cosf(float x) { return cosf(x); }
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __fdiv_rn(float x, float y) { return x / y; }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fsub_rn(float x, float y) { return x - y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }
static inline bool isnan(float x) { return __builtin_isnan(x); }
static inline bool isinf(float x) { return __builtin_isinf(x); }
static inline bool isfinite(float x) { return __builtin_isfinite(x); }
static inline float exp(float x) { return expf(x); }
static inline float log(float x) { return logf(x); }
static inline float sqrt(float x) { return sqrtf(x); }
static inline float fabs(float x) { return fabsf(x); }
static inline float abs(float x) { return fabsf(x); }
static inline float floor(float x) { return floorf(x); }
static inline float tanh(float x) { return tanhf(x); }
static inline float erf(float x) { return erff(x); }
static inline float pow(float x, float y) { return powf(x, y); }
static inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
static inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return (unsigned long long)((unsigned __int128)x * y >> 64);
}
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }

#define EMULATED_CUDA_MINIMUM_MAXIMUM(result, left, right) \
    static inline result min(left a, right b) { return (result)a < (result)b ? (result)a : (result)b; } \
    static inline result max(left a, right b) { return (result)a > (result)b ? (result)a : (result)b; }
EMULATED_CUDA_MINIMUM_MAXIMUM(int, int, int)
EMULATED_CUDA_MINIMUM_MAXIMUM(unsigned, unsigned, unsigned)
EMULATED_CUDA_MINIMUM_MAXIMUM(unsigned, int, unsigned)
EMULATED_CUDA_MINIMUM_MAXIMUM(unsigned, unsigned, int)
EMULATED_CUDA_MINIMUM_MAXIMUM(long, long, long)
EMULATED_CUDA_MINIMUM_MAXIMUM(unsigned long, unsigned long, unsigned long)
EMULATED_CUDA_MINIMUM_MAXIMUM(long long, long long, long long)
EMULATED_CUDA_MINIMUM_MAXIMUM(unsigned long long, unsigned long long, unsigned long long)
#undef EMULATED_CUDA_MINIMUM_MAXIMUM
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

template <class Value> static inline Value __ldg(const Value* address) { return *address; }

static inline float bf16_to_float(unsigned short bits) { return __uint_as_float((unsigned)bits << 16); }

static inline unsigned short float_to_bf16(float value) {
    const unsigned bits = __float_as_uint(value);
    // Rounding could carry a NaN into infinity, so a NaN is cut and made quiet instead.
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (unsigned short)((bits >> 16) | 0x40u);
    return (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static inline float f16_to_float(unsigned short bits) {
    const unsigned sign = (unsigned)(bits & 0x8000u) << 16;
    const unsigned shifted = (unsigned)(bits & 0x7fffu) << 13;
    if ((bits & 0x7c00u) == 0x7c00u) return __uint_as_float(sign | 0x7f800000u | shifted);
    // Multiplying by 2^112 moves the exponent to its new offset and normalises subnormal numbers exactly.
    return __uint_as_float(sign | __float_as_uint(__uint_as_float(shifted) * __uint_as_float(0x77800000u)));
}

static inline unsigned short float_to_f16(float value) {
    const unsigned bits = __float_as_uint(value);
    const unsigned sign = (bits >> 16) & 0x8000u;
    const unsigned magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (unsigned short)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) return (unsigned short)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) {
        // The last place of 0.5f is the unit of subnormal halves, so this addition does the rounding.
        return (unsigned short)(sign | (__float_as_uint(__uint_as_float(magnitude) + 0.5f) - 0x3f000000u));
    }
    return (unsigned short)(sign | ((magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13));
}

// ---- fibers ---------------------------------------------------------------------------------------------------

static uint3 threadIdx;
static uint3 blockIdx;
static dim3 blockDim;
static dim3 gridDim;
static const int warpSize = 32;

// EMULATED_CUDA_UCONTEXT forces the portable way on machines that have a faster one.
#if defined(__x86_64__) && !defined(EMULATED_CUDA_UCONTEXT)
extern "C" __attribute__((visibility("hidden"))) void emulated_cuda_switch(void** save, void* load);
asm(".text\n"
    ".weak emulated_cuda_switch\n"
    ".hidden emulated_cuda_switch\n"
    ".type emulated_cuda_switch,@function\n"
    "emulated_cuda_switch:\n"
    "    pushq %rbp\n"
    "    pushq %rbx\n"
    "    pushq %r12\n"
    "    pushq %r13\n"
    "    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n"
    "    popq %r14\n"
    "    popq %r13\n"
    "    popq %r12\n"
    "    popq %rbx\n"
    "    popq %rbp\n"
    "    ret\n"
    ".size emulated_cuda_switch, .-emulated_cuda_switch\n");
#elif defined(__aarch64__) && !defined(EMULATED_CUDA_UCONTEXT)
extern "C" __attribute__((visibility("hidden"))) void emulated_cuda_switch(void** save, void* load);
asm(".text\n"
    ".balign 4\n"
    ".weak emulated_cuda_switch\n"
    ".hidden emulated_cuda_switch\n"
    ".type emulated_cuda_switch,%function\n"
    "emulated_cuda_switch:\n"
    "    sub sp, sp, #160\n"
    "    stp x19, x20, [sp, #0]\n"
    "    stp x21, x22, [sp, #16]\n"
    "    stp x23, x24, [sp, #32]\n"
    "    stp x25, x26, [sp, #48]\n"
    "    stp x27, x28, [sp, #64]\n"
    "    stp x29, x30, [sp, #80]\n"
    "    stp d8, d9, [sp, #96]\n"
    "    stp d10, d11, [sp, #112]\n"
    "    stp d12, d13, [sp, #128]\n"
    "    stp d14, d15, [sp, #144]\n"
    "    mov x9, sp\n"
    "    str x9, [x0]\n"
    "    mov sp, x1\n"
    "    ldp x19, x20, [sp, #0]\n"
    "    ldp x21, x22, [sp, #16]\n"
    "    ldp x23, x24, [sp, #32]\n"
    "    ldp x25, x26, [sp, #48]\n"
    "    ldp x27, x28, [sp, #64]\n"
    "    ldp x29, x30, [sp, #80]\n"
    "    ldp d8, d9, [sp, #96]\n"
    "    ldp d10, d11, [sp, #112]\n"
    "    ldp d12, d13, [sp, #128]\n"
    "    ldp d14, d15, [sp, #144]\n"
    "    add sp, sp, #160\n"
    "    ret\n"
    ".size emulated_cuda_switch, .-emulated_cuda_switch\n");
#else
#include <ucontext.h>
#endif

namespace emulated_cuda {

// Below each stack lies a zone that is never used; an overflow shows by a change of the zone's upper end.
enum : size_t { stack_bytes = 64 * 1024, zone_bytes = 4096, canary_bytes = 64 };
enum : unsigned { maximum_threads = 1024, maximum_warps = 32, maximum_shared_arrays = 256 };

#if (defined(__x86_64__) || defined(__aarch64__)) && !defined(EMULATED_CUDA_UCONTEXT)
struct Context {
    void* stack_pointer;
};
static inline void switch_context(Context& from, Context& to) { emulated_cuda_switch(&from.stack_pointer, to.stack_pointer); }
static inline void prepare_context(Context& context, unsigned char* stack, void (*entry)()) {
    void** top = (void**)(stack + stack_bytes);
#if defined(__x86_64__)
    // Six registers, the entry as return address, and an empty slot that gives the entry the usual stack alignment.
    void** frame = top - 8;
    for (int i = 0; i < 8; ++i) frame[i] = nullptr;
    frame[6] = (void*)entry;
#else
    void** frame = top - 20;
    for (int i = 0; i < 20; ++i) frame[i] = nullptr;
    frame[11] = (void*)entry;
#endif
    context.stack_pointer = frame;
}
#else
struct Context {
    ucontext_t value;
};
static inline void switch_context(Context& from, Context& to) { swapcontext(&from.value, &to.value); }
static inline void prepare_context(Context& context, unsigned char* stack, void (*entry)()) {
    getcontext(&context.value);
    context.value.uc_stack.ss_sp = stack;
    context.value.uc_stack.ss_size = stack_bytes;
    context.value.uc_link = nullptr;
    makecontext(&context.value, entry, 0);
}
#endif

enum class Waits : unsigned char { for_nothing, at_barrier, at_warp };
struct Fiber {
    Context context;
    unsigned char* stack;  // none before the start and after the end
    uint3 index;
    unsigned number;  // in the block
    Waits waits;
};

enum class Kind : unsigned char { synchronise, exchange, vote, multiply_bf16, multiply_f16, load_matrix, load_matrix_transposed };

// One warp-wide operation in progress. What it yields is computed when the last lane arrives, and kept until the last
// lane has fetched its part, because faster lanes may be in their next operation already.
struct WarpOperation {
    Kind kind;
    bool complete;
    unsigned mask, arrived, departed;
    unsigned given[32][6];
    union {
        float product[16][8];
        unsigned fragment[32][4];
    };
};
struct Warp {
    unsigned live, used;
    WarpOperation operations[32];  // enough: every one in use has a lane of its own that has not departed
};

// What a thread has issued and not waited for. It is copied when it is waited for and not before, and the room is garbage until then,
// so that a missing wait shows.
struct Copy {
    void* to;
    const void* from;
    unsigned group;
    bool any;
};
enum : unsigned { maximum_copies = 512 };
struct Copies {
    Copy copies[maximum_copies];
    unsigned count, groups;  // not waited for; issued so far
    bool open;               // some were not issued yet
};
static Copies of_threads[maximum_threads];

struct Block {
    const char* kernel;
    void (*body)(const void*);
    const void* parameters;
    unsigned threads, live, waiting;
    bool reverse;
};
static Block block;
static Fiber fibers[maximum_threads];
static Warp warps[maximum_warps];
static Fiber* current;
static Context scheduler;

// A ring of the fibers that can run; each is in it once at most.
static Fiber* ready[maximum_threads];
static unsigned ready_first, ready_count;

struct SharedArray {
    void* address;
    size_t bytes;
};
static SharedArray shared_arrays[maximum_shared_arrays];
static unsigned shared_array_count;
static unsigned char* dynamic_shared;
static size_t dynamic_shared_bytes;

struct StackPool {
    unsigned char* stacks[maximum_threads];
    unsigned count;
    ~StackPool() {
        while (count) free(stacks[--count] - zone_bytes);
        free(dynamic_shared);
    }
};
static StackPool stack_pool;

__attribute__((noreturn, noinline, cold)) static void fail(const char* message) {
    dprintf(2, "emulated CUDA: %s in kernel %s (block %u,%u,%u thread %u,%u,%u)\n", message, block.kernel, blockIdx.x, blockIdx.y,
            blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    abort();
}

__attribute__((noreturn, noinline, cold)) static void deadlock() {
    unsigned at_barrier = 0, at_warp = 0;
    for (unsigned i = 0; i < block.threads; ++i) {
        at_barrier += fibers[i].waits == Waits::at_barrier;
        at_warp += fibers[i].waits == Waits::at_warp;
    }
    dprintf(2, "emulated CUDA: deadlock in kernel %s (block %u,%u,%u: %u threads ended, %u wait at __syncthreads, %u at a warp operation)\n",
            block.kernel, blockIdx.x, blockIdx.y, blockIdx.z, block.threads - block.live, at_barrier, at_warp);
    abort();
}

static bool register_shared(void* address, size_t bytes) {
    if (shared_array_count == maximum_shared_arrays) fail("too many shared arrays");
    shared_arrays[shared_array_count++] = {address, bytes};
    __builtin_memset(address, 0xff, bytes);
    return true;
}

static unsigned char* take_stack() {
    if (stack_pool.count) return stack_pool.stacks[--stack_pool.count];
    unsigned char* memory = (unsigned char*)aligned_alloc(4096, zone_bytes + stack_bytes);
    if (!memory) fail("no memory for a stack");
    __builtin_memset(memory, 0xc5, zone_bytes);
    return memory + zone_bytes;
}

static inline void give_stack(Fiber* fiber) {
    stack_pool.stacks[stack_pool.count++] = fiber->stack;
    fiber->stack = nullptr;
}

static inline void check_canary(const Fiber* fiber) {
    const unsigned long long* canary = (const unsigned long long*)(fiber->stack - canary_bytes);
    unsigned long long difference = 0;
    for (size_t i = 0; i < canary_bytes / 8; ++i) difference |= canary[i] ^ 0xc5c5c5c5c5c5c5c5ull;
    if (difference) fail("stack overflow");
}

static inline void make_ready(Fiber* fiber) {
    fiber->waits = Waits::for_nothing;
    ready[(ready_first + ready_count++) % maximum_threads] = fiber;
}

static inline Fiber* take_ready() {
    if (!ready_count) deadlock();
    Fiber* fiber = ready[ready_first];
    ready_first = (ready_first + 1) % maximum_threads;
    --ready_count;
    return fiber;
}

static inline void make_current(Fiber* fiber) {
    current = fiber;
    threadIdx = fiber->index;
}

static void fiber_main();

static inline void start_or_resume(Context& from, Fiber* next) {
    make_current(next);
    if (!next->stack) {
        next->stack = take_stack();
        prepare_context(next->context, next->stack, fiber_main);
    }
    asm volatile("" ::: "memory");
    switch_context(from, next->context);
    asm volatile("" ::: "memory");
}

// Lets other fibers run until something makes this one ready again.
static void suspend(Waits waits_for) {
    Fiber* self = current;
    check_canary(self);
    if (waits_for != Waits::for_nothing) self->waits = waits_for;
    Fiber* next = take_ready();
    if (next == self) return;
    start_or_resume(self->context, next);
}

static void release_barrier() {
    if (block.waiting == 0 || block.waiting != block.live) return;
    block.waiting = 0;
    for (unsigned i = 0; i < block.threads; ++i) {
        Fiber* fiber = &fibers[block.reverse ? block.threads - 1 - i : i];
        if (fiber->waits == Waits::at_barrier) make_ready(fiber);
    }
}

static void multiply(WarpOperation& operation) {
    typedef float Row __attribute__((vector_size(32)));
    const bool is_bf16 = operation.kind == Kind::multiply_bf16;
    float a[16][16];
    alignas(32) float b[16][8];
    for (unsigned lane = 0; lane < 32; ++lane) {
        const unsigned group = lane >> 2, pair = 2 * (lane & 3);
        float values[6][2];
        for (unsigned i = 0; i < 6; ++i) {
            const unsigned word = operation.given[lane][i];
            values[i][0] = is_bf16 ? bf16_to_float((unsigned short)word) : f16_to_float((unsigned short)word);
            values[i][1] = is_bf16 ? bf16_to_float((unsigned short)(word >> 16)) : f16_to_float((unsigned short)(word >> 16));
        }
        for (unsigned half = 0; half < 2; ++half) {
            a[group][pair + half] = values[0][half];
            a[group + 8][pair + half] = values[1][half];
            a[group][pair + 8 + half] = values[2][half];
            a[group + 8][pair + 8 + half] = values[3][half];
            b[pair + half][group] = values[4][half];
            b[pair + 8 + half][group] = values[5][half];
        }
    }
    Row rows[16];
    __builtin_memcpy(rows, b, sizeof rows);
    for (unsigned i = 0; i < 16; ++i) {
        Row sum = {};
        for (unsigned k = 0; k < 16; ++k) sum += a[i][k] * rows[k];
        __builtin_memcpy(operation.product[i], &sum, sizeof sum);
    }
}

static void load_matrices(WarpOperation& operation) {
    const unsigned short* rows[32];
    for (unsigned lane = 0; lane < 32; ++lane) {
        __builtin_memcpy(&rows[lane], operation.given[lane], sizeof rows[lane]);
        if ((size_t)rows[lane] % 16) fail("ldmatrix row address that is not a multiple of 16");
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
        for (unsigned matrix = 0; matrix < 4; ++matrix) {
            const unsigned line = lane >> 2, pair = 2 * (lane & 3);
            const unsigned short* const* row = rows + 8 * matrix;
            const unsigned low = operation.kind == Kind::load_matrix ? row[line][pair] : row[pair][line];
            const unsigned high = operation.kind == Kind::load_matrix ? row[line][pair + 1] : row[pair + 1][line];
            operation.fragment[lane][matrix] = low | high << 16;
        }
    }
}

static void release_operation(unsigned warp_number, WarpOperation& operation) {
    if (operation.complete || (operation.mask & warps[warp_number].live & ~operation.arrived)) return;
    operation.complete = true;
    if (operation.kind >= Kind::multiply_bf16 && operation.arrived != 0xffffffffu) fail("matrix operation of an incomplete warp");
    if (operation.kind == Kind::multiply_bf16 || operation.kind == Kind::multiply_f16) multiply(operation);
    if (operation.kind == Kind::load_matrix || operation.kind == Kind::load_matrix_transposed) load_matrices(operation);
    for (unsigned i = 0; i < 32; ++i) {
        const unsigned lane = block.reverse ? 31 - i : i;
        if (operation.arrived >> lane & 1u) make_ready(&fibers[32 * warp_number + lane]);
    }
}

// Brings what this lane gives to the operation and returns when all live lanes of the mask have come.
static WarpOperation& arrive(Kind kind, unsigned mask, const void* given, size_t bytes) {
    Fiber* self = current;
    const unsigned warp_number = self->number / 32;
    const unsigned bit = 1u << (self->number % 32);
    Warp& warp = warps[warp_number];
    if (!(mask & bit)) fail("warp operation whose mask lacks the calling lane");
    WarpOperation* operation = nullptr;
    for (unsigned used = warp.used; used && !operation; used &= used - 1) {
        WarpOperation& candidate = warp.operations[__builtin_ctz(used)];
        if (!candidate.complete && candidate.kind == kind && candidate.mask == mask) operation = &candidate;
    }
    if (!operation) {
        const unsigned free_one = __builtin_ctz(~warp.used);
        warp.used |= 1u << free_one;
        operation = &warp.operations[free_one];
        operation->kind = kind;
        operation->complete = false;
        operation->mask = mask;
        operation->arrived = operation->departed = 0;
    }
    __builtin_memcpy(operation->given[self->number % 32], given, bytes);
    operation->arrived |= bit;
    self->waits = Waits::at_warp;
    release_operation(warp_number, *operation);
    suspend(Waits::for_nothing);
    return *operation;
}

static void depart(WarpOperation& operation) {
    Warp& warp = warps[current->number / 32];
    operation.departed |= 1u << (current->number % 32);
    if (operation.departed == operation.arrived) warp.used &= ~(1u << (&operation - warp.operations));
}

static void fiber_main() {
    for (;;) {
        block.body(block.parameters);
        Fiber* self = current;
        check_canary(self);
        --block.live;
        const unsigned warp_number = self->number / 32;
        Warp& warp = warps[warp_number];
        warp.live &= ~(1u << (self->number % 32));
        for (unsigned used = warp.used; used; used &= used - 1) release_operation(warp_number, warp.operations[__builtin_ctz(used)]);
        release_barrier();
        // A fiber that ends hands its stack to one that has not started, so kernels without barriers never switch.
        if (block.live) {
            Fiber* next = take_ready();
            if (!next->stack) {
                next->stack = self->stack;
                self->stack = nullptr;
                make_current(next);
                continue;
            }
            give_stack(self);
            start_or_resume(self->context, next);
        }
        give_stack(self);
        switch_context(self->context, scheduler);
    }
}

static void run_block() {
    for (unsigned i = 0; i < shared_array_count; ++i) __builtin_memset(shared_arrays[i].address, 0xff, shared_arrays[i].bytes);
    if (dynamic_shared) __builtin_memset(dynamic_shared, 0xff, dynamic_shared_bytes);
    block.live = block.threads;
    block.waiting = 0;
    ready_first = ready_count = 0;
    for (unsigned i = 0; i < block.threads; ++i) {
        of_threads[i].count = of_threads[i].groups = 0;
        of_threads[i].open = false;
        fibers[i].number = i;
        fibers[i].stack = nullptr;
        fibers[i].index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    }
    for (unsigned i = 0; i < (block.threads + 31) / 32; ++i) {
        const unsigned rest = block.threads - 32 * i;
        warps[i].live = rest >= 32 ? 0xffffffffu : (1u << rest) - 1;
        warps[i].used = 0;
    }
    for (unsigned i = 0; i < block.threads; ++i) make_ready(&fibers[block.reverse ? block.threads - 1 - i : i]);
    start_or_resume(scheduler, take_ready());
}

static void launch(const char* kernel, void (*body)(const void*), dim3 grid, dim3 threads, unsigned shared_bytes, const void* parameters) {
    const char* order = getenv("EMULATED_CUDA_ORDER");
    gridDim = grid;
    blockDim = threads;
    block.kernel = kernel;
    block.body = body;
    block.parameters = parameters;
    block.threads = threads.x * threads.y * threads.z;
    block.reverse = order && __builtin_strcmp(order, "reverse") == 0;
    if (block.threads == 0 || block.threads > maximum_threads) fail("wrong number of threads");
    free(dynamic_shared);
    // Allocated anew for each launch, so that a memory checker sees an access behind the end.
    dynamic_shared_bytes = shared_bytes;
    dynamic_shared = shared_bytes ? (unsigned char*)aligned_alloc(16, (shared_bytes + 15) / 16 * 16) : nullptr;
    if (shared_bytes && !dynamic_shared) fail("no memory for shared memory");
    const unsigned long long blocks = (unsigned long long)grid.x * grid.y * grid.z;
    for (unsigned long long i = 0; i < blocks; ++i) {
        const unsigned long long number = block.reverse ? blocks - 1 - i : i;
        blockIdx = {(unsigned)(number % grid.x), (unsigned)(number / grid.x % grid.y), (unsigned)(number / grid.x / grid.y)};
        run_block();
    }
}

template <class Value> static Value exchange(unsigned mask, Value value, int source) {
    static_assert(sizeof(Value) <= 8, "shuffles move 4 or 8 bytes");
    WarpOperation& operation = arrive(Kind::exchange, mask, &value, sizeof value);
    // What a lane that takes no part would give is undefined: all ones, so that a use of it shows.
    Value result;
    __builtin_memset(&result, 0xff, sizeof result);
    if (operation.arrived >> source & 1u) __builtin_memcpy(&result, operation.given[source], sizeof result);
    depart(operation);
    return result;
}

static unsigned vote(unsigned mask, bool predicate, unsigned& voters) {
    const unsigned given = predicate;
    WarpOperation& operation = arrive(Kind::vote, mask, &given, sizeof given);
    unsigned result = 0;
    for (unsigned lane = 0; lane < 32; ++lane)
        if (operation.arrived >> lane & 1u) result |= operation.given[lane][0] << lane;
    voters = operation.arrived;
    depart(operation);
    return result;
}

static void matrix_multiply(Kind kind, float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    const unsigned given[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    WarpOperation& operation = arrive(kind, 0xffffffffu, given, sizeof given);
    const unsigned lane = current->number % 32, row = lane >> 2, column = 2 * (lane & 3);
    d[0] += operation.product[row][column];
    d[1] += operation.product[row][column + 1];
    d[2] += operation.product[row + 8][column];
    d[3] += operation.product[row + 8][column + 1];
    depart(operation);
}

static void matrix_load(Kind kind, unsigned (&r)[4], const void* row) {
    WarpOperation& operation = arrive(kind, 0xffffffffu, &row, sizeof row);
    __builtin_memcpy(r, operation.fragment[current->number % 32], sizeof r);
    depart(operation);
}

}  // namespace emulated_cuda

// ---- what a kernel calls --------------------------------------------------------------------------------------

static inline void __syncthreads() {
    emulated_cuda::current->waits = emulated_cuda::Waits::at_barrier;
    ++emulated_cuda::block.waiting;
    emulated_cuda::release_barrier();
    emulated_cuda::suspend(emulated_cuda::Waits::for_nothing);
}

static inline void __syncwarp(unsigned mask = 0xffffffffu) {
    const unsigned nothing = 0;
    emulated_cuda::depart(emulated_cuda::arrive(emulated_cuda::Kind::synchronise, mask, &nothing, sizeof nothing));
}

static inline void __threadfence() {}
static inline void __threadfence_block() {}

#define EMULATED_CUDA_SHUFFLES(type) \
    static inline type __shfl_sync(unsigned mask, type value, int source, int width = 32) { \
        const int lane = emulated_cuda::current->number % 32; \
        return emulated_cuda::exchange<type>(mask, value, (lane & ~(width - 1)) | (source & (width - 1))); \
    } \
    static inline type __shfl_xor_sync(unsigned mask, type value, int distance, int width = 32) { \
        const int lane = emulated_cuda::current->number % 32, source = lane ^ distance; \
        return emulated_cuda::exchange<type>(mask, value, source > (lane | (width - 1)) ? lane : source); \
    } \
    static inline type __shfl_down_sync(unsigned mask, type value, unsigned distance, int width = 32) { \
        const int lane = emulated_cuda::current->number % 32, source = lane + (int)(distance & 31); \
        return emulated_cuda::exchange<type>(mask, value, source > (lane | (width - 1)) ? lane : source); \
    } \
    static inline type __shfl_up_sync(unsigned mask, type value, unsigned distance, int width = 32) { \
        const int lane = emulated_cuda::current->number % 32, source = lane - (int)(distance & 31); \
        return emulated_cuda::exchange<type>(mask, value, source < (lane & ~(width - 1)) ? lane : source); \
    }
EMULATED_CUDA_SHUFFLES(int)
EMULATED_CUDA_SHUFFLES(unsigned)
EMULATED_CUDA_SHUFFLES(float)
EMULATED_CUDA_SHUFFLES(double)
EMULATED_CUDA_SHUFFLES(long long)
EMULATED_CUDA_SHUFFLES(unsigned long long)
#undef EMULATED_CUDA_SHUFFLES

static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    unsigned voters;
    return emulated_cuda::vote(mask, predicate != 0, voters);
}
static inline int __any_sync(unsigned mask, int predicate) {
    unsigned voters;
    return emulated_cuda::vote(mask, predicate != 0, voters) != 0;
}
static inline int __all_sync(unsigned mask, int predicate) {
    unsigned voters;
    const unsigned votes = emulated_cuda::vote(mask, predicate != 0, voters);
    return votes == voters;
}

// Fibers switch only at barriers and warp operations, so plain reads and writes are atomic.
#define EMULATED_CUDA_ATOMIC(name, type, update) \
    static inline type name(type* address, type value) { \
        const type old = *address; \
        *address = update; \
        return old; \
    }
EMULATED_CUDA_ATOMIC(atomicAdd, int, old + value)
EMULATED_CUDA_ATOMIC(atomicAdd, unsigned, old + value)
EMULATED_CUDA_ATOMIC(atomicAdd, unsigned long long, old + value)
EMULATED_CUDA_ATOMIC(atomicAdd, float, old + value)
EMULATED_CUDA_ATOMIC(atomicAdd, double, old + value)
EMULATED_CUDA_ATOMIC(atomicMin, int, old < value ? old : value)
EMULATED_CUDA_ATOMIC(atomicMin, unsigned, old < value ? old : value)
EMULATED_CUDA_ATOMIC(atomicMax, int, old > value ? old : value)
EMULATED_CUDA_ATOMIC(atomicMax, unsigned, old > value ? old : value)
EMULATED_CUDA_ATOMIC(atomicOr, unsigned, old | value)
EMULATED_CUDA_ATOMIC(atomicAnd, unsigned, old & value)
EMULATED_CUDA_ATOMIC(atomicExch, int, (void(old), value))
EMULATED_CUDA_ATOMIC(atomicExch, unsigned, (void(old), value))
EMULATED_CUDA_ATOMIC(atomicExch, float, (void(old), value))
#undef EMULATED_CUDA_ATOMIC
static inline unsigned atomicCAS(unsigned* address, unsigned expected, unsigned value) {
    const unsigned old = *address;
    if (old == expected) *address = value;
    return old;
}

static inline void mma_16816_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    emulated_cuda::matrix_multiply(emulated_cuda::Kind::multiply_bf16, d, a, b);
}
static inline void mma_16816_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    emulated_cuda::matrix_multiply(emulated_cuda::Kind::multiply_f16, d, a, b);
}
static inline void ldmatrix_x4(unsigned (&r)[4], const void* row) { emulated_cuda::matrix_load(emulated_cuda::Kind::load_matrix, r, row); }
static inline void ldmatrix_x4_transposed(unsigned (&r)[4], const void* row) {
    emulated_cuda::matrix_load(emulated_cuda::Kind::load_matrix_transposed, r, row);
}

static inline void copy_async_16(void* to, const void* from, bool any) {
    emulated_cuda::Copies& copies = emulated_cuda::of_threads[emulated_cuda::current->number];
    if ((size_t)to % 16 || (size_t)from % 16) emulated_cuda::fail("cp.async address that is not a multiple of 16");
    if (copies.count == emulated_cuda::maximum_copies) emulated_cuda::fail("too many copies that nobody waited for");
    __builtin_memset(to, 0xff, 16);
    copies.copies[copies.count++] = {to, from, copies.groups, any};
    copies.open = true;
}
static inline void copies_issued() {
    emulated_cuda::Copies& copies = emulated_cuda::of_threads[emulated_cuda::current->number];
    ++copies.groups;
    copies.open = false;
}
template <unsigned later> static inline void copies_wait_but() {
    emulated_cuda::Copies& copies = emulated_cuda::of_threads[emulated_cuda::current->number];
    if (copies.open) emulated_cuda::fail("a wait for copies that were not all issued");
    unsigned left = 0;
    for (unsigned i = 0; i < copies.count; ++i) {
        const emulated_cuda::Copy copy = copies.copies[i];
        if (copy.group + later >= copies.groups) copies.copies[left++] = copy;
        else if (copy.any) __builtin_memcpy(copy.to, copy.from, 16);
        else __builtin_memset(copy.to, 0, 16);
    }
    copies.count = left;
}
static inline void copies_wait() { copies_wait_but<0>(); }

#define EMULATED_CUDA_EXPORTED __attribute__((visibility("default")))

// Besides the launch function a kernel exports the size of its parameters, which a queued launch has to copy, and the
// most threads a block may have.
#define KERNEL(name, Parameters, threads_at_most) \
    static void name##_body(const Parameters p); \
    extern "C" { \
    extern const unsigned name##__parameter_bytes EMULATED_CUDA_EXPORTED; \
    const unsigned name##__parameter_bytes = sizeof(Parameters); \
    extern const unsigned name##__threads EMULATED_CUDA_EXPORTED; \
    const unsigned name##__threads = (threads_at_most); \
    EMULATED_CUDA_EXPORTED void name##__launch(unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, \
                                               unsigned shared_bytes, void** params) { \
        emulated_cuda::launch( \
            #name, [](const void* parameters) { name##_body(*(const Parameters*)parameters); }, dim3(gx, gy, gz), dim3(bx, by, bz), \
            shared_bytes, params[0]); \
    } \
    } \
    static void name##_body(const Parameters p)

// Blocks run one after another, so one array serves all; it is filled with garbage before each block.
#define SHARED(type, name, count) \
    alignas(16) static type name[count]; \
    static const bool name##_registered __attribute__((unused)) = emulated_cuda::register_shared(name, sizeof name)

#define DYNAMIC_SHARED(name) unsigned char* name = emulated_cuda::dynamic_shared
