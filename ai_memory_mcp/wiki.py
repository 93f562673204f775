"""The pages of one project: plain files, and their history in one git repository (the only user of dulwich).

Commits go round git's index (it costs a rewrite of every entry): objects, the trees on the changed paths,
then compare-and-swap of the branch, all under one lock. So `git status` is stale until `refresh_git_index`
has run. Reading pages never imports dulwich.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import time
import zlib
from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ai_memory_mcp import files
from ai_memory_mcp.errors import BusyError, InputError, NotFoundError, StorageError
from ai_memory_mcp.gitlog import Commit, Difference, Touch, Walk, differences, header, how, is_page, tree_entries, walk
from ai_memory_mcp.joining import BOTH, Gone, Line, nothing_gone
from ai_memory_mcp.markdown import readable, safe_path, slug

if TYPE_CHECKING:
    from dulwich.index import ConflictedIndexEntry, IndexEntry
    from dulwich.objects import ObjectID
    from dulwich.repo import Repo

    from ai_memory_mcp.joining import Judge, Plan
    from ai_memory_mcp.wiki_rewrite import Edit

COMMITTER = "ai-memory"
ON_PURPOSE = "Pages-removed: on purpose"  # in the message of a commit: what it removes may go on other machines too
_FILE, _FOLDER = b"100644", b"40000"
_STALE = "ai-memory-stale"  # in .git: the paths committed since git's index was refreshed, each ended by NUL
_INDEX_LOCK = b"ai-memory\n"  # tells our own index.lock from git's after a crash
_OBJECT_MODE = 0o600 if sys.platform == "win32" else 0o400  # there, what is read-only cannot be removed
_BIG_TREE = 64 * 1024  # bytes; the ids in a tree do not compress, so a big one is stored as it is (20 ms saved at 1 MB)
_PACK_AT_ONCE = 64  # pages; a larger commit is written as a pack, with one fsync instead of hundreds
_PACK_SIZE = 16 * 1024 * 1024  # bytes of pages; a still larger one as several, so that it need not fit in memory
_QUICK_INDEX = 256 * 1024  # bytes of git's index: about 2,500 pages, 25 ms to rewrite
_GIT_PATIENCE = 2.0  # seconds to wait for git commands that hold or move the branch,
_GIT_TRIES = 5  # and how often at least to try: one try in a large history may take as long
_CONFIG = b"""[core]
\trepositoryformatversion = 0
\tfilemode = false
\tbare = false
\tlogallrefupdates = true
\tautocrlf = false
"""
_EXCLUDE = b".*\n!.gitignore\n!.gitattributes\n"  # editors' folders (.obsidian) and our unfinished files
_UNFINISHED = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
}


class Seen(NamedTuple):
    """What tells that a file changed: nanoseconds and bytes."""

    mtime_ns: int
    size: int


class Scan(NamedTuple):
    """What differs on disk from what was known."""

    added: dict[str, Seen]
    changed: dict[str, Seen]
    vanished: frozenset[str]


class Joined(NamedTuple):
    """What came of joining another commit to ours, as paths.

    `written` and `removed` changed here; `kept` were removed on one side by who did not say so, and are here again or
    still; `left_out` (path -> why) were not taken. `ahead`: we have what the other commit has not. `head` is ours now.
    """

    written: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    left_out: dict[str, str]
    ahead: bool
    head: str


class Change(NamedTuple):
    """One commit."""

    id: str
    when: datetime
    author: str
    message: str


class ProjectWiki:
    """The wiki of one project in `folder`, its lock in `locks`. Safe for concurrent processes."""

    def __init__(self, folder: Path, locks: Path, *, timeout: float = 30.0) -> None:
        self.folder = folder
        self._git = folder / ".git"
        self._lock = locks / f"wiki-{folder.name}.lock"
        self._timeout = timeout  # seconds to wait for the lock
        self.made: list[Commit] = []  # by this object, in order: what the index need not read back from git

    # -- pages on disk

    def read(self, path: str) -> bytes:
        """The bytes of a page as they are on disk. Raises NotFoundError, InputError."""
        target = self._target(safe_path(path))
        try:
            return target.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NotFoundError(f"There is no page {path!r} in this project. Search or list pages.") from error
        except OSError as error:
            raise files.storage_error("read", target, error) from error

    def paths(self) -> Iterator[str]:
        """The paths of all pages on disk, in no order; hidden names and symbolic links are not pages."""
        return (path for path, _ in _walk(os.fspath(self.folder), ""))

    def scan(self, known: Mapping[str, tuple[int, int]]) -> Scan:
        """Compare the disk with what was known, path -> (mtime_ns, size), by time and size alone."""
        added, changed, here = {}, {}, set()
        for path, entry in _walk(os.fspath(self.folder), ""):
            with suppress(FileNotFoundError):
                stat = entry.stat(follow_symlinks=False)
                seen = Seen(stat.st_mtime_ns, stat.st_size)
                here.add(path)
                if path not in known:
                    added[path] = seen
                elif tuple(known[path]) != seen:
                    changed[path] = seen
        return Scan(added, changed, frozenset(known.keys() - here))

    def _target(self, path: str) -> Path:
        if not self._inside(path):
            raise InputError(f"The page path {path!r} leads through a symbolic link; the wiki does not follow those.")
        return self.folder / path

    def _inside(self, path: str) -> bool:
        """Whether a path stays in the wiki, is not hidden, and leads through no symbolic link."""
        parts = path.split("/")
        real = os.path.join(os.path.realpath(self.folder), *parts)
        return not any(part.startswith(".") for part in parts) and os.path.realpath(real) == real

    # -- changes

    def commit(self, changes: Mapping[str, bytes | None], message: str, *, author: str, when: datetime) -> str | None:
        """Write pages (None removes one) to disk and into history; gives the commit's id, None if nothing
        changed.

        What somebody edited by hand in one of these pages is committed first, so no version is lost. Only the
        given paths change in history: pages that vanished from disk stay there. Goes on from whatever branch
        is checked out. A mapping that reads its values when asked for them is never held in memory as a whole.
        Raises InputError for a bad path, StorageError when the disk, the lock or the repository refuses, and also
        in the middle of a merge or rebase and on a detached HEAD; nothing is written then.
        """
        pages = changes
        if any(safe_path(path) != path for path in changes):
            pages = {safe_path(path): data for path, data in changes.items()}
        for path in pages:
            self._target(path)
        with self._alone() as repo:
            _head(repo)  # refuses before anything is written
            edited = self._edited(repo, [path for path, data in pages.items() if _differs(self.folder / path, data)])
            self._record(repo, edited, _by_hand(edited), "by hand", when)
            gone = []
            for path, data in pages.items():
                if data is None:
                    gone.append(path)
                else:
                    self._put(self.folder / path, data)
            made = self._record(repo, pages, f"{message}\n\n{ON_PURPOSE}" if gone else message, author, when)
            for path in gone:  # only now: one that is gone from the disk alone stays in history, and nobody asks again
                self._put(self.folder / path, None)
            return made

    def uncommitted(self, candidates: Iterable[str]) -> dict[str, bytes]:
        """Those of the given pages whose bytes on disk are not the ones in history. Pages gone from disk
        never are.
        """
        if not self._git.exists():
            return dict(self._present(candidates))
        with self._repository() as repo:
            return self._edited(repo, candidates)

    def keep_edits(self, candidates: Iterable[str], *, when: datetime) -> tuple[str | None, dict[str, bytes]]:
        """Commit hand edits of the given pages as they are on disk, without touching the disk.

        Gives the commit's id (None if there was nothing) and the pages it holds. Raises like `commit`.
        """
        with self._alone() as repo:
            edited = self._edited(repo, candidates)
            return self._record(repo, edited, _by_hand(edited), "by hand", when), edited

    def _edited(self, repo: Repo, candidates: Iterable[str]) -> dict[str, bytes]:
        trees, root = _Trees(repo), _root(repo, _head(repo))
        present = self._present(candidates)
        return {path: data for path, data in present if trees.blob(root, path) != _blob_id(data)}

    def _present(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        for path in filter(self._inside, paths):
            with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                yield path, (self.folder / path).read_bytes()

    def _put(self, target: Path, data: bytes | None) -> None:
        if data is not None:
            if _differs(target, data):
                files.private_dir(target.parent)
                files.write_atomic(target, data)
            return
        with suppress(NotADirectoryError):
            files.remove(target)
        for folder in target.parents:
            if folder == self.folder or not _pruned(folder):
                return

    def join(
        self,
        other: str,
        judge: Judge,
        *,
        when: datetime,
        large: Container[str] = (),
        gone: Gone = nothing_gone,
        line: Line = BOTH,
        dry_run: bool = False,
    ) -> Joined:
        """Bring the pages of another commit, which is in this repository, together with ours (see `joining`); what was
        edited by hand is committed first.

        Raises like `commit`; killed half-way, the next join goes on. What of a history that does not go on is left
        in the repository goes with `drop_old`.
        """
        from ai_memory_mcp.joining import Plan

        deadline = time.monotonic() + _GIT_PATIENCE
        with self._alone() as repo:
            for tried in count(1):
                three = _Three(self, repo, _head(repo), _oid(bytes.fromhex(other)), line)
                plan = Plan(three, judge, large, gone)
                edited = {} if dry_run else self._edited(repo, plan.files)
                if edited:
                    self._record(repo, edited, _by_hand(edited), "by hand", when)
                    continue
                new: list[_Object] = []
                made = three.commit(plan, new, when)
                joined = Joined(
                    plan.written, plan.removed, plan.kept, plan.left_out, made != three.theirs, made.decode()
                )
                if dry_run or made == three.ours:
                    return joined
                for path in joined.removed:
                    self._put(self.folder / path, None)
                for path in joined.written:
                    self._put(self.folder / path, plan.data(path))
                _store(repo, new)
                _mark_stale(repo, map(os.fsencode, plan.files))
                if _advance(repo, three.ours, made, "sync", when):
                    return joined
                if tried >= _GIT_TRIES and time.monotonic() > deadline:
                    break
                time.sleep(0.02)
            raise StorageError(f"Git holds the branch of {repo.path}. Try again.")

    # -- the repository

    @contextmanager
    def _alone(self) -> Iterator[Repo]:
        """Hold the project's lock with the repository open; makes the repository, and cleans up after a
        crash.
        """
        with files.locked(self._lock, timeout=self._timeout) as died, ExitStack() as stack:
            if died:
                self._clean_up()
            new = self._begin()
            repo = stack.enter_context(self._repository())
            found = dict(self._present(self.paths())) if new else {}
            now = datetime.fromtimestamp(_newest(self.folder, found), timezone.utc)
            self._record(repo, found, f"Begin the history with {len(found)} pages found here", COMMITTER, now)
            yield repo

    def _record(
        self, repo: Repo, pages: Mapping[str, bytes | None], message: str, author: str, when: datetime
    ) -> str | None:
        made = _record(repo, pages, message, author, when)
        if made is None:
            return None
        self.made.append(made)
        return made.id

    @contextmanager
    def _repository(self) -> Iterator[Repo]:
        from dulwich.errors import ChecksumMismatch, FileFormatException, MissingCommitError, NotGitRepository
        from dulwich.repo import Repo

        damage = (
            ChecksumMismatch,
            FileFormatException,
            MissingCommitError,
            NotGitRepository,
            KeyError,
            ValueError,
            AssertionError,
        )
        try:
            with Repo(os.fspath(self.folder)) as repo:
                repo.object_store.loose_compression_level = 1  # a third of the time of the default, 10 % larger
                repo.object_store.fsync_object_files = True
                yield repo
        except (*damage, zlib.error) as error:
            raise StorageError(
                f"The git repository {self._git} is damaged ({type(error).__name__}: {error}). The pages "
                "are untouched. Repair it (git fsck), or move that .git folder away: a new history begins."
            ) from error
        except OSError as error:
            raise files.storage_error("use the repository", self._git, error) from error

    def prepare(self) -> Path:
        """Make the repository when there is none; return its git folder. Raises StorageError."""
        with files.locked(self._lock, timeout=self._timeout):
            self._begin()
        return self._git

    @contextmanager
    def at_rest(self, *, timeout: float = 120.0) -> Iterator[None]:
        """Keep others from committing meanwhile; half-done work of who was killed is cleaned up. Raises BusyError."""
        with files.locked(self._lock, timeout=timeout) as died:
            if died:
                self._clean_up()
            yield

    def move_to(self, there: ProjectWiki, name: str) -> None:
        """Give the folder, history and all, the place of another wiki of the same project; done once only.

        A file in its place tells those who knew it that the project is `name` now. Raises StorageError.
        """
        with files.locked(self._lock, timeout=self._timeout) as died, _translated(self.folder):
            if died:  # at its work in either place: they have one lock
                self._clean_up()
                there._clean_up()
            if self.folder.is_dir():
                files.private_dir(there.folder.parent)
                there.folder.unlink(missing_ok=True)  # what such a move has left there
                self.folder.rename(there.folder)
            files.write_atomic(self.folder, name.encode("utf-8", "replace"))

    def leave(self, name: str) -> None:
        """Remove the folder with its history; a file in its place tells that the project is `name` now."""
        with self.at_rest(), _translated(self.folder):
            if self.folder.is_dir():
                shutil.rmtree(self.folder)
            files.private_dir(self.folder.parent)
            files.write_atomic(self.folder, name.encode("utf-8", "replace"))

    def absorb(
        self, other: ProjectWiki, pages: Mapping[str, bytes], message: str, *, author: str, when: datetime
    ) -> None:
        """Take pages and the whole history of another wiki in, by a merge. Raises like `commit`."""
        with other._alone() as theirs, self._alone() as repo:
            _head(repo)
            for name in _object_files(other._git):
                target = self._git / name
                if not target.exists():
                    files.private_dir(target.parent)
                    _second_name(other._git / name, target)
            for path, data in pages.items():
                self._put(self._target(safe_path(path)), data)
            made = _record(repo, pages, message, author, when, _head(theirs))
            if made:
                self.made.append(made)

    def _begin(self) -> bool:
        """Make the repository when there is none; in one step, so a crash leaves none or a whole one."""
        if self._git.exists():
            return False
        if self.folder.is_file():
            raise StorageError(f"This project is {self.folder.read_text('utf-8').strip()} by now. Try again.")
        files.private_dir(self.folder)
        fresh = self.folder / ".git-new"
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            for part in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info"):
                files.private_dir(fresh / part)
            for name, data in (
                ("config", _CONFIG),
                ("info/exclude", _EXCLUDE),
                ("HEAD", b"ref: refs/heads/main\n"),
            ):
                files.write_atomic(fresh / name, data)
            fresh.rename(self._git)
        except OSError as error:
            raise files.storage_error("make the repository", self._git, error) from error
        return True

    def _clean_up(self) -> None:
        """Remove what a killed process of ours left: git lock files and unfinished pages."""
        if not self.folder.is_dir():  # it was moved away
            return
        for pattern in (
            ".*.tmp",
            "refs/heads/**/*.lock",
            "HEAD.lock",
            ".*.tmp",
            "objects/*/*.lock",
            "objects/*/.*.tmp",
            "objects/tmp_pack_*",
        ):
            for left in self._git.glob(pattern):
                left.unlink(missing_ok=True)
        index_lock = self._git / "index.lock"
        with suppress(FileNotFoundError):
            if index_lock.read_bytes() == _INDEX_LOCK:
                index_lock.unlink()
        for folder, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                if name.startswith(".") and name.endswith(files.TEMPORARY):
                    Path(folder, name).unlink(missing_ok=True)

    # -- erasing

    def erase(self, edit: Edit) -> int:
        """Make pages and their whole history as if what is to go had never been there; gives how many commits changed.

        Nothing of it is left in the folder: neither in files nor in objects, reflogs or git's index. To be repeated
        when it was interrupted. Raises StorageError like `commit`.
        """
        from ai_memory_mcp.wiki_rewrite import drop_unreachable, rewrite_history

        if not self._git.exists():
            self._erase_files(edit)
            return 0
        with self._alone() as repo:
            _head(repo)
            self._clean_up()
            self._erase_files(edit)
            changed = rewrite_history(repo, edit)
            self._renew(repo)
            drop_unreachable(repo)
        return changed

    def leads_to(self, commit: str) -> bool:
        """Tell whether the history leads back to a commit ('' is none). Raises StorageError."""
        if not commit or not self._git.exists():
            return False
        from dulwich.graph import can_fast_forward

        with self._repository() as repo:
            head, one = _head(repo, strict=False), _oid(bytes.fromhex(commit))
            return head is not None and one in repo.object_store and can_fast_forward(repo, one, head)

    def note(self, message: str, *, when: datetime) -> None:
        """Make a commit that changes nothing but says something, unless the last one does. Raises like `commit`."""
        with self._alone() as repo:
            head = _head(repo)
            root = _root(repo, head)
            if head is None or root is None:
                return
            if message.encode() in _raw(repo, bytes.fromhex(head.decode())):
                return
            new: list[_Object] = []
            made = _oid(_add(new, "commit", _commit_data(root, [head], message, COMMITTER, when)))
            _store(repo, new)
            if not _advance(repo, head, made, message, when):
                raise BusyError(f"Git holds the branch of {repo.path}. Wait until it is done, and try again.")

    def drop_old(self) -> None:
        """Remove what no branch leads to any more, and what was fetched: it may hold what was erased elsewhere."""
        from ai_memory_mcp.wiki_rewrite import drop_traces, drop_unreachable

        with self._alone() as repo:
            drop_traces(repo)
            self._renew(repo)
            drop_unreachable(repo)

    def _renew(self, repo: Repo) -> None:
        with _index_lock(self._git / "index.lock") as got:
            if not got:
                raise BusyError(f"Git holds {self._git / 'index.lock'}. Wait until it is done, and try again.")
            _renew_index(repo)

    def _erase_files(self, edit: Edit) -> None:
        """Do the same to the files, those that are no pages too."""
        for top, folders, names in os.walk(self.folder, topdown=False):
            if ".git" in Path(top).relative_to(self.folder).parts:
                continue
            for name in names:
                self._erase_file(Path(top, name), edit)
            for name in folders:
                path = Path(top, name)
                told = os.fsdecode(edit.words(os.fsencode(name))) if edit.words else name
                if name != ".git" and told != name:
                    path = path.replace(_unused(path.with_name(told)))
                if name != ".git":
                    _pruned(path)

    def _erase_file(self, file: Path, edit: Edit) -> None:
        path = file.relative_to(self.folder).as_posix()
        if file.is_symlink():
            return
        data = None if edit.gone(path) else file.read_bytes()
        told = edit.text(path, data) if data is not None and edit.text else data
        if told is None:
            files.remove(file)
            return
        name = os.fsdecode(edit.words(os.fsencode(file.name))) if edit.words else file.name
        if name != file.name:
            file = file.replace(_unused(file.with_name(name)))
        if told != data:
            files.write_atomic(file, told, keep=True, durable=True)

    def remove_all(self) -> None:
        """Remove the folder with all its history. Raises StorageError."""
        with files.locked(self._lock, timeout=self._timeout), _translated(self.folder):
            gone = self.folder.with_name(f".{self.folder.name}.gone")
            for one in (gone, self.folder):
                if one.exists():
                    if one == self.folder:  # in one step: nobody meets the half of it
                        one = one.rename(gone)
                    _remove_tree(one)

    # -- history and upkeep

    def log(self, path: str | None = None, limit: int = 20) -> list[Change]:
        """The newest commits (of one page, or of all), by walking the history: for small ones."""
        if not self._git.exists():
            return []
        with self._repository() as repo:
            head = _head(repo, strict=False)
            if head is None:
                return []
            only = [path.encode()] if path is not None else None
            walker = repo.get_walker(include=[head], max_entries=limit, paths=only)
            return [_change(entry.commit) for entry in walker]

    def read_at(self, path: str, commit: str) -> bytes:
        """The bytes of a page as they were in a commit. Raises NotFoundError."""
        missing = NotFoundError(f"There is no page {path!r} in the version {commit[:12]!r}. See its history.")
        if not re.fullmatch(r"[0-9a-f]{40}", commit) or not self._git.exists():
            raise missing
        with self._repository() as repo:
            if _oid(bytes.fromhex(commit)) not in repo.object_store:
                raise missing
            found = _Trees(repo).blob(_root(repo, _oid(bytes.fromhex(commit))), path)
            if found is None:
                raise missing
            return _raw(repo, found)

    def head(self) -> str:
        """The id of the commit that is checked out, '' when there is none; mostly without loading dulwich."""
        told = _plain_head(self._git)
        if told or not self._git.exists():
            return told
        with self._repository() as repo:
            head = _head(repo, strict=False)
            return head.decode() if head else ""

    def walk(self, known: Container[str] = ()) -> Walk:
        """The commits that lead to the one checked out, back to those that are known. Raises StorageError."""
        head = self.head()
        if not head:
            return Walk([], frozenset())
        with self._repository() as repo:
            shallow = {one.decode() for one in repo.get_shallow()}
            return walk(lambda sha: _raw(repo, sha), head, known=known, cut=shallow)

    def texts(self, blobs: Iterable[bytes]) -> dict[bytes, bytes]:
        """The texts of these ids (see `gitlog.Touch`); b"" has none. Raises StorageError when one is missing."""
        with self._repository() as repo:
            return {blob: _raw(repo, blob) if blob else b"" for blob in blobs}

    def refresh_git_index(self, *, quick: bool = False) -> bool:
        """Bring git's index up to the pages we committed, so that `git status` is clean; to be called when
        idle.

        Only our own paths are changed: what the user staged of other files stays. Gives False when there was
        nothing to do, or when git itself holds the index or uses a form of it we do not write (then later); with
        `quick` also when it is so large that rewriting it would be felt.
        """
        marker = self._git / _STALE
        if not marker.exists() or (quick and _size(marker) + _size(self._git / "index") > _QUICK_INDEX):
            return False
        with self._alone() as repo:
            with _index_lock(self._git / "index.lock") as got:
                if not got or not marker.exists():
                    return False
                paths = {path.decode("utf-8", "surrogateescape") for path in marker.read_bytes().split(b"\0") if path}
                if not _refresh(repo, self._git / "index", paths):
                    return False
            marker.unlink()  # last: killed with git's lock in hand, the next run comes here and removes it
            return True

    def pack_if_many(self, limit: int = 2000) -> int:
        """Put loose objects into one pack when there are more than `limit`; gives how many were packed."""
        if not self._git.exists() or _loose(self._git / "objects", limit) <= limit:
            return 0
        with self._alone() as repo:
            return repo.object_store.pack_loose_objects()


def _walk(root: str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(root) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".md") and entry.is_file(follow_symlinks=False) and readable(entry.name):
            yield prefix + entry.name, entry


def _differs(target: Path, data: bytes | None) -> bool:
    try:
        return target.read_bytes() != data
    except (FileNotFoundError, NotADirectoryError):
        return data is not None
    except OSError as error:
        raise files.storage_error("read", target, error) from error


def _pruned(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def _newest(folder: Path, paths: Iterable[str]) -> float:
    return max((os.path.getmtime(folder / path) for path in paths), default=0.0)


def _by_hand(edited: Mapping[str, bytes]) -> str:
    names = ", ".join(sorted(edited)[:3]) + (" …" if len(edited) > 3 else "")
    return f"Edited by hand: {names}"


def _unused(path: Path) -> Path:
    """Return the path, or one like it where something is already."""
    free = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(2, 10_000))
    return path if not path.exists() else next(one for one in free if not one.exists())


def _remove_tree(folder: Path) -> None:
    def writable(remove: Callable[[str], object], path: str, _: object) -> None:
        os.chmod(path, 0o700)  # Windows does not remove what is read-only
        remove(path)

    shutil.rmtree(folder, onerror=writable)


# -- git trees

_Update = tuple[bytes, bytes] | None  # mode and id; None removes


def patch_entries(entries: list[bytes], changes: Mapping[bytes, _Update]) -> list[bytes]:
    """Set or remove names among the entries of a tree; gives a new list in git's order."""
    patched = list(entries)
    for name, update in changes.items():
        for key in (name, name + b"/"):
            at = bisect_left(patched, key, key=_sort_key)
            if at < len(patched) and _sort_key(patched[at]) == key:
                del patched[at]
        if update is not None:
            mode, sha = update
            entry = mode + b" " + name + b"\0" + sha
            patched.insert(bisect_left(patched, _sort_key(entry), key=_sort_key), entry)
    return patched


