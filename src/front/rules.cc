// SPDX-License-Identifier: MIT
//
// rules: a recursive-descent parser of one line at a time, and the look-ups.
//
// Idea.        Every failure goes through one function, which notes the place once and returns false, so the parser reads as the
//              grammar does and the first error is the one that is reported. Nothing is copied: names are views of the text.
//                  rule   = ("library" | "thread") word { word } "->" word [limits] | "default" "->" word [limits]
//                  limits = "{" { ("min" | "low" | "high" | "max") "=" size } "}"
// Concurrency. stateless.
#include "front/rules.hpp"

#include "base/bytes.hpp"

namespace allot::front {

namespace {

/// substr() without the exception: [from, to) must lie inside.
constexpr std::string_view slice(std::string_view text, std::size_t from, std::size_t to) noexcept {
    return {text.data() + from, to - from};
}
constexpr bool is_blank(char c) noexcept { return c == ' ' || c == '\t' || c == '\r'; }
constexpr bool is_control(char c) noexcept { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

/// Appends to a fixed buffer and counts what it would have needed, as snprintf does.
class text_writer {
  public:
    text_writer(char* buffer, std::size_t size) noexcept : buffer_(buffer), size_(size) {}
    text_writer& operator<<(std::string_view text) noexcept {
        for (const char c : text) {
            if (length_ + 1 < size_)
                buffer_[length_] = c;
            ++length_;
        }
        if (size_ != 0)
            buffer_[length_ < size_ ? length_ : size_ - 1] = '\0';
        return *this;
    }
    text_writer& operator<<(std::size_t number) noexcept {
        char digits[20];
        std::size_t at = sizeof digits;
        do {
            digits[--at] = static_cast<char>('0' + number % 10);
            number /= 10;
        } while (number != 0);
        return *this << std::string_view(digits + at, sizeof digits - at);
    }
    std::size_t length() const noexcept { return length_; }

  private:
    char* buffer_;
    std::size_t size_;
    std::size_t length_ = 0;
};

/// The bytes that a pattern matches at least.
std::size_t least_length(std::string_view pattern) noexcept {
    std::size_t length = 0;
    for (const char c : pattern)
        length += c == '*' ? 0 : 1;
    return length;
}

} // namespace

class rules_parser {
  public:
    rules_parser(rule_set& rules, rule_error& error) noexcept : rules_(rules), error_(error) {}

    bool parse(std::string_view text) noexcept {
        if (text.size() > rules_text_max)
            return fail_at(0, "expected at most ", rules_text_max, " bytes");
        while (!text.empty()) {
            const std::size_t newline = text.find('\n');
            const std::size_t end = newline == std::string_view::npos ? text.size() : newline;
            line_ = slice(text, 0, end);
            text.remove_prefix(newline == std::string_view::npos ? end : end + 1);
            ++line_number_;
            at_ = 0;
            if (!parse_line())
                return false;
        }
        return true;
    }

  private:
    bool parse_line() noexcept {
        for (std::size_t i = 0; i < line_.size(); ++i)
            if (is_control(line_[i]) && !is_blank(line_[i]))
                return fail_at(i, "expected text, not a control character");
        if (at_end())
            return true;
        rule next;
        next.line = line_number_;
        const std::size_t start = at_;
        const std::string_view keyword = bare_word();
        std::string_view subject;
        if (keyword == "library") {
            next.kind = rule_kind::library;
            subject = "the library name";
        } else if (keyword == "thread") {
            next.kind = rule_kind::thread;
            subject = "the thread pattern";
        } else if (keyword == "default") {
            subject = "'default'";
        } else {
            return fail_at(start, "expected 'library', 'thread' or 'default'");
        }
        if (has_default())
            return fail_at(start, "expected no rule after 'default', which takes all that is left");
        if (rules_.count_ == rules_max)
            return fail_at(start, "expected at most ", rules_max, " rules");
        return (next.kind == rule_kind::fallback || patterns(next)) && arrow(subject) && group(next) && limits(next) &&
               add(next);
    }

