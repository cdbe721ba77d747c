// A stand-in for the CUDA driver library that keeps device memory in host memory and runs kernels on the CPU, for tests.
//
// Streams are lazy: what is enqueued runs only when something waits for it, on the thread that waits. A program that
// forgets to wait therefore sees old bytes every time and not only on a busy machine.
#include <algorithm>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <elf.h>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

enum Result : int {
    success = 0,
    invalid_value = 1,
    out_of_memory = 2,
    not_initialized = 3,
    no_device = 100,
    invalid_device = 101,
    invalid_image = 200,
    invalid_context = 201,
    operating_system = 304,
    invalid_handle = 400,
    not_found = 500,
    not_ready = 600,
    context_is_destroyed = 709,
    not_supported = 801,
};

struct ErrorText {
    int code;
    const char* name;
    const char* text;
};
const ErrorText error_texts[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {4, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
    {34, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"},
    {46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {304, "CUDA_ERROR_OPERATING_SYSTEM", "OS call failed or operation not supported on this OS"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {702, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
    {709, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
    {716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {802, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
    {804, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", "forward compatibility was attempted on non supported HW"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

struct Stream;

// One recording of an event: the place in a stream, and when it was reached.
struct Record {
    Stream* stream;
    uint64_t position;
    bool finished;
    double milliseconds;
};
struct Event {
    bool timed;
    std::shared_ptr<Record> record;
};
struct Device;
struct Stream {
    Device* device;
    std::deque<std::function<void()>> waiting;
    uint64_t enqueued = 0, finished = 0;
};
// The device is its own primary context.
struct Device {
    int ordinal = 0;
    int retained = 0;
    uint64_t used = 0, peak = 0;
    std::unique_ptr<Stream> default_stream;
};
struct Allocation {
    uint64_t bytes;
    Device* device;
};
struct Function {
    std::string name;
    void (*launch)(unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void**);
    unsigned parameter_bytes, threads;
    int dynamic_shared_limit, carveout;
};
struct Module {
    void* library;
    std::map<std::string, std::unique_ptr<Function>> functions;
};

const uint64_t guard_bytes = 64;
const unsigned char guard_byte = 0xa5;

struct State {
    std::recursive_mutex mutex;
    bool initialized = false;
    uint64_t memory = 0, taken = 0, failing_allocation = 0, allocations = 0, launches = 0;
    int driver_version = 13000, capability_major = 9, capability_minor = 0;
    std::set<std::string> broken;
    std::vector<std::unique_ptr<Device>> devices;
    std::set<Stream*> streams;
    std::set<Event*> events;
    std::set<Module*> modules;
    std::set<Function*> functions;
    std::map<uintptr_t, Allocation> device_memory;
    std::map<uintptr_t, uint64_t> host_memory;
};
// Never destroyed: threads of the program may still call while the process ends.
State& state() {
    static State* const instance = new State;
    return *instance;
}
thread_local Device* current_device = nullptr;

#define LOCK std::lock_guard<std::recursive_mutex> lock(state().mutex)
#define NEED_INITIALIZED \
    if (!state().initialized) return not_initialized
#define NEED_CONTEXT \
    NEED_INITIALIZED; \
    if (!current_device) return invalid_context; \
    if (!current_device->retained) return context_is_destroyed

uint64_t number_from_environment(const char* name, uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text && *text ? std::strtoull(text, nullptr, 0) : otherwise;
}

double now_in_milliseconds() {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void run_up_to(Stream& stream, uint64_t position) {
    while (stream.finished < position) {
        std::function<void()> operation = std::move(stream.waiting.front());
        stream.waiting.pop_front();
        operation();
        ++stream.finished;
    }
}
void run_up_to(const std::shared_ptr<Record>& record) {
    // A finished record may outlive its stream.
    if (record && !record->finished) run_up_to(*record->stream, record->position);
}
void drain(Stream& stream) { run_up_to(stream, stream.enqueued); }
void drain(Device& device) {
    for (Stream* stream : state().streams)
        if (stream->device == &device) drain(*stream);
    drain(*device.default_stream);
}
void drain_everything() {
    for (auto& device : state().devices) drain(*device);
}
void enqueue(Stream& stream, std::function<void()> operation) {
    stream.waiting.push_back(std::move(operation));
    ++stream.enqueued;
}

Result find_stream(void* handle, Stream*& stream) {
    if (reinterpret_cast<uintptr_t>(handle) <= 2) {
        stream = current_device->default_stream.get();
        return success;
    }
    stream = static_cast<Stream*>(handle);
    return state().streams.count(stream) ? success : invalid_handle;
}

bool inside_device_memory(uint64_t address, uint64_t bytes) {
    auto& map = state().device_memory;
    auto after = map.upper_bound(address);
    if (after == map.begin()) return false;
    --after;
    return address - after->first <= after->second.bytes && bytes <= after->second.bytes - (address - after->first);
}
bool inside_host_memory(const void* pointer, uint64_t bytes) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    auto& map = state().host_memory;
    auto after = map.upper_bound(address);
    if (after == map.begin()) return false;
    --after;
    return address - after->first <= after->second && bytes <= after->second - (address - after->first);
}
void* pointer_to(uint64_t address) { return reinterpret_cast<void*>(static_cast<uintptr_t>(address)); }

void release(std::map<uintptr_t, Allocation>::iterator allocation) {
    const unsigned char* end = static_cast<unsigned char*>(pointer_to(allocation->first)) + allocation->second.bytes;
    for (uint64_t i = 0; i < guard_bytes; ++i) {
        if (end[i] != guard_byte) {
            std::fprintf(stderr, "emulated CUDA: something wrote %llu bytes behind a device allocation of %llu bytes\n",
                         static_cast<unsigned long long>(i), static_cast<unsigned long long>(allocation->second.bytes));
            std::abort();
        }
    }
    allocation->second.device->used -= allocation->second.bytes;
    std::free(pointer_to(allocation->first));
    state().device_memory.erase(allocation);
}

int shared_memory_limit() {
    const int major = state().capability_major, minor = state().capability_minor;
    if (major == 9 || major == 10) return 232448;
    return major == 8 && minor == 0 ? 166912 : 101376;
}

int attribute_of(const Device& device, int attribute) {
    switch (attribute) {
        case 1: return 1024;    // threads per block
        case 2: return 1024;    // block x
        case 3: return 1024;    // block y
        case 4: return 64;      // block z
        case 5: return INT_MAX; // grid x
        case 6: return 65535;   // grid y
        case 7: return 65535;   // grid z
        case 8: return 49152;   // shared memory per block
        case 9: return 65536;   // constant memory
        case 10: return 32;     // warp size
        case 11: return INT_MAX;  // pitch
        case 12: return 65536;    // registers per block
        case 13: return 1500000;  // clock in kHz
        case 15: return 1;        // overlap
        case 16: return 4;        // multiprocessors
        case 19: return 1;        // maps host memory
        case 31: return 1;        // concurrent kernels
        case 33: return device.ordinal + 1;  // bus
        case 36: return 2000000;  // memory clock in kHz
        case 37: return 384;      // memory bus width
        case 38: return 32 << 20; // L2 cache
        case 39: return 2048;     // threads per multiprocessor
        case 40: return 2;        // copy engines
        case 41: return 1;        // unified addressing
        case 75: return state().capability_major;
        case 76: return state().capability_minor;
        case 81: return shared_memory_limit() + 1024;  // shared memory per multiprocessor
        case 82: return 65536;                         // registers per multiprocessor
        case 97: return shared_memory_limit();         // shared memory per block, opt-in
        case 106: return 32;                           // blocks per multiprocessor
        case 111: return 1024;                         // reserved shared memory
        default: return 0;
    }
}

Device* device_of(int ordinal) {
    if (ordinal < 0 || static_cast<size_t>(ordinal) >= state().devices.size()) return nullptr;
    return state().devices[ordinal].get();
}

// The image carries no length: it ends with the last section or with the table of the sections.
size_t image_bytes(const unsigned char* image) {
    Elf64_Ehdr header;
    if (std::memcmp(image, ELFMAG, SELFMAG) != 0 || image[EI_CLASS] != ELFCLASS64) return 0;
    std::memcpy(&header, image, sizeof header);
    if (header.e_shoff == 0 || header.e_shentsize != sizeof(Elf64_Shdr) || header.e_type != ET_DYN) return 0;
    uint64_t end = header.e_shoff + static_cast<uint64_t>(header.e_shnum) * header.e_shentsize;
    for (unsigned i = 0; i < header.e_shnum; ++i) {
        Elf64_Shdr section;
        std::memcpy(&section, image + header.e_shoff + static_cast<size_t>(i) * sizeof section, sizeof section);
        if (section.sh_type != SHT_NOBITS) end = std::max<uint64_t>(end, section.sh_offset + section.sh_size);
    }
    return end;
}

bool write_all(int file, const unsigned char* bytes, size_t count) {
    while (count) {
        const ssize_t written = write(file, bytes, count);
        if (written <= 0) return false;
        bytes += written;
        count -= static_cast<size_t>(written);
    }
    return true;
}

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))
// A second exported name of the same function.
#define ALSO(other_name, name, ...) EXPORTED int other_name(__VA_ARGS__) __attribute__((alias(#name)))

// ---- library and devices --------------------------------------------------------------------------------------

EXPORTED int cuInit(unsigned flags) {
    LOCK;
    State& s = state();
    if (flags) return invalid_value;
    if (s.initialized) return success;
    if (const uint64_t error = number_from_environment("EMULATED_CUDA_INIT_ERROR", 0)) return static_cast<int>(error);
    const uint64_t devices = number_from_environment("EMULATED_CUDA_DEVICES", 1);
    if (!devices) return no_device;
    s.memory = number_from_environment("EMULATED_CUDA_MEMORY", 4294967296ull);
    s.taken = std::min(s.memory, number_from_environment("EMULATED_CUDA_TAKEN", 0));
    s.failing_allocation = number_from_environment("EMULATED_CUDA_FAIL_ALLOCATION", 0);
    s.driver_version = static_cast<int>(number_from_environment("EMULATED_CUDA_DRIVER_VERSION", 13000));
    if (const char* capability = std::getenv("EMULATED_CUDA_CAPABILITY"))
        if (std::sscanf(capability, "%d.%d", &s.capability_major, &s.capability_minor) < 1) return invalid_value;
    if (const char* broken = std::getenv("EMULATED_CUDA_BROKEN")) {
        const std::string names = broken;
        for (size_t start = 0; start <= names.size();) {
            const size_t end = std::min(names.find(',', start), names.size());
            if (end > start) s.broken.insert(names.substr(start, end - start));
            start = end + 1;
        }
    }
    for (uint64_t i = 0; i < devices; ++i) {
        auto device = std::make_unique<Device>();
        device->ordinal = static_cast<int>(i);
        device->default_stream = std::make_unique<Stream>();
        device->default_stream->device = device.get();
        s.devices.push_back(std::move(device));
    }
    s.initialized = true;
    return success;
}

EXPORTED int cuDriverGetVersion(int* version) {
    LOCK;
    if (!version) return invalid_value;
    *version = state().initialized ? state().driver_version
                                   : static_cast<int>(number_from_environment("EMULATED_CUDA_DRIVER_VERSION", 13000));
    return success;
}

EXPORTED int cuGetErrorName(int code, const char** name) {
    if (!name) return invalid_value;
    *name = nullptr;
    for (const ErrorText& error : error_texts)
        if (error.code == code) *name = error.name;
    return *name ? success : invalid_value;
}

EXPORTED int cuGetErrorString(int code, const char** text) {
    if (!text) return invalid_value;
    *text = nullptr;
    for (const ErrorText& error : error_texts)
        if (error.code == code) *text = error.text;
    return *text ? success : invalid_value;
}

EXPORTED int cuDeviceGetCount(int* count) {
    LOCK;
    NEED_INITIALIZED;
    if (!count) return invalid_value;
    *count = static_cast<int>(state().devices.size());
    return success;
}

EXPORTED int cuDeviceGet(int* device, int ordinal) {
    LOCK;
    NEED_INITIALIZED;
    if (!device) return invalid_value;
    if (!device_of(ordinal)) return invalid_device;
    *device = ordinal;
    return success;
}

EXPORTED int cuDeviceGetName(char* name, int length, int device) {
    LOCK;
    NEED_INITIALIZED;
    if (!device_of(device)) return invalid_device;
    if (!name || length < 1) return invalid_value;
    std::snprintf(name, static_cast<size_t>(length), "Emulated GPU");
    return success;
}

EXPORTED int cuDeviceGetAttribute(int* value, int attribute, int device) {
    LOCK;
    NEED_INITIALIZED;
    if (!device_of(device)) return invalid_device;
    if (!value || attribute < 1) return invalid_value;
    *value = attribute_of(*device_of(device), attribute);
    return success;
}

EXPORTED int cuDeviceTotalMem_v2(size_t* bytes, int device) {
    LOCK;
    NEED_INITIALIZED;
    if (!device_of(device)) return invalid_device;
    if (!bytes) return invalid_value;
    *bytes = state().memory;
    return success;
}
ALSO(cuDeviceTotalMem, cuDeviceTotalMem_v2, size_t*, int);

EXPORTED int cuDeviceGetUuid_v2(unsigned char* uuid, int device) {
    LOCK;
    NEED_INITIALIZED;
    if (!device_of(device)) return invalid_device;
    if (!uuid) return invalid_value;
    // The management library builds the same bytes.
    const unsigned char bytes[16] = {0xe0, 0x1a, 0x7e, 0xd0, 0xc0, 0xda, 0x40, 0x00, 0x80, 0x00, 0, 0, 0, 0, 0, 1};
    std::memcpy(uuid, bytes, sizeof bytes);
    uuid[15] = static_cast<unsigned char>(device + 1);
    return success;
}
ALSO(cuDeviceGetUuid, cuDeviceGetUuid_v2, unsigned char*, int);

EXPORTED int cuDeviceGetPCIBusId(char* text, int length, int device) {
    LOCK;
    NEED_INITIALIZED;
    if (!device_of(device)) return invalid_device;
    if (!text || length < 13) return invalid_value;
    std::snprintf(text, static_cast<size_t>(length), "0000:%02X:00.0", static_cast<unsigned>(device + 1) & 0xffu);
    return success;
}

// ---- contexts -------------------------------------------------------------------------------------------------

EXPORTED int cuDevicePrimaryCtxRetain(void** context, int device) {
    LOCK;
    NEED_INITIALIZED;
    if (!device_of(device)) return invalid_device;
    if (!context) return invalid_value;
    ++device_of(device)->retained;
    *context = device_of(device);
    return success;
}

EXPORTED int cuDevicePrimaryCtxRelease_v2(int device_ordinal) {
    LOCK;
    NEED_INITIALIZED;
    Device* device = device_of(device_ordinal);
    if (!device) return invalid_device;
    if (!device->retained) return invalid_context;
    if (--device->retained) return success;
    drain(*device);
    for (auto allocation = state().device_memory.begin(); allocation != state().device_memory.end();) {
        auto this_one = allocation++;
        if (this_one->second.device == device) release(this_one);
    }
    return success;
}
ALSO(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, int);

EXPORTED int cuCtxSetCurrent(void* context) {
    LOCK;
    NEED_INITIALIZED;
    if (context) {
        bool known = false;
        for (auto& device : state().devices) known = known || (device.get() == context && device->retained);
        if (!known) return invalid_context;
    }
    current_device = static_cast<Device*>(context);
    return success;
}

EXPORTED int cuCtxGetCurrent(void** context) {
    LOCK;
    NEED_INITIALIZED;
    if (!context) return invalid_value;
    *context = current_device;
    return success;
}

EXPORTED int cuCtxGetDevice(int* device) {
    LOCK;
    NEED_CONTEXT;
    if (!device) return invalid_value;
    *device = current_device->ordinal;
    return success;
}

EXPORTED int cuCtxSynchronize() {
    LOCK;
    NEED_CONTEXT;
    drain(*current_device);
    return success;
}

// ---- memory ---------------------------------------------------------------------------------------------------

EXPORTED int cuMemGetInfo_v2(size_t* free_bytes, size_t* total_bytes) {
    LOCK;
    NEED_CONTEXT;
    if (!free_bytes || !total_bytes) return invalid_value;
    *total_bytes = state().memory;
    *free_bytes = state().memory - state().taken - current_device->used;
    return success;
}
ALSO(cuMemGetInfo, cuMemGetInfo_v2, size_t*, size_t*);

EXPORTED int cuMemAlloc_v2(uint64_t* address, size_t bytes) {
    LOCK;
    NEED_CONTEXT;
    State& s = state();
    if (!address || !bytes) return invalid_value;
    if (++s.allocations == s.failing_allocation) return out_of_memory;
    if (bytes > s.memory - s.taken - current_device->used) return out_of_memory;
    const size_t rounded = (bytes + guard_bytes + 255) / 256 * 256;
    void* memory = std::aligned_alloc(256, rounded);
    if (!memory) return out_of_memory;
    std::memset(memory, 0xff, bytes);
    std::memset(static_cast<char*>(memory) + bytes, guard_byte, guard_bytes);
    current_device->used += bytes;
    current_device->peak = std::max(current_device->peak, current_device->used);
    *address = reinterpret_cast<uintptr_t>(memory);
    s.device_memory[reinterpret_cast<uintptr_t>(memory)] = {bytes, current_device};
    return success;
}
ALSO(cuMemAlloc, cuMemAlloc_v2, uint64_t*, size_t);

EXPORTED int cuMemFree_v2(uint64_t address) {
    LOCK;
    NEED_CONTEXT;
    if (!address) return success;
    auto allocation = state().device_memory.find(address);
    if (allocation == state().device_memory.end()) return invalid_value;
    drain(*allocation->second.device);
    release(allocation);
    return success;
}
ALSO(cuMemFree, cuMemFree_v2, uint64_t);

EXPORTED int cuMemHostAlloc(void** pointer, size_t bytes, unsigned) {
    LOCK;
    NEED_CONTEXT;
    if (!pointer || !bytes) return invalid_value;
    void* memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!memory) return out_of_memory;
    std::memset(memory, 0xff, bytes);
    state().host_memory[reinterpret_cast<uintptr_t>(memory)] = bytes;
    *pointer = memory;
    return success;
}

EXPORTED int cuMemFreeHost(void* pointer) {
    LOCK;
    NEED_CONTEXT;
    auto allocation = state().host_memory.find(reinterpret_cast<uintptr_t>(pointer));
    if (allocation == state().host_memory.end()) return invalid_value;
    // Queued copies may still name these bytes; the real driver waits here too.
    drain_everything();
    state().host_memory.erase(allocation);
    std::free(pointer);
    return success;
}

EXPORTED int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void* stream_handle) {
    LOCK;
    NEED_CONTEXT;
    Stream* stream;
    if (Result error = find_stream(stream_handle, stream)) return error;
    if (!bytes) return success;
    if (!from || !inside_device_memory(to, bytes)) return invalid_value;
    if (inside_host_memory(from, bytes)) {
        enqueue(*stream, [=] { std::memcpy(pointer_to(to), from, bytes); });
    } else {
        auto snapshot = std::make_shared<std::vector<char>>(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
        enqueue(*stream, [=] { std::memcpy(pointer_to(to), snapshot->data(), bytes); });
    }
    return success;
}
ALSO(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, uint64_t, const void*, size_t, void*);

EXPORTED int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void* stream_handle) {
    LOCK;
    NEED_CONTEXT;
    Stream* stream;
    if (Result error = find_stream(stream_handle, stream)) return error;
    if (!bytes) return success;
    if (!to || !inside_device_memory(from, bytes)) return invalid_value;
    enqueue(*stream, [=] { std::memcpy(to, pointer_to(from), bytes); });
    if (!inside_host_memory(to, bytes)) drain(*stream);
    return success;
}
ALSO(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, void*, uint64_t, size_t, void*);

EXPORTED int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void* stream_handle) {
    LOCK;
    NEED_CONTEXT;
    Stream* stream;
    if (Result error = find_stream(stream_handle, stream)) return error;
    if (!bytes) return success;
    if (!inside_device_memory(to, bytes) || !inside_device_memory(from, bytes)) return invalid_value;
    enqueue(*stream, [=] { std::memmove(pointer_to(to), pointer_to(from), bytes); });
    return success;
}
ALSO(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, uint64_t, uint64_t, size_t, void*);

EXPORTED int cuMemcpyHtoD_v2(uint64_t to, const void* from, size_t bytes) {
    LOCK;
    NEED_CONTEXT;
    if (bytes && (!from || !inside_device_memory(to, bytes))) return invalid_value;
    drain(*current_device);
    if (bytes) std::memcpy(pointer_to(to), from, bytes);
    return success;
}
ALSO(cuMemcpyHtoD, cuMemcpyHtoD_v2, uint64_t, const void*, size_t);

EXPORTED int cuMemcpyDtoH_v2(void* to, uint64_t from, size_t bytes) {
    LOCK;
    NEED_CONTEXT;
    if (bytes && (!to || !inside_device_memory(from, bytes))) return invalid_value;
    drain(*current_device);
    if (bytes) std::memcpy(to, pointer_to(from), bytes);
    return success;
}
ALSO(cuMemcpyDtoH, cuMemcpyDtoH_v2, void*, uint64_t, size_t);

EXPORTED int cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes) {
    LOCK;
    NEED_CONTEXT;
    if (bytes && (!inside_device_memory(to, bytes) || !inside_device_memory(from, bytes))) return invalid_value;
    drain(*current_device);
    if (bytes) std::memmove(pointer_to(to), pointer_to(from), bytes);
    return success;
}
ALSO(cuMemcpyDtoD, cuMemcpyDtoD_v2, uint64_t, uint64_t, size_t);

EXPORTED int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void* stream_handle) {
    LOCK;
    NEED_CONTEXT;
    Stream* stream;
    if (Result error = find_stream(stream_handle, stream)) return error;
    if (!bytes) return success;
    if (!inside_device_memory(to, bytes)) return invalid_value;
    enqueue(*stream, [=] { std::memset(pointer_to(to), value, bytes); });
    return success;
}

EXPORTED int cuMemsetD8_v2(uint64_t to, unsigned char value, size_t bytes) {
    LOCK;
    NEED_CONTEXT;
    if (bytes && !inside_device_memory(to, bytes)) return invalid_value;
    drain(*current_device);
    if (bytes) std::memset(pointer_to(to), value, bytes);
    return success;
}
ALSO(cuMemsetD8, cuMemsetD8_v2, uint64_t, unsigned char, size_t);

// ---- streams and events ---------------------------------------------------------------------------------------

EXPORTED int cuStreamCreate(void** handle, unsigned) {
    LOCK;
    NEED_CONTEXT;
    if (!handle) return invalid_value;
    Stream* stream = new Stream;
    stream->device = current_device;
    state().streams.insert(stream);
    *handle = stream;
    return success;
}

EXPORTED int cuStreamCreateWithPriority(void** handle, unsigned flags, int) { return cuStreamCreate(handle, flags); }

EXPORTED int cuStreamDestroy_v2(void* handle) {
    LOCK;
    NEED_CONTEXT;
    Stream* stream = static_cast<Stream*>(handle);
    if (!state().streams.count(stream)) return invalid_handle;
    drain(*stream);
    state().streams.erase(stream);
    delete stream;
    return success;
}
ALSO(cuStreamDestroy, cuStreamDestroy_v2, void*);

EXPORTED int cuStreamSynchronize(void* handle) {
    LOCK;
    NEED_CONTEXT;
    Stream* stream;
    if (Result error = find_stream(handle, stream)) return error;
    drain(*stream);
    return success;
}

// A query runs one operation at most and says "not ready" until nothing is left, so that polling gets on and is seen to poll.
EXPORTED int cuStreamQuery(void* handle) {
    LOCK;
    NEED_CONTEXT;
    Stream* stream;
    if (Result error = find_stream(handle, stream)) return error;
    if (stream->finished < stream->enqueued) run_up_to(*stream, stream->finished + 1);
    return stream->finished == stream->enqueued ? success : not_ready;
}

EXPORTED int cuEventCreate(void** handle, unsigned flags) {
    LOCK;
    NEED_CONTEXT;
    if (!handle) return invalid_value;
    Event* event = new Event;
    event->timed = !(flags & 2u);
    state().events.insert(event);
    *handle = event;
    return success;
}

EXPORTED int cuEventDestroy_v2(void* handle) {
    LOCK;
    NEED_CONTEXT;
    Event* event = static_cast<Event*>(handle);
    if (!state().events.erase(event)) return invalid_handle;
    delete event;
    return success;
}
ALSO(cuEventDestroy, cuEventDestroy_v2, void*);

EXPORTED int cuEventRecord(void* handle, void* stream_handle) {
    LOCK;
    NEED_CONTEXT;
    Event* event = static_cast<Event*>(handle);
    Stream* stream;
    if (!state().events.count(event)) return invalid_handle;
    if (Result error = find_stream(stream_handle, stream)) return error;
    auto record = std::make_shared<Record>(Record{stream, stream->enqueued + 1, false, 0.0});
    event->record = record;
    enqueue(*stream, [record] {
        record->finished = true;
        record->milliseconds = now_in_milliseconds();
    });
    return success;
}

EXPORTED int cuEventRecordWithFlags(void* handle, void* stream_handle, unsigned) { return cuEventRecord(handle, stream_handle); }

EXPORTED int cuStreamWaitEvent(void* stream_handle, void* handle, unsigned) {
    LOCK;
    NEED_CONTEXT;
    Event* event = static_cast<Event*>(handle);
    Stream* stream;
    if (!state().events.count(event)) return invalid_handle;
    if (Result error = find_stream(stream_handle, stream)) return error;
    // The wait is for the recording of now, also when the event is recorded again before the stream gets here.
    if (auto record = event->record) enqueue(*stream, [record] { run_up_to(record); });
    return success;
}

EXPORTED int cuEventQuery(void* handle) {
    LOCK;
    NEED_CONTEXT;
    Event* event = static_cast<Event*>(handle);
    if (!state().events.count(event)) return invalid_handle;
    Record* record = event->record.get();
    if (!record) return success;
    if (!record->finished) run_up_to(*record->stream, record->stream->finished + 1);
    return record->finished ? success : not_ready;
}

EXPORTED int cuEventSynchronize(void* handle) {
    LOCK;
    NEED_CONTEXT;
    Event* event = static_cast<Event*>(handle);
    if (!state().events.count(event)) return invalid_handle;
    run_up_to(event->record);
    return success;
}

EXPORTED int cuEventElapsedTime_v2(float* milliseconds, void* start_handle, void* end_handle) {
    LOCK;
    NEED_CONTEXT;
    Event* start = static_cast<Event*>(start_handle);
    Event* end = static_cast<Event*>(end_handle);
    if (!milliseconds) return invalid_value;
    if (!state().events.count(start) || !state().events.count(end)) return invalid_handle;
    if (!start->timed || !end->timed || !start->record || !end->record) return invalid_handle;
    if (!start->record->finished || !end->record->finished) return not_ready;
    *milliseconds = static_cast<float>(end->record->milliseconds - start->record->milliseconds);
    return success;
}
ALSO(cuEventElapsedTime, cuEventElapsedTime_v2, float*, void*, void*);

// Lets other libraries put work of their own on a stream.
EXPORTED int emulated_enqueue(void* stream_handle, void (*function)(void*), void* context) {
    LOCK;
    NEED_CONTEXT;
    Stream* stream;
    if (Result error = find_stream(stream_handle, stream)) return error;
    if (!function) return invalid_value;
    enqueue(*stream, [=] { function(context); });
    return success;
}
ALSO(cuLaunchHostFunc, emulated_enqueue, void*, void (*)(void*), void*);

// ---- modules and launches -------------------------------------------------------------------------------------

EXPORTED int cuModuleLoadData(void** handle, const void* image) {
    LOCK;
    NEED_CONTEXT;
    if (!handle || !image) return invalid_value;
    const size_t bytes = image_bytes(static_cast<const unsigned char*>(image));
    if (!bytes) return invalid_image;
    const char* folder = std::getenv("TMPDIR");
    std::string path = std::string(folder && *folder ? folder : "/tmp") + "/emulated-cuda-module-XXXXXX";
    const int file = mkstemp(&path[0]);
    if (file < 0) return operating_system;
    const bool written = write_all(file, static_cast<const unsigned char*>(image), bytes);
    close(file);
    void* library = written ? dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
    if (written && !library) std::fprintf(stderr, "emulated CUDA: %s\n", dlerror());
    unlink(path.c_str());
    if (!written) return operating_system;
    if (!library) return invalid_image;
    Module* module = new Module;
    module->library = library;
    state().modules.insert(module);
    *handle = module;
    return success;
}

EXPORTED int cuModuleLoadDataEx(void** handle, const void* image, unsigned, int*, void**) { return cuModuleLoadData(handle, image); }

EXPORTED int cuModuleGetFunction(void** handle, void* module_handle, const char* name) {
    LOCK;
    NEED_CONTEXT;
    Module* module = static_cast<Module*>(module_handle);
    if (!handle || !name) return invalid_value;
    if (!state().modules.count(module)) return invalid_handle;
    auto& function = module->functions[name];
    if (!function) {
        void* launch = dlsym(module->library, (std::string(name) + "__launch").c_str());
        const void* bytes = dlsym(module->library, (std::string(name) + "__parameter_bytes").c_str());
        const void* threads = dlsym(module->library, (std::string(name) + "__threads").c_str());
        if (!launch || !bytes || !threads) {
            module->functions.erase(name);
            return not_found;
        }
        function = std::make_unique<Function>();
        function->name = name;
        std::memcpy(&function->launch, &launch, sizeof launch);
        function->parameter_bytes = *static_cast<const unsigned*>(bytes);
        function->threads = std::min(1024u, *static_cast<const unsigned*>(threads));
        function->dynamic_shared_limit = 49152;
        function->carveout = -1;
        state().functions.insert(function.get());
    }
    *handle = function.get();
    return success;
}

EXPORTED int cuModuleUnload(void* handle) {
    LOCK;
    NEED_CONTEXT;
    Module* module = static_cast<Module*>(handle);
    if (!state().modules.count(module)) return invalid_handle;
    // Queued launches still need the code.
    drain_everything();
    for (auto& entry : module->functions) state().functions.erase(entry.second.get());
    dlclose(module->library);
    state().modules.erase(module);
    delete module;
    return success;
}

EXPORTED int cuFuncSetAttribute(void* handle, int attribute, int value) {
    LOCK;
    NEED_CONTEXT;
    Function* function = static_cast<Function*>(handle);
    if (!state().functions.count(function)) return invalid_handle;
    if (attribute == 8) {
        if (value < 0 || value > shared_memory_limit()) return invalid_value;
        function->dynamic_shared_limit = value;
        return success;
    }
    if (attribute == 9) {
        if (value < -1 || value > 100) return invalid_value;
        function->carveout = value;
        return success;
    }
    return invalid_value;
}

EXPORTED int cuFuncGetAttribute(int* value, int attribute, void* handle) {
    LOCK;
    NEED_CONTEXT;
    Function* function = static_cast<Function*>(handle);
    if (!value) return invalid_value;
    if (!state().functions.count(function)) return invalid_handle;
    const int capability = 10 * state().capability_major + state().capability_minor;
    switch (attribute) {
        case 0: *value = static_cast<int>(function->threads); return success;
        case 4: *value = 32; return success;
        case 5: *value = capability; return success;
        case 6: *value = capability; return success;
        case 8: *value = function->dynamic_shared_limit; return success;
        case 9: *value = function->carveout; return success;
        default: *value = 0; return attribute < 0 || attribute > 15 ? invalid_value : success;
    }
}

EXPORTED int cuLaunchKernel(void* handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared_bytes,
                            void* stream_handle, void** parameters, void** extra) {
    LOCK;
    NEED_CONTEXT;
    Function* function = static_cast<Function*>(handle);
    Stream* stream;
    if (!state().functions.count(function)) return invalid_handle;
    if (Result error = find_stream(stream_handle, stream)) return error;
    if (extra) return not_supported;
    if (!parameters || !parameters[0]) return invalid_value;
    if (!gx || !gy || !gz || gx > INT_MAX || gy > 65535 || gz > 65535) return invalid_value;
    if (!bx || !by || !bz || bx > 1024 || by > 1024 || bz > 64 || bx * by * bz > function->threads) return invalid_value;
    if (shared_bytes > static_cast<unsigned>(function->dynamic_shared_limit)) return invalid_value;
    // The caller's parameters are gone when the launch runs.
    auto copy = std::make_shared<std::vector<std::max_align_t>>(function->parameter_bytes / sizeof(std::max_align_t) + 1);
    std::memcpy(copy->data(), parameters[0], function->parameter_bytes);
    const bool broken = state().broken.count(function->name) != 0;
    const auto launch = function->launch;
    enqueue(*stream, [=] {
        ++state().launches;
        void* pointers[1] = {copy->data()};
        if (!broken) launch(gx, gy, gz, bx, by, bz, shared_bytes, pointers);
    });
    return success;
}

// ---- for tests ------------------------------------------------------------------------------------------------

EXPORTED unsigned long long emulated_launches() {
    LOCK;
    return state().launches;
}

EXPORTED unsigned long long emulated_peak_bytes(int device) {
    LOCK;
    return device_of(device) ? device_of(device)->peak : 0;
}

EXPORTED unsigned long long emulated_used_bytes(int device) {
    LOCK;
    return device_of(device) ? device_of(device)->used : 0;
}