def _sort_key(entry: bytes) -> bytes:
    mode, name = entry[:-21].split(b" ", 1)
    return name + b"/" if mode == _FOLDER else name


def _blob_id(data: bytes) -> bytes:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).digest()


class _Object(NamedTuple):
    """A git object to be stored."""

    kind: str
    data: bytes
    sha: bytes


def _add(new: list[_Object], kind: str, data: bytes) -> bytes:
    sha = hashlib.sha1(b"%s %d\0" % (kind.encode(), len(data)) + data, usedforsecurity=False).digest()
    new.append(_Object(kind, data, sha))
    return sha


class _Trees:
    """The trees of a repository as lists of entries, each read once."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._read: dict[bytes, list[bytes]] = {}

    def entries(self, tree: bytes | None) -> list[bytes]:
        if tree is None:
            return []
        if tree not in self._read:
            self._read[tree] = tree_entries(_raw(self._repo, tree))
        return self._read[tree]

    def child(self, tree: bytes | None, name: bytes, *, folder: bool) -> bytes | None:
        """The id of a folder (or else a file) in a tree."""
        entries, key = self.entries(tree), name + b"/" if folder else name
        at = bisect_left(entries, key, key=_sort_key)
        found = at < len(entries) and _sort_key(entries[at]) == key
        return entries[at][-20:] if found else None

    def blob(self, tree: bytes | None, path: str) -> bytes | None:
        """The id of the file at a path below a tree."""
        *folders, name = os.fsencode(path).split(b"/")
        for folder in folders:
            tree = self.child(tree, folder, folder=True)
            if tree is None:
                return None
        return self.child(tree, name, folder=False)

    def graft(self, tree: bytes | None, blobs: Mapping[bytes, bytes | None], new: list[_Object]) -> bytes | None:
        """Put blobs (path -> id, None removes) into a tree; only trees on their paths are made, into `new`.

        Gives the id of the resulting tree, None when it holds nothing.
        """
        changes: dict[bytes, _Update] = {}
        below: dict[bytes, dict[bytes, bytes | None]] = {}
        for path, blob in blobs.items():
            name, slash, rest = path.partition(b"/")
            if slash:
                below.setdefault(name, {})[rest] = blob
            elif blob is not None or self.child(tree, name, folder=False) is not None:
                changes[name] = None if blob is None else (_FILE, blob)
        for name, inner in below.items():
            old = self.child(tree, name, folder=True)
            grown = self.graft(old, inner, new)
            if grown != old:
                changes[name] = None if grown is None else (_FOLDER, grown)
        if not changes:
            return tree
        raw = b"".join(patch_entries(self.entries(tree), changes))
        return _add(new, "tree", raw) if raw else None


_Root = bytes | None  # the id of a tree, None where it holds nothing


class _Three:
    """Our commit, another one and what they have in common, as `joining.Plan` looks at them."""

    def __init__(self, wiki: ProjectWiki, repo: Repo, ours: ObjectID | None, theirs: ObjectID, line: Line) -> None:
        self._wiki, self._repo, self._line = wiki, repo, line
        self.ours, self.theirs = ours, theirs
        before = _oid(bytes.fromhex(line.base)) if line.base else None
        known = before is not None and before in repo.object_store
        self.base = before if known else _common(repo, ours, theirs)
        self.trees = _Trees(repo)
        self.roots = [_root(repo, commit) for commit in (self.base, ours, theirs)]

    def read(self, sha: bytes) -> bytes:
        return _raw(self._repo, sha)

    def common(self, path: str) -> bytes | None:
        return self.trees.blob(self.roots[0], path)

    def inside(self, path: str) -> bool:
        return self._wiki._inside(path)

    def differing(self) -> Iterator[Difference]:
        return differences(self.read, self.roots[1] or b"", self.roots[2] or b"")

    def tracked(self) -> Iterator[str]:
        return (path for path, _, _ in differences(self.read, self.roots[1] or b"", b""))

    def removed_on_purpose(self, path: str, *, here: bool) -> bool:
        side, other = (self.ours, self.theirs) if here else (self.theirs, self.ours)
        return any(
            self.trees.blob(root, path) is None and any(self.trees.blob(one, path) for one in before)
            for root, before in self._removals(side, other)
        )

    def _removals(self, side: ObjectID | None, other: ObjectID | None) -> Iterator[tuple[bytes | None, list[_Root]]]:
        """The trees after and before each commit of one side, unknown to the other, that removes on purpose."""
        if side is None:
            return
        known = [one for one in (other, self.base) if one]
        for entry in self._repo.get_walker(include=[side], exclude=known or None):
            if ON_PURPOSE.encode() in entry.commit.message.splitlines():
                yield _root(self._repo, entry.commit.id), [_root(self._repo, one) for one in entry.commit.parents]

    def commit(self, plan: Plan, new: list[_Object], when: datetime) -> ObjectID:
        """The commit that is to be checked out: ours, the other one, or one on top of both (made into `new`)."""
        blobs = {os.fsencode(path): blob for path, blob in plan.files.items()}
        for path, data in plan.made.items():
            blobs[os.fsencode(path)] = _add(new, "blob", data)
        tree = self.trees.graft(self.roots[1], blobs, new)
        mine, other = self.ours if self._line.ours else None, self.theirs if self._line.theirs else None
        if tree == self.roots[2] and other and (mine is None or mine == self.base):
            return other
        if tree == self.roots[1] and mine and (other is None or other == self.base):
            return mine
        parents = [one for one in (mine, other) if one and one != self.base] or [one for one in (mine, other) if one]
        message = "\n\n".join(
            [f"Sync {len(blobs)} pages", *filter(None, [self._line.words, ON_PURPOSE if plan.moved else ""])]
        )
        data = _commit_data(tree or _add(new, "tree", b""), parents, message, COMMITTER, when)
        return _oid(_add(new, "commit", data))


def _common(repo: Repo, ours: ObjectID | None, theirs: ObjectID) -> ObjectID | None:
    """The newest commit that both lead back to, None where there is none."""
    if ours is None:
        return None
    from dulwich.graph import find_merge_base

    found = find_merge_base(repo, [ours, theirs])
    return found[0] if found else None


def _oid(sha: bytes) -> ObjectID:
    from dulwich.objects import ObjectID

    return ObjectID(sha.hex().encode())


# -- git commits


def _head(repo: Repo, *, strict: bool = True) -> ObjectID | None:
    """The commit checked out, None before the first. Strict: refuse where a commit of ours would get lost."""
    from dulwich.refs import HEADREF

    chain, head = repo.refs.follow(HEADREF)
    if strict:
        git = Path(repo.controldir())
        unfinished = next((word for name, word in _UNFINISHED.items() if (git / name).exists()), "")
        if unfinished:
            raise StorageError(f"A git {unfinished} is unfinished in {git.parent}. Finish or abort it, then try again.")
        if len(chain) < 2:
            if head is None or head not in repo.object_store:
                raise ValueError("HEAD names neither a branch nor a commit")
            raise StorageError(
                f"No branch is checked out in {git.parent} (detached HEAD). Run `git checkout main` there."
            )
    return head


def _plain_head(git: Path) -> str:
    """The commit that HEAD names, '' when that takes more than reading HEAD, its branch and the packed references."""
    try:
        told = (git / "HEAD").read_text("utf-8").strip()
        branch = told.removeprefix("ref: ")
        if branch != told:
            try:
                told = (git / branch).read_text("utf-8").strip()
            except FileNotFoundError:
                packed = (git / "packed-refs").read_text("utf-8").splitlines()
                told = next((line[:40] for line in packed if line[41:] == branch), "")
    except (OSError, UnicodeDecodeError):
        return ""
    return told if re.fullmatch(r"[0-9a-f]{40}", told) else ""


def _root(repo: Repo, head: ObjectID | None) -> bytes | None:
    if head is None:
        return None
    commit = _raw(repo, bytes.fromhex(head.decode()))
    return bytes.fromhex(commit[5:45].decode())  # a commit begins with "tree <id>\n"


def _record(
    repo: Repo,
    pages: Mapping[str, bytes | None],
    message: str,
    author: str,
    when: datetime,
    further: ObjectID | None = None,
) -> Commit | None:
    """Commit pages onto the checked-out branch (`further`: and what leads to another commit); starts again when git
    moved it meanwhile."""
    new: list[_Object] = []
    blobs = _blobs(repo, pages, new)
    deadline = time.monotonic() + _GIT_PATIENCE
    for tried in count(1):
        head = _head(repo)
        root = _root(repo, head)
        fresh = list(new)
        trees = _Trees(repo)
        tree = trees.graft(root, blobs, fresh)
        if tree == root:
            return None
        parents = [one for one in (head, further) if one]
        commit = _commit_data(tree or _add(fresh, "tree", b""), parents, message, author, when)
        made = _oid(_add(fresh, "commit", commit))
        _store(repo, fresh)
        _mark_stale(repo, blobs)
        if _advance(repo, head, made, message, when):
            return Commit(made.decode(), *header(commit)[1:], _touches(trees, root, blobs))
        if tried >= _GIT_TRIES and time.monotonic() > deadline:
            break
        time.sleep(0.02)
    raise StorageError(
        f"Git holds the branch of {repo.path}. If no git command runs, remove the .lock file in "
        ".git/refs/heads, then try again."
    )


def _blobs(repo: Repo, pages: Mapping[str, bytes | None], new: list[_Object]) -> dict[bytes, bytes | None]:
    """Return the ids of pages by path. Their objects are put into `new`, and stored on the way where they are many."""
    blobs: dict[bytes, bytes | None] = {}
    size = 0
    for path, data in pages.items():
        blobs[os.fsencode(path)] = None if data is None else _add(new, "blob", data)
        size += len(data or b"")
        if size > _PACK_SIZE:
            _store(repo, new)
            new.clear()
            size = 0
    return blobs


def _touches(trees: _Trees, root: bytes | None, blobs: Mapping[bytes, bytes | None]) -> tuple[Touch, ...]:
    """Which of the pages a commit of these blobs (path -> id, None removes) changed, and how."""
    found = []
    for path, blob in sorted((os.fsdecode(path), blob) for path, blob in blobs.items()):
        before = trees.blob(root, path)
        if before != blob and is_page(path):
            found.append(Touch(path, how(before is not None, blob), blob or b""))
    return tuple(found)


def _commit_data(tree: bytes, parents: list[ObjectID], message: str, author: str, when: datetime) -> bytes:
    from dulwich.objects import Commit

    commit = Commit()
    commit.tree = _oid(tree)
    commit.parents = parents
    commit.author, commit.committer = _identity(author), _identity(COMMITTER)
    commit.author_time = commit.commit_time = int(when.timestamp())
    commit.author_timezone = commit.commit_timezone = 0
    commit.encoding = None
    commit.message = message.replace("\0", "").rstrip().encode("utf-8", "replace") + b"\n"
    return commit.as_raw_string()


def _identity(author: str) -> bytes:
    given = re.fullmatch(r"\s*([^<>\n\0]*?)\s*<([^<>\s\0]*)>\s*", author)
    name = given[1] if given else " ".join(re.sub(r"[<>\0]", " ", author).split())
    email = given[2] if given else f"{slug(name)}@localhost"
    return f"{name or COMMITTER} <{email}>".encode("utf-8", "replace")


def _object_files(git: Path) -> Iterator[Path]:
    """The files that hold all objects of a repository, packs before their indexes, relative to its git folder."""
    for pattern in ("objects/??/" + "?" * 38, "objects/pack/pack-*.pack", "objects/pack/pack-*.idx"):
        yield from (path.relative_to(git) for path in git.glob(pattern))


def _second_name(source: Path, target: Path) -> None:
    """Have a file that never changes under another name as well; a copy where the disk has no second names."""
    try:
        os.link(source, target)
    except OSError:
        files.write_atomic(target, source.read_bytes(), mode=_OBJECT_MODE, durable=True)


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise files.storage_error("move or remove", folder, error) from error


def _store(repo: Repo, objects: list[_Object]) -> None:
    if len(objects) > _PACK_AT_ONCE:
        _store_packed(repo, objects)
        return
    for one in objects:
        path = _loose_path(repo, one.sha)
        if not path.exists():
            level = 0 if one.kind == "tree" and len(one.data) > _BIG_TREE else 1
            header = f"{one.kind} {len(one.data)}\0".encode()
            files.private_dir(path.parent)
            files.write_atomic(path, zlib.compress(header + one.data, level), mode=_OBJECT_MODE, durable=True)


def _store_packed(repo: Repo, objects: list[_Object]) -> None:
    from dulwich.objects import ShaFile, object_class

    made = {}
    for one in objects:
        kind = object_class(one.kind.encode())
        assert kind is not None
        made[one.sha] = ShaFile.from_raw_string(kind.type_num, one.data)
    repo.object_store.add_objects([(one, None) for one in made.values()])


def _loose_path(repo: Repo, sha: bytes) -> Path:
    name = sha.hex()
    return Path(repo.controldir(), "objects", name[:2], name[2:])


def _raw(repo: Repo, sha: bytes) -> bytes:
    """The bytes of an object. Loose ones are read here: dulwich would parse a tree twice on the way."""
    try:
        return zlib.decompress(_loose_path(repo, sha).read_bytes()).split(b"\0", 1)[1]
    except FileNotFoundError:
        return repo.object_store.get_raw(_oid(sha))[1]


def _advance(repo: Repo, head: ObjectID | None, commit: ObjectID, message: str, when: datetime) -> bool:
    from dulwich.file import FileLocked
    from dulwich.objects import ZERO_SHA
    from dulwich.refs import HEADREF

    subject = b"commit: " + message.split("\n", 1)[0].encode("utf-8", "replace")
    try:
        return repo.refs.set_if_equals(
            HEADREF, head or ZERO_SHA, commit, _identity(COMMITTER), int(when.timestamp()), 0, subject
        )
    except FileLocked:  # a git command is at it
        return False
    except OSError:  # a full disk: what was just locked would stay so for good
        for name in repo.refs.follow(HEADREF)[0]:
            Path(repo.controldir(), os.fsdecode(name) + ".lock").unlink(missing_ok=True)
        raise


def _change(commit: object) -> Change:
    from dulwich.objects import Commit

    assert isinstance(commit, Commit)
    when = datetime.fromtimestamp(commit.commit_time, timezone.utc)
    author = commit.author.decode("utf-8", "replace").split(" <")[0]
    return Change(commit.id.decode(), when, author, commit.message.decode("utf-8", "replace").rstrip())


# -- git's index


def _mark_stale(repo: Repo, paths: Iterable[bytes]) -> None:
    with open(os.path.join(repo.controldir(), _STALE), "ab") as marker:
        marker.write(b"".join(path + b"\0" for path in paths))


@contextmanager
def _index_lock(path: Path) -> Iterator[bool]:
    """Take git's own lock of its index; False when git has it, or where files cannot have two names.

    It is ours from its first moment: killed before it said so, it would stand in git's way for good.
    """
    ours = path.with_name("ai-memory-index")  # one at a time: the caller holds the wiki's lock
    ours.write_bytes(_INDEX_LOCK)
    try:
        os.link(ours, path)
    except OSError:
        yield False
        return
    finally:
        ours.unlink()
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)


def _refresh(repo: Repo, index: Path, paths: Iterable[str]) -> bool:
    """Rewrite git's index with the given paths as they are in HEAD; False for a form we cannot write.

    The entries get no time and size, so git itself compares the file once: a hand edit is never hidden.
    """
    from dulwich.index import write_index_dict

    found = _read_index(index)
    if found is None:
        return False
    entries, version = found
    trees, root = _Trees(repo), _root(repo, _head(repo))
    for path in paths:
        blob = trees.blob(root, path)
        if blob is None:
            entries.pop(os.fsencode(path), None)
        else:
            entries[os.fsencode(path)] = _unseen(blob)
    out = BytesIO()
    write_index_dict(out, entries, version=version)
    data = out.getvalue()
    files.write_atomic(index, data + hashlib.sha1(data, usedforsecurity=False).digest())
    return True


def _renew_index(repo: Repo) -> None:
    """Write git's index anew, with what is in HEAD and nothing else."""
    from dulwich.index import write_index_dict

    git = Path(repo.controldir())
    head = _head(repo)
    root = _root(repo, head)
    entries = {}
    if root is not None:
        for one in repo.object_store.iter_tree_contents(_oid(root)):
            entries[one.path] = _unseen(bytes.fromhex(one.sha.decode()), one.mode)
    for shared in git.glob("sharedindex.*"):
        shared.unlink()
    out = BytesIO()
    write_index_dict(out, entries, version=2)
    data = out.getvalue()
    files.write_atomic(git / "index", data + hashlib.sha1(data, usedforsecurity=False).digest())
    (git / _STALE).unlink(missing_ok=True)


def _unseen(blob: bytes, mode: int = 0o100644) -> IndexEntry:
    from dulwich.index import IndexEntry

    return IndexEntry(ctime=0, mtime=0, dev=0, ino=0, mode=mode, uid=0, gid=0, size=0, sha=_oid(blob))


def _read_index(index: Path) -> tuple[dict[bytes, IndexEntry | ConflictedIndexEntry], int] | None:
    """The entries of git's index and its version. Its extensions are caches over the old entries: not kept.

    None for a split or sparse index: those hold their entries elsewhere.
    """
    from dulwich.index import read_index_dict_with_version

    if not index.exists():
        return {}, 2
    data = index.read_bytes()
    if b"link\0\0" in data[-4096:] or b"sdir\0\0\0\0" in data:
        return None
    entries, version, _ = read_index_dict_with_version(BytesIO(data))
    return entries, version


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _loose(objects: Path, limit: int) -> int:
    """How many loose objects there are; counts no further than just over the limit."""
    count = 0
    for folder in os.scandir(objects):
        if len(folder.name) == 2 and count <= limit:
            count += len(os.listdir(folder.path))
    return count
