// Checks the four stand-in CUDA libraries in the folder that is given, through the functions a program would call.
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <functional>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

static int failures = 0;
#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            std::printf("FAILED line %d: %s\n", __LINE__, #condition); \
            ++failures; \
        } \
    } while (0)
#define WORKS(call) CHECK((call) == 0)

static std::string folder;
static void *driver, *compiler, *multiplier, *manager;

template <class Function> struct Imported;
template <class Result, class... Arguments> struct Imported<Result(Arguments...)> {
    Result (*function)(Arguments...) = nullptr;
    Imported(void* library, const char* name) {
        void* symbol = dlsym(library, name);
        if (!symbol) {
            std::printf("missing: %s\n", name);
            std::exit(1);
        }
        std::memcpy(&function, &symbol, sizeof symbol);
    }
    Result operator()(Arguments... arguments) const { return function(arguments...); }
};
#define IMPORT(library, name, ...) static const Imported<int(__VA_ARGS__)> name(library, #name)

static void* open_library(const char* name) {
    void* library = dlopen((folder + "/" + name).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        std::printf("%s\n", dlerror());
        std::exit(1);
    }
    return library;
}

static const char source[] = R"(
struct SumParameters { const float* in; float* out; unsigned count; };
KERNEL(block_sum, SumParameters, 256) {
    SHARED(float, partial, 8);
    float sum = 0.0f;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < p.count; i += gridDim.x * blockDim.x) sum += p.in[i];
    for (int distance = 16; distance; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x >= 8) return;
    sum = partial[threadIdx.x];
    for (int distance = 4; distance; distance /= 2) sum += __shfl_down_sync(0xffu, sum, distance, 8);
    if (threadIdx.x == 0) p.out[blockIdx.x] = sum;
}
struct OutParameters { unsigned* out; };
KERNEL(warp_functions, OutParameters, 64) {
    const unsigned lane = threadIdx.x % 32;
    unsigned* out = p.out + threadIdx.x * 8;
    out[0] = __ballot_sync(0xffffffffu, lane % 3 == 0);
    out[1] = __any_sync(0xffffffffu, lane == 7) * 2 + __all_sync(0xffffffffu, lane < 31);
    out[2] = __shfl_sync(0xffffffffu, lane, 5) * 100 + __shfl_up_sync(0xffffffffu, lane, 1);
    out[3] = (unsigned)(__shfl_sync(0xffffffffu, (unsigned long long)lane << 40, 9, 16) >> 40);
    if (lane & 1) out[4] = __shfl_xor_sync(0xaaaaaaaau, lane, 2); else out[4] = __shfl_down_sync(0x55555555u, lane, 2);
    out[5] = (unsigned)__shfl_down_sync(0xffffffffu, (double)lane, 4, 8);
    __syncwarp();
    out[6] = atomicAdd(p.out + 64 * 8, 1u);
    out[7] = min(3u, 5u) + max(-1, 2) + __float_as_uint(fmaxf(1.0f, 0.5f));
}
struct DynamicParameters { float* out; };
KERNEL(dynamic, DynamicParameters, 1024) {
    DYNAMIC_SHARED(bytes);
    float* values = (float*)bytes;
    if (threadIdx.y == 0 && threadIdx.z == 0 && threadIdx.x == 0) p.out[0] = values[5];
    const unsigned i = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    __syncthreads();
    values[i] = i + 1000.0f * blockIdx.z;
    __syncthreads();
    const unsigned count = blockDim.x * blockDim.y * blockDim.z;
    if (blockIdx.z == 1) p.out[1 + i] = values[count - 1 - i];
}
struct CopiesParameters { const unsigned* in; unsigned* out; };
KERNEL(copies, CopiesParameters, 32) {
    SHARED(unsigned, room, 128);
    const unsigned lane = threadIdx.x;
    room[lane * 4] = 7;
    copy_async_16(room + lane * 4, p.in + lane * 4, lane % 2 == 0);
    copies_issued();
    p.out[lane] = room[lane * 4];
    copies_wait();
    p.out[32 + lane] = room[lane * 4];
    p.out[64 + lane] = room[lane * 4 + 3];
}
struct ProductParameters { const unsigned short* a; const unsigned short* b; float* d; };
static __device__ __forceinline__ void product(const ProductParameters& p, bool is_bf16) {
    // a is 16x16 with rows side by side; b is 16x16 with rows (of equal k) side by side, of which d takes two times 8 columns.
    SHARED(unsigned short, tile_a, 256);
    SHARED(unsigned short, tile_b, 256);
    const unsigned lane = threadIdx.x;
    for (unsigned i = lane; i < 256; i += 32) { tile_a[i] = p.a[i]; tile_b[i] = p.b[i]; }
    __syncwarp();
    unsigned a[4], b[4];
    ldmatrix_x4(a, tile_a + (lane % 16) * 16 + lane / 16 * 8);
    ldmatrix_x4_transposed(b, tile_b + (lane % 16) * 16 + lane / 16 * 8);
    for (unsigned half = 0; half < 2; ++half) {
        float d[4] = {0.5f, 0.5f, 0.5f, 0.5f};
        const unsigned pair[2] = {b[2 * half], b[2 * half + 1]};
        if (is_bf16) mma_16816_bf16(d, a, pair); else mma_16816_f16(d, a, pair);
        const unsigned row = lane >> 2, column = 8 * half + 2 * (lane & 3);
        p.d[row * 16 + column] = d[0];
        p.d[row * 16 + column + 1] = d[1];
        p.d[(row + 8) * 16 + column] = d[2];
        p.d[(row + 8) * 16 + column + 1] = d[3];
    }
}
KERNEL(product_bf16, ProductParameters, 32) { product(p, true); }
KERNEL(product_f16, ProductParameters, 32) { product(p, false); }
KERNEL(stuck, OutParameters, 64) { if (threadIdx.x == 40) p.out[0] = __shfl_sync(0xffffffffu, 1, 0); __syncthreads(); }
KERNEL(misaligned, ProductParameters, 32) { unsigned r[4]; ldmatrix_x4(r, (const char*)p.a + 2 * threadIdx.x); }
KERNEL(deep, OutParameters, 32) { volatile char bytes[66000]; for (unsigned i = 66000; i-- > 100;) bytes[i] = (char)i; __syncthreads(); p.out[0] = bytes[70]; }
struct RaceParameters { unsigned* out; };
KERNEL(race, RaceParameters, 64) { SHARED(unsigned, slots, 65); slots[threadIdx.x] = threadIdx.x; p.out[threadIdx.x] = slots[63 - threadIdx.x]; }
KERNEL(work, ProductParameters, 256) {
    float d[4] = {0, 0, 0, 0}; unsigned a[4] = {0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80}, b[2] = {0x3f803f80, 0x3f803f80};
    for (int i = 0; i < 200; ++i) { mma_16816_bf16(d, a, b); __syncthreads(); }
    p.d[blockIdx.x * blockDim.x + threadIdx.x] = d[0];
}
#ifdef WITH_HEADER
#include "parts/one.cuh"
#include <two.cuh>
unsigned char check_headers[one + two + VALUE == 6 ? 1 : -1];
#endif
)";

