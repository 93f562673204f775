"""What becomes of each file when two histories of a wiki are brought together. Decides only; `wiki` carries it out.

Of what both sides have changed a judge says what it is to be. Only pages and plain files with names that every system
can hold are taken. A file goes only where a commit of one side says that it removed it on purpose and the other side
has not changed it since: whatever else is missing comes again. What was taken out of memory for good goes in any case.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator
from typing import NamedTuple, Protocol

from ai_memory_mcp.errors import InputError
from ai_memory_mcp.gitlog import Difference, Entry, is_page
from ai_memory_mcp.markdown import safe_path

_FILES = frozenset([b"100644", b"100755", b"100664"])  # modes

Judge = Callable[[str, bytes | None, bytes | None, bytes], bytes]
"""Says what a page is to be, from its path and its bytes in the common version, here, and there; the last are new."""


class Gone(Protocol):
    """Knows what was taken out of memory."""

    def __call__(self, path: str, read: Callable[[], bytes], *, here: bool) -> str:
        """Say why what is at a path on our side (or else the other) must not be there, '' when it may."""


class Line(NamedTuple):
    """Which of two histories go on. One that holds what was erased on the other side does not: what both have by now
    is then put on top of the other one alone. `base` is the version that both had last before that, '' if unknown."""

    ours: bool = True
    theirs: bool = True
    base: str = ""
    words: str = ""  # of the commit, after its first line


BOTH = Line()


def nothing_gone(path: str, read: Callable[[], bytes], *, here: bool) -> str:
    """Say that all of it may be there."""
    return ""


class Sides(Protocol):
    """Two commits and what they have in common; ids are of 20 bytes."""

    def read(self, sha: bytes) -> bytes:
        """Return the bytes of an object."""

    def common(self, path: str) -> bytes | None:
        """Return the id that a file had in the common version."""

    def inside(self, path: str) -> bool:
        """Tell whether a path stays in the wiki on this disk."""

    def differing(self) -> Iterator[Difference]:
        """Yield what differs."""

    def tracked(self) -> Iterator[str]:
        """Yield every path in our commit."""

    def removed_on_purpose(self, path: str, *, here: bool) -> bool:
        """Tell whether our side (or else the other) says that it removed a file, since the common version."""


class Plan:
    """What is to become of everything that differs; nothing is done yet. Ids in `large` (hexadecimal) are not taken.

    `files`: path -> id of what it is to be, None where it is to go. `made`: the bytes of those that are in neither
    history. `moved`: something of the other side is not under its name any more.
    """

    def __init__(self, sides: Sides, judge: Judge, large: Container[str], gone: Gone = nothing_gone) -> None:
        self.files: dict[str, bytes | None] = {}
        self.made: dict[str, bytes] = {}
        self.left_out: dict[str, str] = {}
        self.moved = False
        self._sides, self._judge, self._large, self._gone = sides, judge, large, gone
        self._untracked: set[str] = set()  # to leave our history, not the disk
        self._kept: list[str] = []
        self._names: _Names | None = None
        for path, mine, other in sides.differing():
            self._decide(path, sides.common(path), mine, other)

    @property
    def written(self) -> tuple[str, ...]:
        """The paths that are to be written."""
        return tuple(path for path, blob in self.files.items() if blob is not None)

    @property
    def removed(self) -> tuple[str, ...]:
        """The paths that are to be removed from the disk."""
        return tuple(path for path, blob in self.files.items() if blob is None and path not in self._untracked)

    @property
    def kept(self) -> tuple[str, ...]:
        """The paths that one side has lost without saying so."""
        return tuple(self._kept)

    def data(self, path: str) -> bytes:
        """Return the bytes that a file is to have."""
        return self.made[path] if path in self.made else self._sides.read(self.files[path] or b"")

    def _decide(self, path: str, was: bytes | None, mine: Entry | None, other: Entry | None) -> None:
        refused = self._refusal(path, other)
        buried = "" if refused else self._buried(path, other, here=False)
        if refused or buried:
            self.left_out[path] = refused or buried
            self.moved |= bool(buried)
            other = None
        if self._buried(path, mine, here=True):
            self.files[path] = None
            if other is not None:
                self._come(path, None, other)
        elif mine and self._refusal(path, mine):
            if was or refused:
                self.files[path] = None
                self._untracked.add(path)
        elif mine is None:
            if other is not None:
                self._come(path, was, other)
        elif other is None:
            if was == mine.id and not refused and not buried:
                self._go(path)
        elif mine.id == other.id:
            self.files[path] = mine.id  # with the mode of a page
        elif was != other.id:
            self._take(path, was, mine.id, other.id)

    def _refusal(self, path: str, entry: Entry | None) -> str:
        """Say why a thing is no page or file of ours, '' when it is one (or none is there)."""
        if entry is None:
            return ""
        if entry.mode not in _FILES:
            return "it is a link, a repository of its own, or lies too deep"
        if entry.id.hex() in self._large:
            return "it is too large"
        whole = path if path.endswith(".md") else f"{path}.md"
        try:
            if safe_path(whole) != whole:
                return "other systems spell its name in another way"
        except InputError as error:
            return str(error)
        return "" if self._sides.inside(path) else "a symbolic link is in its way"

    def _buried(self, path: str, entry: Entry | None, *, here: bool) -> str:
        """Say why a thing was taken out of memory, '' where it was not (or none is there)."""
        return self._gone(path, lambda: self._sides.read(entry.id), here=here) if entry else ""

    def _come(self, path: str, was: bytes | None, other: Entry) -> None:
        if was == other.id:
            if self._sides.removed_on_purpose(path, here=True):
                return
            self._kept.append(path)
        self._take(self._free(path, other.id), was, None, other.id)

    def _go(self, path: str) -> None:
        if self._sides.removed_on_purpose(path, here=False):
            self.files[path] = None
        else:
            self._kept.append(path)

    def _take(self, path: str, was: bytes | None, mine: bytes | None, other: bytes) -> None:
        """Take a file from the other side; where both have changed one that is no page, theirs gets another name."""
        if not is_page(path):
            self.files[path if mine in (None, was) else self._free(path, other, beside=True)] = other
            return
        theirs = self._sides.read(other)
        common, ours = (None if blob is None else self._sides.read(blob) for blob in (was, mine))
        data = self._judge(path, common, ours, theirs)
        if data == ours:
            return
        self.files[path] = other
        if data != theirs:
            self.made[path] = data

    def _free(self, path: str, blob: bytes, *, beside: bool = False) -> str:
        """Return the path itself, or one like it where another file's name is in its way on some system."""
        if self._names is None:
            self._names = _Names(self._sides.tracked())
        free = self._names.take(path, blob.hex()[:8], beside=beside)
        self.moved |= free != path
        return free


class _Names:
    """The names that are taken, as file systems see them that know no upper case."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}
        for path in paths:
            self._note(path)

    def take(self, path: str, mark: str, *, beside: bool) -> str:
        """Take a path, or the nearest free one."""
        folder, _, name = path.rpartition("/")
        free = f"{self._folder(folder)}/{name}" if folder else name
        key = _folded(free)
        if beside or key in self._folders or self._files.get(key, free) != free:
            stem, dot, ending = free.rpartition(".")
            free = f"{stem}-{mark}{dot}{ending}" if dot and "/" not in ending else f"{free}-{mark}"
        self._note(free)
        return free

    def _folder(self, path: str) -> str:
        above, _, name = path.rpartition("/")
        whole = f"{self._folder(above)}/{name}" if above else name
        while _folded(whole) in self._files:
            whole += "-folder"
        return self._folders.get(_folded(whole), whole)

    def _note(self, path: str) -> None:
        self._files.setdefault(_folded(path), path)
        while "/" in path:
            path = path.rpartition("/")[0]
            self._folders.setdefault(_folded(path), path)


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
