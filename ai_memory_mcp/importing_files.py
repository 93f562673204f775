"""Files for an import: what lies below a folder, which of it can become pages, and what it says. Nothing is written,
no symbolic link is followed, and whatever cannot be read is a reason, not an error."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ai_memory_mcp.writing import MAX_BODY

ENDINGS = (".md", ".markdown")
PACKAGES = "node_modules"


class Source(NamedTuple):
    """A Markdown file: its path below the folder, readable and with `/`; where it lies; Unix time of its change; where
    it lies on the machine that sent it, if one did."""

    name: str
    file: str
    mtime: float
    sent_from: str = ""


class Finds(NamedTuple):
    """What lies in a folder: Markdown files, what is left out (name -> reason), and how many other files."""

    sources: list[Source]
    skipped: dict[str, str]
    others: int


class Unusable(Exception):
    """A file cannot become a page; says why, in a few words."""


def find(root: Path, home: Path, sent_from: str = "") -> Finds:
    """Look through a folder (resolved), our own home excepted. Of files whose names differ in their ending only,
    the .md comes first. `sent_from` is the folder on the machine that sent this one."""
    finds = Finds([], {}, 0)
    waiting = [(os.fspath(root), "")]
    while waiting:
        folder, prefix = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError as error:
            finds.skipped[prefix or "./"] = _refusal(error)
            continue
        for entry in found:
            name = prefix + os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            is_folder, is_page = _is(entry.is_dir), name.lower().endswith(ENDINGS)
            reason = _reason(entry, root, home, is_folder=is_folder)
            if reason and (is_page or is_folder):
                finds.skipped[f"{name}/" if is_folder else name] = reason
            elif is_folder:
                waiting.append((entry.path, f"{name}/"))
            elif is_page:
                there = f"{sent_from}/{name}" if sent_from else ""
                finds.sources.append(Source(name, entry.path, _changed(entry), there))
            else:
                finds = finds._replace(others=finds.others + 1)
    finds.sources.sort(key=lambda source: (posixpath.splitext(source.name)[0], len(source.name), source.name))
    return finds


def _is(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except OSError:
        return False


def _changed(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except OSError:  # it is gone already: reading it will say so
        return 0.0


def _reason(entry: os.DirEntry[str], root: Path, home: Path, *, is_folder: bool) -> str:
    """Say why an entry of a folder is left out for what it is; '' for what is not."""
    if entry.name.startswith("."):
        return "hidden"
    if entry.is_symlink():
        inside = Path(os.path.realpath(entry.path)).is_relative_to(root)
        return "a symbolic link" if inside else "a symbolic link that leads out of the folder"
    if not is_folder:
        return "" if _is(entry.is_file) else "not a regular file"
    if entry.name == PACKAGES:
        return "installed packages"
    return "ai-memory's own files" if entry.path == os.fspath(home) else ""


def read(source: Source) -> str:
    """Read a file's text. Raises Unusable."""
    try:
        with open(source.file, "rb") as file:
            data = file.read(4 * MAX_BODY + 1)  # a character takes at most four
    except OSError as error:
        raise Unusable(_refusal(error)) from error
    if b"\0" in data:
        raise Unusable("binary")
    too_long = f"longer than {MAX_BODY:,} characters"
    if len(data) > 4 * MAX_BODY:
        raise Unusable(too_long)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unusable("not UTF-8") from error
    if len(text) > MAX_BODY:
        raise Unusable(too_long)
    if not text.removeprefix("\ufeff").strip():
        raise Unusable("empty")
    return text


def _refusal(error: OSError) -> str:
    return f"cannot be read: {(error.strerror or str(error)).lower()}"
