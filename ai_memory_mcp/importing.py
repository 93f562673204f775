"""Import: what was kept elsewhere becomes pages of a project, as much as there is and as often as one likes.

A page made here says in its front matter (`imported`) which file it came from and a digest of what that file said:
by that the next run knows what has changed, and leaves alone what was made of the page in the meantime.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, NamedTuple, cast

from ai_memory_mcp import markdown, pages
from ai_memory_mcp.errors import InputError, NotFoundError
from ai_memory_mcp.files import private_dir, storage_error
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.markdown import Meta
from ai_memory_mcp.memory import Progress
from ai_memory_mcp.model import ImportReport, Page, PageKind, Project
from ai_memory_mcp.redact import Redactor
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.writing import FOLDERS, MAX_BODY

AUTHOR = "user"
MAX_ID = 200  # characters
CROWD = 5_000  # files in one folder; a commit rewrites the list of its folder, which 50,000 make 3 MB long
ENDINGS = (".md", ".markdown")
PACKAGES = "node_modules"
_KINDS = {folder: cast(PageKind, kind) for kind, folder in FOLDERS.items()}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Source(NamedTuple):
    """A Markdown file: its path below the folder, readable and with `/`; where it lies; Unix time of its change."""

    name: str
    file: str
    mtime: float


class Target(NamedTuple):
    """Where a file's page belongs, and of which text of the file the page there was made (a digest).

    The digest is None where there is no page yet, and '' where the page is the same one but not from an import.
    """

    path: str
    digest: str | None = None


class Finds(NamedTuple):
    """What lies in a folder: Markdown files, what is left out (name -> reason), and how many other files."""

    sources: list[Source]
    skipped: dict[str, str]
    others: int


class Unusable(Exception):
    """A file cannot become a page; says why, in a few words."""


def markdown_folder(
    res: Resources,
    project: Project,
    folder: Path,
    redactor: Redactor,
    *,
    now: datetime,
    dry_run: bool = False,
    progress: Progress = lambda *_: None,
) -> ImportReport:
    """Bring the Markdown files below a folder in as pages of a known project, redacted, in one commit.

    A second run makes pages of what is new or has changed; pages whose file is gone stay. Files that cannot become
    pages are left out and named. Raises InputError for a folder that is none, StorageError when the disk refuses.
    """
    root = _root(folder)
    wiki = res.wiki(project).folder.resolve()
    if root == wiki or wiki in root.parents:
        raise InputError(f"{root} is the wiki of this very project; its pages are known already")
    if not dry_run:
        pages.notice_edits(res, project, now=now)  # what a killed run has left, too
    finds = _finds(root, res.home.resolve())
    with _Staged.at(res.home) as staged:
        with res.index.read() as db:
            run = _Run(res, project, redactor, db, finds, staged)
            for done, source in enumerate(finds.sources):
                progress("reading", done, len(finds.sources))
                run.take(source)
        if staged and not dry_run:
            progress("committing", 0, len(staged))
            message = f"Import {len(staged)} pages from {root.name}"
            pages.save_many(
                res,
                project,
                staged,
                message,
                when=now,
                author=AUTHOR,
                indexed=lambda done: progress("indexing", done, len(staged)),
            )
    return run.report(str(root), dry_run)


def _root(folder: Path) -> Path:
    try:
        if folder.is_dir():
            return folder.resolve()
    except OSError as error:
        raise storage_error("read the folder", folder, error) from error
    raise InputError(f"there is no folder {folder}; name the one that holds the Markdown files")


# --- what there is


def _finds(root: Path, home: Path) -> Finds:
    """Look through a folder, ours excepted, following no symbolic link; files that clash in name come .md first."""
    sources: list[Source] = []
    skipped: dict[str, str] = {}
    others = 0
    waiting = [(os.fspath(root), "")]
    while waiting:
        folder, prefix = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError as error:
            skipped[prefix] = _refusal(error)
            continue
        for entry in found:
            name = prefix + os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            is_page = name.lower().endswith(ENDINGS)
            is_folder = _is(entry.is_dir)
            reason = _reason(entry, root, home, is_folder=is_folder)
            if reason and (is_page or is_folder):
                skipped[f"{name}/" if is_folder else name] = reason
            elif is_folder:
                waiting.append((entry.path, f"{name}/"))
            elif is_page:
                sources.append(Source(name, entry.path, entry.stat(follow_symlinks=False).st_mtime))
            else:
                others += 1
    sources.sort(key=lambda one: (posixpath.splitext(one.name)[0], len(one.name), one.name))
    return Finds(sources, skipped, others)


def _is(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except OSError:
        return False


def _reason(entry: os.DirEntry[str], root: Path, home: Path, *, is_folder: bool) -> str:
    """Say why an entry of a folder is left out by what it is; '' for what is not."""
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


def _refusal(error: OSError) -> str:
    return f"cannot be read: {(error.strerror or str(error)).lower()}"


def _text(source: Source) -> str:
    """Read a file. Raises Unusable."""
    try:
        with open(source.file, "rb") as file:
            data = file.read(4 * MAX_BODY + 1)  # a character takes at most four
        text = data.decode("utf-8")
    except OSError as error:
        raise Unusable(_refusal(error)) from error
    except UnicodeDecodeError as error:
        raise Unusable("binary" if b"\0" in data else _too_long(data) or "not UTF-8") from error
    if "\0" in text:
        raise Unusable("binary")
    if not text.strip("\ufeff \t\r\n"):
        raise Unusable("empty")
    if _too_long(text):
        raise Unusable(_too_long(text))
    return text


def _too_long(text: str | bytes) -> str:
    most = MAX_BODY if isinstance(text, str) else 4 * MAX_BODY
    return f"longer than {MAX_BODY:,} characters" if len(text) > most else ""


# --- where it goes


class _Places:
    """Gives every file the path of its page: the same at every run, and never that of something else's page."""

    def __init__(self, res: Resources, project: Project, redactor: Redactor, known: Iterator[str]) -> None:
        self._res, self._project, self._redactor = res, project, redactor
        self._known = {path.casefold(): path for path in known}
        self._taken: set[str] = set()

    def of(self, source: Source, *, crowded: bool) -> Target:
        """Choose the path of a file's page: where that is already, else the first that is free."""
        wanted = _wanted(self._redactor.text(source.name), crowded=crowded)
        free = [path for path in wanted if path.casefold() not in self._taken]
        for path in free:
            digest = self._digest_at(path, source)
            if digest is not None:
                return self._take(Target(self._known[path.casefold()], digest))
        return self._take(Target(next(path for path in free if path.casefold() not in self._known)))

    def moved(self, path: str, source: Source) -> Target | None:
        """Say whether the page at a path nobody chose yet is the file's: somebody has put it there."""
        digest = None if path.casefold() in self._taken else self._digest_at(path, source)
        return None if digest is None else self._take(Target(path, digest))

    def _take(self, target: Target) -> Target:
        self._taken.add(target.path.casefold())
        return target

    def _digest_at(self, path: str, source: Source) -> str | None:
        """The digest of a page here if it is that of the file, '' if it is although it was not imported, else None."""
        try:
            page, text = pages.load(self._res, self._project, self._known[path.casefold()])
        except (KeyError, NotFoundError):
            return None
        mark = markdown.parse(text)[0].get("imported")
        if isinstance(mark, dict):
            came = str(mark.get("from"))
            gone = came.endswith(f"/{source.name}") and not os.path.exists(came)  # the whole folder has moved
            return str(mark.get("digest")) if gone or came == origin(source, self._redactor) else None
        with suppress(Unusable):
            told = _text(source)
            if told == text or markdown.parse(told)[0].get("id") == page.id:
                return ""
        return None


