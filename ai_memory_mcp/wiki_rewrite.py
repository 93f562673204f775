"""Rewriting the whole history of a repository, so that what is to go was never in it; then nothing else is kept.

First the new objects, then the references, then everything that none of them leads to goes: loose objects, packs,
reflogs, what git keeps of fetches. Killed anywhere, every reference leads to whole commits, old or new, and running
again ends it. What is staged is unstaged; what was fetched from a remote has to be fetched again. A user's own
branches, tags, notes and stashes are made anew in the same way; other work trees have files that are not ours to
change, so nothing begins while there are any.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ai_memory_mcp import files
from ai_memory_mcp.errors import BusyError, StorageError
from ai_memory_mcp.gitlog import header, tree_entries
from ai_memory_mcp.wiki_git import oid, sort_key

if TYPE_CHECKING:
    from dulwich.repo import Repo

ERASED = b"(erased)\n"  # in place of the message of a commit that touched what is gone
_FOLDER, _MODULE = b"40000", b"160000"
_AT_ONCE = 16 * 1024 * 1024  # bytes of objects in memory
_SIGNED = (b"gpgsig", b"gpgsig-sha256", b"mergetag")  # headers of a commit that would not be true any more
_FETCHED = ("refs/remotes", "refs/ai-memory")  # has to be fetched again
_TRACES = (  # what git keeps beside the history, and would lead to what is gone
    "worktrees",
    "ORIG_HEAD",
    "FETCH_HEAD",
    "COMMIT_EDITMSG",
    "MERGE_MSG",
    "SQUASH_MSG",
    "AUTO_MERGE",
    "TAG_EDITMSG",
    "rr-cache",
    "lost-found",
    *_FETCHED,
    "info/refs",
    "objects/info/commit-graph",
    "objects/info/commit-graphs",
    "objects/info/packs",
    "objects/pack/multi-pack-index",
)
_TRIES = 5
_STASH = "logs/refs/stash"  # all stashes but the newest are only named here
_STASHED = re.compile(rb"[0-9a-f]{40} ([0-9a-f]{40})( .*)")
_TOLD = ("config", "description", "info/exclude")  # files of git's in which a user may have written anything


class Edit(NamedTuple):
    """What becomes of a repository. `gone` tells by its path which page never was; `text` gives what stands in a file
    (None: that version never was); `words` changes the names of files and what is said of commits."""

    gone: Callable[[str], bool]
    text: Callable[[str, bytes], bytes | None] | None = None
    words: Callable[[bytes], bytes] | None = None


class _Tree(NamedTuple):
    sha: bytes | None  # of the new tree, None for an empty one
    gone: frozenset[tuple[str, bytes]]  # path and blob of what was in it


class Stash(NamedTuple):
    """One stash."""

    commit: bytes
    line: bytes  # of git's log of stashes, behind the ids


def refuse_work_trees(git: Path) -> None:
    """Raise StorageError where other work trees hang on a repository. Those whose folder is gone do not count."""
    for one in sorted((git / "worktrees").glob("*")):
        folder = _folder_of(one)
        if folder:
            raise StorageError(
                f"{folder} is another work tree of {git.parent}, with files of its own that may hold what is to go."
                f" Remove it (git -C '{git.parent}' worktree remove '{folder}'), then try again."
            )


def _folder_of(tree: Path) -> Path | None:
    """Return the folder of another work tree, None where that is gone: git itself forgets it then, in time."""
    try:
        told = (tree / "gitdir").read_text("utf-8", "replace").strip()
    except OSError:
        return None
    return Path(told).parent if told and ((tree / "locked").exists() or os.path.lexists(told)) else None


def kept_by_user(repo: Repo) -> list[str]:
    """Return, in words, what leads to commits beside the branch that is checked out: branches, tags, stashes."""
    named = [in_words(name) for name in others(repo)]
    count = len(stashes(repo))
    return [*named, "a stash" if count == 1 else f"{count} stashes"] if count else named


def others(repo: Repo) -> dict[bytes, bytes]:
    """Return the references beside the branch that is checked out and the stashes."""
    from dulwich.refs import HEADREF

    left_out = (HEADREF, *repo.refs.follow(HEADREF)[0], b"refs/stash")
    return {name: sha for name, sha in sorted(references(repo).items()) if name not in left_out}


def in_words(name: bytes) -> str:
    """Return how people call a reference."""
    told = os.fsdecode(name)
    for start, word in (("refs/heads/", "branch "), ("refs/tags/", "tag ")):
        if told.startswith(start):
            return word + told.removeprefix(start)
    return told


def keep_stashes(repo: Repo, kept: Sequence[Stash]) -> None:
    """Drop all other stashes."""
    from dulwich.refs import Ref

    if kept:
        repo.refs[Ref(b"refs/stash")] = oid(kept[-1].commit)
    else:
        repo.refs.remove_if_equals(Ref(b"refs/stash"), None)
    _log_stashes(Path(repo.controldir()), [(one, one.commit) for one in kept], bytes)


def rewrite_history(repo: Repo, edit: Edit) -> int:
    """Rewrite every commit that a branch, tag, note or stash leads to; returns how many are others now.

    Raises BusyError when git holds a reference, StorageError where other work trees hang on the repository.
    """
    git = Path(repo.controldir())
    refuse_work_trees(git)
    for _ in range(_TRIES):
        found, kept = references(repo), stashes(repo)
        run = _Rewriting(repo, edit, [one.commit for one in kept])
        told = {name: run.reference(sha) for name, sha in found.items()}
        stashed = [(one, run.reference(one.commit)) for one in kept]
        run.store()
        if _move(repo, found, told, edit.words or bytes):
            break
    else:
        raise BusyError(f"git changes {git.parent} all the time. Wait until it is done, and try again.")
    _log_stashes(git, stashed, edit.words or bytes)
    for name in _TOLD:
        with suppress(FileNotFoundError):
            data = (git / name).read_bytes()
            if edit.words and (clean := edit.words(data)) != data:
                files.write_atomic(git / name, clean)
    if run.cut:
        files.write_atomic(git / "shallow", b"".join(_hex(one) + b"\n" for one in sorted(map(run.now, run.cut))))
    files.remove(git / "packed-refs")  # each has a file of its own by now
    _remove_traces(git)
    return sum(old != new for old, new in run.commits.items())


def drop_traces(repo: Repo) -> None:
    """Remove what leads to more than branches, tags and notes do: reflogs, what was fetched."""
    for name in list(repo.refs.allkeys()):
        if _is_fetched(name):
            repo.refs.remove_if_equals(name, None)
    _remove_traces(Path(repo.controldir()))


def _remove_traces(git: Path) -> None:
    for trace in _TRACES:
        path = git / trace
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in sorted((git / "logs").rglob("*"), reverse=True):
        if path.is_dir():
            with suppress(OSError):  # the log of stashes is in it
                path.rmdir()
        elif path != git / _STASH:
            path.unlink()


def _is_fetched(name: bytes) -> bool:
    return os.fsdecode(name).startswith(tuple(f"{one}/" for one in _FETCHED))


def drop_unreachable(repo: Repo) -> int:
    """Remove every object that no reference leads to, out of packs too; returns how many."""
    run = _Rewriting(repo, Edit(gone=lambda _: False))
    kept = run.reachable([*references(repo).values(), *(one.commit for one in stashes(repo))])
    store = repo.object_store
    objects = Path(repo.controldir(), "objects")
    dropped, spoilt, whole = 0, [], set()
    for pack in store.packs:
        held = {bytes(entry[0]) for entry in pack.index.iterentries()}
        if held <= kept:
            whole |= held
        else:
            spoilt.append((objects / "pack" / Path(pack.data.filename).name, held))
            dropped += len(held - kept)
    saved: set[bytes] = set()
    for _, held in spoilt:
        saved |= held & kept
    run.copy(one for one in saved - whole if not (objects / one.hex()[:2] / one.hex()[2:]).exists())
    store.close()
    for path, _ in spoilt:
        for part in path.parent.glob(f"{path.stem}.*"):
            files.remove(part)
    for path in objects.glob("??/*"):
        if len(path.name) != 38 or bytes.fromhex(path.parent.name + path.name) not in kept:
            files.remove(path)
            dropped += 1
    for left in (*objects.glob("tmp_*"), *(objects / "pack").glob("tmp_*")):
        files.remove(left)
    return dropped


def references(repo: Repo) -> dict[bytes, bytes]:
    """Return what every branch, tag, note and stash is, and a HEAD of no branch; not what came from remotes."""
    found = {}
    for name in repo.refs.allkeys():
        sha = None if _is_fetched(name) else repo.refs.read_loose_ref(name)
        if sha is None and not _is_fetched(name):
            sha = repo.refs.get_packed_refs().get(name)
        if sha and not sha.startswith(b"ref:"):
            found[bytes(name)] = bytes.fromhex(sha.decode())
    return found


def stashes(repo: Repo) -> list[Stash]:
    """Return all stashes, the oldest first."""
    try:
        lines = Path(repo.controldir(), _STASH).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    named = filter(None, map(_STASHED.fullmatch, lines))
    found = [Stash(bytes.fromhex(one[1].decode()), one[2]) for one in named]
    return [one for one in found if oid(one.commit) in repo.object_store]


def _log_stashes(git: Path, stashed: Iterable[tuple[Stash, bytes | None]], words: Callable[[bytes], bytes]) -> None:
    """Write git's log of stashes. What it says of one is the title of the commit that it was made on."""
    before, lines = bytes(20), []
    for one, commit in stashed:
        if commit:
            who = one.line.partition(b"\t")[0]
            line = one.line if commit == one.commit else who + b"\tstash"
            lines.append(_hex(before) + b" " + _hex(commit) + words(line) + b"\n")
            before = commit
    if lines:
        files.write_atomic(git / _STASH, b"".join(lines))
    else:
        files.remove(git / _STASH)


