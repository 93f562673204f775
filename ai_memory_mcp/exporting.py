"""Export: the pages of one project as plain files, for people and for other programs, in a folder or a tar.

Pages lie as in the wiki, so links go on working, and `import markdown` makes the same pages of them; what only this
memory needs (project.md, `_lint/`, where a page was imported from) stays here. All of it is written beside the target
first and then gets its name: there is no half of an export.
"""

from __future__ import annotations

import glob
import io
import os
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Literal

from ai_memory_mcp import markdown, pages
from ai_memory_mcp.errors import InputError, NotFoundError
from ai_memory_mcp.files import private_dir, remove, replace, storage_error
from ai_memory_mcp.importing_places import MARK
from ai_memory_mcp.memory import Progress
from ai_memory_mcp.model import Page, Project, Value
from ai_memory_mcp.redact import Redactor
from ai_memory_mcp.resources import Resources

ENDING = ".export.tmp"
STALE = 86_400.0  # seconds after which an unfinished export is nobody's
EXPORTED = "exported_by"  # the key of front matter by which a folder is known to be an export
PROGRAM = "ai-memory-mcp"
TARS: dict[str, Literal["w", "w:gz"]] = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz"}
OTHER_ARCHIVES = (".zip", ".7z", ".gz", ".xz", ".bz2", ".zst")
INDEX = "index.md"
SHELVES = {
    "rule": "Rules",
    "slot": "Current state",
    "decision": "Decisions",
    "gotcha": "Gotchas",
    "procedure": "Procedures",
    "concept": "Concepts",
    "note": "Notes",
    "session": "Sessions",
    "handoff": "Handoffs",
}

Put = Callable[[str, bytes, datetime], None]


class Export(Value):
    """What was exported, and where to; `redacted` counts pages with secrets that were left out, `aside` is where the
    folder lies that was there before."""

    project: str
    target: str
    pages: int
    kinds: dict[str, int]
    redacted: int = 0
    aside: str = ""


def export(
    res: Resources,
    project: Project,
    target: Path,
    redactor: Redactor,
    *,
    now: datetime,
    force: bool = False,
    progress: Progress = lambda *_: None,
) -> Export:
    """Write the pages of a project into a new or empty folder, or into a tar where the name ends like one.

    With `force` a file there is replaced, and a folder that is an earlier export is put aside. Raises InputError where
    something else is, NotFoundError for a project without pages, StorageError when the disk refuses.
    """
    mode = next((mode for ending, mode in TARS.items() if target.name.lower().endswith(ending)), None)
    _refuse(res.home, target, force, is_tar=mode is not None)
    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}{ENDING}")
    try:
        _sweep(target, now.timestamp())
        if mode:
            told = _tar(temporary, mode, target, res, project, redactor, now, progress)
        else:
            told = _folder(temporary, res, project, redactor, now, progress)
        aside = _named(temporary, target, now, is_tar=mode is not None)
    except OSError as error:
        raise storage_error("write", target, error) from error
    finally:
        _remove(temporary)
    return told.model_copy(update={"target": str(target), "aside": aside})


def _refuse(home: Path, target: Path, force: bool, *, is_tar: bool) -> None:
    real, here = Path(os.path.realpath(target)), Path(os.path.realpath(home))
    if real.is_relative_to(here) or here.is_relative_to(real):
        raise InputError(f"{target} and the memory itself ({home}) must not lie in each other; name another place")
    if _inside(real):  # the folder that has its name then is another one
        raise InputError(f"{target} is the folder you are in, or around it; name another one")
    if not is_tar and target.name.lower().endswith(OTHER_ARCHIVES):
        raise InputError(f"{target} would be no folder and no tar; name a folder, or a file that ends in .tar.gz")
    if not target.parent.is_dir():
        raise InputError(f"there is no folder {target.parent}; make it first")
    if not os.path.lexists(target):
        return
    if is_tar:
        if not target.is_file() or target.is_symlink():
            raise InputError(f"{target} is no file; name another one")
        if not force:
            raise InputError(f"{target} exists already; name another file, or say --force")
        return
    if not target.is_dir() or target.is_symlink():
        raise InputError(f"{target} is no folder; name another one")
    if os.listdir(target) and not (force and _is_export(target)):
        hint = "; name another folder" if force or not _is_export(target) else "; name another folder, or say --force"
        raise InputError(f"{target} is not empty{' and no earlier export' if force else ''}{hint}")


def _inside(folder: Path) -> bool:
    """Tell whether this process is in a folder; one that is in a folder that is gone is in none."""
    with suppress(OSError):
        return Path.cwd().is_relative_to(folder)
    return False