def origin(source: Source, redactor: Redactor) -> str:
    """Return where a file lies, as its page tells it."""
    return redactor.text(Path(source.file).as_posix()).encode("utf-8", "replace").decode()


def _wanted(name: str, *, crowded: bool) -> Iterator[str]:
    """Yield the paths that a file's page may have, the best first.

    Folders of ours stay what they are, everything else goes below notes/. Files of a crowded folder are spread over
    256 folders below it.
    """
    name = unicodedata.normalize("NFC", name)
    first, slash, rest = name.partition("/")
    path = f"{first.lower()}/{rest}" if slash and first.lower() in _KINDS else f"notes/{name}"
    path = path[: -len(".markdown")] if path.lower().endswith(".markdown") else path
    mark = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
    folder, _, last = path.rpartition("/")
    plain, spread = markdown.tame_path(path), markdown.tame_path(f"{folder}/{mark[-2:]}/{last}")
    yield from (spread, plain) if crowded else (plain, spread)
    yield from (markdown.tame_path(path, f"-{mark[:length]}") for length in (8, 16, 32, 64))


# --- what comes of it


class _Staged(Mapping[str, bytes]):
    """Pages that wait for their commit, in a file without a name: there may be more of them than fit in memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._spans: dict[str, tuple[int, int]] = {}

    @classmethod
    @contextmanager
    def at(cls, home: Path) -> Iterator[_Staged]:
        """Open an empty one. Raises StorageError when the disk refuses, now or later."""
        folder = private_dir(home / "cache")
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                yield cls(file)
        except OSError as error:
            raise storage_error("keep pages in", folder, error) from error

    def put(self, path: str, data: bytes) -> None:
        """Add a page."""
        self._spans[path] = self._file.seek(0, os.SEEK_END), len(data)
        self._file.write(data)

    def __getitem__(self, path: str) -> bytes:
        start, length = self._spans[path]
        self._file.seek(start)
        return self._file.read(length)

    def __iter__(self) -> Iterator[str]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)


class _Run:
    """One import: where everything goes is known first, then each file is made a page of."""

    def __init__(
        self, res: Resources, project: Project, redactor: Redactor, db: Connection, finds: Finds, staged: _Staged
    ) -> None:
        self._res, self._project, self._redactor, self._db, self._staged = res, project, redactor, db, staged
        self._finds = finds
        self._places = _Places(res, project, redactor, iter(rows.page_stamps(db, project.id)))
        crowds = Counter(posixpath.dirname(source.name) for source in finds.sources)
        self._targets = {
            source.name: self._places.of(source, crowded=crowds[posixpath.dirname(source.name)] > CROWD)
            for source in finds.sources
        }
        self._links = _Links({name: target.path for name, target in self._targets.items()})
        self._ids: set[str] = set()
        self._added: dict[str, str] = {}
        self._updated: dict[str, str] = {}
        self._unchanged = self._redacted = 0
        self._kinds: Counter[str] = Counter()

    def report(self, folder: str, dry_run: bool) -> ImportReport:
        """Say what was done, or what would be."""
        return ImportReport(
            project=self._project.name,
            folder=folder,
            added=self._added,
            updated=self._updated,
            unchanged=self._unchanged,
            skipped=dict(sorted(self._finds.skipped.items())),
            other_files=self._finds.others,
            redacted=self._redacted,
            kinds=dict(sorted(self._kinds.items())),
            dry_run=dry_run,
        )

    def take(self, source: Source) -> None:
        """Make a page of a file, if it is not one already."""
        try:
            raw = _text(source)
            text = self._redactor.text(raw)
            self._make(source, text, redacted=text != raw)
        except Unusable as reason:
            self._finds.skipped[source.name] = str(reason)

    def _make(self, source: Source, text: str, *, redacted: bool) -> None:
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        target = self._targets[source.name]
        if target.digest == digest:
            self._unchanged += 1
            return
        meta, body = markdown.parse(text)
        _refuse_generated(source.name, meta)
        target, page_id = self._identify(source, target, meta)
        old = None if target.digest is None else pages.load(self._res, self._project, target.path)[0]
        if target.digest == digest or (old and target.digest == "" and not _goes_before(meta, old)):
            self._unchanged += 1
            return
        head = text
        if not meta and markdown.problem(text):
            head, body = "", text.removeprefix("\ufeff")  # front matter that nothing can read is text
        page = self._page(source, target.path, meta, text, old).model_copy(
            update={"id": page_id, "body": self._links.in_body(body, source.name, target.path)}
        )
        mark = {"imported": {"from": origin(source, self._redactor), "digest": digest}}
        made = markdown.set_keys(markdown.text_from(page, head), mark)
        self._staged.put(target.path, made.encode("utf-8", "replace"))
        self._ids.add(page_id)
        self._kinds[page.kind] += 1
        self._redacted += redacted
        (self._added if old is None else self._updated)[source.name] = target.path

    def _identify(self, source: Source, target: Target, meta: Meta) -> tuple[Target, str]:
        """Find the page of a file, wherever it is by now, and its id: its own, unless another page has that."""
        told = _told(meta, "id")
        given = told if told.isprintable() and len(told) <= MAX_ID else ""
        if target.digest is not None:
            page = pages.load(self._res, self._project, target.path)[0]
            free = given and given not in self._ids and rows.owner(self._db, given) is None
            return target, given if free else page.id
        for page_id in filter(None, (given, markdown.page_id(self._project.id, target.path))):
            project_id, path = rows.owner(self._db, page_id) or ("", "")
            moved = self._places.moved(path, source) if project_id == self._project.id and path else None
            if moved:
                return moved, page_id
            own_session = project_id == self._project.id and not path
            if page_id not in self._ids and (not project_id or own_session):
                return target, page_id
        return target, markdown.page_id(self._project.id, f"{target.path} {source.name}")

    def _page(self, source: Source, path: str, meta: Meta, text: str, old: Page | None) -> Page:
        """Read a file as a page, without looking at its body's links."""
        changed = _time(source.mtime)
        dated = markdown.when_from(meta.get("date"), changed)
        updated = markdown.when_from(meta.get("updated"), dated)
        created = markdown.when_from(meta.get("created"), min(old.created if old else dated, updated))
        named = posixpath.splitext(self._redactor.text(source.name))[0]
        page = markdown.page_from(f"{named}.md", text, project=self._project.id, created=created, updated=updated)
        outdated = old is not None and old.status == "superseded" and "status" not in meta
        by = old.superseded_by if old and outdated else self._links.path(page.superseded_by)
        return page.model_copy(
            update={
                "path": path,
                "title": " ".join(page.title.split())[:200],
                "kind": _kind(meta, path),
                "created": created,
                "updated": markdown.when_from(meta.get("updated"), max(updated, created)),
                "status": "superseded" if outdated else page.status,
                "supersedes": tuple(self._links.path(ref) for ref in page.supersedes),
                "superseded_by": by,
            }
        )