def _move(
    repo: Repo, found: dict[bytes, bytes], told: dict[bytes, bytes | None], words: Callable[[bytes], bytes]
) -> bool:
    """Set all references, under names without what is to go; False when git moved one meanwhile."""
    from dulwich.file import FileLocked
    from dulwich.refs import HEADREF, Ref

    if references(repo) != found:
        return False
    names: dict[bytes, bytes] = {name: name for name in found if words(name) == name}
    for name in sorted(found.keys() - names.keys()):
        wanted = words(name)
        again = wanted in told and told[wanted] == told[name]  # somebody was killed at it
        names[name] = wanted if again else _free(wanted, {*found, *names.values()})
    current = repo.refs.follow(HEADREF)[0][-1]
    try:
        for name, sha in told.items():
            ref, was = Ref(name), oid(found[name])
            if sha and names[name] != name:
                repo.refs[Ref(names[name])] = oid(sha)
                if ref == current:
                    repo.refs.set_symbolic_ref(HEADREF, Ref(names[name]))
                sha = None
            done = repo.refs.set_if_equals(ref, was, oid(sha)) if sha else repo.refs.remove_if_equals(ref, was)
            if not done:
                return False
    except FileLocked as error:
        raise BusyError(
            f"Git holds a reference in {repo.controldir()}. If no git command runs, remove its .lock file, then try"
            " again."
        ) from error
    return True