typedef uint64_t Address;

static std::string compile(const char* text, std::vector<const char*> options, int expected, std::string& log, bool headers = false) {
    IMPORT(compiler, nvrtcCreateProgram, void**, const char*, const char*, int, const char* const*, const char* const*);
    IMPORT(compiler, nvrtcCompileProgram, void*, int, const char* const*);
    IMPORT(compiler, nvrtcDestroyProgram, void**);
    IMPORT(compiler, nvrtcGetCUBINSize, void*, size_t*);
    IMPORT(compiler, nvrtcGetCUBIN, void*, char*);
    IMPORT(compiler, nvrtcGetProgramLogSize, void*, size_t*);
    IMPORT(compiler, nvrtcGetProgramLog, void*, char*);
    void* program = nullptr;
    const char* texts[] = {"enum { one = 1 };", "enum { two = 2 };"};
    const char* names[] = {"parts/one.cuh", "two.cuh"};
    WORKS(nvrtcCreateProgram(&program, text, "kernels.cu", headers ? 2 : 0, texts, names));
    const int result = nvrtcCompileProgram(program, static_cast<int>(options.size()), options.data());
    size_t bytes = 0;
    WORKS(nvrtcGetProgramLogSize(program, &bytes));
    std::vector<char> characters(bytes);
    WORKS(nvrtcGetProgramLog(program, characters.data()));
    log = characters.data();
    if (result != expected) {
        std::printf("compiler gave %d: %s\n", result, log.c_str());
        ++failures;
    }
    std::string image;
    if (result == 0) {
        WORKS(nvrtcGetCUBINSize(program, &bytes));
        image.resize(bytes);
        if (bytes) WORKS(nvrtcGetCUBIN(program, &image[0]));
    }
    WORKS(nvrtcDestroyProgram(&program));
    return image;
}

static float from_bits(uint32_t bits) { float value; std::memcpy(&value, &bits, 4); return value; }
static float bf16_value(uint16_t bits) { return from_bits(static_cast<uint32_t>(bits) << 16); }
static uint16_t bf16_bits(float value) {  // only for values that need no rounding
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return static_cast<uint16_t>(bits >> 16);
}

// Runs a part in a child process of its own and returns its exit status, and what it wrote to the standard error.
static int in_child(const std::function<void()>& part, std::string& messages) {
    int ends[2];
    if (pipe(ends)) std::abort();
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        close(ends[0]);
        failures = 0;
        part();
        std::fflush(stdout);
        _exit(failures ? 1 : 0);
    }
    close(ends[1]);
    char buffer[4096];
    for (ssize_t count; (count = read(ends[0], buffer, sizeof buffer)) > 0;) messages.append(buffer, static_cast<size_t>(count));
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

static void open_all() {
    driver = open_library("libcuda.so.1");
    compiler = open_library("libnvrtc.so.12");
    multiplier = open_library("libcublasLt.so.12");
    manager = open_library("libnvidia-ml.so.1");
}

