// A stand-in for the NVIDIA management library that describes the devices of the stand-in driver, for tests.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <mutex>

namespace {

enum Result : int {
    success = 0,
    uninitialized = 1,
    invalid_argument = 2,
    not_supported = 3,
    not_found = 6,
    insufficient_size = 7,
};

struct Device {
    unsigned number;
};
struct Memory {
    unsigned long long total, free, used;
};
struct MemoryVersion2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

const unsigned most_devices = 64;
Device devices[most_devices];
std::mutex mutex;
unsigned initialized = 0;
unsigned device_count = 0;
unsigned long long memory_bytes = 0, taken_bytes = 0;

uint64_t number_from_environment(const char* name, uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text && *text ? std::strtoull(text, nullptr, 0) : otherwise;
}

Result begin() {
    const std::lock_guard<std::mutex> lock(mutex);
    if (initialized++) return success;
    const uint64_t wanted = number_from_environment("EMULATED_CUDA_DEVICES", 1);
    device_count = wanted < most_devices ? static_cast<unsigned>(wanted) : most_devices;
    memory_bytes = number_from_environment("EMULATED_CUDA_MEMORY", 4294967296ull);
    taken_bytes = number_from_environment("EMULATED_CUDA_TAKEN", 0);
    for (unsigned i = 0; i < most_devices; ++i) devices[i].number = i;
    return success;
}

bool ready() {
    const std::lock_guard<std::mutex> lock(mutex);
    return initialized != 0;
}

bool known(const Device* device) { return device >= devices && device < devices + device_count; }

Result write_text(const char* text, char* to, unsigned length) {
    if (!to) return invalid_argument;
    if (std::strlen(text) >= length) return insufficient_size;
    std::strcpy(to, text);
    return success;
}

// The same bytes as the driver's.
void write_uuid(unsigned number, char (&text)[64]) {
    std::snprintf(text, sizeof text, "GPU-e01a7ed0-c0da-4000-8000-0000000000%02x", (number + 1) & 0xffu);
}

// Counts what this process holds on the device, as the real library does, when the driver is loaded.
unsigned long long used_bytes(unsigned number) {
    unsigned long long used = taken_bytes;
    if (void* driver = dlopen("libcuda.so", RTLD_NOLOAD | RTLD_NOW)) {
        void* symbol = dlsym(driver, "emulated_used_bytes");
        unsigned long long (*count)(int) = nullptr;
        std::memcpy(&count, &symbol, sizeof symbol);
        if (count) used += count(static_cast<int>(number));
        dlclose(driver);
    }
    return used < memory_bytes ? used : memory_bytes;
}

unsigned clock_of(unsigned type) { return type == 2 ? 2000 : type == 3 ? 1200 : 1500; }

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))
#define NEED_READY \
    if (!ready()) return uninitialized
#define NEED_DEVICE \
    NEED_READY; \
    if (!known(device)) return invalid_argument

EXPORTED int nvmlInit_v2() { return begin(); }
EXPORTED int nvmlInitWithFlags(unsigned) { return begin(); }

EXPORTED int nvmlShutdown() {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!initialized) return uninitialized;
    --initialized;
    return success;
}

EXPORTED const char* nvmlErrorString(int code) {
    switch (code) {
        case success: return "The operation was successful";
        case uninitialized: return "Uninitialized";
        case invalid_argument: return "Invalid Argument";
        case not_supported: return "Not Supported";
        case not_found: return "Not Found";
        case insufficient_size: return "Insufficient Size";
        default: return "Unknown Error";
    }
}

EXPORTED int nvmlSystemGetDriverVersion(char* text, unsigned length) {
    NEED_READY;
    return write_text("580.65.06", text, length);
}

EXPORTED int nvmlSystemGetNVMLVersion(char* text, unsigned length) {
    NEED_READY;
    return write_text("13.580.65.06", text, length);
}

// The real function works without the initialisation too.
EXPORTED int nvmlSystemGetCudaDriverVersion_v2(int* version) {
    if (!version) return invalid_argument;
    *version = static_cast<int>(number_from_environment("EMULATED_CUDA_DRIVER_VERSION", 13000));
    return success;
}
EXPORTED int nvmlSystemGetCudaDriverVersion(int* version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

EXPORTED int nvmlDeviceGetCount_v2(unsigned* count) {
    NEED_READY;
    if (!count) return invalid_argument;
    *count = device_count;
    return success;
}

EXPORTED int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device** device) {
    NEED_READY;
    if (!device || index >= device_count) return invalid_argument;
    *device = &devices[index];
    return success;
}

