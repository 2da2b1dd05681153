# SPDX-License-Identifier: MIT
"""functions: finds C and C++ functions and their lengths by their braces; a heuristic that fits clang-formatted code."""

import re

_SCOPE = re.compile(r"^(?:typedef\s+|inline\s+|export\s+)*(?:namespace|class|struct|union|enum|extern)\b")
_DECORATION = re.compile(r"\[\[.*?\]\]|\balignas\s*\([^()]*\)|\b[A-Z][A-Z0-9_]+\s*\([^()]*\)|\b__attribute__\s*\(\(.*?\)\)")
_TEMPLATE = re.compile(r"^template\s*<[^{};]*?>\s*(?=(?:class|struct|union)\b|template\b|requires\b|[\w\[])")


def _without_preprocessor(code):
    """The same positions with directives, and the lines they go on to, blanked."""
    blank, result = False, []
    for line in code.split("\n"):
        blank = blank or line.lstrip().startswith("#")
        result.append(" " * len(line) if blank else line)
        blank = blank and line.endswith("\\")
    return "\n".join(result)


def _is_function(head):
    plain = _TEMPLATE.sub("", head)
    if _SCOPE.match(_DECORATION.sub("", plain).strip()) and "(" not in _DECORATION.sub("", plain):
        return False
    return "(" in plain and not re.search(r"(?:=|\breturn)$", plain)


def _name(head):
    match = re.search(r"(operator[^\w\s]+|~?[\w:]+)\s*\(", head)
    if match and match[1].isupper():
        return head[match.start():].split(")")[0] + ")"
    return match[1] if match else "function"


def functions(source):
    """Yields (name, first line, last line) of every function that is not inside another one."""
    code = _without_preprocessor(source.code)
    stack, start, parens, open_function = [], 0, 0, None
    for position, char in enumerate(code):
        if char in "()":
            parens += 1 if char == "(" else -1
        elif char == ";" and parens == 0:
            start = position + 1
        elif char == ":" and re.search(r"\b(?:public|private|protected)$", code[max(0, position - 9) : position]):
            start = position + 1
        elif char == "{":
            initializer = parens > 0 or re.match(r"[\w>\]]", code[position - 1 : position])
            head = code[start:position].strip()
            kind = "init" if initializer else "body"
            if kind == "body" and open_function is None and _is_function(head):
                kind = "function"
                open_function = (_name(head), source.line_of(start + len(code[start:]) - len(code[start:].lstrip())))
            stack.append((kind, parens))
            if kind != "init":
                start, parens = position + 1, 0
        elif char == "}" and stack:
            kind, parens = stack.pop()
            if kind == "function":
                yield (*open_function, source.line_of(position))
                open_function = None
            if kind != "init":
                start = position + 1