def _is_export(folder: Path) -> bool:
    with suppress(OSError):
        return markdown.parse((folder / INDEX).read_text("utf-8", "replace"))[0].get(EXPORTED) == PROGRAM
    return False


def _sweep(target: Path, now: float) -> None:
    for left in target.parent.glob(f".{glob.escape(target.name)}.*{ENDING}"):
        with suppress(OSError):
            if now - left.lstat().st_mtime > STALE:
                _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            remove(path)


def _named(temporary: Path, target: Path, now: datetime, *, is_tar: bool) -> str:
    """Give what is written its name; return where the folder lies that had it before."""
    old = None
    if not is_tar and target.is_dir():
        if os.listdir(target):
            name = f"{target.name}-before-{now:%Y-%m-%d-%H%M%S}"
            names = (target.with_name(f"{name}-{again}" if again else name) for again in count())
            old = next(one for one in names if not os.path.lexists(one))
            os.rename(target, old)
        else:
            target.rmdir()
    try:
        replace(temporary, target)
    except OSError:
        with suppress(OSError):
            if old:
                os.rename(old, target)
        raise
    return str(old or "")


def _folder(
    folder: Path, res: Resources, project: Project, redactor: Redactor, now: datetime, progress: Progress
) -> Export:
    private_dir(folder)

    def put(path: str, data: bytes, at: datetime) -> None:
        file = folder / path
        private_dir(file.parent)
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as written:
            written.write(data)
        os.utime(file, (at.timestamp(), at.timestamp()))

    return _write(put, res, project, redactor, now, progress)


def _tar(
    file: Path,
    mode: Literal["w", "w:gz"],
    target: Path,
    res: Resources,
    project: Project,
    redactor: Redactor,
    now: datetime,
    progress: Progress,
) -> Export:
    name = target.name.partition(".tar")[0].removesuffix(".tgz") or "export"
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as written:
        with tarfile.open(fileobj=written, mode=mode, format=tarfile.PAX_FORMAT) as tar:

            def put(path: str, data: bytes, at: datetime) -> None:
                entry = tarfile.TarInfo(f"{name}/{path}")
                entry.size, entry.mtime, entry.mode = len(data), int(at.timestamp()), 0o600
                tar.addfile(entry, io.BytesIO(data))

            told = _write(put, res, project, redactor, now, progress)
        written.flush()
        os.fsync(written.fileno())
    return told


def _write(put: Put, res: Resources, project: Project, redactor: Redactor, now: datetime, progress: Progress) -> Export:
    wiki = res.wiki(project)
    paths = sorted(path for path in wiki.paths() if not path.startswith("_lint/") and path != "project.md")
    found: list[Page] = []
    redacted = 0
    for done, path in enumerate(paths):
        progress("exporting", done, len(paths))
        try:
            page, text = pages.load(res, project, path)
        except NotFoundError:  # removed meanwhile
            continue
        if page.kind not in SHELVES:
            continue
        clean = redactor.text(text)
        redacted += clean != text
        put(path, markdown.set_keys(clean, {MARK: None}).encode("utf-8", "replace"), page.updated)
        found.append(
            page.model_copy(update={"title": redactor.text(page.title), "summary": redactor.text(page.summary)})
        )
    if not found:
        raise NotFoundError(f"the project {project.name} has no pages yet; there is nothing to export")
    put(INDEX, _index(project, found, now).encode("utf-8", "replace"), now)
    kinds = Counter(page.kind for page in found)
    return Export(
        project=project.name, target="", pages=len(found), kinds=dict(sorted(kinds.items())), redacted=redacted
    )


def _index(project: Project, found: list[Page], now: datetime) -> str:
    """Return a page that leads to all others, by kind; the newest come first."""
    head = {"title": project.name, "kind": "index", "created": now, EXPORTED: PROGRAM}
    parts = [f"# {project.name}", f"{len(found):,} pages, exported on {now:%Y-%m-%d}."]
    for kind, shelf in SHELVES.items():
        some = sorted((page for page in found if page.kind == kind), key=lambda page: page.updated, reverse=True)
        if some:
            parts += [f"## {shelf}", "\n".join(map(_line, some))]
    return markdown.set_keys("", head) + "\n\n".join(parts) + "\n"


def _line(page: Page) -> str:
    title = "".join(char for char in page.title if char not in "[]\\`")
    old = " (superseded)" if page.status == "superseded" else ""
    summary = f": {' '.join(page.summary.split())}" if page.summary else ""
    return f"- [{title}](<{page.path}>){old}{summary}"
