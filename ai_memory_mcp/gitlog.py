"""What commits did to pages, read from raw git objects: no git library, no files; a reader of objects is given.

A tree is a run of `mode name\\0` + 20 bytes of id, sorted by name, folders as if ended by "/".
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Iterator, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from ai_memory_mcp.markdown import readable

Read = Callable[[bytes], bytes]  # the id of an object, its 20 bytes -> its content
How = Literal["added", "changed", "removed", "merged"]

MAX_SUBJECT = 300  # characters
_ENTRY = re.compile(rb"[0-7]+ [^\0]+\0.{20}", re.S)
_WHEN = re.compile(rb"> (-?\d{1,11}) [+-]\d{4}$")
_DEEPEST = 1_000  # bytes of a path; deeper ones are nobody's pages
_KEPT = 32  # trees in memory: those of a commit and of the one before it, a few folders deep
_LATEST = 253_402_300_799  # the last second of the year 9999


class Touch(NamedTuple):
    """What a commit did to one page. `blob` is the id of its new text, b"" when it is gone.

    "merged" is a merge that took this page from one of its sides as it was there: nothing anybody wrote.
    """

    path: str
    how: How
    blob: bytes


class Commit(NamedTuple):
    """One commit: `at` in Unix seconds, `author` without the address, `subject` the first line of its message."""

    id: str
    parents: tuple[str, ...]
    at: int
    author: str
    subject: str
    pages: tuple[Touch, ...]


class Walk(NamedTuple):
    """Commits, parents before children; and the ids of those where the walk met what was known already."""

    commits: list[Commit]
    met: frozenset[str]


class Header(NamedTuple):
    """A commit as it is stored, but for the pages."""

    tree: bytes
    parents: tuple[str, ...]
    at: int
    author: str
    subject: str


def tree_entries(raw: bytes) -> list[bytes]:
    """Cut a raw tree into its entries. At 20,000 entries 3 ms, where parsing into objects takes 100."""
    entries = _ENTRY.findall(raw)
    if sum(map(len, entries)) != len(raw):
        raise ValueError("a tree in the repository is malformed")
    return entries


def header(raw: bytes) -> Header:
    """Read a raw commit."""
    head, _, message = raw.partition(b"\n\n")
    lines = head.split(b"\n")
    told = {name: value for name, _, value in (line.partition(b" ") for line in reversed(lines))}  # the first counts
    when = _WHEN.search(told.get(b"committer", b""))
    subject = message.strip().partition(b"\n")[0].decode("utf-8", "replace").strip()
    return Header(
        tree=bytes.fromhex(told[b"tree"].decode()),
        parents=tuple(line[7:].decode() for line in lines if line.startswith(b"parent ")),
        at=min(max(int(when[1]), 0), _LATEST) if when else 0,
        author=told.get(b"author", b"").decode("utf-8", "replace").split(" <")[0],
        subject=subject[:MAX_SUBJECT],
    )


def walk(read: Read, head: str, *, known: Container[str] = (), cut: Container[str] = ()) -> Walk:
    """Read the commits that lead to `head` back to those known, each with the pages it touched.

    `cut` has the commits whose parents are not there (a shallow clone). Raises KeyError for a missing object.
    """
    headers: dict[str, Header] = {}
    order: dict[str, None] = {}
    met = set()
    waiting = [head]
    while waiting:
        one = waiting[-1]
        if one in order or one in known:
            waiting.pop()
            met |= {one} - order.keys()
            continue
        if one not in headers:
            found = header(read(bytes.fromhex(one)))
            headers[one] = found._replace(parents=()) if one in cut else found
        before = [parent for parent in headers[one].parents if parent not in order and parent not in known]
        met |= {parent for parent in headers[one].parents if parent in known}
        waiting += before
        if not before:
            order[waiting.pop()] = None
    compare = _comparer(read)

    def tree_of(commit: str) -> bytes:
        return headers[commit].tree if commit in headers else header(read(bytes.fromhex(commit))).tree

    return Walk([_commit(one, headers[one], compare, tree_of) for one in order], frozenset(met))


_Pair = tuple[bytes, bytes]  # the ids of a page's text before and after, b"" where there is none
_Compare = Callable[[bytes, bytes], dict[str, _Pair]]


def _commit(one: str, told: Header, compare: _Compare, tree_of: Callable[[str], bytes]) -> Commit:
    sides = [compare(tree_of(parent), told.tree) for parent in told.parents] or [compare(b"", told.tree)]
    paths = sorted(set().union(*sides))
    return Commit(one, *told[1:], tuple(_touch(path, [side.get(path) for side in sides]) for path in paths))


def _touch(path: str, sides: Sequence[_Pair | None]) -> Touch:
    """Say what a commit did to a page, from what differs to each of its parents."""
    differing = [side for side in sides if side is not None]
    blob = differing[0][1]
    if len(differing) < len(sides):
        return Touch(path, "merged", blob)
    return Touch(path, how(any(before for before, _ in differing), blob), blob)


class Entry(NamedTuple):
    """What a tree holds under one name: the mode as it stands there, the 20 bytes of the id."""

    mode: bytes
    id: bytes


Difference = tuple[str, Entry | None, Entry | None]  # path, what is here, what is there


def differences(read: Read, ours: bytes, theirs: bytes) -> Iterator[Difference]:
    """Yield everything that differs between two trees (b"" is the empty one), links too.

    A folder comes as an entry of its own only where it lies too deep to be looked into.
    """
    yield from _differences(read, ours, theirs, b"")


def _differences(read: Read, ours: bytes, theirs: bytes, prefix: bytes) -> Iterator[Difference]:
    sides = [set(tree_entries(read(tree))) if tree else set() for tree in (ours, theirs)]
    found: dict[tuple[bytes, bool], list[Entry | None]] = {}
    for side, entries in enumerate((sides[0] - sides[1], sides[1] - sides[0])):
        for entry in entries:
            mode, name = entry[:-21].split(b" ", 1)
            deep = len(prefix) + len(name) > _DEEPEST
            found.setdefault((name, mode == b"40000" and not deep), [None, None])[side] = Entry(mode, entry[-20:])
    for (name, folder), (mine, other) in sorted(found.items()):
        if folder:
            below = mine.id if mine else b"", other.id if other else b""
            yield from _differences(read, *below, prefix + name + b"/")
        else:
            yield os.fsdecode(prefix + name), mine, other


def is_page(path: str) -> bool:
    """Tell whether a file at this path is a page; hidden ones, and those whose path is no text, are not."""
    return path.endswith(".md") and readable(path) and not path.startswith(".") and "/." not in path


def how(existed: bool, blob: bytes | None) -> How:
    """Name the change of a page that existed or not and now has this text (none: it is gone)."""
    if not blob:
        return "removed"
    return "changed" if existed else "added"


def _comparer(read: Read) -> _Compare:
    """Return what compares two trees by their ids (b"" is the empty one); only what differs is looked into."""

    @lru_cache(_KEPT)
    def entries(tree: bytes) -> frozenset[bytes]:
        return frozenset(tree_entries(read(tree))) if tree else frozenset()

    def compare(old: bytes, new: bytes, prefix: bytes, found: dict[str, _Pair]) -> dict[str, _Pair]:
        before, after = entries(old), entries(new)
        files: dict[bytes, list[bytes]] = {}
        folders: dict[bytes, list[bytes]] = {}
        for side, only in enumerate((before - after, after - before)):
            for entry in only:
                mode, name = entry[:-21].split(b" ", 1)
                if mode == b"40000" and not name.startswith(b"."):
                    folders.setdefault(name, [b"", b""])[side] = entry[-20:]
                elif mode.startswith(b"100"):
                    files.setdefault(name, [b"", b""])[side] = entry[-20:]
        for name, (was, now) in files.items():
            path = os.fsdecode(prefix + name)
            if was != now and is_page(path):
                found[path] = (was, now)
        for name, (was, now) in folders.items():
            compare(was, now, prefix + name + b"/", found)
        return found

    return lambda old, new: compare(old, new, b"", {})
