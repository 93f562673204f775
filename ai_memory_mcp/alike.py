"""Texts that say the same or nearly so, without comparing each with each: of every text a few check sums of its runs
of words are kept, the smallest ones, and only texts that share one of the very smallest are compared by them."""

from __future__ import annotations

import re
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

RUN = 4  # words
WORDS = 4_000  # of a text; what differs only behind them is the same
KEPT = 64  # check sums of a text; a share is told to about 0.05
SHARED = 8  # of these, the smallest ones bring texts together
FEW = 12  # texts that are compared each with each; of more that came together, each with its next in order
NEXT = 3
ALIKE = 0.8  # of the runs of both, shared

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")


class Sketch(NamedTuple):
    """What is kept of a text: how many words, a check sum of them all, the smallest check sums of runs in order."""

    words: int
    whole: int
    sums: array[int]


class Alike(NamedTuple):
    """Two texts by their names, and the share of runs that they have in common (1.0: the same words)."""

    name: str
    other: str
    share: float


def sketch(text: str) -> Sketch:
    """Return what is kept of a text."""
    words = _WORD.findall(text.lower())[:WORDS]
    joined = " ".join(words).encode("utf-8", "replace")
    ends, at = [-1], -1
    for word in words:
        at += 1 + (len(word) if word.isascii() else len(word.encode("utf-8", "replace")))
        ends.append(at)
    runs = range(max(1, len(words) - RUN + 1))
    sums = {zlib.crc32(joined[ends[i] + 1 : ends[min(i + RUN, len(words))]]) for i in runs}
    return Sketch(len(words), zlib.crc32(joined), array("I", sorted(sums)[:KEPT]))


def share(one: Sketch, other: Sketch) -> float:
    """Return about how much of both texts they have in common, 0 to 1."""
    mine, theirs = set(one.sums), set(other.sums)
    smallest = sorted(mine | theirs)[:KEPT]
    return sum(1 for each in smallest if each in mine and each in theirs) / len(smallest)


def pairs(sketches: Mapping[str, Sketch], *, least: int = RUN) -> list[Alike]:
    """Return, for each text of at least so many words that is like one before it in order, that one: the likest."""
    found: dict[str, Alike] = {}
    first: dict[tuple[int, int], str] = {}
    kept: list[str] = []
    for name, one in sketches.items():
        if one.words < least:
            continue
        other = first.setdefault((one.words, one.whole), name)
        if other == name:
            kept.append(name)
        else:
            found[name] = Alike(name, other, 1.0)
    order = {name: number for number, name in enumerate(kept)}
    for pair in _together(kept, sketches):
        earlier, later = sorted(pair, key=order.__getitem__)
        like = share(sketches[earlier], sketches[later])
        if like >= ALIKE and (later not in found or found[later].share < like):
            found[later] = Alike(later, earlier, like)
    return [found[name] for name in sketches if name in found]


def _together(names: Sequence[str], sketches: Mapping[str, Sketch]) -> Iterator[tuple[str, str]]:
    """Yield what is to be compared: the pairs among texts that share one of their smallest check sums."""
    sharing: dict[int, list[str]] = {}
    for name in names:
        for each in sketches[name].sums[:SHARED]:
            sharing.setdefault(each, []).append(name)
    seen: set[tuple[str, str]] = set()
    for some in sharing.values():
        fresh = [pair for pair in _near(some, sketches) if pair not in seen]
        seen.update(fresh)
        yield from fresh


def _near(names: list[str], sketches: Mapping[str, Sketch]) -> Iterator[tuple[str, str]]:
    if len(names) <= FEW:
        yield from combinations(names, 2)
        return
    some = sorted(names, key=lambda name: sketches[name].sums.tolist())
    for place, name in enumerate(some):
        yield from ((name, other) for other in some[place + 1 : place + 1 + NEXT])