static void check_programs(const std::string& image, const char* order) {
    if (*order) setenv("EMULATED_CUDA_ORDER", order, 1);
    setenv("EMULATED_CUDA_MEMORY", "1000000000", 1);
    setenv("EMULATED_CUDA_TAKEN", "100000000", 1);
    setenv("EMULATED_CUDA_FAIL_ALLOCATION", "2", 1);
    setenv("EMULATED_CUDA_BROKEN", "nothing,work2", 1);
    open_all();
    IMPORT(driver, cuInit, unsigned);
    IMPORT(driver, cuDevicePrimaryCtxRetain, void**, int);
    IMPORT(driver, cuDevicePrimaryCtxRelease_v2, int);
    IMPORT(driver, cuCtxSetCurrent, void*);
    IMPORT(driver, cuCtxSynchronize);
    IMPORT(driver, cuDeviceGetAttribute, int*, int, int);
    IMPORT(driver, cuDeviceGetUuid_v2, unsigned char*, int);
    IMPORT(driver, cuMemGetInfo_v2, size_t*, size_t*);
    IMPORT(driver, cuMemAlloc_v2, Address*, size_t);
    IMPORT(driver, cuMemFree_v2, Address);
    IMPORT(driver, cuMemHostAlloc, void**, size_t, unsigned);
    IMPORT(driver, cuMemFreeHost, void*);
    IMPORT(driver, cuMemcpyHtoDAsync_v2, Address, const void*, size_t, void*);
    IMPORT(driver, cuMemcpyDtoHAsync_v2, void*, Address, size_t, void*);
    IMPORT(driver, cuMemcpyHtoD_v2, Address, const void*, size_t);
    IMPORT(driver, cuMemcpyDtoH_v2, void*, Address, size_t);
    IMPORT(driver, cuMemsetD8Async, Address, unsigned char, size_t, void*);
    IMPORT(driver, cuStreamCreate, void**, unsigned);
    IMPORT(driver, cuStreamDestroy_v2, void*);
    IMPORT(driver, cuStreamSynchronize, void*);
    IMPORT(driver, cuStreamWaitEvent, void*, void*, unsigned);
    IMPORT(driver, cuEventCreate, void**, unsigned);
    IMPORT(driver, cuEventDestroy_v2, void*);
    IMPORT(driver, cuEventRecord, void*, void*);
    IMPORT(driver, cuEventQuery, void*);
    IMPORT(driver, cuEventSynchronize, void*);
    IMPORT(driver, cuEventElapsedTime, float*, void*, void*);
    IMPORT(driver, cuModuleLoadData, void**, const void*);
    IMPORT(driver, cuModuleGetFunction, void**, void*, const char*);
    IMPORT(driver, cuModuleUnload, void*);
    IMPORT(driver, cuFuncSetAttribute, void*, int, int);
    IMPORT(driver, cuFuncGetAttribute, int*, int, void*);
    IMPORT(driver, cuLaunchKernel, void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
    const bool reverse = *order != 0;
    const Imported<unsigned long long()> emulated_launches(driver, "emulated_launches");
    const Imported<unsigned long long(int)> emulated_peak_bytes(driver, "emulated_peak_bytes");

    size_t free_bytes = 0, total_bytes = 0;
    Address address = 0;
    CHECK(cuDeviceGetAttribute(nullptr, 1, 0) == 3);
    WORKS(cuInit(0));
    CHECK(cuMemAlloc_v2(&address, 4) == 201);
    void* context = nullptr;
    WORKS(cuDevicePrimaryCtxRetain(&context, 0));
    CHECK(cuDevicePrimaryCtxRetain(&context, 1) == 101);
    WORKS(cuCtxSetCurrent(context));

    // Memory and its limits.
    Address first = 0, second = 0;
    WORKS(cuMemAlloc_v2(&first, 1000));
    CHECK(cuMemAlloc_v2(&second, 1000) == 2);  // the failing allocation
    WORKS(cuMemAlloc_v2(&second, 1000));
    CHECK(cuMemAlloc_v2(&address, 899998001) == 2);
    WORKS(cuMemGetInfo_v2(&free_bytes, &total_bytes));
    CHECK(free_bytes == 899998000 && total_bytes == 1000000000);
    CHECK(cuMemFree_v2(first + 1) == 1);
    WORKS(cuMemFree_v2(second));
    WORKS(cuMemFree_v2(first));
    CHECK(cuMemFree_v2(first) == 1);
    CHECK(emulated_peak_bytes(0) == 2000);

    // Streams.
    void *stream = nullptr, *other = nullptr, *event = nullptr, *late = nullptr, *pinned_memory = nullptr;
    WORKS(cuStreamCreate(&stream, 1));
    WORKS(cuStreamCreate(&other, 1));
    WORKS(cuEventCreate(&event, 0));
    WORKS(cuEventCreate(&late, 0));
    WORKS(cuMemHostAlloc(&pinned_memory, 64, 0));
    unsigned* pinned = static_cast<unsigned*>(pinned_memory);
    WORKS(cuMemAlloc_v2(&first, 64));
    unsigned words[16] = {42};
    WORKS(cuEventQuery(event));
    WORKS(cuMemcpyHtoDAsync_v2(first, words, 64, stream));
    words[0] = 43;
    WORKS(cuMemcpyDtoHAsync_v2(pinned, first, 64, other));
    WORKS(cuStreamSynchronize(other));
    CHECK(pinned[0] == 0xffffffffu);  // nobody waited for the first stream
    WORKS(cuEventRecord(event, stream));
    CHECK(cuEventElapsedTime(nullptr, event, event) == 1);
    WORKS(cuStreamWaitEvent(other, event, 0));
    WORKS(cuMemcpyDtoHAsync_v2(pinned, first, 64, other));
    CHECK(pinned[0] == 0xffffffffu);
    WORKS(cuStreamSynchronize(other));
    CHECK(pinned[0] == 42);  // as it was at the call
    pinned[0] = 7;
    WORKS(cuMemcpyHtoDAsync_v2(first, pinned, 64, stream));
    pinned[0] = 8;
    WORKS(cuMemsetD8Async(first + 4, 0, 4, stream));
    WORKS(cuEventRecord(late, stream));
    CHECK(cuEventQuery(late) == 600);
    CHECK(cuEventQuery(late) == 600);
    WORKS(cuEventQuery(late));
    float milliseconds = -1.0f;
    WORKS(cuEventElapsedTime(&milliseconds, event, late));
    CHECK(milliseconds > 0.0f && milliseconds < 10000.0f);
    WORKS(cuMemcpyDtoHAsync_v2(words, first, 64, stream));  // pageable: done at once
    CHECK(words[0] == 8 && words[1] == 0);
    CHECK(cuMemcpyHtoD_v2(first + 4, words, 64) == 1);
    CHECK(cuStreamSynchronize(reinterpret_cast<void*>(0x1234)) == 400);
    WORKS(cuMemcpyHtoDAsync_v2(first, pinned, 64, reinterpret_cast<void*>(2)));
    WORKS(cuEventRecord(late, nullptr));
    WORKS(cuEventSynchronize(late));

    // Modules and launches.
    void *module = nullptr, *module2 = nullptr, *function = nullptr;
    CHECK(cuModuleLoadData(&module, "no image at all, and long enough to hold the head of one, which takes 64 bytes") == 200);
    WORKS(cuModuleLoadData(&module, image.data()));
    WORKS(cuModuleLoadData(&module2, image.data()));
    CHECK(cuModuleGetFunction(&function, module, "absent") == 500);
    WORKS(cuModuleGetFunction(&function, module, "block_sum"));
    const unsigned count = 10000;
    std::vector<float> values(count);
    float expected[3] = {};
    for (unsigned i = 0; i < count; ++i) {
        values[i] = static_cast<float>(i % 17);
        expected[i / 256 % 3] += values[i];
    }
    Address input = 0, output = 0;
    WORKS(cuMemAlloc_v2(&input, 4 * count));
    WORKS(cuMemAlloc_v2(&output, 1 << 20));
    WORKS(cuMemcpyHtoD_v2(input, values.data(), 4 * count));
    struct { Address in, out; unsigned count; } sum_parameters = {input, output, count};
    void* parameters[] = {&sum_parameters};
    const unsigned long long launches = emulated_launches();
    WORKS(cuLaunchKernel(function, 3, 1, 1, 256, 1, 1, 0, stream, parameters, nullptr));
    sum_parameters.count = 0;
    CHECK(emulated_launches() == launches);
    CHECK(cuLaunchKernel(function, 0, 1, 1, 256, 1, 1, 0, stream, parameters, nullptr) == 1);
    CHECK(cuLaunchKernel(function, 3, 1, 1, 512, 1, 1, 0, stream, parameters, nullptr) == 1);  // more than its bound
    CHECK(cuLaunchKernel(function, 3, 1, 1, 256, 1, 1, 49153, stream, parameters, nullptr) == 1);
    float sums[3] = {};
    WORKS(cuMemcpyDtoH_v2(sums, output, sizeof sums));
    CHECK(emulated_launches() == launches + 1);
    for (int i = 0; i < 3; ++i) CHECK(sums[i] == expected[i]);

    WORKS(cuModuleGetFunction(&function, module2, "warp_functions"));
    WORKS(cuMemsetD8Async(output, 0, 1 << 20, stream));
    parameters[0] = &output;
    WORKS(cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 0, stream, parameters, nullptr));
    std::vector<unsigned> results(64 * 8 + 1);
    WORKS(cuMemcpyDtoHAsync_v2(results.data(), output, results.size() * 4, stream));
    unsigned atomic_sum = 0;
    for (unsigned i = 0; i < 64; ++i) {
        const unsigned lane = i % 32, *out = &results[i * 8];
        CHECK(out[0] == 0x49249249u);
        CHECK(out[1] == 2);
        CHECK(out[2] == 500 + (lane ? lane - 1 : 0));
        CHECK(out[3] == (lane & 16) + 9);
        CHECK(out[4] == (lane & 1 ? lane ^ 2 : lane + 2 < 32 ? lane + 2 : lane));
        CHECK(out[5] == (lane % 8 < 4 ? lane + 4 : lane));
        CHECK(out[7] == 5 + 0x3f800000u);
        atomic_sum += out[6];
    }
    CHECK(results[64 * 8] == 64 && atomic_sum == 64 * 63 / 2);

    WORKS(cuModuleGetFunction(&function, module, "dynamic"));
    CHECK(cuFuncSetAttribute(function, 8, 232449) == 1);
    WORKS(cuFuncSetAttribute(function, 8, 100000));
    int limit = 0;
    WORKS(cuFuncGetAttribute(&limit, 8, function));
    CHECK(limit == 100000);
    CHECK(cuLaunchKernel(function, 1, 1, 2, 8, 8, 16, 100001, stream, parameters, nullptr) == 1);
    WORKS(cuLaunchKernel(function, 1, 1, 2, 8, 8, 16, 100000, stream, parameters, nullptr));
    std::vector<float> floats(1025);
    WORKS(cuMemcpyDtoHAsync_v2(floats.data(), output, 4 * 1025, stream));
    CHECK(std::isnan(floats[0]));
    for (unsigned i = 0; i < 1024; ++i) CHECK(floats[1 + i] == 1000.0f + static_cast<float>(1023 - i));

    // What is copied beside the work is not there until it was waited for.
    std::vector<unsigned> copied(128);
    for (unsigned i = 0; i < 128; ++i) copied[i] = i + 1;
    WORKS(cuMemcpyHtoD_v2(input, copied.data(), 512));
    struct { Address in, out; } copies_parameters = {input, output};
    parameters[0] = &copies_parameters;
    WORKS(cuModuleGetFunction(&function, module, "copies"));
    WORKS(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, parameters, nullptr));
    WORKS(cuMemcpyDtoHAsync_v2(copied.data(), output, 96 * 4, stream));
    for (unsigned i = 0; i < 32; ++i) {
        CHECK(copied[i] == 0xffffffffu);
        CHECK(copied[32 + i] == (i % 2 == 0 ? i * 4 + 1 : 0));
        CHECK(copied[64 + i] == (i % 2 == 0 ? i * 4 + 4 : 0));
    }

    // The matrix functions against plain loops, with numbers whose products and sums are exact.
    for (const bool is_bf16 : {true, false}) {
        std::vector<uint16_t> a(256), b(256);
        std::vector<float> af(256), bf(256);
        for (int i = 0; i < 256; ++i) {
            const _Float16 left = static_cast<_Float16>((std::rand() % 33 - 16) / 8.0f), right = static_cast<_Float16>((std::rand() % 33 - 16) / 4.0f);
            af[i] = left;
            bf[i] = right;
            std::memcpy(&a[i], &left, 2);
            std::memcpy(&b[i], &right, 2);
            if (is_bf16) {
                a[i] = bf16_bits(af[i]);
                b[i] = bf16_bits(bf[i]);
            }
        }
        WORKS(cuMemcpyHtoD_v2(input, a.data(), 512));
        WORKS(cuMemcpyHtoD_v2(input + 512, b.data(), 512));
        struct { Address a, b, d; } product_parameters = {input, input + 512, output};
        parameters[0] = &product_parameters;
        WORKS(cuModuleGetFunction(&function, module, is_bf16 ? "product_bf16" : "product_f16"));
        WORKS(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, parameters, nullptr));
        std::vector<float> d(256);
        WORKS(cuMemcpyDtoH_v2(d.data(), output, 1024));
        for (int i = 0; i < 16; ++i) {
            for (int j = 0; j < 16; ++j) {
                float sum = 0.5f;
                for (int k = 0; k < 16; ++k) sum += af[i * 16 + k] * bf[k * 16 + j];
                CHECK(d[i * 16 + j] == sum);
            }
        }
    }

    // A kernel with a race gives another result in the other order.
    parameters[0] = &output;
    WORKS(cuModuleGetFunction(&function, module, "race"));
    WORKS(cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 0, stream, parameters, nullptr));
    WORKS(cuMemcpyDtoH_v2(results.data(), output, 256));
    for (unsigned i = 0; i < 64; ++i) CHECK(results[i] == ((reverse ? i < 32 : i >= 32) ? 63 - i : 0xffffffffu));

    {
        struct { Address a, b, d; } work_parameters = {input, input, output};
        parameters[0] = &work_parameters;
        WORKS(cuModuleGetFunction(&function, module, "work"));
        const auto start = std::chrono::steady_clock::now();
        WORKS(cuLaunchKernel(function, 4, 1, 1, 256, 1, 1, 0, stream, parameters, nullptr));
        WORKS(cuStreamSynchronize(stream));
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        float one = 0;
        WORKS(cuMemcpyDtoH_v2(&one, output, 4));
        CHECK(one == 200 * 16);
        std::printf("order '%s': %.2f microseconds for a warp's mma with a barrier, %.2f GFLOP/s\n", order, seconds * 1e6 / (4 * 8 * 200),
                    4 * 8 * 200 * 4096 / seconds / 1e9);
    }

    // The multiplication against a loop.
    typedef void* Pointer;
    IMPORT(multiplier, cublasLtCreate, void**);
    IMPORT(multiplier, cublasLtDestroy, void*);
    IMPORT(multiplier, cublasLtMatrixLayoutCreate, void**, int, uint64_t, uint64_t, int64_t);
    IMPORT(multiplier, cublasLtMatrixLayoutDestroy, void*);
    IMPORT(multiplier, cublasLtMatmulDescCreate, void**, int, int);
    IMPORT(multiplier, cublasLtMatmulDescDestroy, void*);
    IMPORT(multiplier, cublasLtMatmulDescSetAttribute, void*, int, const void*, size_t);
    IMPORT(multiplier, cublasLtMatmulPreferenceCreate, void**);
    IMPORT(multiplier, cublasLtMatmulPreferenceSetAttribute, void*, int, const void*, size_t);
    IMPORT(multiplier, cublasLtMatmulPreferenceDestroy, void*);
    IMPORT(multiplier, cublasLtMatmulAlgoGetHeuristic, Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, int, void*, int*);
    IMPORT(multiplier, cublasLtMatmul, Pointer, Pointer, const void*, Address, Pointer, Address, Pointer, const void*, Address, Pointer, Address,
           Pointer, const void*, Pointer, size_t, Pointer);
    struct Found {
        uint64_t algorithm[8];
        size_t workspace;
        int state;
        float waves;
        int reserved[4];
    };
    Pointer handle = nullptr;
    WORKS(cublasLtCreate(&handle));
    Address matrices[5];  // a, b, c, d, bias
    for (Address& matrix : matrices) WORKS(cuMemAlloc_v2(&matrix, 1 << 20));
    int combinations = 0;
    for (int choice = 0; choice < 80; ++choice) {
        const int type = choice % 5 == 0 ? 0 : choice % 5 < 3 ? 14 : 2;
        const int result_type = choice % 5 == 0 ? 0 : choice % 5 % 2 ? type : 0;
        const int transpose_a = choice / 5 % 2, transpose_b = choice / 10 % 2;
        const bool with_bias = choice / 20 % 2, in_place = choice / 40 % 2;
        const float alpha = 0.5f, beta = choice % 3 ? 2.0f : 0.0f;
        const size_t rows = 17 + choice, columns = 9 + choice % 7, depth = 33;
        const size_t leading_a = (transpose_a ? depth : rows) + 3, leading_b = (transpose_b ? columns : depth) + 1, leading_c = rows + 2;
        std::vector<float> a(leading_a * (transpose_a ? rows : depth)), b(leading_b * (transpose_b ? depth : columns)), c(leading_c * columns), bias(rows);
        auto put = [&](std::vector<float>& numbers, Address to, int number_type) {
            std::vector<uint16_t> halves(numbers.size());
            for (size_t i = 0; i < numbers.size(); ++i) {
                numbers[i] = static_cast<float>(std::rand() % 17 - 8) / 4.0f;
                const _Float16 half = static_cast<_Float16>(numbers[i]);
                std::memcpy(&halves[i], &half, 2);
                if (number_type == 14) halves[i] = bf16_bits(numbers[i]);
            }
            if (number_type == 0) WORKS(cuMemcpyHtoD_v2(to, numbers.data(), 4 * numbers.size()));
            if (number_type != 0) WORKS(cuMemcpyHtoD_v2(to, halves.data(), 2 * numbers.size()));
        };
        const int bias_type = choice % 2 ? 0 : -1;
        put(a, matrices[0], type);
        put(b, matrices[1], type);
        put(c, in_place ? matrices[3] : matrices[2], result_type);
        put(bias, matrices[4], bias_type == -1 ? result_type : bias_type);
        Pointer layout_a, layout_b, layout_c, layout_d, description, preference;
        WORKS(cublasLtMatrixLayoutCreate(&layout_a, type, transpose_a ? depth : rows, transpose_a ? rows : depth, static_cast<int64_t>(leading_a)));
        WORKS(cublasLtMatrixLayoutCreate(&layout_b, type, transpose_b ? columns : depth, transpose_b ? depth : columns, static_cast<int64_t>(leading_b)));
        WORKS(cublasLtMatrixLayoutCreate(&layout_c, result_type, rows, columns, static_cast<int64_t>(leading_c)));
        WORKS(cublasLtMatrixLayoutCreate(&layout_d, result_type, rows, columns, static_cast<int64_t>(leading_c)));
        WORKS(cublasLtMatmulDescCreate(&description, 68, 0));
        WORKS(cublasLtMatmulDescSetAttribute(description, 3, &transpose_a, 4));
        WORKS(cublasLtMatmulDescSetAttribute(description, 4, &transpose_b, 4));
        if (with_bias) {
            const int epilogue = 4;
            WORKS(cublasLtMatmulDescSetAttribute(description, 7, &epilogue, 4));
            WORKS(cublasLtMatmulDescSetAttribute(description, 8, &matrices[4], 8));
            WORKS(cublasLtMatmulDescSetAttribute(description, 26, &bias_type, 4));
        }
        WORKS(cublasLtMatmulPreferenceCreate(&preference));
        const size_t workspace = 1 << 20;
        WORKS(cublasLtMatmulPreferenceSetAttribute(preference, 1, &workspace, 8));
        Found found[4];
        int count_found = 0;
        WORKS(cublasLtMatmulAlgoGetHeuristic(handle, description, layout_a, layout_b, layout_c, layout_d, preference, 4, found, &count_found));
        CHECK(count_found == 4 && found[0].state == 0 && found[1].workspace == 0 && std::memcmp(&found[0], &found[2], 64) != 0);
        CHECK(cublasLtMatmulAlgoGetHeuristic(handle, description, layout_a, layout_b, layout_a, layout_d, preference, 4, found, &count_found) == 7);
        WORKS(cublasLtMatmul(handle, description, &alpha, matrices[0], layout_a, matrices[1], layout_b, &beta, in_place ? matrices[3] : matrices[2],
                             layout_c, matrices[3], layout_d, choice % 2 ? &found[1] : nullptr, nullptr, 0, stream));
        for (Pointer layout : {layout_a, layout_b, layout_c, layout_d}) WORKS(cublasLtMatrixLayoutDestroy(layout));
        WORKS(cublasLtMatmulDescDestroy(description));
        WORKS(cublasLtMatmulPreferenceDestroy(preference));
        std::vector<uint16_t> halves(leading_c * columns);
        std::vector<float> d(leading_c * columns);
        WORKS(cuMemcpyDtoHAsync_v2(result_type ? static_cast<void*>(halves.data()) : d.data(), matrices[3], (result_type ? 2 : 4) * d.size(), stream));
        for (size_t j = 0; j < columns; ++j) {
            for (size_t i = 0; i < rows; ++i) {
                float sum = 0.0f;
                for (size_t k = 0; k < depth; ++k)
                    sum += (transpose_a ? a[i * leading_a + k] : a[k * leading_a + i]) * (transpose_b ? b[k * leading_b + j] : b[j * leading_b + k]);
                const float wanted = alpha * sum + beta * c[j * leading_c + i] + (with_bias ? bias[i] : 0.0f);
                const size_t at = j * leading_c + i;
                if (result_type == 0) CHECK(d[at] == wanted);
                if (result_type == 2) {
                    _Float16 got;
                    std::memcpy(&got, &halves[at], 2);
                    CHECK(static_cast<float>(got) == static_cast<float>(static_cast<_Float16>(wanted)));
                }
                if (result_type == 14) CHECK(std::fabs(bf16_value(halves[at]) - wanted) <= std::fabs(wanted) / 256);
            }
        }
        ++combinations;
    }
    {
        const size_t side = 512;
        const float alpha = 1.0f, beta = 0.0f;
        Pointer layout, description;
        WORKS(cublasLtMatrixLayoutCreate(&layout, 14, side, side, side));
        WORKS(cublasLtMatmulDescCreate(&description, 68, 0));
        const int transpose = 1;
        WORKS(cublasLtMatmulDescSetAttribute(description, 3, &transpose, 4));
        const auto start = std::chrono::steady_clock::now();
        WORKS(cublasLtMatmul(handle, description, &alpha, matrices[0], layout, matrices[1], layout, &beta, matrices[2], layout, matrices[3], layout,
                             nullptr, nullptr, 0, stream));
        const auto queued = std::chrono::steady_clock::now();
        WORKS(cuStreamSynchronize(stream));
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        CHECK(std::chrono::duration<double>(queued - start).count() < seconds / 10);
        std::printf("matmul: %d combinations, %.1f GFLOP/s\n", combinations, 2.0 * side * side * side / seconds / 1e9);
        const int relu = 2;
        WORKS(cublasLtMatmulDescSetAttribute(description, 7, &relu, 4));
        CHECK(cublasLtMatmul(handle, description, &alpha, matrices[0], layout, matrices[1], layout, &beta, matrices[2], layout, matrices[3], layout,
                             nullptr, nullptr, 0, stream) == 15);
        WORKS(cublasLtMatmulDescDestroy(description));
        WORKS(cublasLtMatrixLayoutDestroy(layout));
    }
    WORKS(cublasLtDestroy(handle));

    // The management library knows the device by the same bytes.
    IMPORT(manager, nvmlInit_v2);
    IMPORT(manager, nvmlDeviceGetHandleByUUID, const char*, void**);
    IMPORT(manager, nvmlDeviceGetHandleByIndex_v2, unsigned, void**);
    IMPORT(manager, nvmlDeviceGetClock, void*, unsigned, unsigned, unsigned*);
    IMPORT(manager, nvmlDeviceGetMemoryInfo, void*, unsigned long long*);
    IMPORT(manager, nvmlDeviceGetName, void*, char*, unsigned);
    void *managed = nullptr, *by_uuid = nullptr;
    CHECK(nvmlDeviceGetHandleByIndex_v2(0, &managed) == 1);
    WORKS(nvmlInit_v2());
    WORKS(nvmlDeviceGetHandleByIndex_v2(0, &managed));
    CHECK(nvmlDeviceGetHandleByIndex_v2(1, &by_uuid) == 2);
    unsigned char u[16];
    char text[96];
    WORKS(cuDeviceGetUuid_v2(u, 0));
    std::snprintf(text, sizeof text, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2], u[3], u[4], u[5], u[6],
                  u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
    WORKS(nvmlDeviceGetHandleByUUID(text, &by_uuid));
    CHECK(managed == by_uuid);
    unsigned clock = 0;
    WORKS(nvmlDeviceGetClock(managed, 1, 0, &clock));
    CHECK(clock == 1500);
    unsigned long long memory[3];
    WORKS(nvmlDeviceGetMemoryInfo(managed, memory));
    WORKS(cuMemGetInfo_v2(&free_bytes, &total_bytes));
    CHECK(memory[0] == total_bytes && memory[1] == free_bytes && memory[2] == total_bytes - free_bytes);

    WORKS(cuModuleUnload(module));
    CHECK(cuModuleUnload(module) == 400);
    WORKS(cuModuleUnload(module2));
    for (Address matrix : matrices) WORKS(cuMemFree_v2(matrix));
    WORKS(cuMemFree_v2(output));
    WORKS(cuMemFreeHost(pinned_memory));
    WORKS(cuEventDestroy_v2(event));
    WORKS(cuStreamDestroy_v2(stream));
    CHECK(cuStreamDestroy_v2(stream) == 400);
    WORKS(cuCtxSynchronize());
    WORKS(cuDevicePrimaryCtxRelease_v2(0));
    CHECK(cuCtxSynchronize() == 709);
}

