# SPDX-License-Identifier: MIT
"""markdown: checks that a page's links into this project lead somewhere. The web is not asked."""

import re

_LINK = re.compile(r"\]\(\s*<?([^()\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)


def _without_code(text):
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())

    return re.sub(r"`[^`\n]*`", blank, re.sub(r"^(```|~~~).*?^\1", blank, text, flags=re.DOTALL | re.MULTILINE))


def anchors(page):
    """The anchors that a forge makes of a page's headings."""
    text = re.sub(r"^(```|~~~).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found = set(re.findall(r"<a\s+(?:id|name)=\"([^\"]+)\"", text))
    for heading in _HEADING.findall(text):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        count = 0
        while (unique := slug if count == 0 else f"{slug}-{count}") in found:
            count += 1
        found.add(unique)
    return found


def check_links(page, root, findings):
    name = page.relative_to(root).as_posix()
    text = _without_code(page.read_text(encoding="utf-8"))
    for match in _LINK.finditer(text):
        target = match[1] or match[2]
        line = text.count("\n", 0, match.start()) + 1
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (root / path.lstrip("/") if path.startswith("/") else page.parent / path) if path else page
        if not place.exists():
            findings.add(name, line, f"links to {target}, which does not exist")
        elif anchor and place.suffix == ".md" and anchor not in anchors(place):
            findings.add(name, line, f"links to {target}, but {place.name} has no such heading")
