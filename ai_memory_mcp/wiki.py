"""The pages of one project: plain files, and their history in one git repository (`wiki_git`, `wiki_index`).

Commits go round git's index (it costs a rewrite of every entry): objects, the trees on the changed paths,
then compare-and-swap of the branch, all under one lock. So `git status` is stale until `refresh_git_index`
has run. Reading pages never imports dulwich.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ai_memory_mcp import files, wiki_git, wiki_index
from ai_memory_mcp.errors import BusyError, InputError, NotFoundError, StorageError
from ai_memory_mcp.gitlog import Commit, Walk, walk
from ai_memory_mcp.joining import BOTH, Gone, Line, nothing_gone
from ai_memory_mcp.markdown import readable, safe_path

if TYPE_CHECKING:
    from dulwich.repo import Repo

    from ai_memory_mcp.joining import Judge
    from ai_memory_mcp.wiki_rewrite import Edit

_QUICK_INDEX = 256 * 1024  # bytes of git's index: about 2,500 pages, 25 ms to rewrite
_TOGETHER = 1_000  # pages
_CONFIG = b"""[core]
\trepositoryformatversion = 0
\tfilemode = false
\tbare = false
\tlogallrefupdates = true
\tautocrlf = false
"""
_EXCLUDE = b".*\n!.gitignore\n!.gitattributes\n"  # editors' folders (.obsidian) and our unfinished files


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
        if (self._git / wiki_git.WRITING).exists():  # nobody may take for done what is undone later
            with suppress(StorageError), self._alone():
                pass
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
            wiki_git.head_of(repo)  # refuses before anything is written
            edited = self._edited(repo, [path for path, data in pages.items() if _differs(self.folder / path, data)])
            self._record(repo, edited, _by_hand(edited), "by hand", when)
            gone = []
            with self._together(repo, pages):
                for path, data in pages.items():
                    if data is None:
                        gone.append(path)
                    else:
                        self._put(self.folder / path, data)
                message = f"{message}\n\n{wiki_git.ON_PURPOSE}" if gone else message
                made = self._record(repo, pages, message, author, when)
            for path in gone:  # only now: one that is gone from the disk alone stays in history, and nobody asks again
                self._put(self.folder / path, None)
            return made

    @contextmanager
    def _together(self, repo: Repo, pages: Mapping[str, bytes | None]) -> Iterator[None]:
        """Write pages so that all are there or none: one alone would pass for an edit by hand.

        A note tells meanwhile what is written; where it is found, that is undone. An import is not worth the room.
        """
        note = self._git / wiki_git.WRITING
        few = pages if 1 < len(pages) <= _TOGETHER else {}
        written = {path: wiki_git.blob_id(data).hex() for path, data in few.items() if data is not None}
        if not written:
            yield
            return
        files.write_atomic(note, json.dumps(written).encode())
        try:
            yield
        except (OSError, StorageError):
            with suppress(OSError, StorageError):  # then the next one does it
                self._undo(repo)
            raise
        with suppress(StorageError):  # the next one finds all of it in history
            files.remove(note)

    def _undo(self, repo: Repo) -> None:
        """Put back what was written for a commit that was not made; what somebody has edited since stays."""
        note = self._git / wiki_git.WRITING
        trees, root = wiki_git.Trees(repo), wiki_git.root_of(repo, wiki_git.head_of(repo))
        written: dict[str, str] = {}
        with suppress(ValueError):  # the power was cut
            written = json.loads(note.read_bytes())
        for path, data in self._present(written):
            blob, kept = wiki_git.blob_id(data), trees.blob(root, path)
            if blob.hex() == written[path] and blob != kept:
                self._put(self.folder / path, None if kept is None else wiki_git.read_object(repo, kept))
        files.remove(note)

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
        trees, root = wiki_git.Trees(repo), wiki_git.root_of(repo, wiki_git.head_of(repo))
        present = self._present(candidates)
        return {path: data for path, data in present if trees.blob(root, path) != wiki_git.blob_id(data)}

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

        deadline = time.monotonic() + wiki_git.GIT_PATIENCE
        with self._alone() as repo:
            for tried in count(1):
                three = wiki_git.Three(
                    self._inside, repo, wiki_git.head_of(repo), wiki_git.oid(bytes.fromhex(other)), line
                )
                plan = Plan(three, judge, large, gone)
                edited = {} if dry_run else self._edited(repo, plan.files)
                if edited:
                    self._record(repo, edited, _by_hand(edited), "by hand", when)
                    continue
                new: list[wiki_git.GitObject] = []
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
                wiki_git.store_objects(repo, new)
                wiki_git.mark_stale(repo, map(os.fsencode, plan.files))
                if wiki_git.advance(repo, three.ours, made, "sync", when):
                    return joined
                if tried >= wiki_git.GIT_TRIES and time.monotonic() > deadline:
                    break
                time.sleep(0.02)
            raise StorageError(f"Git holds the branch of {repo.path}. Try again.")

    def bring_over(
        self,
        other: str,
        judge: Judge,
        *,
        when: datetime,
        large: Container[str],
        gone: Gone,
        line: Line,
        dry_run: bool = False,
    ) -> dict[str, str]:
        """Put the user's own branches, tags and stashes on top of another commit where our history does not go on; to
        be done before `join`. Returns what becomes of each, in words. Raises like `commit`, and where there are other
        work trees."""
        from ai_memory_mcp.wiki_others import Others
        from ai_memory_mcp.wiki_rewrite import refuse_work_trees

        with self._alone() as repo:
            refuse_work_trees(self._git)
            theirs = wiki_git.oid(bytes.fromhex(other))
            run = Others(repo, self._inside, theirs, judge, line=line, gone=gone, large=large, when=when)
            return run.bring_over(dry_run=dry_run)

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
            if (self._git / wiki_git.WRITING).exists():
                self._undo(repo)
            found = dict(self._present(self.paths())) if new else {}
            now = datetime.fromtimestamp(_newest(self.folder, found), timezone.utc)
            self._record(repo, found, f"Begin the history with {len(found)} pages found here", wiki_git.COMMITTER, now)
            yield repo

    def _record(
        self, repo: Repo, pages: Mapping[str, bytes | None], message: str, author: str, when: datetime
    ) -> str | None:
        made = wiki_git.record(repo, pages, message, author, when)
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
        """Make the repository when there is none, and let go what a fetch that was killed has held; return its git
        folder. One fetches at a time. Raises StorageError.
        """
        with files.locked(self._lock, timeout=self._timeout) as died, _translated(self.folder):
            if died:
                self._clean_up()
            self._begin()
            for left in self._git.glob("refs/ai-memory/*.lock"):
                files.remove(left)
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
            wiki_git.head_of(repo)
            for name in _object_files(other._git):
                target = self._git / name
                if not target.exists():
                    files.private_dir(target.parent)
                    _second_name(other._git / name, target)
            for path, data in pages.items():
                self._put(self._target(safe_path(path)), data)
            made = wiki_git.record(repo, pages, message, author, when, wiki_git.head_of(theirs))
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
            "objects/*/*.lock",
            "objects/*/.*.tmp",
            "objects/tmp_pack_*",
        ):
            for left in self._git.glob(pattern):
                left.unlink(missing_ok=True)
        wiki_index.drop_own_lock(self._git / "index.lock")
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
            wiki_git.head_of(repo)
            self._clean_up()
            self._erase_files(edit)
            changed = rewrite_history(repo, edit)
            self._renew(repo)
            drop_unreachable(repo)
        return changed

    def kept_by_user(self) -> list[str]:
        """Return what of git keeps history beside the branch that is checked out, in words: `erase` makes it anew, too.
        Raises StorageError where it could not."""
        from ai_memory_mcp.wiki_rewrite import kept_by_user, refuse_work_trees

        if not self._git.exists():
            return []
        with self._repository() as repo:
            wiki_git.head_of(repo)
            refuse_work_trees(self._git)
            return kept_by_user(repo)

    def leads_to(self, commit: str) -> bool:
        """Tell whether the history leads back to a commit ('' is none). Raises StorageError."""
        if not commit or not self._git.exists():
            return False
        from dulwich.graph import can_fast_forward

        with self._repository() as repo:
            head, one = wiki_git.head_of(repo, strict=False), wiki_git.oid(bytes.fromhex(commit))
            return head is not None and one in repo.object_store and can_fast_forward(repo, one, head)

    def note(self, message: str, *, when: datetime) -> None:
        """Make a commit that changes nothing but says something, unless the last one does. Raises like `commit`."""
        with self._alone() as repo:
            head = wiki_git.head_of(repo)
            root = wiki_git.root_of(repo, head)
            if head is None or root is None:
                return
            if message.encode() in wiki_git.read_object(repo, bytes.fromhex(head.decode())):
                return
            new: list[wiki_git.GitObject] = []
            data = wiki_git.commit_data(root, [head], message, wiki_git.COMMITTER, when)
            made = wiki_git.oid(wiki_git.add_object(new, "commit", data))
            wiki_git.store_objects(repo, new)
            if not wiki_git.advance(repo, head, made, message, when):
                raise BusyError(f"Git holds the branch of {repo.path}. Wait until it is done, and try again.")

    def drop_old(self) -> None:
        """Remove what no branch leads to any more, and what was fetched: it may hold what was erased elsewhere."""
        from ai_memory_mcp.wiki_rewrite import drop_traces, drop_unreachable, refuse_work_trees

        with self._alone() as repo:
            refuse_work_trees(self._git)
            drop_traces(repo)
            self._renew(repo)
            drop_unreachable(repo)

    def _renew(self, repo: Repo) -> None:
        with wiki_index.locked_index(self._git / "index.lock") as got:
            if not got:
                raise BusyError(f"Git holds {self._git / 'index.lock'}. Wait until it is done, and try again.")
            wiki_index.renew(repo)

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

    def log(self, path: str | None = None, limit: int = 20) -> list[wiki_git.Change]:
        """The newest commits (of one page, or of all), by walking the history: for small ones."""
        if not self._git.exists():
            return []
        with self._repository() as repo:
            head = wiki_git.head_of(repo, strict=False)
            if head is None:
                return []
            only = [path.encode()] if path is not None else None
            walker = repo.get_walker(include=[head], max_entries=limit, paths=only)
            return [wiki_git.change_of(entry.commit) for entry in walker]

    def read_at(self, path: str, commit: str) -> bytes:
        """The bytes of a page as they were in a commit. Raises NotFoundError."""
        missing = NotFoundError(f"There is no page {path!r} in the version {commit[:12]!r}. See its history.")
        if not re.fullmatch(r"[0-9a-f]{40}", commit) or not self._git.exists():
            raise missing
        with self._repository() as repo:
            if wiki_git.oid(bytes.fromhex(commit)) not in repo.object_store:
                raise missing
            found = wiki_git.Trees(repo).blob(wiki_git.root_of(repo, wiki_git.oid(bytes.fromhex(commit))), path)
            if found is None:
                raise missing
            return wiki_git.read_object(repo, found)

    def head(self) -> str:
        """The id of the commit that is checked out, '' when there is none; mostly without loading dulwich."""
        told = wiki_git.plain_head(self._git)
        if told or not self._git.exists():
            return told
        with self._repository() as repo:
            head = wiki_git.head_of(repo, strict=False)
            return head.decode() if head else ""

    def walk(self, known: Container[str] = ()) -> Walk:
        """The commits that lead to the one checked out, back to those that are known. Raises StorageError."""
        head = self.head()
        if not head:
            return Walk([], frozenset())
        with self._repository() as repo:
            shallow = {one.decode() for one in repo.get_shallow()}
            return walk(lambda sha: wiki_git.read_object(repo, sha), head, known=known, cut=shallow)

    def texts(self, blobs: Iterable[bytes]) -> dict[bytes, bytes]:
        """The texts of these ids (see `gitlog.Touch`); b"" has none. Raises StorageError when one is missing."""
        with self._repository() as repo:
            return {blob: wiki_git.read_object(repo, blob) if blob else b"" for blob in blobs}

    def refresh_git_index(self, *, quick: bool = False) -> bool:
        """Bring git's index up to the pages we committed, so that `git status` is clean; to be called when
        idle.

        Only our own paths are changed: what the user staged of other files stays. Gives False when there was
        nothing to do, or when git itself holds the index or uses a form of it we do not write (then later); with
        `quick` also when it is so large that rewriting it would be felt.
        """
        marker = self._git / wiki_git.STALE
        if not marker.exists() or (quick and _size(marker) + _size(self._git / "index") > _QUICK_INDEX):
            return False
        with self._alone() as repo:
            with wiki_index.locked_index(self._git / "index.lock") as got:
                if not got or not marker.exists():
                    return False
                paths = {path.decode("utf-8", "surrogateescape") for path in marker.read_bytes().split(b"\0") if path}
                if not wiki_index.refresh(repo, self._git / "index", paths):
                    return False
            marker.unlink()  # last: killed with git's lock in hand, the next run comes here and removes it
            return True

    def pack_if_many(self, limit: int = 2000) -> int:
        """Put loose objects into one pack when there are more than `limit`; gives how many were packed."""
        if not self._git.exists() or _loose(self._git / "objects", limit) <= limit:
            return 0
        with self._alone() as repo:
            return wiki_git.pack_loose(repo)


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


def _object_files(git: Path) -> Iterator[Path]:
    """The files that hold all objects of a repository, packs before their indexes, relative to its git folder."""
    for pattern in ("objects/??/" + "?" * 38, "objects/pack/pack-*.pack", "objects/pack/pack-*.idx"):
        yield from (path.relative_to(git) for path in git.glob(pattern))


def _second_name(source: Path, target: Path) -> None:
    """Have a file that never changes under another name as well; a copy where the disk has no second names."""
    try:
        os.link(source, target)
    except OSError:
        files.write_atomic(target, source.read_bytes(), mode=wiki_git.OBJECT_MODE, durable=True)


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise files.storage_error("move or remove", folder, error) from error


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
