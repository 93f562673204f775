"""Merging one page that was changed in two places: three texts in, one text out, nothing read or written.

Front matter is merged key by key, the rest line by line. What both changed differently stays in both versions: lines
between two comments that begin with MARK, values of front matter under CONFLICT. Whoever removes those has resolved it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from difflib import SequenceMatcher
from typing import NamedTuple

from ai_memory_mcp import markdown
from ai_memory_mcp.markdown import Meta

MARK = "<!-- sync conflict:"
FIRST = f"{MARK} changed in two places, one version -->\n"
OTHER = f"{MARK} the other version -->\n"
END = f"{MARK} end; keep what is right and remove these lines -->\n"
CONFLICT = "sync_conflict"

_LISTS = frozenset("tags supersedes contradicts entities remotes roots also_accepted_by".split())
_TIMES = frozenset("created updated accepted expires_at".split())
_BOOKKEEPING = frozenset(["id", "source", "imported", CONFLICT])  # the newer one's is right, and no loss to anybody
_RANKS: Mapping[str, Sequence[str]] = {  # of two words that both sides have changed to, the later one counts
    "state": ("open", "offered", "expired", "superseded", "accepted", "closed"),
    "status": ("current", "superseded"),
    "pinned": ("false", "true"),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Merged(NamedTuple):
    """A text, and whether it holds something that a person has to decide."""

    text: str
    conflict: bool = False


def has_conflict(text: str) -> bool:
    """Tell whether a page still holds both versions of something."""
    return MARK in text or f"\n{CONFLICT}:" in text


def merge(base: str | None, ours: str, theirs: str) -> Merged:
    """Merge two versions of a page that had a common one (None: both are new)."""
    if ours == theirs or theirs == base:
        return Merged(ours)
    if ours == base:
        return Merged(theirs)
    if any(markdown.problem(text) for text in (ours, theirs)):
        return _lines(base, ours, theirs)
    head, body = _parted(ours)
    other_head, other_body = _parted(theirs)
    old_head, old_body = _parted(base) if base is not None else ("", None)
    heads = _heads(old_head, head, other_head)
    bodies = _lines(old_body, body, other_body)
    return Merged(heads.text + bodies.text, heads.conflict or bodies.conflict)


def side_by_side(ours: str, theirs: str) -> Merged:
    """Return two texts that are too long to be compared, whole."""
    return Merged("".join(_in_conflict(_cut(ours), _cut(theirs))), True)


def _parted(text: str) -> tuple[str, str]:
    body = markdown.parse(text)[1]
    return text[: len(text) - len(body)], body


# -- front matter


def _heads(base: str, ours: str, theirs: str) -> Merged:
    old, mine, other = (markdown.parse(text)[0] for text in (base, ours, theirs))
    changes: dict[str, object] = {}
    lost: dict[str, object] = {}
    newer = _when(other, "updated") > _when(mine, "updated")
    for key in {**mine, **other}:
        was, here, there = old.get(key), mine.get(key), other.get(key)
        if here == there or there == was:
            continue
        if here == was:
            changes[key] = there
        else:
            changes[key] = _both(key, was, here, there, newer)
            if here is not None and there is not None and not _has_rule(key):
                lost[key] = here if newer else there
    changes |= _accepted(mine, other)
    if lost:
        known = changes.get(CONFLICT, mine.get(CONFLICT))
        changes[CONFLICT] = {**lost, **(known if isinstance(known, dict) else {})}
    plain = {key: _plain(key, value) for key, value in changes.items() if value != mine.get(key)}
    return Merged(markdown.set_keys(ours, plain), bool(lost))


def _has_rule(key: str) -> bool:
    return key in _LISTS or key in _TIMES or key in _BOOKKEEPING or key in _RANKS or key == "accepted_by"


def _both(key: str, was: object, here: object, there: object, newer: bool) -> object:
    """Return the value of a key that both sides have changed."""
    if key in _LISTS:
        return _union(_items(was), _items(here), _items(there))
    if here is None or there is None:  # removed here, changed there
        return there if here is None else here
    if key in _TIMES:
        return min(here, there, key=_moment) if key in ("created", "accepted") else max(here, there, key=_moment)
    ranks = _RANKS.get(key, ())
    if here in ranks and there in ranks:
        return max(here, there, key=lambda value: ranks.index(str(value)))
    if key == "id":
        return min(str(here), str(there))
    return there if newer else here


def _accepted(mine: Meta, other: Meta) -> Meta:
    """Return who has a handoff that was accepted on both sides: who was first; the other one is noted."""
    here, there = mine.get("accepted_by"), other.get("accepted_by")
    if not here or not there or here == there:
        return {}
    first, second = (here, there) if _when(mine, "accepted") <= _when(other, "accepted") else (there, here)
    also = _union([], _items(mine.get("also_accepted_by")), _items(other.get("also_accepted_by")))
    return {"accepted_by": first, "also_accepted_by": [one for one in _union([], also, [second]) if one != first]}


def _union(was: Sequence[object], here: Sequence[object], there: Sequence[object]) -> list[object]:
    """Return the items of both lists, without those that one of them has removed."""
    kept = [one for one in here if one in there or one not in was]
    return kept + [one for one in there if one not in here and one not in was]


def _items(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else []


def _when(meta: Meta, key: str) -> datetime:
    return _moment(meta.get(key))


def _moment(value: object) -> datetime:
    return markdown.when_from(value, _EPOCH)


def _plain(key: str, value: object) -> object:
    """Return what is read as text in its own type, so that it is written without quotes."""
    if key in _TIMES and isinstance(value, str):
        return markdown.when_from(value, _EPOCH) if _moment(value) != _EPOCH else value
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


# -- lines


def _lines(base: str | None, ours: str, theirs: str) -> Merged:
    mine, other = _cut(ours), _cut(theirs)
    if base is None:  # what both have in common is all that is known of what was before
        blocks = SequenceMatcher(None, mine, other).get_matching_blocks()
        old = [line for block in blocks for line in mine[block.a : block.a + block.size]]
    else:
        old = _cut(base)
    out: list[str] = []
    conflict = False
    for was, here, there in _chunks(old, mine, other):
        if here == there or there == was:
            out += here
        elif here == was:
            out += there
        elif not was and base:  # both have put something in at the same place, like at the end of a list
            out += _together(here, there)
        else:
            out += _in_conflict(here, there)
            conflict = True
    return Merged("".join(out), conflict)


def _cut(text: str) -> list[str]:
    """Cut into lines; each of them ends, so that another one can follow."""
    return re.findall(r"[^\n]*\n", text if text.endswith("\n") or not text else text + "\n")


def _chunks(
    base: Sequence[str], ours: Sequence[str], theirs: Sequence[str]
) -> Iterator[tuple[Sequence[str], Sequence[str], Sequence[str]]]:
    """Yield, in order, what stands in the three between the lines that all have, and those lines."""
    here, there = _matches(base, ours), _matches(base, theirs)
    at = mine = other = 0
    for number in [number for number in range(len(base)) if number in here and number in there]:
        yield base[at:number], ours[mine : here[number]], theirs[other : there[number]]
        at, mine, other = number + 1, here[number] + 1, there[number] + 1
        yield base[number:at], ours[mine - 1 : mine], theirs[other - 1 : other]
    yield base[at:], ours[mine:], theirs[other:]


def _matches(base: Sequence[str], text: Sequence[str]) -> dict[int, int]:
    """Return which line of a text is which of the base; in order."""
    blocks = SequenceMatcher(None, base, text).get_matching_blocks()
    return {block.a + step: block.b + step for block in blocks for step in range(block.size)}


def _together(here: Sequence[str], there: Sequence[str]) -> list[str]:
    """Return lines that both sides have added, those that both have once."""
    blocks = SequenceMatcher(None, here, there).get_matching_blocks()
    out: list[str] = []
    at = 0
    mine = 0
    for block in blocks:
        out += [*here[mine : block.a], *there[at : block.b], *here[block.a : block.a + block.size]]
        mine, at = block.a + block.size, block.b + block.size
    return out


def _in_conflict(here: Sequence[str], there: Sequence[str]) -> list[str]:
    """Return both versions between marks; what they begin and end with alike stands outside."""
    first = _alike(here, there)
    last = _alike(here[first:][::-1], there[first:][::-1])
    end, other_end = len(here) - last, len(there) - last
    return [
        *here[:first],
        FIRST,
        *here[first:end],
        OTHER,
        *there[first:other_end],
        END,
        *here[end:],
    ]


def _alike(here: Sequence[str], there: Sequence[str]) -> int:
    """Return how many lines two texts begin with alike."""
    count = 0
    for one, other in zip(here, there, strict=False):
        if one != other:
            break
        count += 1
    return count
