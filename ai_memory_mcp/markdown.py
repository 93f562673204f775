"""Front matter, links, slugs and page paths: text in, values out, no file touched.

Reading is lenient (people edit pages by hand) and never raises; only `safe_path` refuses. Scalars of front
matter are read as the text that stands there (`pinned: true` gives "true"): no YAML tag is ever executed and
no date can fail.
"""

from __future__ import annotations

import json
import re
import unicodedata
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, cast, get_args

from ai_memory_mcp.errors import InputError
from ai_memory_mcp.model import Page, PageKind

if TYPE_CHECKING:
    import yaml

Meta = dict[str, object]  # values are str, list or dict of these

# for a class of characters: C1, what breaks lines or turns the direction of text, and tags, which only a model reads
UNSEEN = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\U000e0000-\U000e007f"
ODD_BREAK = re.compile("\r(?!\n)|[\x85\u2028\u2029]")  # ends a line for YAML, and for nobody else
_MAX_FRONT_MATTER = 64 * 1024  # characters; a longer block is text that happens to begin with a rule
_FENCED = re.compile(r"\A(\ufeff?)(---[ \t]*\r?\n)(.*?)(^---[ \t]*(?:\r?\n|\Z))", re.S | re.M)

_FOLDER_KINDS: Mapping[str, PageKind] = {
    "sessions": "session",
    "handoffs": "handoff",
    "decisions": "decision",
    "gotchas": "gotcha",
    "procedures": "procedure",
    "concepts": "concept",
    "notes": "note",
    "rules": "rule",
    "slots": "slot",
    "_lint": "lint",
    "project.md": "project",
    "index.md": "index",
}


class _Split(NamedTuple):
    """A text in its five parts; joined they are the text. `block` holds the YAML lines."""

    bom: str
    opening: str
    block: str
    closing: str
    body: str


def parse(text: str) -> tuple[Meta, str]:
    """Split a page into front matter and body. Broken front matter gives {} (see `problem`); never raises."""
    parts = _split(text)
    meta, _ = _load(parts.block)
    return meta, parts.body


def problem(text: str) -> str:
    """Say in one line why the front matter cannot be read; '' when all is well or there is none."""
    return _load(_split(text).block)[1]


def set_keys(text: str, changes: Mapping[str, object]) -> str:
    """Set (or, with None, remove) top-level keys of the front matter; every other byte stays as it is.

    Values may be str, bool, numbers, datetimes, and lists, tuples or dicts of these. Where there is no front
    matter, or one that cannot be read, a new one is put before the text. One in another form than `key: value` lines
    is written anew in that form.
    """
    parts = _split(text)
    block, spots = _as_lines(parts)
    if parts.opening and spots is not None:
        return parts.bom + parts.opening + _edit(block, spots, changes) + parts.closing + parts.body
    end = "\r\n" if "\r\n" in text[:1000] else "\n"
    lines = "".join(_line(key, value) + end for key, value in changes.items() if value is not None)
    bom = "\ufeff" if text.startswith("\ufeff") else ""
    return f"{bom}---{end}{lines}---{end}{text[len(bom) :]}" if lines else text


def _split(text: str) -> _Split:
    head = text[: _MAX_FRONT_MATTER + 16]
    found = _FENCED.match(head)
    if found is None or (found.end() == len(head) < len(text) and not found[4].endswith("\n")):
        return _Split("", "", "", "", text.removeprefix("\ufeff"))
    parts = _Split(found[1], found[2], found[3], found[4], text[found.end() :])
    if _is_prose(parts.block):  # two thematic breaks with text between them
        return _Split("", "", "", "", text.removeprefix("\ufeff"))
    return parts


def _is_prose(block: str) -> bool:
    first = next((line for line in block.splitlines() if line.strip() and not line.startswith("#")), "")
    return bool(first) and not re.match(r"\s*[^\s:].*:(\s|$)|[{?&!]", first)


def _load(block: str) -> tuple[Meta, str]:
    import yaml  # not at the top: a search does without

    try:
        loaded = yaml.load(block, _loader())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return {}, "The front matter is not valid YAML: " + " ".join(str(error).split())[:300]
    if loaded is None or loaded == "":
        return {}, ""
    if not isinstance(loaded, dict):
        return {}, "The front matter is not a list of `key: value` lines."
    return {str(key): value for key, value in loaded.items()}, ""


def _loader() -> Any:
    import yaml

    found: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    return found


class _Spot(NamedTuple):
    """Where a key stands in the block: its first character, its colon, and the end of its value."""

    key: str
    start: int
    colon: int
    end: int


