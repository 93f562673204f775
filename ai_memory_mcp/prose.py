"""Agents' own prose, made fit for a page: sections and items found, pleasantries dropped, Markdown made harmless.

All text here comes from sessions: it is data. Whatever leaves through `inline` or `quote` can break neither our
headings nor our front matter nor our fences.
"""

# ruff: noqa: E501 - patterns, word lists and tables of them are easier to check on one line
from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple


class Section(NamedTuple):
    """A part of a message: its heading ('' for the opening), its list items and its paragraphs, cleaned."""

    heading: str
    items: tuple[str, ...]
    paragraphs: tuple[str, ...]


_FENCE = re.compile(r"<(/?)(\s*)(?=ai-memory-brief)", re.I)
_UNSEEN = "[\\s\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\U000e0000-\\U000e007f]*"
_DATA = re.compile(
    f"<((?:{_UNSEEN}/)?{_UNSEEN}{_UNSEEN.join('memory')}{_UNSEEN}-{_UNSEEN}{_UNSEEN.join('data')})", re.I
)
_CODE_BLOCK = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1[ \t]*$|\Z)", re.S | re.M)
_HTML = re.compile(r"<(?=[/!?]|(?:script|style|iframe|img|svg|object|embed|form|input|a|div|span|details|summary|h[1-6])\b)", re.I)  # fmt: skip
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def defuse(text: str) -> str:
    """Return the text with the marks of our own brief broken, so that it can neither open nor close a fence."""
    return _FENCE.sub(r"‹\1", text)


def fence(text: str, source: str = "") -> str:
    """Return stored text marked as data, for an agent or a language model, with forged marks broken. `source` is ours."""
    told = f' source="{source}"' if source else ""
    return f"<memory-data{told}>\n{unmarked(text).strip()}\n</memory-data>"


def without_html(text: str) -> str:
    """Return the text with the beginnings of HTML that does something broken."""
    return _HTML.sub("‹", text)


def unmarked(text: str) -> str:
    """Return the text with marks of that fence broken, so that it can neither open nor close one."""
    return _DATA.sub(r"&lt;\1", text)


def inline(text: str, limit: int) -> str:
    """Return one harmless line of Markdown, at most `limit` characters."""
    flat = " ".join(_ANSI.sub("", _unmark(text)).split())
    flat = clip(defuse(flat), limit)
    flat = _HTML.sub("‹", flat).replace("[[", "[\u200b[")
    if flat.count("`") % 2:
        flat += "`"
    return re.sub(r"^([#>|~=+*-]|\d+[.)](?=\s))", r"\\\1", flat)


def quote(text: str, limit: int) -> str:
    """Return the text as a block quote: its own lines, blank runs reduced, at most `limit` characters."""
    kept = clip(defuse(_ANSI.sub("", _unmark(text, keep_lines=True))).strip(), limit)
    lines = re.sub(r"\n\s*\n+", "\n\n", _HTML.sub("‹", kept).replace("[[", "[\u200b[")).split("\n")
    return "\n".join(f"> {line.rstrip()}".rstrip() for line in lines)


def code(text: str, limit: int) -> str:
    """Return the text as a code span on one line."""
    flat = clip(defuse(" ".join(_ANSI.sub("", text).split())), limit)
    fence = "`" * (max((len(run) for run in re.findall(r"`+", flat)), default=0) + 1)
    pad = " " if "`" in flat else ""
    return f"{fence}{pad}{flat}{pad}{fence}" if flat else ""


def _unmark(text: str, keep_lines: bool = False) -> str:
    # Control characters and other line ends would survive split() or start a line of their own.
    return "".join(ch for ch in re.sub(r"[\u2028\u2029\x85\x0b\x0c\r]+", "\n" if keep_lines else " ", text) if ch in "\n\t\x1b" or ch >= " ")  # fmt: skip


