// A stand-in for the CUDA runtime compiler that compiles kernel sources for the CPU with a plain C++ compiler, for tests.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <sstream>
#include <spawn.h>
#include <string>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

extern char** environ;

namespace {

enum Result : int {
    success = 0,
    program_creation_failure = 2,
    invalid_input = 3,
    invalid_program = 4,
    invalid_option = 5,
    compilation = 6,
    internal_error = 11,
};

const char* const result_names[] = {
    "NVRTC_SUCCESS",
    "NVRTC_ERROR_OUT_OF_MEMORY",
    "NVRTC_ERROR_PROGRAM_CREATION_FAILURE",
    "NVRTC_ERROR_INVALID_INPUT",
    "NVRTC_ERROR_INVALID_PROGRAM",
    "NVRTC_ERROR_INVALID_OPTION",
    "NVRTC_ERROR_COMPILATION",
    "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE",
    "NVRTC_ERROR_NO_NAME_EXPRESSIONS_AFTER_COMPILATION",
    "NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION",
    "NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID",
    "NVRTC_ERROR_INTERNAL_ERROR",
};

struct Program {
    std::string source, name;
    std::vector<std::pair<std::string, std::string>> headers;  // name, text
    std::string log, image;
    bool compiled = false;
};

// What a program gets that asks for assembly text: the emulation has none, and the driver refuses this as an image.
const char no_assembly[] = "// emulated: there is no assembly text\n";

const std::set<std::string> architectures = {"sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_100", "sm_100a", "sm_120", "sm_120a"};

bool starts_with(const std::string& text, const char* start) { return text.compare(0, std::strlen(start), start) == 0; }

std::string after_equals_sign(const std::string& option) { return option.substr(option.find('=') + 1); }

std::string without_leading_blanks(const std::string& text) {
    const size_t first = text.find_first_not_of(" \t");
    return first == std::string::npos ? std::string() : text.substr(first);
}

void remove_folder(const std::string& folder) {
    if (DIR* entries = opendir(folder.c_str())) {
        while (const dirent* entry = readdir(entries)) {
            const std::string name = entry->d_name;
            if (name == "." || name == "..") continue;
            const std::string path = folder + "/" + name;
            struct stat status;
            if (lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) {
                remove_folder(path);
            } else {
                unlink(path.c_str());
            }
        }
        closedir(entries);
    }
    rmdir(folder.c_str());
}

struct TemporaryFolder {
    std::string path;
    TemporaryFolder() {
        const char* parent = std::getenv("TMPDIR");
        std::string pattern = std::string(parent && *parent ? parent : "/tmp") + "/emulated-cuda-compiler-XXXXXX";
        if (mkdtemp(&pattern[0])) path = pattern;
    }
    ~TemporaryFolder() {
        if (!path.empty()) remove_folder(path);
    }
};

bool write_file(const std::string& path, const std::string& text) {
    std::ofstream file(path, std::ios::binary);
    file << text;
    return static_cast<bool>(file.flush());
}

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

// A header's name may have folders; one that leads out of the temporary folder is refused.
bool write_header(const std::string& folder, const std::string& name, const std::string& text) {
    if (name.empty() || name[0] == '/' || name.find("..") != std::string::npos) return false;
    for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1))
        mkdir((folder + "/" + name.substr(0, slash)).c_str(), 0700);
    return write_file(folder + "/" + name, text);
}

std::string folder_of_this_library() {
    Dl_info information;
    if (!dladdr(reinterpret_cast<void*>(&folder_of_this_library), &information) || !information.dli_fname) return ".";
    const std::string path = information.dli_fname;
    const size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash);
}