def _as_lines(parts: _Split) -> tuple[str, list[_Spot] | None]:
    """Return the block as `key: value` lines when it is readable in another form, else as it is; and its keys, None
    where it is no plain `key: value` mapping."""
    block, spots = parts.block, _spots(parts.block)
    if spots is not None or "*" in block:  # an alias may stand for more than fits anywhere
        return block, spots
    end = "\r\n" if "\r\n" in parts.opening else "\n"
    anew = "".join(_line(key, value) + end for key, value in _load(block)[0].items())
    return (anew, _spots(anew)) if anew else (block, None)


def _edit(block: str, spots: Sequence[_Spot], changes: Mapping[str, object]) -> str:
    last = {spot.key: spot for spot in spots}  # of doubled keys the last one counts
    for spot in reversed(spots):
        if spot.key in changes and (changes[spot.key] is None or last[spot.key] is spot):
            block = _replace(block, spot, changes[spot.key])
    end = "\r\n" if "\r\n" in block else "\n"
    if block and not block.endswith("\n"):
        block += end
    new = [_line(key, value) for key, value in changes.items() if key not in last and value is not None]
    return block + "".join(line + end for line in new)


def _replace(block: str, spot: _Spot, value: object) -> str:
    within = block[spot.colon : spot.end].split("\n")[1:-1]
    comments = "".join(line + "\n" for line in within if line.startswith("#"))
    line_end = block.find("\n", spot.end) + 1 or len(block)
    if value is None:  # blank lines go with it: they could be read as the end of the text above them
        rest = re.sub(r"\A(?:[ \t]*\r?\n)*(?:[ \t]+\Z)?", "", block[line_end:])
        return block[: spot.start] + comments + rest
    line = f"{block[: spot.colon + 1]} {dump(value)}{block[spot.end : line_end]}"
    return line + ("" if not comments or line.endswith("\n") else "\n") + comments + block[line_end:]


def _spots(block: str) -> list[_Spot] | None:
    """Find every top-level key; None where the block is no plain `key: value` mapping."""
    import yaml

    if ODD_BREAK.search(block):
        return None
    loader = _loader()(block)
    try:
        root = loader.get_single_node()
        if root is not None:
            loader.construct_document(root)  # it may parse and not be readable: a list where a key belongs
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    finally:
        loader.dispose()
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode) or root.flow_style or root.start_mark.column:
        return None
    spots = []
    for key, value in root.value:
        colon = block.find(":", key.end_mark.index)
        if not isinstance(key, yaml.ScalarNode) or block[key.start_mark.index] in "?&!*" or colon < 0:
            return None
        end = max(colon + 1, _end(block, value)) if value.start_mark.index > colon else colon + 1
        spots.append(_Spot(str(key.value), key.start_mark.index, colon, end))
    return spots


