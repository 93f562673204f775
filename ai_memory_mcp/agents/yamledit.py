"""Add, replace and remove one entry of a YAML text's block mappings and leave every other character alone.

Places come from PyYAML's nodes and tokens; edits are cuts in the text, never a dump. Every edit is proved by
parsing: what the parser sees must be the old data plus or minus ours. `insert` and `remove` undo each other.
What we write means the same in YAML 1.1 and 1.2, which differ in what a bare word or number is.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from ai_memory_mcp.agents.jsonedit import EditError, place
from ai_memory_mcp.markdown import ODD_BREAK

Path = tuple[str, ...]

_BOM = "\ufeff"
_COLON = re.compile(r"[ \t]*:")
_PLAIN = re.compile(r"(?!(?:true|false|null|yes|no|on|off|y|n)$)[A-Za-z/][A-Za-z0-9_./-]*", re.I | re.A)
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


@dataclass(frozen=True)
class Entry:
    """A mapping entry: where its key begins, and its colon and last token end; the value's node.

    `inner` is the column of the entries inside it. The document is one too, without key and colon.
    """

    start: int
    colon: int
    end: int
    node: Any
    inner: int

    @property
    def hollow(self) -> bool:
        """Whether it is an empty mapping or null, so that entries may be written there."""
        node = self.node
        return node is None or node.tag.endswith(":null") or (node.id == "mapping" and not node.value)


def parse(text: str) -> Any:
    """Return the data, None for an empty text. Raises EditError with line and column."""
    import yaml  # not at the top: most agents need none

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise EditError(f"{where}{getattr(error, 'problem', None) or error}") from None


def get(text: str, path: Path) -> Any:
    """Return the value at the path, or None. Raises EditError."""
    return _dig(parse(text), path)


def inside(text: str, path: Path) -> str | None:
    """Return what stands behind the colon at the path, as ` {}` or nothing; None where there is no such entry.

    Raises EditError where no entry could be put inside.
    """
    _, chain, _ = _locate(text, path)
    return text[chain[-1].colon : chain[-1].end] if len(chain) > len(path) else None


def insert(text: str, path: Path, value: Any) -> str:
    """Add an entry behind the others of its mapping; missing mappings above it are made.

    Raises EditError where it is there already, or the mapping is not in block style.
    """
    data, chain, _ = _locate(text, path[:-1])
    known = len(chain) - 1
    if path[known] in (_dig(data, path[:known]) or {}):
        raise EditError(f"{_dotted(path[: known + 1])} is already there ({place(text, chain[-1].start)})")
    expected = _with(data, path, value)
    for key in reversed(path[known + 1 :]):
        value = {key: value}
    block = _block(text, chain, path[known], value)
    return _proved(_added(text, chain[-1], known == 0, block), expected, path, f"write this into it by hand:\n{block}")


def replace(text: str, path: Path, value: Any) -> str:
    """Write the entry anew where it stands. Raises EditError where there is none."""
    data, chain, entry = _entry(text, path)
    block = _block(text, chain, path[-1], value)
    after = text[: entry.start] + block.lstrip(" ") + text[entry.end :]
    return _proved(after, _with(data, path, value), path, f"change it by hand to:\n{block}")


def remove(text: str, path: Path, empty: str = " {}") -> str:
    """Take an entry out with its lines; `empty` is put behind the colon of a mapping that loses its last one.

    Raises EditError where there is none.
    """
    data, chain, entry = _entry(text, path)
    alone, colon = len(chain[-1].node.value) == 1, chain[-1].colon
    if alone and len(path) == 1 and empty.strip():
        after = text[: entry.start] + empty.lstrip(" ") + text[entry.end :]
    else:
        after = _cut(text, entry)
        after = after[:colon] + (empty if alone else "") + after[colon:]
    return _proved(after, _without(data, path, parse(empty)), path, "take it out by hand")


# Finding


def _entry(text: str, path: Path) -> tuple[Any, list[Entry], Entry]:
    """The data, the entries above the one at the path, and that one."""
    data, chain, entries = _locate(text, path[:-1])
    if len(chain) < len(path) or path[-1] not in entries:
        raise EditError(f"{_dotted(path)} is not there")
    return data, chain, entries[path[-1]]


def _locate(text: str, path: Path) -> tuple[Any, list[Entry], dict[str, Entry]]:
    """The data, the document and the entries along the path as far as there are any, and what the last one holds."""
    import yaml

    if odd := ODD_BREAK.search(text):
        raise EditError(f"{place(text, odd.start())}: a line ends as no editor ends one; change it by hand")
    data = parse(text)
    marks = ((token.start_mark.index, token.end_mark.index) for token in yaml.scan(text, yaml.SafeLoader))
    tokens = [(start, end) for start, end in marks if start < end]
    root = yaml.compose(text, yaml.SafeLoader)
    if root is None or root.start_mark.index == root.end_mark.index:
        chain = [Entry(len(text), len(text), len(text), None, 0)]
    else:
        start, end = root.start_mark.index, _content_end(text, tokens, root.end_mark.index)
        chain = [Entry(start, start, end, root, _column(root, 0))]
    step = _step(chain[0])
    for key in (*path, None):
        entries = _entries(text, chain[-1], tokens, step)
        if key is None or key not in entries:
            break
        chain.append(entries[key])
    return data, chain, entries


def _entries(text: str, parent: Entry, tokens: list[tuple[int, int]], step: int) -> dict[str, Entry]:
    node = parent.node
    is_alias = node is not None and node.start_mark.index < parent.colon
    if parent.hollow and not is_alias:
        return {}
    if is_alias or node.id != "mapping" or node.flow_style:
        raise EditError(f"{place(text, parent.start)}: expected a mapping in block style; change it by hand")
    found: dict[str, Entry] = {}
    limits = [*(key.start_mark.index for key, _ in node.value[1:]), node.end_mark.index]
    for (key, value), limit in zip(node.value, limits, strict=True):
        start, colon = key.start_mark.index, _COLON.match(text, key.end_mark.index)
        if key.id != "scalar" or not key.tag.endswith(":str") or not colon:
            continue
        if key.value in found:
            raise EditError(f"{place(text, start)}: {key.value} is there twice; change it by hand")
        inner = _column(value, key.start_mark.column + step)
        found[key.value] = Entry(start, colon.end(), _content_end(text, tokens, limit), value, inner)
    return found


def _content_end(text: str, tokens: list[tuple[int, int]], limit: int) -> int:
    """Where the last token before `limit` ends: nodes end where the next begins. A block scalar has a line end."""
    end = tokens[bisect_left(tokens, (limit,)) - 1][1]
    if text.endswith("\n", 0, end):
        end -= 2 if text.endswith("\r\n", 0, end) else 1
    return end


def _column(node: Any, otherwise: int) -> int:
    block = node.id == "mapping" and node.value and not node.flow_style
    return int(node.value[0][0].start_mark.column) if block else otherwise


def _step(root: Entry) -> int:
    """One step of indentation, from the first mapping inside another; two spaces by default."""
    entries = root.node.value if root.node and root.node.id == "mapping" else ()
    steps = (_column(value, 0) - key.start_mark.column for key, value in entries)
    return next((step for step in steps if step > 0), 2)


# Writing


def _block(text: str, chain: list[Entry], key: str, value: Any) -> str:
    return _newline(text).join(_lines(key, value, chain[-1].inner, _step(chain[0])))


def _lines(key: str, value: Any, column: int, step: int) -> list[str]:
    head = f"{' ' * column}{_inline(key)}:"
    if not isinstance(value, dict) or not value:
        return [f"{head} {_inline(value)}"]
    return [head, *(line for name, item in value.items() for line in _lines(name, item, column + step, step))]


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_inline(name)}: {_inline(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    quoted = json.dumps(value, ensure_ascii=False, default=str)  # a date becomes text, which the proof refuses
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def _added(text: str, parent: Entry, is_root: bool, block: str) -> str:
    if parent.node is None and (text.endswith("\n") or not text.strip(_BOM)):
        return text + block + (re.search(r"\r?\n\Z", text) or [_newline(text)])[0]  # `_cut` leaves the new one
    at = parent.end
    if parent.hollow and parent.node is not None:
        if is_root and text[at : at + 1] not in ("", "\r", "\n"):
            raise EditError(f"{place(text, at)}: expected the end of the line; change it by hand")
        if is_root:
            return text[: parent.start] + block + text[at:]
        text, at = text[: parent.colon] + text[at:], parent.colon
    # the comment that ends this line, and those below it which are indented like the entries, belong to what is there
    comments = rf"\A[^\r\n]*(?:(?:\r?\n[ \t]*)*\r?\n {{{parent.inner},}}#[^\r\n]*)*"
    rest = re.sub(comments, "", text[at:])
    return text[: len(text) - len(rest)] + _newline(text) + block + rest


def _cut(text: str, entry: Entry) -> str:
    """Without the lines of an entry and the line end before them, or behind them at the start of the text."""
    above, found, _ = text[: entry.start].rpartition("\n")
    below = re.sub(r"\A[^\r\n]*", "", text[entry.end :])
    if found:
        return above.removesuffix("\r") + below
    return _BOM * text.startswith(_BOM) + re.sub(r"\A\r?\n", "", below)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


# Proving


def _dig(data: Any, path: Path) -> Any:
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _with(data: Any, path: Path, value: Any) -> Any:
    """The data with a value at the path, the rest shared."""
    if not path:
        return value
    known = {} if data is None else data
    return {**known, path[0]: _with(known.get(path[0]), path[1:], value)}


def _without(data: Any, path: Path, empty: Any) -> Any:
    if len(path) > 1:
        return {**data, path[0]: _without(data[path[0]], path[1:], empty)}
    return {key: value for key, value in data.items() if key != path[0]} or empty


def _proved(after: str, expected: Any, path: Path, advice: str) -> str:
    try:
        seen = repr(parse(after))  # as text: 1 is not True, a date no time, and NaN itself
    except EditError:
        seen = ""
    if seen != repr(expected):
        raise EditError(f"{_dotted(path)} cannot be changed safely in the form this file uses; {advice}")
    return after


def _dotted(path: Path) -> str:
    return ".".join(map(_inline, path))
