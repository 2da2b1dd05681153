// SPDX-License-Identifier: MIT
//
// program_check: the search along PATH, the script's first line, and the ELF headers.
//
// Idea.        The file is mapped and every offset in it is checked before it is followed: programs may be damaged or hostile.
//              Sanitizers are known by the names in the dynamic string table: NEEDED entries and imported or exported symbols.
// Concurrency. one thread.
#include "program_check.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <optional>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <vector>

namespace allot::tool {

namespace {

#if defined(__x86_64__)
constexpr unsigned own_machine = EM_X86_64;
#elif defined(__aarch64__)
constexpr unsigned own_machine = EM_AARCH64;
#elif defined(__riscv)
constexpr unsigned own_machine = EM_RISCV;
#else
constexpr unsigned own_machine = EM_NONE; // not checked
#endif

constexpr int interpreter_depth_max = 4; // BINPRM_MAX_RECURSION of the kernel

/// A file mapped read-only.
class mapped_file {
  public:
    explicit mapped_file(const std::string& path) {
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
        struct stat info {};
        if (fd < 0)
            return;
        if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
            const auto size = static_cast<std::size_t>(info.st_size);
            void* const start = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
            if (start != MAP_FAILED)
                bytes_ = {static_cast<const char*>(start), size};
        }
        ::close(fd);
    }
    ~mapped_file() {
        if (!bytes_.empty())
            ::munmap(const_cast<char*>(bytes_.data()), bytes_.size());
    }
    mapped_file(const mapped_file&) = delete;
    mapped_file& operator=(const mapped_file&) = delete;

    std::string_view bytes() const { return bytes_; }
    /// `size` bytes at `offset`; empty if the file does not have them.
    std::string_view part(std::uint64_t offset, std::uint64_t size) const {
        return offset > bytes_.size() || size > bytes_.size() - offset ? std::string_view()
                                                                       : bytes_.substr(offset, size);
    }
    /// A copy of the structure at `offset`.
    template <class T> std::optional<T> read(std::uint64_t offset) const {
        const std::string_view from = part(offset, sizeof(T));
        if (from.empty())
            return std::nullopt;
        T value;
        std::memcpy(&value, from.data(), sizeof value);
        return value;
    }