def _end(block: str, node: yaml.Node) -> int:
    """The index just behind a value, without the blank lines and comments that follow it."""
    from yaml import CollectionNode

    if isinstance(node, CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        children = last if isinstance(last, tuple) else (last,)
        return max(_end(block, child) for child in children)
    end = int(node.end_mark.index)
    return len(block[:end].rstrip("\r\n \t")) if block[end - 1 : end] == "\n" else end


def _line(key: str, value: object) -> str:
    return f"{_scalar(key)}: {dump(value)}"


_PLAIN = re.compile(r"[^\W\d_](?:[\w ./()+@-]*[\w)+])?\Z")
_STAMP = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_WORDS = frozenset(["true", "false", "null", "yes", "no", "on", "off", "y", "n", "none", "nan", "inf"])
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def dump(value: object) -> str:
    """Write a value as one line of YAML: lists and dicts in flow style, text quoted where YAML could mistake
    it.
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(str(k))}: {dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(dump(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, int | float):
        return repr(value)
    return "null" if value is None else _scalar(str(value))


def stamp(when: datetime) -> str:
    """Write a time the way front matter shows it: UTC, to the second (finer only where it is finer)."""
    utc = when.replace(tzinfo=timezone.utc) if when.tzinfo is None else when.astimezone(timezone.utc)
    return utc.isoformat().replace("+00:00", "Z")


def _scalar(text: str) -> str:
    plain = _PLAIN.match(text) or _STAMP.match(text)
    if plain and text.lower() not in _WORDS and not _UNPRINTABLE.search(text) and text.isprintable():
        return text
    sound = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates cannot be stored
    return _UNPRINTABLE.sub(lambda m: f"\\u{ord(m[0]):04x}", json.dumps(sound, ensure_ascii=False))


def page_from(path: str, text: str, *, project: str, created: datetime, updated: datetime) -> Page:
    """Read a page, however it was written. `created` and `updated` are used where the page does not say."""
    meta, body = parse(text)
    source = meta.get("source")
    origin = source if isinstance(source, dict) else {"agent": source} if _AGENT.match(_text(source)) else {}
    born = when_from(meta.get("created"), created)
    return Page(
        id=_text(meta.get("id")) or page_id(project, path),
        path=path,
        title=_title(meta, body, path),
        kind=_kind(_text(meta.get("kind")), path),
        project=project,
        body=body,
        tags=tuple(tag.lstrip("#") for tag in _texts(meta.get("tags"))),
        pinned=_text(meta.get("pinned")).lower() in ("true", "yes", "on", "1"),
        created=born,
        updated=when_from(meta.get("updated"), updated),
        agent=_text(origin.get("agent")),
        session=_text(origin.get("session")),
        status="superseded" if _text(meta.get("status")).lower() == "superseded" else "current",
        supersedes=_texts(meta.get("supersedes")),
        superseded_by=_text(meta.get("superseded_by")),
        entities=_texts(meta.get("entities")),
        expires_at=_when(meta.get("expires_at")),
        summary=_text(meta.get("summary")),
    )


def page_id(project: str, path: str) -> str:
    """Return the id of a page that says none itself."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"ai-memory:{project}/{path}"))


def text_from(page: Page, previous: str = "") -> str:
    """Write a page as text. `previous` is the file it replaces: its unknown keys, comments and style are
    kept.

    `page_from(page.path, text_from(page), …)` gives the same page back.
    """
    parts = _split(previous)
    head = parts.bom + parts.opening + parts.block + parts.closing
    meta, trouble = _load(parts.block)
    if trouble or _as_lines(parts)[1] is None:
        head, meta = "", {}
    now = _front_matter(page)
    before = _front_matter(page_from(page.path, head, project="", created=_EPOCH, updated=_EPOCH))
    changes = {k: v for k, v in now.items() if k not in meta or v != before[k]}
    changed = set_keys(head, changes)
    return (changed if changed.endswith("\n") else changed + "\n") + page.body


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_AGENT = re.compile(r"[\w.-]+\Z")  # a `source` that is no such word is another one than ours: an address, a book


def _front_matter(page: Page) -> dict[str, object]:
    source = {k: v for k, v in (("agent", page.agent), ("session", page.session)) if v}
    return {
        "id": page.id,
        "title": page.title,
        "kind": page.kind,
        "tags": page.tags or None,
        "pinned": page.pinned or None,
        "created": page.created,
        "updated": page.updated,
        "source": source or None,
        "status": page.status,
        "supersedes": page.supersedes or None,
        "superseded_by": page.superseded_by or None,
        "entities": page.entities or None,
        "expires_at": page.expires_at,
        "summary": page.summary or None,
    }


def _text(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return "" if text in ("~", "null") else text


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(item for item in value if isinstance(item, str) and item)
    return tuple(part.strip() for part in _text(value).split(",") if part.strip())


def when_from(value: object, fallback: datetime) -> datetime:
    """Read a time of front matter (ISO 8601; without a zone it is UTC), or give the fallback."""
    return _when(value) or fallback


def _when(value: object) -> datetime | None:
    try:
        when = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", _text(value).strip()))
        return when.replace(tzinfo=when.tzinfo or timezone.utc).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def _title(meta: Meta, body: str, path: str) -> str:
    heading = next((m[1] for line in _prose(body) if (m := re.match(r"#[ \t]+(.*?)[ \t#]*$", line))), "")
    stem = path.rsplit("/", 1)[-1].removesuffix(".md").replace("-", " ")
    return _text(meta.get("title")) or " ".join(heading.split()) or stem


def _kind(said: str, path: str) -> PageKind:
    if said in get_args(PageKind):
        return cast(PageKind, said)
    return _FOLDER_KINDS.get(path.split("/", 1)[0], "note")


_WIKILINK = re.compile(r"\[\[([^\[\]\n|#]+)(?:[|#][^\[\]\n]*)?\]\]")
_MDLINK = re.compile(r"\[[^\[\]\n]*\]\((?:<([^()<>\n]+)>|([^()<>\s]+))(?:[ \t]+[\"'][^()\n]*)?\)")


def links(body: str) -> tuple[str, ...]:
    """The targets a page links to, each once, in order and as written: `[[target|label]]`,
    `[[target#heading]]` and relative Markdown links to `.md` files. Code is not searched.
    """
    found = (target for line in _prose(body) for target in _line_links(_without_code(line)))
    return tuple(dict.fromkeys(found))


def _line_links(line: str) -> Iterator[str]:
    hits: list[tuple[int, str]] = [(m.start(), m[1].rstrip("\\").strip()) for m in _WIKILINK.finditer(line)]
    for match in _MDLINK.finditer(line):
        target = _unquote((match[1] or match[2]).split("#")[0])
        if _is_relative(target):
            hits.append((match.start(), target))
    return (target for _, target in sorted(hits) if target)


def _is_relative(target: str) -> bool:
    return target.endswith(".md") and ":" not in target and not target.startswith("/")


def _unquote(target: str) -> str:
    if "%" not in target:
        return target
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), target.encode("utf-8", "replace"))
    return raw.decode("utf-8", "replace")