    bool patterns(rule& next) noexcept {
        const bool library = next.kind == rule_kind::library;
        const std::size_t first = rules_.pattern_count_;
        do {
            std::string_view pattern;
            const std::size_t start = at_;
            if (at_arrow() || !word(pattern))
                return fail_at(start, library ? "expected the file name of a shared object, such as libsqlite3.so.0"
                                              : "expected a pattern of thread names, such as worker-*");
            if (library && pattern.find('/') != std::string_view::npos)
                return fail_at(start, "expected a file name without its folder");
            if (!library && least_length(pattern) > thread_name_max)
                return fail_at(start, "expected a pattern of at most ", thread_name_max, " bytes, as thread names are");
            if (rules_.pattern_count_ == rule_patterns_max)
                return fail_at(start, "expected at most ", rule_patterns_max, " names in all rules");
            rules_.patterns_[rules_.pattern_count_++] = pattern;
        } while (!at_end() && !at_arrow() && line_[at_] != '{' && line_[at_] != '}');
        next.patterns = {rules_.patterns_.data() + first, rules_.pattern_count_ - first};
        return true;
    }

    bool arrow(std::string_view subject) noexcept {
        skip_blanks();
        if (!at_arrow())
            return fail_at(at_, "expected '->' after ", subject);
        at_ += 2;
        skip_blanks();
        return true;
    }

    bool group(rule& next) noexcept {
        const std::size_t start = at_;
        if (!word(next.group))
            return fail_at(start, "expected the name of a group after '->'");
        if (next.group.front() == '/')
            next.group.remove_prefix(1);
        if (next.group.size() >= ALLOT_PATH_MAX)
            return fail_at(start, "expected a path of at most ", std::size_t{ALLOT_PATH_MAX} - 1, " bytes");
        for (std::string_view rest = next.group; !rest.empty();) {
            const std::size_t end = rest.find('/');
            const std::size_t length = end == std::string_view::npos ? rest.size() : end;
            if (length == 0 || length > ALLOT_NAME_MAX || end + 1 == rest.size())
                return fail_at(start, "expected names of 1 to ", std::size_t{ALLOT_NAME_MAX}, " bytes between the '/'");
            rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
        }
        return true;
    }

    bool limits(rule& next) noexcept {
        if (at_end())
            return true;
        const std::size_t start = at_;
        if (line_[at_] != '{')
            return fail_at(at_, "expected '{' or the end of the line after the group");
        for (++at_, skip_blanks(); at_ == line_.size() || line_[at_] != '}'; skip_blanks())
            if (!limit(next.limits))
                return false;
        ++at_;
        if (!at_end())
            return fail_at(at_, "expected the end of the line after '}'");
        next.has_limits = true;
        const std::uint64_t most = next.limits.max;
        if (most != ALLOT_KEEP && next.limits.min != ALLOT_KEEP && next.limits.min > most)
            return fail_at(start, "expected min to be at most max");
        if (most != ALLOT_KEEP && next.limits.low != ALLOT_KEEP && next.limits.low > most)
            return fail_at(start, "expected low to be at most max");
        return unlimited_so_far(next, start);
    }

    bool limit(allot_limits& limits) noexcept {
        const std::size_t start = at_;
        const std::string_view key = bare_word();
        std::uint64_t* const field = key == "min"    ? &limits.min
                                     : key == "low"  ? &limits.low
                                     : key == "high" ? &limits.high
                                     : key == "max"  ? &limits.max
                                                     : nullptr;
        if (field == nullptr)
            return fail_at(start, "expected min=, low=, high=, max= or '}'");
        if (*field != ALLOT_KEEP)
            return fail_at(start, "expected ", key, "= only once");
        skip_blanks();
        if (at_ == line_.size() || line_[at_] != '=')
            return fail_at(at_, "expected '=' after ", key);
        ++at_;
        skip_blanks();
        const std::size_t value = at_;
        if (!base::parse_bytes(bare_word(), *field))
            return fail_at(value, "expected a size such as 128M, 1.5G or max");
        return true;
    }

    /// A group takes its limits from one rule only: two would make the second's silently void.
    bool unlimited_so_far(const rule& next, std::size_t where) noexcept {
        for (const rule& earlier : rules_.rules())
            if (earlier.has_limits && earlier.group == next.group)
                return fail_at(where, "expected no limits: the group has them from line ", std::size_t{earlier.line});
        return true;
    }

