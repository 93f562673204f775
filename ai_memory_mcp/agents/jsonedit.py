"""Change one place of a JSON, JSONC or JSON5 text and leave every other character alone.

A scanner keeps the position of each value; edits are cuts and insertions in the text, never a dump of the
document. `insert` and `remove` undo each other: that is why commas and comments are handled as they are.
Everything is read as JSON5, which includes the others; `require_…` refuses what an agent would not read.
Where a key stands twice, the last one counts, as it does for every parser.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ai_memory_mcp.errors import InstallError

Path = tuple[str | int, ...]

_BOM = "\ufeff"
_ENDS = "\n\r\u2028\u2029"  # what ends a line
_WHITE = rf" \t\v\f\xa0\u1680\u2000-\u200a\u202f\u205f\u3000{_ENDS}{_BOM}"
_COMMENT = re.compile(rf"//[^{_ENDS}]*|/\*.*?\*/", re.DOTALL)
_GAP = re.compile(rf"(?:[{_WHITE}]+|{_COMMENT.pattern})*", re.DOTALL)
_LINE_REST = re.compile(rf"[ \t]*(?://[^{_ENDS}]*|/\*[^{_ENDS}]*?\*/[ \t]*(?=[{_ENDS}]))")
_STRING = re.compile(r"""(["'])(?:\\(?:\r\n|.)|(?!\1)[^\\\n\r])*\1""", re.DOTALL)
_ESCAPE = re.compile(r'\\(?:\r\n|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|0[0-9]|.)|"', re.DOTALL)
_NAME = re.compile(rf"(?:[\w$]|[^\x00-\x7f{_WHITE}]|\\u[0-9a-fA-F]{{4}})+", re.ASCII)
_NUMBER = re.compile(
    r"[-+]?(?:0[xX][0-9a-fA-F]+|(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|Infinity|NaN)"
)
_WORDS = {"true": True, "false": False, "null": None}
_JSON_STRING = r'"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*"'
_JSON_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
_JSON_WORD = rf"(?:true|false|null)(?={_GAP.pattern}(?:[,\]}}]|\Z))"  # a value, no unquoted key
_JSONC = re.compile(
    rf"(?:[ \t\r\n{{}}\[\]:,]+|{_COMMENT.pattern}|{_JSON_STRING}|{_JSON_NUMBER}|{_JSON_WORD})*", re.DOTALL
)


class EditError(InstallError):
    """A text does not parse, or the place for our entry holds something else."""


@dataclass(slots=True)
class Node:
    """One value and where it stands; `children` in order, with duplicates, for objects and arrays."""

    start: int
    end: int
    value: Any
    children: list[Child] = field(default_factory=list)


@dataclass(slots=True)
class Child:
    """A member or item: `start` is where its key (or, in an array, its value) begins."""

    key: str | int
    start: int
    node: Node


def place(text: str, position: int) -> str:
    """Return 'line 3, column 7' for a position in the text."""
    before = text[:position]
    return f"line {before.count(chr(10)) + 1}, column {position - before.rfind(chr(10))}"


@lru_cache(maxsize=2)
def scan(text: str) -> Node:
    """Parse the whole text. Raises EditError with line and column. The nodes are shared: read only."""
    try:
        node = _value(text, _gap(text, 0))
    except RecursionError:
        raise EditError("the values are nested too deeply") from None
    if _gap(text, node.end) != len(text):
        raise _unexpected(text, _gap(text, node.end), "the end of the file")
    return node


def is_blank(text: str) -> bool:
    """Tell whether there is no value at all: nothing, a byte order mark, white space, comments."""
    return _gap(text, 0) == len(text)


def require_jsonc(text: str) -> None:
    """Refuse in a text that scans what only JSON5 has: an agent that reads JSONC drops the whole file for it."""
    found = _JSONC.match(text, len(_BOM) if text.startswith(_BOM) else 0)
    if found and found.end() != len(text):
        raise EditError(f"{place(text, found.end())}: this is JSON5, which is not read by this agent")


def require_strict(text: str) -> None:
    """Refuse comments, trailing commas and JSON5: an agent that reads strict JSON drops the whole file for one."""
    require_jsonc(text)  # Python's parser takes NaN and Infinity
    bare = text.removeprefix(_BOM)
    try:
        json.loads(bare, parse_int=float) if bare.strip() else None  # an `int` may have too many digits
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise EditError(f"{where}: comments and trailing commas are not read by this agent") from None


def get(text: str, path: Path) -> Any:
    """Return the value at the path (shared, not to be changed), or None. Raises EditError."""
    node = _find(scan(text), path)
    return None if node is None else node.value


def inside(text: str, path: Path) -> str | None:
    """Return what stands between the braces or brackets at the path, None where nothing is."""
    node = _find(scan(text), path)
    return None if node is None else text[node.start + 1 : node.end - 1]


def insert(text: str, path: Path, value: Any) -> str:
    """Add a member (last) or append an item (index = length); missing objects above it are made.

    Raises EditError where something on the way is not an object or array, or the place is taken.
    """
    root = scan(text)
    parent, depth = root, 0
    while depth < len(path) - 1:
        below = _child(text, parent, path[depth])
        if below is None:
            break
        parent, depth = below.node, depth + 1
    if _child(text, parent, path[depth]) is not None:
        raise EditError(f"{_dotted(path)} is already there ({place(text, parent.start)})")
    for key in reversed(path[depth + 1 :]):
        value = {key: value} if isinstance(key, str) else [value]
    return _add(text, root, parent, path[depth], value)


def replace(text: str, path: Path, value: Any) -> str:
    """Put another value in the place of the one at the path. Raises EditError where there is none."""
    root = scan(text)
    node = _find(root, path)
    if node is None:
        raise EditError(f"{_dotted(path)} is not there")
    inline = "\n" not in text[root.start : root.end]
    rendered = _render(text, root, value, _line_indent(text, node.start), inline)
    return text[: node.start] + rendered + text[node.end :]


def remove(text: str, path: Path, empty: str = "") -> str:
    """Take a member or item out, with its comma and the white space before it.

    `empty` is left between the braces when nothing but white space would remain there.
    """
    parent = _find(scan(text), path[:-1])
    child = None if parent is None else _child(text, parent, path[-1])
    if parent is None or child is None:
        raise EditError(f"{_dotted(path)} is not there")
    return _settle(_cut(text, parent, child), path[:-1], empty)


def add_root(text: str) -> str:
    """Give a text without any value an empty object at its end."""
    if _in_line_comment(text, 0, len(text)):
        return text + "\n{}"  # no line end behind it: so `drop_root` knows that the one before is ours
    return text + "{}" + _newline(text)


def drop_root(text: str) -> str:
    """Undo `add_root` where the object is empty again."""
    root = scan(text)
    before, behind = text[: root.start], text[root.end :]
    return before.removesuffix("\n") if not behind else before + behind.removeprefix(_newline(text))


def _cut(text: str, parent: Node, child: Child) -> str:
    index = next(i for i, other in enumerate(parent.children) if other is child)
    comma = _gap(text, parent.children[index - 1].node.end) if index else parent.start
    end = child.node.end
    start = _cut_start(text, comma + 1, child.start, end)
    after = _gap(text, end)
    if text[after] == ",":
        return text[:start] + text[end:after] + text[after + 1 :]
    if index:
        return text[:comma] + text[comma + 1 : start] + text[end:]
    return text[:start] + text[end:]


def _cut_start(text: str, low: int, start: int, end: int) -> int:
    """Where the white space before an entry begins, unless it keeps a line comment from what follows."""
    begin = low + len(text[low:start].rstrip(" \t\r\n"))
    ends_line = re.compile(rf",?[ \t]*[{_ENDS}]").match(text, end)
    return start if _in_line_comment(text, low, begin) and not ends_line else begin


def _in_line_comment(text: str, low: int, at: int) -> bool:
    """Tell whether a line comment is still open at a place, between it and `low` being no value."""
    found = list(_COMMENT.finditer(text, low, at))
    return bool(found) and found[-1].end() == at and found[-1].group().startswith("//")


def _settle(text: str, path: Path, empty: str) -> str:
    node = _find(scan(text), path)
    if node is None or node.children or text[node.start + 1 : node.end - 1].strip(" \t\r\n"):
        return text
    return text[: node.start + 1] + empty + text[node.end - 1 :]


# Scanning


def _gap(text: str, at: int) -> int:
    found = _GAP.match(text, at)
    return found.end() if found else at


def _value(text: str, at: int) -> Node:
    first = text[at : at + 1]
    if first in ("{", "["):
        return _container(text, at, first == "{")
    found = _STRING.match(text, at)
    if found:
        return Node(at, found.end(), _string(text, at, found.group()))
    found = _NUMBER.match(text, at)
    if found:
        return Node(at, found.end(), _number(found.group()))
    for word, value in _WORDS.items():
        if text.startswith(word, at):
            return Node(at, at + len(word), value)
    raise _unexpected(text, at, "a value")


def _string(text: str, at: int, literal: str) -> str:
    try:
        return str(json.loads(f'"{_ESCAPE.sub(_as_json, literal[1:-1])}"', strict=False))
    except ValueError:
        raise _unexpected(text, at, "a string with valid escapes") from None


def _as_json(found: re.Match[str]) -> str:
    """Write an escape, or a double quote between single ones, as JSON does; what is wrong stays so."""
    escape = found.group()
    if escape == '"':
        return '\\"'
    if escape[1] in _ENDS:
        return ""
    if escape[1] == "x" and len(escape) == 4:
        return "\\u00" + escape[2:]
    if escape in ("\\0", "\\v"):
        return "\\u0000" if escape == "\\0" else "\\u000b"
    return escape if escape[1] in '"\\/bfnrtux0123456789' else escape[1:]


def _number(literal: str) -> float:
    if literal.endswith("NaN"):
        return math.nan  # always the same object: only so are two values with it equal
    try:
        return int(literal, 0)
    except ValueError:
        return float(literal)


def _container(text: str, start: int, is_object: bool) -> Node:
    closing = "}" if is_object else "]"
    node = Node(start, start, {} if is_object else [])
    at = _gap(text, start + 1)
    while text[at : at + 1] != closing:
        child = _member(text, at) if is_object else Child(len(node.children), at, _value(text, at))
        node.children.append(child)
        at = _gap(text, child.node.end)
        if text[at : at + 1] == ",":
            at = _gap(text, at + 1)
        elif text[at : at + 1] != closing:
            raise _unexpected(text, at, f"',' or '{closing}'")
    node.end = at + 1
    if is_object:
        node.value = {child.key: child.node.value for child in node.children}
    else:
        node.value = [child.node.value for child in node.children]
    return node


def _member(text: str, at: int) -> Child:
    key, end = _key(text, at)
    colon = _gap(text, end)
    if text[colon : colon + 1] != ":":
        raise _unexpected(text, colon, "':'")
    return Child(key, at, _value(text, _gap(text, colon + 1)))


def _key(text: str, at: int) -> tuple[str, int]:
    found = _STRING.match(text, at)
    if found:
        return _string(text, at, found.group()), found.end()
    found = _NAME.match(text, at)
    name = json.loads(f'"{found.group()}"') if found else ""
    if not found or not re.sub("[$]|(?!^)[\u200c\u200d]", "_", name).isidentifier():
        raise _unexpected(text, at, "a key")
    return name, found.end()


def _unexpected(text: str, at: int, wanted: str) -> EditError:
    seen = repr(text[at]) if at < len(text) else "the end of the file"
    return EditError(f"{place(text, at)}: expected {wanted}, found {seen}")


def _find(node: Node, path: Path) -> Node | None:
    for key in path:
        below = [child for child in node.children if child.key == key]
        if not below:
            return None
        node = below[-1].node
    return node


def _child(text: str, node: Node, key: str | int) -> Child | None:
    wanted = dict if isinstance(key, str) else list
    if not isinstance(node.value, wanted):
        kind = "an object {…}" if wanted is dict else "an array […]"
        raise EditError(f"{place(text, node.start)}: expected {kind} here to hold {key!r}")
    below = [child for child in node.children if child.key == key]
    return below[-1] if below else None


def _dotted(path: Path) -> str:
    return ".".join(str(key) for key in path) or "the document"


# Writing


def _add(text: str, root: Node, parent: Node, key: str | int, value: Any) -> str:
    label = f"{json.dumps(key, ensure_ascii=False)}:" if isinstance(key, str) else ""
    if parent.children:
        return _add_after(text, root, parent, label, value)
    return _add_first(text, root, parent, label, value)


def _add_after(text: str, root: Node, parent: Node, label: str, value: Any) -> str:
    last = parent.children[-1]
    inline = "\n" not in text[parent.start : last.start]
    indent = _line_indent(text, last.start)
    glue = _space(text, root) if inline else _newline(text) + indent
    entry = glue + _labelled(text, root, label, value, indent, inline)
    comma = _gap(text, last.node.end)
    trailing = text[comma] == ","
    at = _line_end(text, comma + 1 if trailing else last.node.end, inline)
    if trailing:
        return text[:at] + entry + "," + text[at:]
    return text[: last.node.end] + "," + text[last.node.end : at] + entry + text[at:]


def _add_first(text: str, root: Node, parent: Node, label: str, value: Any) -> str:
    interior = text[parent.start + 1 : parent.end - 1]
    inline = "\n" not in text[root.start : root.end] and bool(root.children)
    indent = _line_indent(text, parent.start)
    deeper = indent + ("" if inline else _unit(text, root))
    entry = _labelled(text, root, label, value, deeper, inline)
    at = parent.start + 1 + len(interior.rstrip(" \t\r\n"))
    if inline and at == parent.start + 1:
        return text[:at] + entry + text[parent.end - 1 :]
    rest = text[at : parent.end - 1]
    tail = rest if "\n" in rest or at > parent.start + 1 else _newline(text) + indent
    return text[:at] + _newline(text) + deeper + entry + tail + text[parent.end - 1 :]


def _labelled(text: str, root: Node, label: str, value: Any, indent: str, inline: bool) -> str:
    space = (_space(text, root) if inline else " ") if label else ""
    return label + space + _render(text, root, value, indent, inline)


def _render(text: str, root: Node, value: Any, indent: str, inline: bool) -> str:
    if inline:
        space = _space(text, root)
        return json.dumps(value, ensure_ascii=False, separators=("," + space, ":" + space))
    pretty = json.dumps(value, ensure_ascii=False, indent=_unit(text, root))
    return pretty.replace("\n", _newline(text) + indent)


def _newline(text: str) -> str:
    first = text.find("\n")
    return "\r\n" if first > 0 and text[first - 1] == "\r" else "\n"


def _space(text: str, root: Node) -> str:
    """The one-line style of this document: what follows its first colon."""
    if not root.children:
        return " "
    first = root.children[0]
    return "" if text[first.node.start - 1] in ":[" else " "


def _unit(text: str, root: Node) -> str:
    """One step of indentation, from the first child on a line of its own; two spaces by default."""
    return (_step(text, root) if "\n" in text[root.start : root.end] else "") or "  "


def _step(text: str, node: Node) -> str:
    outer = _line_indent(text, node.start)
    for child in node.children:
        indent = _line_indent(text, child.start)
        alone = text.rfind("\n", 0, child.start) + 1 + len(indent) == child.start
        if alone and indent != outer and indent.startswith(outer):
            return indent[len(outer) :]
        deeper = _step(text, child.node)
        if deeper:
            return deeper
    return ""


def _line_indent(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 : at].lstrip(_BOM)
    return line[: len(line) - len(line.lstrip(" \t"))]


def _line_end(text: str, at: int, inline: bool) -> int:
    """Past a comment that ends this line: it belongs to the value before it."""
    found = None if inline else _LINE_REST.match(text, at)
    return found.end() if found else at