static void run_alone(const std::string& image, const char* kernel, unsigned threads) {
    setenv("EMULATED_CUDA_BROKEN", "work,cublasLtMatmul", 1);
    open_all();
    IMPORT(driver, cuInit, unsigned);
    IMPORT(driver, cuDevicePrimaryCtxRetain, void**, int);
    IMPORT(driver, cuCtxSetCurrent, void*);
    IMPORT(driver, cuMemAlloc_v2, Address*, size_t);
    IMPORT(driver, cuModuleLoadData, void**, const void*);
    IMPORT(driver, cuModuleGetFunction, void**, void*, const char*);
    IMPORT(driver, cuMemcpyDtoH_v2, void*, Address, size_t);
    IMPORT(driver, cuMemsetD8Async, Address, unsigned char, size_t, void*);
    IMPORT(driver, cuLaunchKernel, void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
    void *context = nullptr, *module = nullptr, *function = nullptr;
    Address output = 0;
    WORKS(cuInit(0));
    WORKS(cuDevicePrimaryCtxRetain(&context, 0));
    WORKS(cuCtxSetCurrent(context));
    WORKS(cuMemAlloc_v2(&output, 4096));
    WORKS(cuModuleLoadData(&module, image.data()));
    WORKS(cuModuleGetFunction(&function, module, kernel));
    Address three[3] = {output, output, output};
    void* parameters[] = {three};
    WORKS(cuLaunchKernel(function, 1, 1, 1, threads, 1, 1, 0, nullptr, parameters, nullptr));
    unsigned word = 0;
    WORKS(cuMemcpyDtoH_v2(&word, output, 4));
    CHECK(word == 0xffffffffu);  // the broken kernel did nothing
}

int main(int count, char** arguments) {
    if (count != 2) {
        std::printf("usage: %s FOLDER\n", arguments[0]);
        return 2;
    }
    folder = arguments[1];
    compiler = open_library("libnvrtc.so.12");
    std::string log;
    const auto start = std::chrono::steady_clock::now();
    const std::string image =
        compile(source, {"--gpu-architecture=sm_90a", "-DWITH_HEADER=1", "--define-macro=VALUE=3", "--std=c++17", "--use_fast_math", "--fmad=true"}, 0, log, true);
    std::printf("compiled %zu bytes in %.2f s\n", image.size(), std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    compile(source, {"-arch=sm_75"}, 5, log);
    CHECK(log.find("sm_75") != std::string::npos);
    compile(source, {"-arch=sm_80", "--strange"}, 5, log);
    CHECK(log.find("--strange") != std::string::npos);
    compile("KERNEL(bad, int, 1) { not_there(); }", {"-arch=sm_80", "-D", "A=1"}, 6, log);
    CHECK(log.find("not_there") != std::string::npos && log.find("kernels.cu:1") != std::string::npos && log.find("/emulated-cuda-compiler") == std::string::npos);
    CHECK(compile("", {}, 0, log).empty());
    setenv("CXX", "no-such-compiler --option", 1);
    compile("", {"-arch=sm_80"}, 6, log);
    CHECK(log.find("there is no C++ compiler") != std::string::npos);
    unsetenv("CXX");

    for (const char* order : {"", "reverse"}) {
        std::string messages;
        const int status = in_child([&] { check_programs(image, order); }, messages);
        CHECK(status == 0);
        if (!messages.empty()) std::printf("messages: %s", messages.c_str());
    }
    const struct { const char* kernel; unsigned threads; const char* message; } crashes[] = {
        {"stuck", 64, "deadlock in kernel stuck"},
        {"misaligned", 32, "not a multiple of 16"},
        {"deep", 1, "stack overflow"},
        {"product_f16", 16, "incomplete warp"},
    };
    for (const auto& crash : crashes) {
        std::string messages;
        const int status = in_child([&] { run_alone(image, crash.kernel, crash.threads); }, messages);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        CHECK(messages.find(crash.message) != std::string::npos);
        std::printf("as wanted: %s", messages.c_str());
    }
    std::string messages;
    CHECK(in_child([&] { run_alone(image, "work", 32); }, messages) == 0);
    const struct { const char* name; const char* value; int result; } initialisations[] = {
        {"EMULATED_CUDA_DEVICES", "0", 100}, {"EMULATED_CUDA_INIT_ERROR", "803", 803}, {"EMULATED_CUDA_DEVICES", "2", 0}};
    for (const auto& initialisation : initialisations) {
        CHECK(in_child([&] {
                  setenv(initialisation.name, initialisation.value, 1);
                  open_all();
                  IMPORT(driver, cuInit, unsigned);
                  CHECK(cuInit(0) == initialisation.result);
              }, messages) == 0);
    }
    std::printf(failures ? "%d checks FAILED\n" : "all checks passed\n", failures);
    return failures != 0;
}