// Sorts the options into those for the compiler; complains about one that the real compiler would not know here.
bool understand_options(int count, const char* const* options, std::vector<std::string>& kept, bool& has_architecture, std::string& log) {
    has_architecture = false;
    for (int i = 0; i < count; ++i) {
        const std::string option = options[i] ? options[i] : "";
        const bool has_next = i + 1 < count && options[i + 1];
        std::string architecture;
        if (option == "-D" || option == "-I" || option == "--define-macro" || option == "--include-path") {
            if (!has_next) {
                log = "emulated nvrtc: error: option '" + option + "' lacks its value\n";
                return false;
            }
            kept.push_back((option == "-I" || option == "--include-path" ? "-I" : "-D") + std::string(options[++i]));
        } else if (starts_with(option, "-D") || starts_with(option, "-I")) {
            kept.push_back(option.substr(0, 2) + without_leading_blanks(option.substr(2)));
        } else if (starts_with(option, "--define-macro=")) {
            kept.push_back("-D" + after_equals_sign(option));
        } else if (starts_with(option, "--include-path=")) {
            kept.push_back("-I" + after_equals_sign(option));
        } else if (option == "-arch" || option == "--gpu-architecture") {
            architecture = has_next ? options[++i] : "nothing";
        } else if (starts_with(option, "-arch=") || starts_with(option, "--gpu-architecture=")) {
            architecture = after_equals_sign(option);
        } else if (!starts_with(option, "--std=") && !starts_with(option, "-std=") && !starts_with(option, "--fmad=") &&
                   !starts_with(option, "-fmad=") && option != "--use_fast_math" && option != "-use_fast_math" && option != "-lineinfo" &&
                   option != "--generate-line-info") {
            log = "emulated nvrtc: error: unrecognized option '" + option + "'\n";
            return false;
        }
        if (!architecture.empty()) {
            has_architecture = true;
            if (!architectures.count(architecture)) {
                log = "emulated nvrtc: error: invalid value '" + architecture + "' for --gpu-architecture\n";
                return false;
            }
        }
    }
    return true;
}

std::vector<std::string> compiler_command() {
    const char* variable = std::getenv("CXX");
    std::istringstream words(variable ? variable : "");
    std::vector<std::string> command{std::istream_iterator<std::string>(words), std::istream_iterator<std::string>()};
    if (command.empty()) command.push_back("c++");
    return command;
}

void replace_all(std::string& text, const std::string& what, const std::string& by) {
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) text.replace(at, what.size(), by);
}

Result compile(Program& program, const std::vector<std::string>& options) {
    TemporaryFolder folder;
    if (folder.path.empty()) {
        program.log = "emulated nvrtc: error: cannot make a temporary folder\n";
        return internal_error;
    }
    std::string file_name = program.name.substr(program.name.rfind('/') == std::string::npos ? 0 : program.name.rfind('/') + 1);
    if (file_name.empty()) file_name = "default_program";
    const std::string source = folder.path + "/" + file_name;
    const std::string image = folder.path + "/emulated-image.so", messages = folder.path + "/emulated-messages.txt";
    for (const auto& header : program.headers) {
        if (!write_header(folder.path, header.first, header.second)) {
            program.log = "emulated nvrtc: error: cannot write the header '" + header.first + "'\n";
            return internal_error;
        }
    }
    if (!write_file(source, program.source)) {
        program.log = "emulated nvrtc: error: cannot write the source\n";
        return internal_error;
    }

    std::vector<std::string> command = compiler_command();
    const std::string compiler = command[0];
    // Hidden symbols keep the functions of one module from being bound to those of another.
    for (const char* word : {"-x", "c++", "-std=c++17", "-O2", "-fno-strict-aliasing", "-ffp-contract=off", "-shared", "-fPIC", "-fvisibility=hidden",
                             "-w", "-include"})
        command.push_back(word);
    command.push_back(folder_of_this_library() + "/emulated.h");
    command.push_back("-I" + folder.path);
    command.insert(command.end(), options.begin(), options.end());
    command.insert(command.end(), {"-o", image, source});
    std::vector<char*> words;
    for (std::string& word : command) words.push_back(&word[0]);
    words.push_back(nullptr);

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, messages.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t child = 0;
    const int error = posix_spawnp(&child, words[0], &actions, nullptr, words.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error) {
        program.log = "emulated nvrtc: error: there is no C++ compiler: cannot start '" + compiler + "' (" + std::strerror(error) +
                      "); set CXX to one\n";
        return compilation;
    }
    int status = 0;
    pid_t waited;
    do {
        waited = waitpid(child, &status, 0);
    } while (waited < 0 && errno == EINTR);
    program.log = read_file(messages);
    replace_all(program.log, folder.path + "/", "");
    const bool worked = waited < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (worked) program.image = read_file(image);
    if (!worked || program.image.empty()) {
        program.image.clear();
        if (program.log.empty()) program.log = "emulated nvrtc: error: the C++ compiler '" + compiler + "' failed without a message\n";
        return compilation;
    }
    return success;
}

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED int nvrtcVersion(int* major, int* minor) {
    if (!major || !minor) return invalid_input;
    *major = 12;
    *minor = 8;
    return success;
}

