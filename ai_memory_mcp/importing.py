"""Import: what was kept elsewhere becomes pages of a project, as much as there is and as often as one likes.

A page made here says in its front matter (`imported`) which file it came from and a digest of what that file said: by
that the next run knows what has changed, and leaves alone what was made of the page in the meantime. Where a program
has made the file (`generated_by`), a page that was edited stays even when the file has changed.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, cast

from ai_memory_mcp import evicting, markdown, pages
from ai_memory_mcp.agents.spec import all_specs
from ai_memory_mcp.errors import InputError
from ai_memory_mcp.files import private_dir, storage_error
from ai_memory_mcp.importing_files import Finds, Source, Unusable, find, read
from ai_memory_mcp.importing_places import MARK, Links, Places, Target, origin
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.markdown import Meta
from ai_memory_mcp.memory import Progress
from ai_memory_mcp.model import ImportReport, Page, PageKind, Project
from ai_memory_mcp.redact import Redactor
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.sessions import native_mark, session_id
from ai_memory_mcp.writing import FOLDERS

AUTHOR = "user"
CROWD = 5_000  # files in a folder; a commit rewrites the lists of its folders, and that of 50,000 is 3 MB long
MAX_ID = 200  # characters
GENERATED = "generated_by"  # the key of front matter of files that a program has made: theirs to replace, ours to edit
_KINDS = {folder: cast(PageKind, kind) for kind, folder in FOLDERS.items()}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def markdown_folder(
    res: Resources,
    project: Project,
    folder: Path,
    redactor: Redactor,
    *,
    now: datetime,
    dry_run: bool = False,
    progress: Progress = lambda *_: None,
    sent_from: str = "",
) -> ImportReport:
    """Bring the Markdown files below a folder in as pages of a known project, redacted, in one commit.

    A second run makes pages of what is new or has changed; pages whose file is gone stay. Files that cannot become
    pages are left out and named. Raises InputError for a folder that is none, StorageError when the disk refuses.
    """
    root = checked(folder)
    wiki = res.wiki(project).folder.resolve()
    if root == wiki or wiki in root.parents:
        raise InputError(f"{root} is the wiki of this very project; its pages are known already")
    if not dry_run:
        pages.notice_edits(res, project, now=now)  # what a killed run has left, too
    finds = find(root, res.home.resolve(), sent_from)
    with _Staged.at(res.home) as staged:
        with res.index.read() as db:
            run = _Run(res, project, redactor, db, finds, staged)
            run.take_all(progress)
        if staged and not dry_run:
            progress("committing", 0, len(staged))
            pages.save_many(
                res,
                project,
                staged,
                f"Import {len(staged)} pages from {posixpath.basename(sent_from) or root.name}",
                when=now,
                author=AUTHOR,
                indexed=lambda done: progress("indexing", done, len(staged)),
            )
    return run.report(str(root), dry_run)


def checked(folder: Path) -> Path:
    """Return the real path of a folder to import. Raises InputError when it is none."""
    try:
        if folder.is_dir():
            return folder.resolve()
    except OSError as error:
        raise storage_error("read the folder", folder, error) from error
    raise InputError(f"there is no folder {folder}; name the one that holds the Markdown files")


class _Staged(Mapping[str, bytes]):
    """Pages that wait for their commit, in a file without a name: there may be more of them than fit in memory."""

    def __init__(self, file: IO[bytes], folder: Path) -> None:
        self._file, self._folder = file, folder
        self._spans: dict[str, tuple[int, int]] = {}

    @classmethod
    @contextmanager
    def at(cls, home: Path) -> Iterator[_Staged]:
        """Open an empty one. Raises StorageError when the disk refuses, now or later."""
        folder = private_dir(home / "cache")
        try:
            file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed below
        except OSError as error:
            raise storage_error("make a file in", folder, error) from error
        with file:
            yield cls(file, folder)

    def put(self, path: str, data: bytes) -> None:
        """Add a page."""
        try:
            start = self._file.seek(0, os.SEEK_END)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise storage_error("write to a file in", self._folder, error) from error
        self._spans[path] = start, len(data)

    def __getitem__(self, path: str) -> bytes:
        start, length = self._spans[path]
        self._file.seek(start)
        return self._file.read(length)

    def __iter__(self) -> Iterator[str]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)


class _Run:
    """One import: every file is given its place first, for the links, then each is made a page of."""

    def __init__(
        self, res: Resources, project: Project, redactor: Redactor, db: Connection, finds: Finds, staged: _Staged
    ) -> None:
        self._res, self._project, self._redactor, self._db = res, project, redactor, db
        self._finds, self._staged = finds, staged
        self._places = Places(res, project, redactor, rows.page_stamps(db, project.id))
        self._links = Links({})
        self._ids: set[str] = set()
        self._added: dict[str, str] = {}
        self._updated: dict[str, str] = {}
        self._unchanged = self._redacted = 0
        self._kinds: Counter[str] = Counter()

    def take_all(self, progress: Progress) -> None:
        """Stage the pages of all files that are new or have changed."""
        sources = self._finds.sources
        crowds = Counter(posixpath.dirname(source.name) for source in sources)
        targets = []
        for done, source in enumerate(sources):
            progress("looking", done, len(sources))
            targets.append(self._places.of(source, crowded=crowds[posixpath.dirname(source.name)] > CROWD))
        self._links = Links({source.name: target.path for source, target in zip(sources, targets, strict=True)})
        for done, (source, target) in enumerate(zip(sources, targets, strict=True)):
            progress("reading", done, len(sources))
            try:
                self._take(source, target)
            except Unusable as reason:
                self._finds.skipped[source.name] = str(reason)

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

    def _take(self, source: Source, target: Target) -> None:
        raw = read(source)
        text = self._redactor.text(raw)
        digest = _digest(text)
        if target.digest == digest:
            self._unchanged += 1
            return
        meta, body = markdown.parse(text)
        _refuse_generated(source.name, meta)
        target, page_id = self._identify(source, target, meta)
        if target.digest is None and (stone := evicting.gone(self._res, self._project, target.path, page_id)):
            raise Unusable(f"its page was taken out of memory on {stone.at:%Y-%m-%d}; write it to have it back")
        old, before = (None, "") if target.digest is None else pages.load(self._res, self._project, target.path)
        if target.digest == digest or (old and not self._replaces(meta, target, old, before, digest)):
            self._unchanged += 1
            return
        head = text
        if not meta and markdown.problem(text):
            head, body = "", text.removeprefix("\ufeff")  # front matter that nothing can read is text
        body = self._links.in_body(body, source.name, target.path)
        page = self._page(source, target.path, meta, text, old).model_copy(update={"id": page_id, "body": body})
        if old is None and self._is_gone(page.session):
            raise Unusable("it is of a session that was taken out of memory")
        made = markdown.text_from(page, head)
        mark = {"from": origin(source, self._redactor), "digest": digest}
        if GENERATED in meta:
            mark["made"] = _digest(made)
        made = markdown.set_keys(made, {MARK: mark})
        self._staged.put(target.path, made.encode("utf-8", "replace"))
        self._ids.add(page_id)
        self._kinds[page.kind] += 1
        self._redacted += text != raw
        (self._added if old is None else self._updated)[source.name] = target.path

    def _replaces(self, meta: Meta, target: Target, old: Page, before: str, digest: str) -> bool:
        """Tell whether a file is to replace its page. Raises Unusable for a page that is kept from a program."""
        if GENERATED in meta:
            mark = markdown.parse(before)[0].get(MARK)
            made = markdown.set_keys(before, {MARK: None})
            if not isinstance(mark, dict) or mark.get("made") != _digest(made):
                raise Unusable("its page was edited since, and stays as it is")
            return mark.get("digest") != digest
        return target.digest != "" or _goes_before(meta, old)

    def _is_gone(self, session: str) -> bool:
        """Tell whether a session (its agent's own id, by whatever name of the agent) is not to come back."""
        gone = self._res.tombstones.ids("session") if session else frozenset()
        return bool(gone) and any(
            not gone.isdisjoint((native_mark(agent, session), session_id(agent, session, self._project.id)))
            for agent in all_specs()
        )

    def _identify(self, source: Source, target: Target, meta: Meta) -> tuple[Target, str]:
        """Find the page of a file, wherever it is by now, and its id: the file's own, unless another page has that."""
        told = _told(meta, "id")
        given = told if told.isprintable() and len(told) <= MAX_ID else ""
        if target.digest is not None:
            page = pages.load(self._res, self._project, target.path)[0]
            free = given and given not in self._ids and rows.owner(self._db, given) is None
            return target, given if free else page.id
        for page_id in filter(None, (given, markdown.page_id(self._project.id, target.path))):
            project_id, path = rows.owner(self._db, page_id) or ("", "")
            here = project_id == self._project.id
            if here and path and (moved := self._places.claim(path, source)):
                return moved, page_id
            if page_id not in self._ids and (not project_id or (here and not path)):
                return target, page_id
        return target, markdown.page_id(self._project.id, f"{target.path} {source.name}")

    def _page(self, source: Source, path: str, meta: Meta, text: str, old: Page | None) -> Page:
        """Read a file as a page at a path; id and body are still the file's."""
        dated = markdown.when_from(meta.get("date"), _time(source.mtime))
        updated = markdown.when_from(meta.get("updated"), dated)
        created = markdown.when_from(meta.get("created"), min(old.created if old else dated, updated))
        named = posixpath.splitext(self._redactor.text(source.name))[0]
        page = markdown.page_from(f"{named}.md", text, project=self._project.id, created=created, updated=updated)
        outdated = old if old and old.status == "superseded" and "status" not in meta else None
        return page.model_copy(
            update={
                "path": path,
                "title": " ".join(page.title.split())[:200],
                "kind": _kind(meta, path),
                "created": created,
                "updated": markdown.when_from(meta.get("updated"), max(updated, created)),
                "status": "superseded" if outdated else page.status,
                "supersedes": tuple(self._links.path(ref) for ref in page.supersedes),
                "superseded_by": outdated.superseded_by if outdated else self._links.path(page.superseded_by),
            }
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _told(meta: Meta, key: str) -> str:
    value = meta.get(key)
    return value.strip() if isinstance(value, str) else ""


def _kind(meta: Meta, path: str) -> PageKind:
    """Return the kind a file says, else that of the folder. What only the memory itself makes is a note, a handoff of
    elsewhere as well: nobody here is to go on from it."""
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
