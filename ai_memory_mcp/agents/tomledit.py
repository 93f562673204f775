"""Add and remove tables of a TOML text and leave every other character alone.

TOML allows one table to be written in several forms; the text is cut by whole headers and statements, never
dumped. Every edit is proved by parsing: what the parser sees must be the old data plus or minus ours.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from typing import Any

from ai_memory_mcp.agents.jsonedit import EditError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Path = tuple[str, ...]

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\''
    r"|#[^\n]*|[\[{\]}\n]|[^\"'#\[\]{}\n]+",
    re.DOTALL,
)
_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_KEYS = re.compile(rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*")
_BOM = "\ufeff"
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Statement:
    """A header or a `key = value`: full path of what it defines, and the span of its whole lines."""

    path: Path
    start: int
    end: int
    header: bool


def parse(text: str) -> dict[str, Any]:
    """Return the data. Raises EditError with the line and column that the parser names."""
    try:
        return tomllib.loads(text.removeprefix(_BOM))
    except (ValueError, RecursionError) as error:
        raise EditError(str(error)) from None


def get(text: str, path: Path) -> Any:
    """Return the value at the path, or None. Raises EditError."""
    return _dig(parse(text), path)


def block(path: Path, table: dict[str, Any], newline: str = "\n") -> str:
    """Return the lines of one table; a table inside it is written inline."""
    lines = [f"[{_dotted(path)}]", *(f"{_key(name)} = {_value(value)}" for name, value in table.items())]
    return "".join(line + newline for line in lines)


def append(text: str, path: Path, table: dict[str, Any]) -> str:
    """Put the table at the end, after a blank line. Raises EditError where that is not old plus new."""
    newline = _newline(text)
    gap = "" if not text.strip(_BOM) else newline if text.endswith("\n") else newline * 2
    added = block(path, table, newline)
    expected = parse(text)
    advice = f"write these lines into it by hand:\n{added}"
    _put(text, expected, path, table, advice)
    return _checked(text + gap + added, expected, path, advice)


def remove(text: str, path: Path, added: str = "") -> str:
    """Take the table out in whatever form it is written, with one blank line before it.

    `added` is what `append` had put at the end: if it still is the end, exactly that goes.
    Raises EditError where the table sits inside an inline table. An absent table is no error.
    """
    expected = parse(text)
    if _dig(expected, path) is None:
        return text
    _drop(expected, path)
    advice = f"take {_dotted(path)} out of it by hand"
    if added and text.endswith(added):
        return _checked(text.removesuffix(added), expected, path, advice)
    for start, end in reversed(_spans(text, path)):
        text = _without(text, start, end)
    return _checked(text, expected, path, advice)


def replace(text: str, path: Path, table: dict[str, Any]) -> str:
    """Write the table anew where its header stands, else at the end.

    Raises EditError as `append` and `remove` do.
    """
    spans = _spans(text, path)
    if not spans or not text[spans[0][0] :].lstrip(" \t").startswith("["):
        return append(remove(text, path), path, table)
    advice = f"change it by hand to:\n{block(path, table)}"
    expected = parse(text)
    _drop(expected, path)
    _put(text, expected, path, table, advice)
    for start, end in reversed(spans[1:]):
        text = _without(text, start, end)
    start, end = spans[0]
    return _checked(text[:start] + block(path, table, _newline(text)) + text[end:], expected, path, advice)


def rename(text: str, path: Path, key: str) -> str:
    """Give the table with this header another last key, where it stands. Raises EditError."""
    expected = parse(text)
    parent = _dig(expected, path[:-1])
    parent[key] = parent.pop(path[-1])
    for found in reversed(statements(text)):
        if found.header and found.path == path:
            line = text[found.start : found.end].replace(path[-1], key, 1)
            text = text[: found.start] + line + text[found.end :]
    return _checked(text, expected, path, f"rename it to {_key(key)} by hand")


def statements(text: str) -> list[Statement]:
    """Return the headers and statements of a text that parses, in order."""
    found: list[Statement] = []
    table: Path = ()
    at = len(_BOM) if text.startswith(_BOM) else 0
    while at < len(text):
        end = _statement_end(text, at)
        line = text[at:end].strip()
        if line.startswith("["):
            table = _header_path(line)
            found.append(Statement(table, at, end, True))
        elif line and not line.startswith("#"):
            found.append(Statement(table + _key_path(line), at, end, False))
        at = end
    return found


def _statement_end(text: str, at: int) -> int:
    depth = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        at = token.end() if token else at + 1
        piece = token.group() if token else ""
        depth += (piece in ("[", "{")) - (piece in ("]", "}"))
        if piece == "\n" and depth == 0:
            break
    return at


def _header_path(line: str) -> Path:
    path: list[str] = []
    value: Any = tomllib.loads(line)
    while isinstance(value, dict) and value:
        key, value = next(iter(value.items()))
        path.append(key)
    return tuple(path)


def _key_path(line: str) -> Path:
    found = _KEYS.match(line)
    return _header_path(f"[{found.group()}]") if found else ()


def _spans(text: str, path: Path) -> list[tuple[int, int]]:
    """The lines which define the table: a header with all that stands under it, or single statements."""
    spans: list[tuple[int, int]] = []
    under = False
    for statement in statements(text):
        ours = statement.path[: len(path)] == path
        if ours and under and not statement.header:
            spans[-1] = (spans[-1][0], statement.end)
        elif ours:
            spans.append((statement.start, statement.end))
        under = ours if statement.header else under
    return spans


def _without(text: str, start: int, end: int) -> str:
    before, after = text[:start], text[end:]
    newline = _newline(text)
    if after.startswith(newline) and not before.strip(_BOM):
        return before + after.removeprefix(newline)
    if text[start:].lstrip(" \t").startswith("[") and (before.endswith(newline * 2) or before == newline):
        return before.removesuffix(newline) + after
    return before + after


def _checked(after: str, expected: dict[str, Any], path: Path, advice: str) -> str:
    try:
        seen = parse(after)
    except EditError:
        seen = None
    if seen is None or _pruned(seen, path) != _pruned(expected, path):
        raise EditError(f"{_dotted(path)} cannot be changed safely in the form this file uses; {advice}")
    return after


def _dig(data: dict[str, Any], path: Path) -> Any:
    value: Any = data
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _put(text: str, data: dict[str, Any], path: Path, table: dict[str, Any], advice: str) -> None:
    for key in path[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise EditError(f"'{key}' is not a table here; {advice}")
    data[path[-1]] = table


def _drop(data: dict[str, Any], path: Path) -> None:
    del _dig(data, path[:-1])[path[-1]]


def _pruned(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """Without the empty tables above the path: a table may be seen only because of its children."""
    for depth in range(len(path) - 1, 0, -1):
        if _dig(data, path[:depth]) == {}:
            _drop(data, path[:depth])
    return data


def _dotted(path: Path) -> str:
    return ".".join(map(_key, path))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(name)} = {_value(item)}" for name, item in value.items())
        return "{ " + inner + " }" if inner else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