EXPORTED const char* nvrtcGetErrorString(int code) {
    if (code < 0 || static_cast<size_t>(code) >= sizeof result_names / sizeof result_names[0]) return "NVRTC_ERROR unknown";
    return result_names[code];
}

EXPORTED int nvrtcGetNumSupportedArchs(int* count) {
    if (!count) return invalid_input;
    *count = 6;
    return success;
}

EXPORTED int nvrtcGetSupportedArchs(int* list) {
    if (!list) return invalid_input;
    const int supported[] = {80, 86, 89, 90, 100, 120};
    std::copy(std::begin(supported), std::end(supported), list);
    return success;
}

EXPORTED int nvrtcCreateProgram(Program** handle, const char* source, const char* name, int header_count, const char* const* headers,
                                const char* const* include_names) {
    if (!handle || !source || header_count < 0 || (header_count > 0 && (!headers || !include_names))) return invalid_input;
    auto program = std::make_unique<Program>();
    program->source = source;
    program->name = name ? name : "";
    for (int i = 0; i < header_count; ++i) {
        if (!headers[i] || !include_names[i]) return program_creation_failure;
        program->headers.emplace_back(include_names[i], headers[i]);
    }
    *handle = program.release();
    return success;
}

EXPORTED int nvrtcDestroyProgram(Program** handle) {
    if (!handle || !*handle) return invalid_program;
    delete *handle;
    *handle = nullptr;
    return success;
}

EXPORTED int nvrtcCompileProgram(Program* program, int option_count, const char* const* options) {
    if (!program) return invalid_program;
    if (option_count < 0 || (option_count > 0 && !options)) return invalid_input;
    program->log.clear();
    program->image.clear();
    program->compiled = false;
    std::vector<std::string> kept;
    bool has_architecture = false;
    if (!understand_options(option_count, options, kept, has_architecture, program->log)) return invalid_option;
    const Result result = compile(*program, kept);
    program->compiled = result == success;
    // Without a real architecture the real compiler makes no binary, only assembly text.
    if (!has_architecture) program->image.clear();
    return result;
}

EXPORTED int nvrtcGetCUBINSize(Program* program, size_t* bytes) {
    if (!program || !program->compiled) return invalid_program;
    if (!bytes) return invalid_input;
    *bytes = program->image.size();
    return success;
}

EXPORTED int nvrtcGetCUBIN(Program* program, char* image) {
    if (!program || !program->compiled || program->image.empty()) return invalid_program;
    if (!image) return invalid_input;
    std::memcpy(image, program->image.data(), program->image.size());
    return success;
}

EXPORTED int nvrtcGetPTXSize(Program* program, size_t* bytes) {
    if (!program || !program->compiled) return invalid_program;
    if (!bytes) return invalid_input;
    *bytes = sizeof no_assembly;
    return success;
}

EXPORTED int nvrtcGetPTX(Program* program, char* text) {
    if (!program || !program->compiled) return invalid_program;
    if (!text) return invalid_input;
    std::memcpy(text, no_assembly, sizeof no_assembly);
    return success;
}

EXPORTED int nvrtcGetProgramLogSize(Program* program, size_t* bytes) {
    if (!program) return invalid_program;
    if (!bytes) return invalid_input;
    *bytes = program->log.size() + 1;
    return success;
}

EXPORTED int nvrtcGetProgramLog(Program* program, char* log) {
    if (!program) return invalid_program;
    if (!log) return invalid_input;
    std::memcpy(log, program->log.c_str(), program->log.size() + 1);
    return success;
}