EXPORTED int nvmlDeviceGetHandleByUUID(const char* uuid, Device** device) {
    NEED_READY;
    if (!uuid || !device) return invalid_argument;
    for (unsigned i = 0; i < device_count; ++i) {
        char text[64];
        write_uuid(i, text);
        if (std::strcmp(text, uuid) == 0) {
            *device = &devices[i];
            return success;
        }
    }
    return not_found;
}

EXPORTED int nvmlDeviceGetIndex(Device* device, unsigned* index) {
    NEED_DEVICE;
    if (!index) return invalid_argument;
    *index = device->number;
    return success;
}

EXPORTED int nvmlDeviceGetName(Device* device, char* name, unsigned length) {
    NEED_DEVICE;
    return write_text("Emulated GPU", name, length);
}

EXPORTED int nvmlDeviceGetUUID(Device* device, char* uuid, unsigned length) {
    NEED_DEVICE;
    char text[64];
    write_uuid(device->number, text);
    return write_text(text, uuid, length);
}

EXPORTED int nvmlDeviceGetClockInfo(Device* device, unsigned type, unsigned* megahertz) {
    NEED_DEVICE;
    if (!megahertz || type > 3) return invalid_argument;
    *megahertz = clock_of(type);
    return success;
}

EXPORTED int nvmlDeviceGetClock(Device* device, unsigned type, unsigned which, unsigned* megahertz) {
    if (which > 3) return ready() ? invalid_argument : uninitialized;
    return nvmlDeviceGetClockInfo(device, type, megahertz);
}

EXPORTED int nvmlDeviceGetMaxClockInfo(Device* device, unsigned type, unsigned* megahertz) {
    return nvmlDeviceGetClockInfo(device, type, megahertz);
}

EXPORTED int nvmlDeviceGetCurrentClocksEventReasons(Device* device, unsigned long long* reasons) {
    NEED_DEVICE;
    if (!reasons) return invalid_argument;
    *reasons = 0;
    return success;
}
EXPORTED int nvmlDeviceGetCurrentClocksThrottleReasons(Device* device, unsigned long long* reasons) {
    return nvmlDeviceGetCurrentClocksEventReasons(device, reasons);
}

EXPORTED int nvmlDeviceGetMemoryInfo(Device* device, Memory* memory) {
    NEED_DEVICE;
    if (!memory) return invalid_argument;
    const unsigned long long used = used_bytes(device->number);
    *memory = {memory_bytes, memory_bytes - used, used};
    return success;
}

EXPORTED int nvmlDeviceGetMemoryInfo_v2(Device* device, MemoryVersion2* memory) {
    NEED_DEVICE;
    if (!memory) return invalid_argument;
    if (memory->version != (sizeof(MemoryVersion2) | 2u << 24)) return 25;
    const unsigned long long used = used_bytes(device->number);
    *memory = {memory->version, memory_bytes, 0, memory_bytes - used, used};
    return success;
}

EXPORTED int nvmlDeviceGetTemperature(Device* device, unsigned sensor, unsigned* celsius) {
    NEED_DEVICE;
    if (!celsius || sensor != 0) return invalid_argument;
    *celsius = 40;
    return success;
}

EXPORTED int nvmlDeviceGetPowerUsage(Device* device, unsigned* milliwatts) {
    NEED_DEVICE;
    if (!milliwatts) return invalid_argument;
    *milliwatts = 100000;
    return success;
}

EXPORTED int nvmlDeviceGetEnforcedPowerLimit(Device* device, unsigned* milliwatts) {
    NEED_DEVICE;
    if (!milliwatts) return invalid_argument;
    *milliwatts = 300000;
    return success;
}

EXPORTED int nvmlDeviceGetComputeRunningProcesses_v3(Device* device, unsigned* count, void*) {
    NEED_DEVICE;
    if (!count) return invalid_argument;
    *count = 0;
    return success;
}

EXPORTED int nvmlDeviceGetPersistenceMode(Device* device, unsigned* mode) {
    NEED_DEVICE;
    if (!mode) return invalid_argument;
    *mode = 1;
    return success;
}

EXPORTED int nvmlDeviceGetEccMode(Device* device, unsigned* current, unsigned* pending) {
    NEED_DEVICE;
    if (!current || !pending) return invalid_argument;
    *current = *pending = 1;
    return success;
}

EXPORTED int nvmlDeviceGetMigMode(Device* device, unsigned* current, unsigned* pending) {
    NEED_DEVICE;
    if (!current || !pending) return invalid_argument;
    *current = *pending = 0;
    return success;
}
