# SPDX-License-Identifier: MIT
"""source_text: what the checks share: finding a tree's files, telling code from comments, and printing findings.

Every check takes trees: folders that look like this project (src/, include/, docs/, ... below them). Without arguments the
tree is the project itself. Findings go to stdout as "file:line: text"; the exit status is 0 (none), 1 (some) or 2 (bad use).
"""

import pathlib
import re
import sys

LAYERS = ["base", "platform", "sync", "counter", "slab", "group", "observe", "front"]
PROJECT = pathlib.Path(__file__).resolve().parents[2]
CODE_FOLDERS = ["src", "include", "tools", "examples", "bench", "test"]
CODE_SUFFIXES = {".cc", ".cpp", ".hpp", ".h", ".c"}

_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*(?:(?<=\\)\n[^\n]*)*|/\*.*?\*/)
      | (?P<raw>R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)")
      | (?P<string>"(?:\\.|[^"\\\n])*")
      | (?P<number>\b\d(?:[eEpP][+-]|[\w.]|'(?=\w))*)
      | (?P<char>'(?:\\.|[^'\\\n])*')""",
    re.DOTALL | re.VERBOSE,
)


def _blank(text):
    return re.sub(r"[^\n]", " ", text)


class Source:
    """One file: `lines`, `code` (comments, strings and characters blanked, same positions), `comments` by line number."""

    def __init__(self, path, root):
        self.path = path
        self.name = path.relative_to(root).as_posix()
        self.text = path.read_text(encoding="utf-8")
        self.lines = self.text.split("\n")
        self.comments = {}
        self.code = _TOKEN.sub(self._replace, self.text)
        self.code_lines = self.code.split("\n")

    def _replace(self, match):
        kind = match.lastgroup if match.lastgroup != "mark" else "raw"
        text = match.group()
        if kind == "number":
            return text.replace("'", "_")
        if kind == "comment":
            first = self.line_of(match.start())
            for offset, line in enumerate(text.split("\n")):
                self.comments[first + offset] = self.comments.get(first + offset, "") + line
            return _blank(text)
        return text[0] + _blank(text[1:-1]) + text[-1]

    def line_of(self, position):
        return self.text.count("\n", 0, position) + 1

    def is_comment_only(self, line):
        return line in self.comments and not self.code_lines[line - 1].strip()

    def includes(self):
        """Yields (line, "<" or '"', path) for every include that is not in a comment."""
        for line, (text, code) in enumerate(zip(self.lines, self.code_lines), 1):
            if re.match(r"\s*#\s*include\b", code):
                match = re.search(r'#\s*include\s*([<"])([^>"]+)[>"]', text)
                if match:
                    yield line, match[1], match[2]


class Findings:
    def __init__(self):
        self.count = 0

    def add(self, source, line, text):
        self.count += 1
        print(f"{source if isinstance(source, str) else source.name}:{line}: {text}")


def files(root, folders, suffixes):
    """The paths below `root` in `folders` with one of `suffixes`, but not the fixtures of the checks themselves."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            relative = path.relative_to(root).as_posix()
            if path.suffix in suffixes and path.is_file() and not relative.startswith(("test/checks/", "build/")):
                yield path


def sources(root, folders=tuple(CODE_FOLDERS)):
    return [Source(path, root) for path in files(root, folders, CODE_SUFFIXES)]


def run(name, check, arguments):
    """Runs check(root, findings) on each tree and exits."""
    roots = [pathlib.Path(a).resolve() for a in arguments] or [PROJECT]
    findings = Findings()
    for root in roots:
        if not root.is_dir():
            print(f"{name}: no such folder: {root}", file=sys.stderr)
            sys.exit(2)
        check(root, findings)
    if findings.count:
        print(f"{name}: {findings.count} findings")
    sys.exit(1 if findings.count else 0)
