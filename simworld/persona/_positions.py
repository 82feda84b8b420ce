"""Where in a TOML or JSON text each key stands, so that an error can name its line.

The parsers of the standard library forget positions. These scanners read a text they have already accepted, so they
check no syntax.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right

type Path = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NUMBER_OR_WORD = re.compile(r"[^,\]}\n#]*")


def toml_lines(text: str) -> dict[Path, int]:
    """Return the line (from 1) of every table, key and array element of a valid TOML text, by its path."""
    return _Toml(text).scan()


def json_lines(text: str) -> dict[Path, int]:
    """Return the line (from 1) of every value of a valid JSON text, by its path."""
    scanner = _Scanner(text, separator=":")
    scanner.value(())
    return scanner.lines


def json_repeats(text: str) -> int:
    """Return the line (from 1) of the first key that stands a second time in its object; 1 when none does."""
    scanner = _Scanner(text, separator=":")
    scanner.value(())
    return scanner.repeated or 1


def nearest_line(lines: dict[Path, int], path: Path) -> int:
    """Return the line of the longest known prefix of a path; 1 when none is known."""
    for end in range(len(path), -1, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return 1


class _Scanner:
    """A cursor over a text that notes the line of each path it passes."""

    def __init__(self, text: str, separator: str) -> None:
        self.text = text
        self.at = 0
        self.separator = separator
        self.lines: dict[Path, int] = {}
        self.repeated = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def note(self, path: Path) -> None:
        self.lines.setdefault(path, bisect_right(self._starts, self.at))

    def blank(self, more: str = "") -> None:
        """Step over white space, line ends, comments and the characters of `more`."""
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in " \t\r\n" or char in more:
                self.at += 1
            elif char == "#" and self.separator == "=":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    def string(self) -> str:
        """Step over a quoted string and return its content (escapes of multi-line strings stay as written)."""
        quote = self.text[self.at]
        mark = quote * 3 if self.separator == "=" and self.text.startswith(quote * 3, self.at) else quote
        start = at = self.at + len(mark)
        while not self.text.startswith(mark, at):
            at += 2 if quote == '"' and self.text[at] == "\\" else 1
        raw = self.text[start:at]
        self.at = at + len(mark)
        # A multi-line string may end in one or two quotes of its own.
        while len(mark) == 3 and self.text.startswith(quote, self.at):
            self.at += 1
        if quote == '"' and len(mark) == 1:
            try:
                return str(json.loads(f'"{raw}"'))
            except ValueError:
                return raw
        return raw

    def keys(self) -> list[str]:
        """Step over a key, dotted in TOML, and return its parts."""
        out = []
        while True:
            if self.text[self.at] in "\"'":
                out.append(self.string())
            else:
                match = _BARE.match(self.text, self.at)
                if match is None:
                    raise AssertionError(f"no key at offset {self.at} of a text that parsed")
                out.append(match.group())
                self.at = match.end()
            self.blank()
            if self.separator == "=" and self.text[self.at] == ".":
                self.at += 1
                self.blank()
            else:
                return out

    def pair(self, path: Path) -> None:
        """Step over a key, its separator and its value, below `path`."""
        begin = self.at
        keys = self.keys()
        end, self.at = self.at, begin
        for key in keys:
            path = (*path, key)
            if path in self.lines and not self.repeated:
                self.repeated = bisect_right(self._starts, self.at)
            self.note(path)
        self.at = end
        self.blank(self.separator)
        self.value(path)

    def value(self, path: Path) -> None:
        self.blank()
        self.note(path)
        char = self.text[self.at]
        if char in "\"'":
            self.string()
        elif char == "[":
            self.at += 1
            index = 0
            self.blank(",")
            while self.text[self.at] != "]":
                self.value((*path, index))
                index += 1
                self.blank(",")
            self.at += 1
        elif char == "{":
            self.at += 1
            self.blank(",")
            while self.text[self.at] != "}":
                self.pair(path)
                self.blank(",")
            self.at += 1
        else:
            match = _NUMBER_OR_WORD.match(self.text, self.at)
            self.at = match.end() if match else self.at


class _Toml(_Scanner):
    def __init__(self, text: str) -> None:
        super().__init__(text, separator="=")
        self._counts: dict[Path, int] = {}

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        self.blank()
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self.pair(table)
            self.blank()
        return self.lines

    def _header(self) -> Path:
        begin = self.at
        array = self.text.startswith("[[", begin)
        self.at += 2 if array else 1
        self.blank()
        keys = self.keys()
        self.at += 2 if array else 1
        end, self.at = self.at, begin
        path: Path = ()
        for depth, key in enumerate(keys, start=1):
            path = (*path, key)
            self.note(path)
            if array and depth == len(keys):
                self._counts[path] = self._counts.get(path, -1) + 1
            if path in self._counts:
                path = (*path, self._counts[path])
                self.note(path)
        self.at = end
        return path
