// A stand-in for the cuBLASLt library that multiplies matrices on the CPU in order on a stream of the stand-in driver, for tests.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <memory>
#include <string>
#include <vector>

namespace {

enum Status : int {
    success = 0,
    not_initialized = 1,
    alloc_failed = 3,
    invalid_value = 7,
    arch_mismatch = 8,
    mapping_error = 11,
    execution_failed = 13,
    internal_error = 14,
    not_supported = 15,
    license_error = 16,
};

enum DataType : int { type_f32 = 0, type_f16 = 2, type_bf16 = 14 };

const uint64_t algorithm_mark = 0x656d756c61746564ull;

struct Handle {
    bool broken;
};
struct Layout {
    int type;
    int order;
    uint64_t rows, columns;
    int64_t leading;
    int batches;
};
struct Description {
    int compute_type, scale_type;
    int pointer_mode = 0, transpose_a = 0, transpose_b = 0, transpose_c = 0;
    uint32_t epilogue = 1;
    const void* bias = nullptr;
    int bias_type = -1;
    bool strange = false;  // has an attribute that is not emulated
};
struct Preference {
    uint64_t workspace;
};
// The two structures below are part of the interface.
struct Algorithm {
    uint64_t data[8];
};
struct HeuristicResult {
    Algorithm algorithm;
    size_t workspace_bytes;
    int state;
    float waves;
    int reserved[4];
};
static_assert(sizeof(HeuristicResult) == 96, "the layout that callers know");

// Everything a queued multiplication needs; the descriptions may be gone when it runs.
struct Multiplication {
    size_t rows, columns, depth;
    int type, bias_type, result_type;
    bool transpose_a, transpose_b, broken;
    bool otherwise;  // sums in another order, as an algorithm does that splits them
    float alpha, beta;
    const void *a, *b, *c, *bias;
    void* d;
    size_t leading_a, leading_b, leading_c, leading_d;
};

float from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
uint32_t to_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

float bf16_to_float(uint16_t bits) { return from_bits(static_cast<uint32_t>(bits) << 16); }

uint16_t float_to_bf16(float value) {
    const uint32_t bits = to_bits(value);
    // Rounding could carry a NaN into infinity, so a NaN is cut and made quiet instead.
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
    return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float f16_to_float(uint16_t bits) {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
    const uint32_t shifted = static_cast<uint32_t>(bits & 0x7fffu) << 13;
    if ((bits & 0x7c00u) == 0x7c00u) return from_bits(sign | 0x7f800000u | shifted);
    // Multiplying by 2^112 moves the exponent to its new offset and normalises subnormal numbers exactly.
    return from_bits(sign | to_bits(from_bits(shifted) * from_bits(0x77800000u)));
}

uint16_t float_to_f16(float value) {
    const uint32_t bits = to_bits(value), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
    // The last place of 0.5 is the unit of subnormal halves, so this addition does the rounding.
    if (magnitude < 0x38800000u) return static_cast<uint16_t>(sign | (to_bits(from_bits(magnitude) + 0.5f) - 0x3f000000u));
    return static_cast<uint16_t>(sign | ((magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13));
}

float load(const void* data, size_t index, int type) {
    if (type == type_f32) return static_cast<const float*>(data)[index];
    const uint16_t bits = static_cast<const uint16_t*>(data)[index];
    return type == type_bf16 ? bf16_to_float(bits) : f16_to_float(bits);
}

void store(void* data, size_t index, int type, float value) {
    if (type == type_f32) {
        static_cast<float*>(data)[index] = value;
    } else {
        static_cast<uint16_t*>(data)[index] = type == type_bf16 ? float_to_bf16(value) : float_to_f16(value);
    }
}

typedef float Vector __attribute__((vector_size(32)));
const size_t panel_rows = 16, panel_columns = 4;

// Lays out `width` lines of a factor side by side for every depth, filled up with zeros: element (line, depth) of the
// panel goes to depth * width + line.
void gather(std::vector<float>& panel, size_t width, const void* data, int type, size_t leading, bool depth_is_contiguous, size_t first,
            size_t lines, size_t depth) {
    const size_t count = std::min(width, lines - first);
    if (count < width) std::fill(panel.begin(), panel.begin() + static_cast<std::ptrdiff_t>(width * depth), 0.0f);
    if (depth_is_contiguous) {
        for (size_t line = 0; line < count; ++line)
            for (size_t k = 0; k < depth; ++k) panel[k * width + line] = load(data, (first + line) * leading + k, type);
    } else {
        for (size_t k = 0; k < depth; ++k)
            for (size_t line = 0; line < count; ++line) panel[k * width + line] = load(data, k * leading + first + line, type);
    }
}

// Sums of one tile; every sum runs over the depth in rising order, so that the result does not depend on the tiling.
void multiply_panels(const float* left, const float* right, size_t depth, float (&sums)[panel_columns][panel_rows]) {
    Vector low[panel_columns] = {}, high[panel_columns] = {};
    for (size_t k = 0; k < depth; ++k) {
        Vector first, second;
        std::memcpy(&first, left + k * panel_rows, sizeof first);
        std::memcpy(&second, left + k * panel_rows + 8, sizeof second);
        for (size_t column = 0; column < panel_columns; ++column) {
            const float factor = right[k * panel_columns + column];
            low[column] += first * factor;
            high[column] += second * factor;
        }
    }
    for (size_t column = 0; column < panel_columns; ++column) {
        std::memcpy(&sums[column][0], &low[column], sizeof low[column]);
        std::memcpy(&sums[column][8], &high[column], sizeof high[column]);
    }
}

void multiply(const Multiplication& work) {
    const size_t right_panels = (work.columns + panel_columns - 1) / panel_columns;
    // With a zero factor the matrices are not read, as in the real library: a NaN in them does not come through.
    const size_t depth = work.alpha == 0.0f ? 0 : work.depth;
    std::vector<float> left(panel_rows * depth);
    std::vector<std::vector<float>> right(right_panels, std::vector<float>(panel_columns * depth));
    for (size_t panel = 0; panel < right_panels; ++panel)
        gather(right[panel], panel_columns, work.b, work.type, work.leading_b, !work.transpose_b, panel * panel_columns, work.columns, depth);
    for (size_t first_row = 0; first_row < work.rows; first_row += panel_rows) {
        gather(left, panel_rows, work.a, work.type, work.leading_a, work.transpose_a, first_row, work.rows, depth);
        const size_t rows = std::min(panel_rows, work.rows - first_row);
        for (size_t panel = 0; panel < right_panels; ++panel) {
            float sums[panel_columns][panel_rows];
            multiply_panels(left.data(), right[panel].data(), depth, sums);
            const size_t columns = std::min(panel_columns, work.columns - panel * panel_columns);
            for (size_t j = 0; j < columns; ++j) {
                const size_t column = panel * panel_columns + j;
                for (size_t i = 0; i < rows; ++i) {
                    const size_t row = first_row + i;
                    if (work.otherwise) {
                        float sum = 0.0f;
                        for (size_t k = depth; k-- > 0;) sum += left[k * panel_rows + i] * right[panel][k * panel_columns + j];
                        sums[j][i] = sum;
                    }
                    float value = work.alpha * sums[j][i];
                    if (work.beta != 0.0f) value += work.beta * load(work.c, column * work.leading_c + row, work.result_type);
                    if (work.bias) value += load(work.bias, row, work.bias_type);
                    store(work.d, column * work.leading_d + row, work.result_type, work.broken ? 0.0f : value);
                }
            }
        }
    }
}

void run_multiplication(void* context) {
    const std::unique_ptr<Multiplication> work(static_cast<Multiplication*>(context));
    multiply(*work);
}

typedef int (*Enqueue)(void* stream, void (*function)(void*), void* context);
Enqueue find_enqueue() {
    void* symbol = nullptr;
    if (void* driver = dlopen("libcuda.so", RTLD_NOLOAD | RTLD_NOW)) {
        symbol = dlsym(driver, "emulated_enqueue");
        dlclose(driver);
    }
    if (!symbol) symbol = dlsym(RTLD_DEFAULT, "emulated_enqueue");
    Enqueue enqueue = nullptr;
    std::memcpy(&enqueue, &symbol, sizeof symbol);
    return enqueue;
}

bool named_broken() {
    const char* names = std::getenv("EMULATED_CUDA_BROKEN");
    return names && ("," + std::string(names) + ",").find(",cublasLtMatmul,") != std::string::npos;
}

bool known_type(int type) { return type == type_f32 || type == type_f16 || type == type_bf16; }

// What both the search for algorithms and the multiplication refuse. The type combinations are those of the real
// library: 16-bit factors give a result of their own type or f32, f32 factors give f32.
Status check(const Description* description, const Layout* a, const Layout* b, const Layout* c, const Layout* d) {
    if (!description || !a || !b || !c || !d) return invalid_value;
    const bool transpose_a = description->transpose_a == 1, transpose_b = description->transpose_b == 1;
    for (const Layout* layout : {a, b, c, d}) {
        if (layout->order != 0 || layout->batches != 1) return not_supported;
        if (!layout->rows || !layout->columns || layout->leading < static_cast<int64_t>(layout->rows)) return invalid_value;
    }
    const uint64_t depth = transpose_a ? a->rows : a->columns;
    if ((transpose_a ? a->columns : a->rows) != d->rows || (transpose_b ? b->rows : b->columns) != d->columns ||
        (transpose_b ? b->columns : b->rows) != depth || c->rows != d->rows || c->columns != d->columns)
        return invalid_value;
    if (description->compute_type != 68 || description->scale_type != 0 || description->pointer_mode != 0 || description->strange)
        return not_supported;
    if (description->transpose_a > 1 || description->transpose_b > 1 || description->transpose_c != 0) return not_supported;
    if (!known_type(a->type) || a->type != b->type || c->type != d->type) return not_supported;
    if (d->type != type_f32 && d->type != a->type) return not_supported;
    if (description->epilogue != 1 && description->epilogue != 4) return not_supported;
    if (description->epilogue == 4 && description->bias_type != -1 && !known_type(description->bias_type)) return not_supported;
    return success;
}

template <class Value> Status set(Value& field, const void* bytes, size_t count) {
    if (!bytes || count != sizeof field) return invalid_value;
    std::memcpy(&field, bytes, sizeof field);
    return success;
}

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED int cublasLtCreate(Handle** handle) {
    if (!handle) return invalid_value;
    if (!find_enqueue()) return not_initialized;
    *handle = new Handle{named_broken()};
    return success;
}

EXPORTED int cublasLtDestroy(Handle* handle) {
    if (!handle) return not_initialized;
    delete handle;
    return success;
}

EXPORTED size_t cublasLtGetVersion() { return 120804; }

EXPORTED const char* cublasLtGetStatusName(int status) {
    switch (status) {
        case success: return "CUBLAS_STATUS_SUCCESS";
        case not_initialized: return "CUBLAS_STATUS_NOT_INITIALIZED";
        case alloc_failed: return "CUBLAS_STATUS_ALLOC_FAILED";
        case invalid_value: return "CUBLAS_STATUS_INVALID_VALUE";
        case arch_mismatch: return "CUBLAS_STATUS_ARCH_MISMATCH";
        case mapping_error: return "CUBLAS_STATUS_MAPPING_ERROR";
        case execution_failed: return "CUBLAS_STATUS_EXECUTION_FAILED";
        case internal_error: return "CUBLAS_STATUS_INTERNAL_ERROR";
        case not_supported: return "CUBLAS_STATUS_NOT_SUPPORTED";
        case license_error: return "CUBLAS_STATUS_LICENSE_ERROR";
        default: return "unknown status";
    }
}

EXPORTED const char* cublasLtGetStatusString(int status) {
    switch (status) {
        case success: return "success";
        case not_initialized: return "the library was not initialized";
        case alloc_failed: return "the resource allocation failed";
        case invalid_value: return "an invalid value was passed as an argument";
        case arch_mismatch: return "an absent device architectural feature is required";
        case mapping_error: return "an access to GPU memory space failed";
        case execution_failed: return "the GPU program failed to execute";
        case internal_error: return "an internal operation failed";
        case not_supported: return "the functionality requested is not supported";
        case license_error: return "the functionality requested requires a license";
        default: return "unknown status";
    }
}

EXPORTED int cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns, int64_t leading) {
    if (!layout) return invalid_value;
    *layout = new Layout{type, 0, rows, columns, leading, 1};
    return success;
}

EXPORTED int cublasLtMatrixLayoutDestroy(Layout* layout) {
    delete layout;
    return success;
}

EXPORTED int cublasLtMatrixLayoutSetAttribute(Layout* layout, int attribute, const void* bytes, size_t count) {
    if (!layout) return invalid_value;
    int64_t ignored;
    switch (attribute) {
        case 0: return set(layout->type, bytes, count);
        case 1: return set(layout->order, bytes, count);
        case 2: return set(layout->rows, bytes, count);
        case 3: return set(layout->columns, bytes, count);
        case 4: return set(layout->leading, bytes, count);
        case 5: return set(layout->batches, bytes, count);
        case 6: return set(ignored, bytes, count);  // the distance of the matrices in a batch; there is one matrix only
        default: return invalid_value;
    }
}

EXPORTED int cublasLtMatmulDescCreate(Description** description, int compute_type, int scale_type) {
    if (!description) return invalid_value;
    *description = new Description;
    (*description)->compute_type = compute_type;
    (*description)->scale_type = scale_type;
    return success;
}

EXPORTED int cublasLtMatmulDescDestroy(Description* description) {
    delete description;
    return success;
}

EXPORTED int cublasLtMatmulDescSetAttribute(Description* description, int attribute, const void* bytes, size_t count) {
    if (!description) return invalid_value;
    int32_t number;
    int8_t flag;
    switch (attribute) {
        case 0: return set(description->compute_type, bytes, count);
        case 1: return set(description->scale_type, bytes, count);
        case 2: return set(description->pointer_mode, bytes, count);
        case 3: return set(description->transpose_a, bytes, count);
        case 4: return set(description->transpose_b, bytes, count);
        case 5: return set(description->transpose_c, bytes, count);
        case 7: return set(description->epilogue, bytes, count);
        case 8: return set(description->bias, bytes, count);
        case 15: return set(number, bytes, count);  // how many multiprocessors to aim at
        case 25: return set(flag, bytes, count);    // fast accumulation
        case 26: return set(description->bias_type, bytes, count);
        default:
            if (attribute < 0 || attribute > 37 || !bytes) return invalid_value;
            description->strange = true;
            return success;
    }
}

EXPORTED int cublasLtMatmulPreferenceCreate(Preference** preference) {
    if (!preference) return invalid_value;
    *preference = new Preference{0};
    return success;
}

EXPORTED int cublasLtMatmulPreferenceDestroy(Preference* preference) {
    delete preference;
    return success;
}

EXPORTED int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* bytes, size_t count) {
    if (!preference || !bytes) return invalid_value;
    uint32_t ignored;
    switch (attribute) {
        case 1: return set(preference->workspace, bytes, count);
        case 12: return count == 8 ? success : invalid_value;
        case 0: case 3: case 5: case 6: case 7: case 8: case 9: return set(ignored, bytes, count);
        default: return invalid_value;
    }
}

EXPORTED int cublasLtMatmulAlgoGetHeuristic(Handle* handle, Description* description, Layout* a, Layout* b, Layout* c, Layout* d,
                                            Preference* preference, int requested, HeuristicResult* results, int* returned) {
    if (returned) *returned = 0;
    if (!handle) return not_initialized;
    if (!preference || requested < 1 || !results || !returned) return invalid_value;
    if (const Status status = check(description, a, b, c, d)) return status;
    *returned = std::min(requested, 4);
    for (int i = 0; i < *returned; ++i) {
        results[i] = HeuristicResult{};
        results[i].algorithm.data[0] = algorithm_mark;
        results[i].algorithm.data[1] = static_cast<uint64_t>(i) + 1;
        results[i].waves = 1.0f;
    }
    return success;
}

EXPORTED int cublasLtMatmulAlgoCheck(Handle* handle, Description* description, Layout* a, Layout* b, Layout* c, Layout* d,
                                     const Algorithm* algorithm, HeuristicResult* result) {
    if (!handle) return not_initialized;
    if (!algorithm || !result) return invalid_value;
    if (const Status status = check(description, a, b, c, d)) return status;
    if (algorithm->data[0] != algorithm_mark || algorithm->data[1] < 1 || algorithm->data[1] > 4) return invalid_value;
    *result = HeuristicResult{};
    result->algorithm = *algorithm;
    result->waves = 1.0f;
    return success;
}

EXPORTED int cublasLtMatmul(Handle* handle, Description* description, const void* alpha, const void* a, Layout* layout_a, const void* b,
                            Layout* layout_b, const void* beta, const void* c, Layout* layout_c, void* d, Layout* layout_d,
                            const Algorithm* algorithm, void*, size_t, void* stream) {
    if (!handle) return not_initialized;
    if (const Status status = check(description, layout_a, layout_b, layout_c, layout_d)) return status;
    if (!alpha || !beta || !a || !b || !d) return invalid_value;
    if (algorithm && (algorithm->data[0] != algorithm_mark || algorithm->data[1] < 1 || algorithm->data[1] > 4)) return invalid_value;
    auto work = std::make_unique<Multiplication>();
    work->rows = layout_d->rows;
    work->columns = layout_d->columns;
    work->transpose_a = description->transpose_a == 1;
    work->transpose_b = description->transpose_b == 1;
    work->depth = work->transpose_a ? layout_a->rows : layout_a->columns;
    work->type = layout_a->type;
    work->result_type = layout_d->type;
    work->bias_type = description->bias_type == -1 ? layout_d->type : description->bias_type;
    work->bias = description->epilogue == 4 ? description->bias : nullptr;
    std::memcpy(&work->alpha, alpha, sizeof(float));
    std::memcpy(&work->beta, beta, sizeof(float));
    if (work->beta != 0.0f && !c) return invalid_value;
    if (description->epilogue == 4 && !work->bias) return invalid_value;
    work->a = a;
    work->b = b;
    work->c = c;
    work->d = d;
    work->leading_a = static_cast<size_t>(layout_a->leading);
    work->leading_b = static_cast<size_t>(layout_b->leading);
    work->leading_c = static_cast<size_t>(layout_c->leading);
    work->leading_d = static_cast<size_t>(layout_d->leading);
    work->broken = handle->broken;
    // The third of the algorithms gives other bits than the first two, and the fourth fails: who tries them has to notice.
    if (algorithm && algorithm->data[1] == 4) return execution_failed;
    work->otherwise = algorithm && algorithm->data[1] == 3;
    const Enqueue enqueue = find_enqueue();
    if (!enqueue) return not_initialized;
    if (enqueue(stream, run_multiplication, work.get())) return execution_failed;
    work.release();
    return success;
}