def relink(body: str, wiki: Callable[[str], str | None], relative: Callable[[str], str | None]) -> str:
    """Exchange the targets of links: `wiki` is asked for those of `[[target]]`, `relative` for those of Markdown
    links to `.md` files (unquoted); neither sees a `#heading`, and None leaves a link alone. Code is not touched.
    """
    if "[[" not in body and "](" not in body:
        return body
    lines = _fenced(body.splitlines(keepends=True))
    return "".join(line if fenced or "[" not in line else _relink(line, wiki, relative) for line, fenced in lines)


def _relink(line: str, wiki: Callable[[str], str | None], relative: Callable[[str], str | None]) -> str:
    def in_brackets(target: str) -> str | None:
        new = wiki(target.rstrip("\\").strip())
        return f"{new}\\" if new and target.endswith("\\") else new  # in a table: [[target\|label]]

    def in_parentheses(target: str) -> str | None:
        path, mark, heading = target.partition("#")
        new = relative(_unquote(path)) if _is_relative(_unquote(path)) else None
        return _quote(new) + mark + heading if new else None

    return _exchange(_WIKILINK, _exchange(_MDLINK, line, in_parentheses), in_brackets)


def _exchange(pattern: re.Pattern[str], line: str, change: Callable[[str], str | None]) -> str:
    """Put what `change` says in place of the group that matched, but in code."""
    code = _code_spans(line)

    def one(match: re.Match[str]) -> str:
        before = bisect_right(code, (match.start(), len(line)))
        new = None if before and match.start() < code[before - 1][1] else change(match[match.lastindex or 0])
        start, end = match.span(match.lastindex or 0)
        return match[0] if new is None else line[match.start() : start] + new + line[end : match.end()]

    return pattern.sub(one, line)


def _quote(target: str) -> str:
    return re.sub(r"[\s()<>%#\\]", lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), target)


def _prose(body: str) -> Iterator[str]:
    """The lines outside fenced code."""
    return (line for line, fenced in _fenced(body.splitlines()) if not fenced)