def _told(meta: Meta, key: str) -> str:
    value = meta.get(key)
    return value.strip() if isinstance(value, str) else ""


def _kind(meta: Meta, path: str) -> PageKind:
    """Return the kind a file says, else that of the folder; what only the memory itself makes is a note.

    A handoff of elsewhere is one as well: nobody here is to go on from it.
    """
    told = _told(meta, "kind")
    return cast(PageKind, told) if told in FOLDERS else _KINDS.get(path.partition("/")[0], "note")


def _refuse_generated(name: str, meta: Meta) -> None:
    """Leave out what every project has of its own. Raises Unusable."""
    kind = _told(meta, "kind")
    if kind == "project" and "workspace_id" in meta:
        raise Unusable("the front page of another project")
    if (name, kind) == ("index.md", "index") or (name.startswith("_lint/") and kind == "lint"):
        raise Unusable("made anew by every project")


def _goes_before(meta: Meta, page: Page) -> bool:
    """Tell whether a file is to replace the same page that was not imported: where it says that it is newer."""
    return page.kind in FOLDERS and markdown.when_from(meta.get("updated"), _EPOCH) > page.updated


def _time(mtime: float) -> datetime:
    try:
        return datetime.fromtimestamp(int(mtime), timezone.utc)
    except (ValueError, OverflowError, OSError):
        return _EPOCH


class _Links:
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
            found = self._paths.get(posixpath.normpath(posixpath.join(here, unicodedata.normalize("NFC", target))))
            new = posixpath.relpath(found, posixpath.dirname(path)) if found else ""
            return new if new != posixpath.normpath(target) else None

        def wiki(target: str) -> str | None:
            told = unicodedata.normalize("NFC", target).strip("/").removesuffix(".md")
            found = self._stems.get(told.casefold(), "")
            if found and posixpath.basename(found).casefold() == f"{told}.md".casefold():
                return None  # its name says enough
            for place in (told, posixpath.normpath(posixpath.join(here, told))):
                found = found or self._paths.get(f"{place}.md", "")
            return found.removesuffix(".md") if found.removesuffix(".md") != told else None

        return markdown.relink(body, wiki, relative)