    bool add(const rule& next) noexcept {
        rules_.rules_[rules_.count_++] = next;
        return true;
    }

    bool has_default() const noexcept {
        return rules_.count_ != 0 && rules_.rules_[rules_.count_ - 1].kind == rule_kind::fallback;
    }

    void skip_blanks() noexcept {
        while (at_ < line_.size() && is_blank(line_[at_]))
            ++at_;
    }
    /// Skips blanks. True if nothing but a comment is left.
    bool at_end() noexcept {
        skip_blanks();
        return at_ == line_.size() || line_[at_] == '#';
    }
    bool at_arrow() const noexcept { return slice(line_, at_, line_.size()).starts_with("->"); }

    /// Takes a word without quotes and the blanks behind it; empty if there is none.
    std::string_view bare_word() noexcept {
        const std::size_t start = at_;
        while (at_ < line_.size() && !is_blank(line_[at_]) && !at_arrow() &&
               std::string_view("{}=#\"").find(line_[at_]) == std::string_view::npos)
            ++at_;
        const std::string_view found = slice(line_, start, at_);
        skip_blanks();
        return found;
    }
    /// Takes a word, in quotes or not. False if there is none, it is empty, or its quote is not closed.
    bool word(std::string_view& found) noexcept {
        if (at_ < line_.size() && line_[at_] == '"') {
            const std::size_t close = line_.find('"', at_ + 1);
            if (close == std::string_view::npos)
                return fail_at(at_, "expected a closing '\"' on this line");
            found = slice(line_, at_ + 1, close);
            at_ = close + 1;
            skip_blanks();
        } else {
            found = bare_word();
        }
        return !found.empty();
    }

    /// Notes the first error, at a position of the current line. Returns false.
    template <class... Parts> bool fail_at(std::size_t position, Parts... parts) noexcept {
        if (error_.text[0] != '\0')
            return false;
        error_.line = line_number_;
        error_.column = line_number_ == 0 ? 0 : static_cast<std::uint32_t>(position) + 1;
        text_writer out{error_.text, sizeof error_.text};
        (out << ... << parts);
        return false;
    }

    rule_set& rules_;
    rule_error& error_;
    std::string_view line_;
    std::uint32_t line_number_ = 0;
    std::size_t at_ = 0;
};

bool rule_set::has(rule_kind kind) const noexcept {
    for (const rule& r : rules())
        if (r.kind == kind)
            return true;
    return false;
}

int rule_set::find(rule_kind kind, std::string_view name) const noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
        if (rules_[i].kind == rule_kind::fallback)
            return static_cast<int>(i);
        if (rules_[i].kind != kind)
            continue;
        for (const std::string_view pattern : rules_[i].patterns)
            if (glob_match(pattern, name))
                return static_cast<int>(i);
    }
    return -1;
}

bool parse_rules(std::string_view text, rule_set& rules, rule_error& error) noexcept {
    error = {};
    return rules_parser{rules, error}.parse(text);
}

std::size_t format_rule_error(std::string_view file_name, const rule_error& error, char* buffer,
                              std::size_t size) noexcept {
    text_writer out{buffer, size};
    out << file_name << ":";
    if (error.line != 0)
        out << std::size_t{error.line} << ":" << std::size_t{error.column} << ":";
    out << " " << std::string_view(error.text);
    return out.length();
}

bool glob_match(std::string_view pattern, std::string_view text) noexcept {
    std::size_t p = 0;
    std::size_t t = 0;
    // Where to go on after a mismatch: behind the last '*', which then takes one byte more. Earlier ones need no retry.
    std::size_t star = std::string_view::npos;
    std::size_t star_text = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            star_text = t;
        } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
            ++p;
            ++t;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            t = ++star_text;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*')
        ++p;
    return p == pattern.size();
}

std::string_view file_name_of(std::string_view path) noexcept {
    const std::size_t slash = path.rfind('/');
    return slash == std::string_view::npos ? path : slice(path, slash + 1, path.size());
}

} // namespace allot::front