  private:
    std::string_view bytes_;
};

/// What of an ELF file matters here.
struct elf_facts {
    bool is_elf = false;
    bool other_machine = false;
    bool has_interpreter = false;
    std::string_view dynamic_names; ///< the dynamic string table
};

std::optional<std::uint64_t> offset_of_address(const std::vector<Elf64_Phdr>& segments, std::uint64_t address) {
    for (const Elf64_Phdr& segment : segments)
        if (segment.p_type == PT_LOAD && address >= segment.p_vaddr && address - segment.p_vaddr < segment.p_filesz)
            return segment.p_offset + (address - segment.p_vaddr);
    return std::nullopt;
}

std::string_view dynamic_names(const mapped_file& file, const std::vector<Elf64_Phdr>& segments,
                               const Elf64_Phdr& dynamic) {
    std::uint64_t address = 0;
    std::uint64_t size = 0;
    for (std::uint64_t at = 0; at + sizeof(Elf64_Dyn) <= dynamic.p_filesz; at += sizeof(Elf64_Dyn)) {
        const auto entry = file.read<Elf64_Dyn>(dynamic.p_offset + at);
        if (!entry || entry->d_tag == DT_NULL)
            break;
        if (entry->d_tag == DT_STRTAB)
            address = entry->d_un.d_ptr;
        if (entry->d_tag == DT_STRSZ)
            size = entry->d_un.d_val;
    }
    const auto offset = offset_of_address(segments, address);
    return offset ? file.part(*offset, size) : std::string_view();
}

elf_facts read_elf(const mapped_file& file) {
    elf_facts facts;
    if (!file.bytes().starts_with(std::string_view(ELFMAG, SELFMAG)))
        return facts;
    facts.is_elf = true;
    const auto header = file.read<Elf64_Ehdr>(0);
    if (!header || header->e_ident[EI_CLASS] != ELFCLASS64 ||
        (own_machine != EM_NONE && header->e_machine != own_machine)) {
        facts.other_machine = true;
        return facts;
    }
    std::vector<Elf64_Phdr> segments;
    for (unsigned i = 0; i < header->e_phnum; ++i)
        if (const auto segment = file.read<Elf64_Phdr>(header->e_phoff + std::uint64_t{i} * sizeof(Elf64_Phdr)))
            segments.push_back(*segment);
    for (const Elf64_Phdr& segment : segments) {
        facts.has_interpreter = facts.has_interpreter || segment.p_type == PT_INTERP;
        if (segment.p_type == PT_DYNAMIC)
            facts.dynamic_names = dynamic_names(file, segments, segment);
    }
    return facts;
}

/// The sanitizer that the program is built with, or null. `names` are zero-terminated strings, one after the other.
const char* sanitizer_in(std::string_view names) {
    struct sign {
        const char* beginning;
        const char* name;
    };
    static constexpr std::array<sign, 10> signs{{{"libasan.so", "AddressSanitizer"},
                                                 {"__asan_init", "AddressSanitizer"},
                                                 {"libclang_rt.asan", "AddressSanitizer"},
                                                 {"libhwasan.so", "HWAddressSanitizer"},
                                                 {"__hwasan_init", "HWAddressSanitizer"},
                                                 {"libtsan.so", "ThreadSanitizer"},
                                                 {"__tsan_init", "ThreadSanitizer"},
                                                 {"__msan_init", "MemorySanitizer"},
                                                 {"liblsan.so", "LeakSanitizer"},
                                                 {"__lsan_init", "LeakSanitizer"}}};
    while (!names.empty()) {
        const std::size_t end = names.find('\0');
        const std::string_view name = names.substr(0, end);
        for (const sign& s : signs)
            if (name.starts_with(s.beginning))
                return s.name;
        names.remove_prefix(end == std::string_view::npos ? names.size() : end + 1);
    }
    return nullptr;
}

/// True if the kernel starts the file with other rights than ours, so that the dynamic linker drops LD_PRELOAD.
bool gains_rights(const std::string& path, const struct stat& info) {
    if ((info.st_mode & S_ISUID) != 0 && info.st_uid != ::getuid())
        return true;
    if ((info.st_mode & S_ISGID) != 0 && (info.st_mode & S_IXGRP) != 0 && info.st_gid != ::getgid())
        return true;
    return ::geteuid() != 0 && ::getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
}

/// Along PATH, as execvp does. Empty if it is nowhere; `denied` says that it was there without the right to execute it.
std::string find_in_path(const std::string& name, bool& denied) {
    const char* const variable = std::getenv("PATH");
    std::string_view path = variable != nullptr ? variable : "/usr/local/bin:/bin:/usr/bin";
    for (bool more = true; more;) {
        const std::size_t colon = path.find(':');
        more = colon != std::string_view::npos;
        const std::string_view folder = path.substr(0, colon);
        path.remove_prefix(more ? colon + 1 : path.size());
        const std::string candidate = (folder.empty() ? std::string(".") : std::string(folder)) + "/" + name;
        struct stat info {};
        if (::stat(candidate.c_str(), &info) != 0 || !S_ISREG(info.st_mode))
            continue;
        if (::access(candidate.c_str(), X_OK) == 0)
            return candidate;
        denied = true;
    }
    return {};
}

program_check refused(int status, std::string why) { return {{}, status, std::move(why)}; }

program_check find_program(const std::string& name) {
    if (name.find('/') == std::string::npos) {
        bool denied = false;
        const std::string path = name.empty() ? std::string() : find_in_path(name, denied);
        if (path.empty())
            return denied ? refused(status_not_executable, name + ": permission denied")
                          : refused(status_not_found, name + ": no such program in PATH");
        return {path, 0, {}};
    }
    struct stat info {};
    if (::stat(name.c_str(), &info) != 0)
        return refused(errno == ENOENT || errno == ENOTDIR ? status_not_found : status_not_executable,
                       name + ": " + std::strerror(errno));
    if (S_ISDIR(info.st_mode))
        return refused(status_not_executable, name + " is a folder");
    if (::access(name.c_str(), X_OK) != 0)
        return refused(status_not_executable, name + ": " + std::strerror(errno));
    return {name, 0, {}};
}

program_check check_file(const std::string& path, int depth);

/// "#!/usr/bin/env python3": the interpreter has to pass, and for env the program that it will start.
program_check check_script(const std::string& path, std::string_view first_line, int depth) {
    std::vector<std::string> words;
    for (std::size_t at = 0;
         words.size() < 2 && (at = first_line.find_first_not_of(" \t", at)) != std::string_view::npos;) {
        const std::size_t end = std::min(first_line.find_first_of(" \t\r", at), first_line.size());
        words.emplace_back(first_line.substr(at, end - at));
        at = end;
    }
    if (words.empty() || depth == interpreter_depth_max)
        return refused(status_not_executable, path + ": its first line names no interpreter");
    program_check interpreter = find_program(words[0].find('/') == std::string::npos ? "./" + words[0] : words[0]);
    if (interpreter.status == 0)
        interpreter = check_file(interpreter.path, depth + 1);
    if (interpreter.status != 0)
        return refused(interpreter.status, path + ": its interpreter " + interpreter.refusal);
    const bool through_env = words.size() == 2 && words[0].ends_with("/env") && words[1].front() != '-' &&
                             words[1].find('=') == std::string::npos;
    if (through_env) {
        const program_check started = check_program(words[1]);
        if (started.status != 0)
            return refused(started.status, path + ": its interpreter " + started.refusal);
    }
    return {path, 0, {}};
}

program_check check_file(const std::string& path, int depth) {
    struct stat info {};
    if (::stat(path.c_str(), &info) == 0 && gains_rights(path, info))
        return refused(status_bad_use,
                       path + " is setuid, setgid or has capabilities: the dynamic linker ignores the preload "
                              "for it; run it as the user that it becomes, from a copy without these rights");
    const mapped_file file(path);
    if (file.bytes().starts_with("#!")) {
        const std::string_view rest = file.bytes().substr(2, 4096);
        return check_script(path, rest.substr(0, rest.find('\n')), depth);
    }
    const elf_facts facts = read_elf(file);
    if (!facts.is_elf)
        return {path, 0, {}}; // unreadable, or none of ours: the kernel will say
    if (facts.other_machine)
        return refused(status_bad_use, path + " is for another machine or word size than the preload library");
    if (!facts.has_interpreter)
        return refused(status_bad_use,
                       path + " is statically linked: there is no dynamic linker, so the preload is ignored");
    if (const char* const sanitizer = sanitizer_in(facts.dynamic_names))
        return refused(status_bad_use,
                       path + " is built with " + sanitizer +
                           ", whose runtime must come first: it brings its own malloc; run it without allot");
    return {path, 0, {}};
}

} // namespace

program_check check_program(const std::string& name) {
    const program_check found = find_program(name);
    return found.status != 0 ? found : check_file(found.path, 0);
}

} // namespace allot::tool