def _fenced(lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it belongs to fenced code."""
    fence = ""
    for line in lines:
        mark = re.match(r" {0,3}(`{3,}|~{3,})(.*)", line)
        if fence:
            closes = mark and mark[1][0] == fence[0] and len(mark[1]) >= len(fence) and not mark[2].strip()
            fence = "" if closes else fence
            yield line, True
        elif mark and not (mark[1][0] == "`" and "`" in mark[2]):
            fence = mark[1]
            yield line, True
        else:
            yield line, False


def _without_code(line: str) -> str:
    """Blank out inline code."""
    kept, at = [], 0
    for start, end in _code_spans(line):
        kept.append(line[at:start])
        at = end
    return " ".join([*kept, line[at:]])


def _code_spans(line: str) -> list[tuple[int, int]]:
    """Where inline code is: from a run of backticks up to the next run of the same length."""
    if "`" not in line:
        return []
    runs = [(m.start(), m.end()) for m in re.finditer(r"`+", line)]
    following: dict[int, int] = {}  # length of a run -> where the nearest such run to the right ends
    closer: list[int] = []
    for start, end in reversed(runs):
        closer.append(following.get(end - start, 0))
        following[end - start] = end
    spans, at = [], 0
    for (start, _), close in zip(runs, reversed(closer), strict=True):
        if start >= at and close:
            spans.append((start, close))
            at = close
    return spans


_MAX_SLUG = 60  # characters
_MAX_SLUG_BYTES = 180  # leaves room for a date, an id and the ending in the 255 bytes a file name may have
_MAX_PATH = 200  # characters
_MAX_PART_BYTES = 240
_NOWHERE = '<>:"|?*\\'  # what no file name may hold on every system
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?:\.|$)|git~", re.I)


def slug(text: str) -> str:
    """Make a file name part of a title: lowercase letters and digits of any script, joined by `-`, at most 60
    characters, never empty, and a name Windows accepts."""
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).lower())
    kept = "".join(c if unicodedata.category(c)[0] in "LNM" else "-" for c in plain)
    words = re.sub(r"-{2,}", "-", kept).strip("-")
    if len(words) > _MAX_SLUG:
        words = words[:_MAX_SLUG].rsplit("-", 1)[0] if "-" in words[30:_MAX_SLUG] else words[:_MAX_SLUG]
    words = words.encode()[:_MAX_SLUG_BYTES].decode("utf-8", "ignore").strip("-")
    return f"{words}-page" if _RESERVED.match(words) else words or "page"


def safe_path(path: str) -> str:
    """Bring the path of a page into its one form: relative, `/`, ending in `.md` (added where missing).

    Raises InputError for whatever leads out of the wiki, hides, or cannot be a file name on every system.
    """
    plain = unicodedata.normalize("NFC", path.strip().replace("\\", "/"))
    if plain.startswith("/") or re.match(r"[A-Za-z]:", plain):
        raise InputError(f"The page path {path!r} is absolute; give it relative to the wiki, like notes/topic.md.")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if not parts or plain.endswith("/"):
        raise InputError(f"The page path {path!r} names no file; give one like notes/topic.md.")
    if not parts[-1].lower().endswith(".md"):
        parts[-1] += ".md"
    parts[-1] = parts[-1][:-3] + ".md"
    for part in parts:
        if reason := _unsafe(part):
            raise InputError(f"The page path {path!r} is not acceptable: {reason}.")
    whole = "/".join(parts)
    if len(whole) > _MAX_PATH:
        raise InputError(f"The page path is {len(whole)} characters long; at most {_MAX_PATH} are possible.")
    return whole


def tame_path(path: str, mark: str = "") -> str:
    """Bring any text into a path that `safe_path` takes, as near to it as can be; `mark` ends the name, uncut.

    Acceptable paths stay as they are, but that no folder's name ends in `.md`.
    """
    *folders, name = unicodedata.normalize("NFC", path).split("/")
    kept = [_tame(part) for part in folders if part]
    kept = [f"{part[:-3]}-md" if part.lower().endswith(".md") else part for part in kept]
    stem = _tame(name[:-3] if name.lower().endswith(".md") else name, ending=f"{mark}.md")
    if len("/".join([*kept, stem])) > _MAX_PATH:
        kept = [part[:40].rstrip(". ") for part in kept]
        while len(kept) > 1 and len("/".join(kept)) > 100:
            del kept[1]
        room = _MAX_PATH - len("/".join([*kept, ""])) - len(mark) - 3
        stem = stem[: -len(mark) - 3][:room] + f"{mark}.md"
    return "/".join([*kept, stem])


def _tame(part: str, ending: str = "") -> str:
    plain = "".join("-" if c in _NOWHERE or _unreadable(c) else c for c in part)
    plain = re.sub(r"\A[\s.]+", "", plain)
    plain = f"_{plain}" if _RESERVED.match(plain + ending) else plain
    cut = plain.encode()[: _MAX_PART_BYTES - len(ending.encode())].decode("utf-8", "ignore")
    return ((cut if ending else re.sub(r"[\s.]+\Z", "", cut)) or "page") + ending


def _unsafe(part: str) -> str:
    if part == "..":
        return "`..` would lead out of the wiki"
    if part.startswith("."):
        return f"{part!r} is a hidden name"
    if part.endswith((".", " ")) or part.startswith(" ") or part == ".md":
        return f"{part!r} begins or ends with a dot or a space"
    if bad := next((c for c in part if c in _NOWHERE or _unreadable(c)), ""):
        return f"{bad!r} cannot stand in a file name everywhere"
    if _RESERVED.match(part):
        return f"{part!r} is reserved by Windows or git"
    return f"{part[:20]!r}… is too long" if len(part.encode()) > _MAX_PART_BYTES else ""


def readable(name: str) -> bool:
    """Tell whether all of a name can be seen (spaces and joiners of other scripts included)."""
    return name.isprintable() or not any(map(_unreadable, name))


def _unreadable(char: str) -> bool:
    joiners = "\u200c\u200d"  # several scripts are misspelt without them
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") and char not in joiners
