"""Where imported files go: the path of each file's page, and the links between them.

A page that came from a file says so in its front matter (`imported`); by that it is found again at the next run, also
when the whole folder of files has moved since.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from ai_memory_mcp import markdown, pages
from ai_memory_mcp.errors import NotFoundError
from ai_memory_mcp.importing_files import Source, Unusable, read
from ai_memory_mcp.model import Project
from ai_memory_mcp.redact import Redactor
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.writing import FOLDERS

OURS = frozenset(FOLDERS.values())
MARK = "imported"  # the key of front matter: {from, digest}


class Target(NamedTuple):
    """Where a file's page belongs, and of which text of the file the page there was made (a digest).

    The digest is None where there is no page yet, and '' where the page is the same one but was not imported.
    """

    path: str
    digest: str | None = None


class Places:
    """Gives every file the path of its page: the same at every run, and never that of something else's page."""

    def __init__(self, res: Resources, project: Project, redactor: Redactor, known: Iterable[str]) -> None:
        self._res, self._project, self._redactor = res, project, redactor
        self._known = {path.casefold(): path for path in known}
        self._taken: set[str] = set()

    def of(self, source: Source, *, crowded: bool) -> Target:
        """Choose the path of a file's page: where that is already, else the first that is free."""
        wanted = _wanted(self._redactor.text(source.name), crowded=crowded)
        usual = list(islice(wanted, 3))
        for path in usual:
            if there := self.claim(path, source):
                return there
        used = (self._taken, self._known)
        free = (path for path in chain(usual, wanted) if not any(path.casefold() in paths for paths in used))
        return self._take(Target(next(free)))

    def claim(self, path: str, source: Source) -> Target | None:
        """Take the page that is at a path for the file's, if it is."""
        key = path.casefold()
        digest = None if key in self._taken or key not in self._known else self._digest_at(self._known[key], source)
        return None if digest is None else self._take(Target(self._known[key], digest))

    def _take(self, target: Target) -> Target:
        self._taken.add(target.path.casefold())
        return target

    def _digest_at(self, path: str, source: Source) -> str | None:
        """The digest of a page here if it is that of the file, '' if it is although it was not imported, else None."""
        try:
            page, text = pages.load(self._res, self._project, path)
        except NotFoundError:
            return None
        mark = markdown.parse(text)[0].get(MARK)
        if not isinstance(mark, dict):
            return "" if _says(source, page.id, text) else None
        came, digest = str(mark.get("from")), str(mark.get("digest"))
        if came == origin(source, self._redactor):
            return digest
        if source.sent_from or os.path.exists(came):  # another file made this page; the same text is an export of it
            return "" if _says(source, page.id) else None
        return digest if came.endswith(f"/{source.name}") or _says(source, page.id) else None  # moved, or renamed


def _says(source: Source, page_id: str, text: str | None = None) -> bool:
    """Tell whether a file has the id of a page, or all of its text."""
    try:
        told = read(source)
    except Unusable:
        return False
    return told == text or markdown.parse(told)[0].get("id") == page_id


def origin(source: Source, redactor: Redactor) -> str:
    """Return where a file lies, as its page tells it."""
    file = source.sent_from or Path(source.file).as_posix()
    return redactor.text(file).encode("utf-8", "replace").decode()


def _wanted(name: str, *, crowded: bool) -> Iterator[str]:
    """Yield the paths that a file's page may have, the best first.

    Folders of ours stay what they are, everything else goes below notes/. Files of a crowded folder are spread over
    256 folders below it.
    """
    name = unicodedata.normalize("NFC", name)
    first, slash, rest = name.partition("/")
    path = f"{first.lower()}/{rest}" if slash and first.lower() in OURS else f"notes/{name}"
    path = path[: -len(".markdown")] if path.lower().endswith(".markdown") else path
    mark = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
    folder, _, last = path.rpartition("/")
    plain, spread = markdown.tame_path(path), markdown.tame_path(f"{folder}/{mark[-2:]}/{last}")
    yield from (spread, plain) if crowded else (plain, spread)
    yield from (markdown.tame_path(path, f"-{mark[:length]}") for length in (8, 16, 32, 64))


class Links:
    """Keeps links between imported files right where the pages have come to lie otherwise than the files."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._paths: dict[str, str] = {}
        self._stems: dict[str, str] = {}  # '' where several have the name
        for name, path in paths.items():
            plain = f"{posixpath.splitext(unicodedata.normalize('NFC', name))[0]}.md"
            stem = posixpath.basename(plain)[:-3].casefold()
            self._paths.setdefault(plain, path)
            self._stems[stem] = "" if stem in self._stems else path

    def path(self, name: str) -> str:
        """Return the path of the page that a file became; what names no file stays as it is."""
        return self._paths.get(unicodedata.normalize("NFC", name), name)

    def in_body(self, body: str, name: str, path: str) -> str:
        """Return the text of a file as that of the page at a path."""
        here = posixpath.dirname(unicodedata.normalize("NFC", name))

        def relative(target: str) -> str | None:
            found, there = self._paths.get(_joined(here, target)), posixpath.dirname(path)
            return None if found in (None, _joined(there, target)) else posixpath.relpath(found, there)

        def wiki(target: str) -> str | None:
            told = unicodedata.normalize("NFC", target).strip("/").removesuffix(".md")
            named = self._stems.get(told.casefold(), "")
            if posixpath.basename(named).casefold() == f"{told}.md".casefold():
                return None  # its name says enough
            found = named or self._paths.get(f"{told}.md") or self._paths.get(_joined(here, f"{told}.md"), "")
            return found.removesuffix(".md") if found not in ("", f"{told}.md") else None

        return markdown.relink(body, wiki, relative)


def _joined(folder: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(folder, unicodedata.normalize("NFC", target)))