class _Rewriting:
    """One pass over the history: every object is read once, and made anew where something in it has changed."""

    def __init__(self, repo: Repo, edit: Edit, stashes: Iterable[bytes] = ()) -> None:
        self.commits: dict[bytes, bytes | None] = {}  # old id -> new id, None where nothing is left
        self.cut = {bytes.fromhex(one.decode()) for one in repo.get_shallow()}
        self._repo, self._edit = repo, edit
        self._trees: dict[tuple[bytes, str], _Tree] = {}
        self._blobs: dict[tuple[bytes, str], bytes | None] = {}
        self._roots: dict[bytes, bytes] = {}  # commit -> the tree it had
        self._new: list[tuple[bytes, bytes, bytes]] = []  # id, kind, data
        self._size = 0
        self._stashed: set[bytes] = set()  # what stashes are made of: without one of its parents, git knows no stash
        for one in stashes:
            self._stashed |= {one, *map(bytes.fromhex, header(self._read(one)[1]).parents[1:])}

    def reference(self, sha: bytes) -> bytes | None:
        """Rewrite what a reference leads to; returns what it has to lead to then."""
        kind, raw = self._read(sha)
        if kind == b"commit":
            self._history(sha)
            return self.commits[sha]
        if kind == b"tag":
            line, _, rest = raw.partition(b"\n")
            target = self.reference(bytes.fromhex(line[7:].decode()))
            if target is None:
                return None
            rest = rest.partition(b"-----BEGIN ")[0] if b"-----BEGIN " in rest else rest
            told = b"object " + _hex(target) + b"\n" + (self._edit.words(rest) if self._edit.words else rest)
            return sha if told == raw else self._add(b"tag", told)
        if kind == b"tree":
            return self._tree(sha, "").sha
        return self._blob(sha, "")

    def now(self, commit: bytes) -> bytes:
        """Return what a commit is now."""
        return self.commits.get(commit) or commit

    def store(self) -> None:
        """Have the new objects on the disk."""
        from dulwich.objects import ShaFile, object_class

        if self._new:
            made = []
            for _, kind, data in self._new:
                found = object_class(kind)
                assert found is not None
                made.append((ShaFile.from_raw_string(found.type_num, data), None))
            self._repo.object_store.add_objects(made)
        self._new, self._size = [], 0

    def copy(self, shas: Iterable[bytes]) -> None:
        """Store objects once more, in a pack of their own."""
        for sha in sorted(shas):
            self._add(*self._read(sha))
        self.store()

    def reachable(self, heads: Iterable[bytes]) -> set[bytes]:
        """Return the ids of all objects that these lead to."""
        found: set[bytes] = set()
        waiting = list(heads)
        while waiting:
            sha = waiting.pop()
            if sha not in found:
                found.add(sha)
                kind, raw = self._read(sha)
                waiting += self._leads_to(sha, kind, raw, found)
        return found

    def _leads_to(self, sha: bytes, kind: bytes, raw: bytes, known: set[bytes]) -> Iterator[bytes]:
        if kind == b"commit":
            told = header(raw)
            yield told.tree
            yield from () if sha in self.cut else (bytes.fromhex(parent) for parent in told.parents)
        elif kind == b"tag":
            yield bytes.fromhex(raw.partition(b"\n")[0][7:].decode())
        elif kind == b"tree":
            for entry in tree_entries(raw):
                if entry.startswith(_FOLDER + b" "):
                    yield entry[-20:]
                elif not entry.startswith(_MODULE + b" "):
                    known.add(entry[-20:])  # a file leads nowhere: it need not be read

    def _history(self, head: bytes) -> None:
        waiting = [head]
        while waiting:
            one = waiting[-1]
            if one in self.commits:
                waiting.pop()
                continue
            raw = self._read(one)[1]
            parents = [] if one in self.cut else [bytes.fromhex(parent) for parent in header(raw).parents]
            before = [parent for parent in parents if parent not in self.commits]
            waiting += before
            if not before:
                self.commits[waiting.pop()] = self._commit(one, raw, parents)

    def _commit(self, sha: bytes, raw: bytes, parents: list[bytes]) -> bytes | None:
        root = header(raw).tree
        self._roots[sha] = root
        tree = self._tree(root, "")
        after = list(dict.fromkeys(new for parent in parents if (new := self.commits[parent])))
        before = [self._tree(self._roots[parent], "") for parent in parents]
        first = not before and (bool(tree.gone) or sha in self.cut)  # what was before the cut is not known
        touched = first or any(tree.gone != one.gone for one in before)
        same = len(parents) < 2 and tree.sha == (before[0].sha if before else None)
        if touched and same and sha not in self._stashed:
            return after[0] if after else None  # all it did was about what is gone
        head, _, message = raw.partition(b"\n\n")
        lines = [b"tree " + _hex(tree.sha or self._add(b"tree", b""))]
        lines += [line for line in head.split(b"\n") if sha in self.cut and line.startswith(b"parent ")]
        lines += [b"parent " + _hex(parent) for parent in after]
        lines += self._rest_of(head)
        words = self._edit.words or bytes
        if sha in self._stashed:  # what it says is the title of the commit that it was made on
            touched |= [self.commits[parent] for parent in parents] != parents
        told = b"\n".join(lines) + b"\n\n" + (ERASED if touched else words(message))
        return sha if told == raw else self._add(b"commit", told)

    def _rest_of(self, head: bytes) -> Iterator[bytes]:
        """Yield the other lines of a commit's head, but for signatures."""
        words = self._edit.words or bytes
        signed = False
        for line in head.split(b"\n"):
            signed = line.startswith(_SIGNED) or (signed and line.startswith(b" "))
            if not signed and not line.startswith((b"tree ", b"parent ")):
                yield words(line)

    def _tree(self, sha: bytes, prefix: str) -> _Tree:
        key = (sha, prefix)
        if key not in self._trees:
            self._trees[key] = self._made_tree(sha, prefix)
        return self._trees[key]

    def _made_tree(self, sha: bytes, prefix: str) -> _Tree:
        entries = tree_entries(self._read(sha)[1])
        gone: set[tuple[str, bytes]] = set()
        made: dict[bytes, tuple[bytes, bytes]] = {}
        for entry in entries:
            mode, name = entry[:-21].split(b" ", 1)
            new: bytes | None = entry[-20:]
            path = prefix + os.fsdecode(name)
            if mode == _FOLDER:
                inner = self._tree(entry[-20:], f"{path}/")
                new, gone = inner.sha, gone | inner.gone
            elif mode != _MODULE:
                new = self._blob(entry[-20:], path)
                gone |= {(path, entry[-20:])} if new is None else set()
            if new is not None:
                made[_free(self._edit.words(name) if self._edit.words else name, made)] = (mode, new)
        told: list[bytes] = [mode + b" " + name + b"\0" + new for name, (mode, new) in made.items()]
        if told == entries:
            return _Tree(sha, frozenset(gone))
        raw = b"".join(sorted(told, key=lambda entry: sort_key(bytes(entry))))
        return _Tree(self._add(b"tree", raw) if raw else None, frozenset(gone))

    def _blob(self, sha: bytes, path: str) -> bytes | None:
        if self._edit.gone(path):
            return None
        if self._edit.text is None:
            return sha
        key = (sha, path)
        if key not in self._blobs:
            data = self._read(sha)[1]
            told = self._edit.text(path, data)
            self._blobs[key] = told if told is None else sha if told == data else self._add(b"blob", told)
        return self._blobs[key]

    def _read(self, sha: bytes) -> tuple[bytes, bytes]:
        """Return kind and data of an object, one that is only to be stored too."""
        from dulwich.objects import object_class

        kind, raw = self._repo.object_store.get_raw(oid(sha))
        found = object_class(kind)
        assert found is not None
        return found.type_name, raw

    def _add(self, kind: bytes, data: bytes) -> bytes:
        import hashlib

        sha = hashlib.sha1(b"%s %d\0" % (kind, len(data)) + data, usedforsecurity=False).digest()
        self._new.append((sha, kind, data))
        self._size += len(data)
        if self._size > _AT_ONCE:
            self.store()
        return sha


def _free(name: bytes, taken: Iterable[bytes]) -> bytes:
    """Return a name that is not taken: two may have differed only in what is gone."""
    known = set(taken)
    stem, dot, ending = name.rpartition(b".") if b"." in name else (name, b"", b"")
    number = 2
    free = name
    while free in known:
        free = b"%s-%d%s%s" % (stem, number, dot, ending)
        number += 1
    return free


def _hex(sha: bytes) -> bytes:
    return sha.hex().encode()