def clip(text: str, limit: int) -> str:
    """Return the text cut at a word or sentence end where one is near, marked with an ellipsis when cut."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    end = max(cut.rfind(mark) for mark in (". ", "。", "\n", "; "))
    space = cut.rfind(" ")
    at = end + 1 if end > limit * 0.7 else space if space > limit * 0.6 else len(cut)
    return cut[:at].rstrip() + "…"


# --- cleaning ---

_OPENER = re.compile(
    r"^(?:(?:all )?done|perfect|great(?: question)?|excellent|success|awesome|wonderful|sure|okay|ok|understood|got it|all set|certainly|of course|absolutely|you(?:'|’)re (?:absolutely )?right|good catch|fixed|yes|no problem)[.!:,]+\s+(?=\S)",
    re.I,
)
_NOISE = re.compile(
    r"^(?:(?:all )?done|perfect|great|excellent|success|完成|好的|fixed|complete|completed|finished|(?:the |this |your )?\w+ is (?:now |fully )?complete\w*|i have (?:fully |now )?completed the task|everything (?:is )?(?:done|works?|working)"
    r"|(?:here(?:'|’)?s|here is|below is) (?:a |the |my |what )?[^.]{0,50}|let me know [^.]*|i hope [^.]*|feel free [^.]*|happy to [^.]*|if you (?:have|need)[^.?]*|if you(?:'|’)?d? (?:want|would like|like)(?!.*\bi(?: can| could| will|(?:'|’)ll)\b)[^.?]*|please let me know[^.]*|summary|以下是[^。]{0,20}|如有[^。]*)[.!:。：！]*$",
    re.I,
)
_PRAISE = re.compile(r"\b(?:production[- ]ready|robust and|elegant|beautifully|flawless\w*|comprehensive and|state[- ]of[- ]the[- ]art|successfully|perfectly)\s+", re.I)  # fmt: skip
_FIRST = re.compile(
    r"^(?:i(?:'|’)ve|i have|i|we(?:'|’)ve|we have|we) (?:(?:also|now|then|just|already|successfully) )*(\w+)",
    re.I,
)
_IRREGULAR = {"ran", "wrote", "made", "found", "built", "rewrote", "chose", "split", "put", "kept", "took", "set", "got", "read", "left", "cut", "began", "saw", "went", "did", "brought", "rebuilt", "reran", "drew", "sent", "swapped", "bound", "held"}  # fmt: skip


def clean(text: str) -> str:
    """Return a line or paragraph without emoji, emphasis marks, openers and self-praise; '' when nothing is left."""
    plain = "".join(ch for ch in text if unicodedata.category(ch) != "So" and ch not in "\ufe0f\u200d\u2705")
    plain = _CODE_SPAN.sub(lambda m: m.group(1) or _unemphasised(m.group(2)), " ".join(plain.split()))
    while (shorter := _OPENER.sub("", plain)) != plain:
        plain = shorter
    kept = [_third_person(s) for s in sentences(_PRAISE.sub("", plain)) if not _NOISE.match(s)]
    return _joined(kept).strip(" \t")


_CODE_SPAN = re.compile(r"(`{1,3}[^`]+`{1,3})|([^`]+)")


def _unemphasised(text: str) -> str:
    text = re.sub(r"\*\*(.+?)\*\*", r"\1", text).replace("**", "")
    text = re.sub(r"(?<![\w*])\*(?!\s|\*)([^*]+?)\*(?![\w*])", r"\1", text)
    return re.sub(r"(?<!!)\[([^\]\[]+)\]\([^)\s]{1,500}\)", r"\1", text)


def _joined(parts: Iterable[str]) -> str:
    text = ""
    for part in parts:
        text += part if not text or text[-1] in "。！？" else " " + part
    return text


def _third_person(sentence: str) -> str:
    match = _FIRST.match(sentence)
    verb = match.group(1) if match else ""
    if match and (verb.lower().endswith("ed") or verb.lower() in _IRREGULAR):
        sentence = verb + sentence[match.end() :]
    return sentence[:1].upper() + sentence[1:] if match else sentence


_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[`A-Z0-9*]|[^\x00-\x7f])|(?<=[。！？])")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|no|Mr|Dr)|^\d+)\.$", re.I)


def sentences(text: str) -> list[str]:
    """Return the sentences of a paragraph (Latin and CJK full stops; `e.g.` and numbers do not end one)."""
    found: list[str] = []
    for part in _SENTENCE.split(text):
        if found and _ABBREVIATION.search(found[-1]):
            found[-1] += " " + part.strip()
        elif part.strip():
            found.append(part.strip())
    return found


# --- structure ---

_HEADING = re.compile(r"^(?:#{1,6}\s+(?P<hash>.+?)\s*#*|(?:\d+\.\s+)?\*\*(?P<bold>[^*]{2,70}?)(?::\*\*|\*\*:?)|(?P<plain>(?:\d+\.\s+)?[^\s\-*•|>`].{1,60}?)[:：])\s*$")  # fmt: skip
_ITEM = re.compile(r"^(?P<indent>\s*)(?:[-*•‣–+]|\d{1,2}[.)、]|[（(]\d{1,2}[)）]|\[[ x]\])\s+(?P<text>\S.*)$")
_CHECKED = re.compile(r"^\[(?P<mark>[ xX])\]\s+")


@lru_cache(maxsize=512)
def sections(text: str) -> tuple[Section, ...]:
    """Return a message as sections. Code blocks are left out; table rows are items; nested items join the item above them."""
    body = _CODE_BLOCK.sub("", re.sub(r"<analysis>.*?</analysis>|</?summary>", "", text, flags=re.S))
    done: list[Section] = []
    heading, items, paragraphs, open_item = "", list[str](), list[str](), False

    def close() -> None:
        kept_items = tuple(dict.fromkeys(c for item in items if (c := clean(item))))
        # A line that merely announces the list under it ("with the following:") tells nothing by itself.
        kept = tuple(c for p in paragraphs if (c := clean(p)) and not c.endswith((":", "：")))
        if kept_items or kept:
            done.append(Section(heading, kept_items, kept))

    lines = body.splitlines()
    for number, line in enumerate(lines):
        title = _heading_of(line, next((after for after in lines[number + 1 :] if after.strip()), ""))
        item = _ITEM.match(line)
        if title:
            close()
            heading, items, paragraphs, open_item = title, [], [], False
        elif item and (len(item["indent"]) < 2 or not items or not open_item):
            items.append(item["text"])
            open_item = True
        elif item:
            items[-1] += ("; " if not items[-1].rstrip().endswith((":", "：")) else " ") + item["text"]
        elif not line.strip():
            open_item = open_item and number + 1 < len(lines) and lines[number + 1].startswith("  ")
            paragraphs.append("")
        elif line.lstrip().startswith("|"):
            items += _row(line, lines[number + 1] if number + 1 < len(lines) else "")
            open_item = False
        elif line.lstrip().startswith(("---", "===", "***")):
            continue
        elif open_item and line[:1] in " \t":
            items[-1] += " " + line.strip()
        else:
            open_item = False
            paragraphs[-1:] = [f"{paragraphs[-1]} {line.strip()}".strip()] if paragraphs else [line.strip()]
    close()
    return tuple(done)


def _row(line: str, following: str) -> list[str]:
    """Return a table row as an item; the header and the line under it are none."""
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    ruled = re.compile(r"\s*\|?[\s:|-]*-[\s:|-]*$")
    return [] if ruled.match(line) or ruled.match(following) else [" - ".join(cell for cell in cells if cell)]


def _heading_of(line: str, following: str) -> str:
    if line[:2].isspace() or len(line) > 90:
        return ""
    match = _HEADING.match(line.rstrip())
    if not match:
        return ""
    numbered_items = match["plain"] and not _ITEM.match(following) and not re.match(r"\d+\.\s+[A-Z]", line)
    if numbered_items and not following.startswith((" ", "\t")):
        return ""
    found = match["hash"] or match["bold"] or match["plain"] or ""
    return re.sub(r"^\d+\.\s+", "", clean(found) or found).strip(" :：*")


def plain_text(text: str) -> str:
    """Return the running text of a message: paragraphs and items in order, without code blocks."""
    return "\n".join("\n".join((*part.paragraphs, *part.items)) for part in sections(text))


def normal(text: str) -> str:
    """Return the letters and digits of a text in lower case: equal for sayings that differ only in form."""
    return re.sub(r"[\W_]+", "", text.lower())


def distinct(texts: Iterable[str], limit: int) -> tuple[str, ...]:
    """Return the first `limit` texts that say something new: one contained in another, or nearly equal, is dropped."""
    kept: list[tuple[str, str, frozenset[str]]] = []
    for text in texts:
        form, words = normal(text), frozenset(re.findall(r"\w+", text.lower()))
        if form and not any(form in other or _alike(words, theirs) for _, other, theirs in kept):
            kept = [one for one in kept if one[1] not in form or len(one[1]) < 12]
            kept.append((text, form, words))
        if len(kept) >= limit * 3:
            break
    return tuple(text for text, _, _ in kept[:limit])


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) > 0.8 * len(one | other)
