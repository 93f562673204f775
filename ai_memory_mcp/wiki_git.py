"""A wiki's repository: objects, trees, commits, the branch; by dulwich, and past it where its time counts.

Nothing here holds a lock: `wiki` does.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ai_memory_mcp import files
from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.gitlog import Commit, Difference, Touch, differences, header, how, is_page, tree_entries
from ai_memory_mcp.joining import BOTH, Line
from ai_memory_mcp.markdown import parse, slug

if TYPE_CHECKING:
    from dulwich.objects import ObjectID, ShaFile
    from dulwich.repo import Repo

    from ai_memory_mcp.joining import Plan

_FILE, _FOLDER = b"100644", b"40000"
COMMITTER = "ai-memory"
ON_PURPOSE = "Pages-removed: on purpose"  # in the message of a commit: what it removes may go on other machines too
OBJECT_MODE = 0o600 if sys.platform == "win32" else 0o400  # there, what is read-only cannot be removed
_BIG_TREE = 64 * 1024  # bytes; the ids in a tree do not compress, so a big one is stored as it is (20 ms saved at 1 MB)
_PACK_AT_ONCE = 64  # pages; a larger commit is written as a pack, with one fsync instead of hundreds
_PACK_SIZE = 16 * 1024 * 1024  # bytes of pages; a still larger one as several, so that it need not fit in memory
GIT_PATIENCE = 2.0  # seconds to wait for git commands that hold or move the branch,
GIT_TRIES = 5  # and how often at least to try: one try in a large history may take as long
STALE = "ai-memory-stale"  # in .git: the paths committed since git's index was refreshed, each between NULs
WRITING = "ai-memory-writing"  # in .git: JSON, page -> id of the blob that is written for a commit of several pages
_UNFINISHED = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
}


class Change(NamedTuple):
    """One commit."""

    id: str
    when: datetime
    author: str
    message: str


# -- trees

_Update = tuple[bytes, bytes] | None  # mode and id; None removes


def patch_entries(entries: list[bytes], changes: Mapping[bytes, _Update]) -> list[bytes]:
    """Set or remove names among the entries of a tree; gives a new list in git's order."""
    patched = list(entries)
    for name, update in changes.items():
        for key in (name, name + b"/"):
            at = bisect_left(patched, key, key=sort_key)
            if at < len(patched) and sort_key(patched[at]) == key:
                del patched[at]
        if update is not None:
            mode, sha = update
            entry = mode + b" " + name + b"\0" + sha
            patched.insert(bisect_left(patched, sort_key(entry), key=sort_key), entry)
    return patched


def sort_key(entry: bytes) -> bytes:
    mode, name = entry[:-21].split(b" ", 1)
    return name + b"/" if mode == _FOLDER else name


def blob_id(data: bytes) -> bytes:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).digest()


class GitObject(NamedTuple):
    """A git object to be stored."""

    kind: str
    data: bytes
    sha: bytes


def add_object(new: list[GitObject], kind: str, data: bytes) -> bytes:
    sha = hashlib.sha1(b"%s %d\0" % (kind.encode(), len(data)) + data, usedforsecurity=False).digest()
    new.append(GitObject(kind, data, sha))
    return sha


class Trees:
    """The trees of a repository as lists of entries, each read once."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._read: dict[bytes, list[bytes]] = {}

    def entries(self, tree: bytes | None) -> list[bytes]:
        if tree is None:
            return []
        if tree not in self._read:
            self._read[tree] = tree_entries(read_object(self._repo, tree))
        return self._read[tree]

    def child(self, tree: bytes | None, name: bytes, *, folder: bool) -> bytes | None:
        """The id of a folder (or else a file) in a tree."""
        entries, key = self.entries(tree), name + b"/" if folder else name
        at = bisect_left(entries, key, key=sort_key)
        found = at < len(entries) and sort_key(entries[at]) == key
        return entries[at][-20:] if found else None

    def blob(self, tree: bytes | None, path: str) -> bytes | None:
        """The id of the file at a path below a tree."""
        *folders, name = os.fsencode(path).split(b"/")
        for folder in folders:
            tree = self.child(tree, folder, folder=True)
            if tree is None:
                return None
        return self.child(tree, name, folder=False)

    def graft(self, tree: bytes | None, blobs: Mapping[bytes, bytes | None], new: list[GitObject]) -> bytes | None:
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
        return add_object(new, "tree", raw) if raw else None


_Root = bytes | None  # the id of a tree, None where it holds nothing


class Three:
    """Our commit, another one and what they have in common, as `joining.Plan` looks at them."""

    def __init__(
        self, inside: Callable[[str], bool], repo: Repo, ours: ObjectID | None, theirs: ObjectID, line: Line
    ) -> None:
        self._inside, self._repo, self._line = inside, repo, line
        self.ours, self.theirs = ours, theirs
        before = oid(bytes.fromhex(line.base)) if line.base else None
        known = before is not None and before in repo.object_store
        self.base = before if known else common(repo, ours, theirs)
        self.trees = Trees(repo)
        self._names: dict[str, str] | None = None if line != BOTH else {}
        self.roots = [root_of(repo, commit) for commit in (self.base, ours, theirs)]

    def read(self, sha: bytes) -> bytes:
        return read_object(self._repo, sha)

    def common(self, path: str) -> bytes | None:
        if path in self._renamed():  # under this name it is to go, whatever it says
            return self.trees.blob(self.roots[1], path) or self.trees.blob(self.roots[2], path)
        before = next((old for old, new in self._renamed().items() if new == path), path)
        return self.trees.blob(self.roots[0], before)

    def inside(self, path: str) -> bool:
        return self._inside(path)

    def differing(self) -> Iterator[Difference]:
        found = self._differing()
        if not self._renamed():
            return found
        pairs = {path: (mine, other) for path, mine, other in found}
        for old, new in self._renamed().items():
            pairs[new] = pairs[new][0] or pairs[old][0], pairs[new][1] or pairs[old][1]
        return ((path, *pair) for path, pair in pairs.items())

    def _differing(self) -> Iterator[Difference]:
        return differences(self.read, self.roots[1] or b"", self.roots[2] or b"")

    def _renamed(self) -> dict[str, str]:
        """The names of pages that have another one on the side where something was erased: it stood in the name."""
        if self._names is None:
            self._names = {}
            alone = [one for one in self._differing() if is_page(one[0]) and None in one[1:]]
            ours = {self._page_id(mine.id): path for path, mine, _ in alone if mine}
            theirs = {self._page_id(other.id): path for path, _, other in alone if other}
            for old, new, goes_on in ((ours, theirs, self._line.ours), (theirs, ours, self._line.theirs)):
                self._names |= {} if goes_on else {old[one]: new[one] for one in old.keys() & new.keys() if one}
        return self._names

    def _page_id(self, blob: bytes) -> str:
        return str(parse(self.read(blob).decode("utf-8", "replace"))[0].get("id") or "")

    def tracked(self) -> Iterator[str]:
        return (path for path, _, _ in differences(self.read, self.roots[1] or b"", b""))

    def removed_on_purpose(self, path: str, *, here: bool) -> bool:
        if path in self._renamed():
            return True
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
                yield root_of(self._repo, entry.commit.id), [root_of(self._repo, one) for one in entry.commit.parents]

    def commit(self, plan: Plan, new: list[GitObject], when: datetime) -> ObjectID:
        """The commit that is to be checked out: ours, the other one, or one on top of both (made into `new`)."""
        blobs = {os.fsencode(path): blob for path, blob in plan.files.items()}
        for path, data in plan.made.items():
            blobs[os.fsencode(path)] = add_object(new, "blob", data)
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
        data = commit_data(tree or add_object(new, "tree", b""), parents, message, COMMITTER, when)
        return oid(add_object(new, "commit", data))


def common(repo: Repo, ours: ObjectID | None, theirs: ObjectID) -> ObjectID | None:
    """The newest commit that both lead back to, None where there is none."""
    if ours is None:
        return None
    from dulwich.graph import find_merge_base

    found = find_merge_base(repo, [ours, theirs])
    return found[0] if found else None


def oid(sha: bytes) -> ObjectID:
    from dulwich.objects import ObjectID

    return ObjectID(sha.hex().encode())


# -- commits


def head_of(repo: Repo, *, strict: bool = True) -> ObjectID | None:
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


def plain_head(git: Path) -> str:
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


def root_of(repo: Repo, head: ObjectID | None) -> bytes | None:
    if head is None:
        return None
    commit = read_object(repo, bytes.fromhex(head.decode()))
    return bytes.fromhex(commit[5:45].decode())  # a commit begins with "tree <id>\n"


def record(
    repo: Repo,
    pages: Mapping[str, bytes | None],
    message: str,
    author: str,
    when: datetime,
    further: ObjectID | None = None,
) -> Commit | None:
    """Commit pages onto the checked-out branch (`further`: and what leads to another commit); starts again when git
    moved it meanwhile."""
    new: list[GitObject] = []
    blobs = _blobs(repo, pages, new)
    deadline = time.monotonic() + GIT_PATIENCE
    for tried in count(1):
        head = head_of(repo)
        root = root_of(repo, head)
        fresh = list(new)
        trees = Trees(repo)
        tree = trees.graft(root, blobs, fresh)
        if tree == root:
            return None
        parents = [one for one in (head, further) if one]
        commit = commit_data(tree or add_object(fresh, "tree", b""), parents, message, author, when)
        made = oid(add_object(fresh, "commit", commit))
        store_objects(repo, fresh)
        mark_stale(repo, blobs)
        if advance(repo, head, made, message, when):
            return Commit(made.decode(), *header(commit)[1:], _touches(trees, root, blobs))
        if tried >= GIT_TRIES and time.monotonic() > deadline:
            break
        time.sleep(0.02)
    raise StorageError(
        f"Git holds the branch of {repo.path}. If no git command runs, remove the .lock file in "
        ".git/refs/heads, then try again."
    )


def _blobs(repo: Repo, pages: Mapping[str, bytes | None], new: list[GitObject]) -> dict[bytes, bytes | None]:
    """Return the ids of pages by path. Their objects are put into `new`, and stored on the way where they are many."""
    blobs: dict[bytes, bytes | None] = {}
    size = 0
    for path, data in pages.items():
        blobs[os.fsencode(path)] = None if data is None else add_object(new, "blob", data)
        size += len(data or b"")
        if size > _PACK_SIZE:
            store_objects(repo, new)
            new.clear()
            size = 0
    return blobs


def _touches(trees: Trees, root: bytes | None, blobs: Mapping[bytes, bytes | None]) -> tuple[Touch, ...]:
    """Which of the pages a commit of these blobs (path -> id, None removes) changed, and how."""
    found = []
    for path, blob in sorted((os.fsdecode(path), blob) for path, blob in blobs.items()):
        before = trees.blob(root, path)
        if before != blob and is_page(path):
            found.append(Touch(path, how(before is not None, blob), blob or b""))
    return tuple(found)


def commit_data(tree: bytes, parents: list[ObjectID], message: str, author: str, when: datetime) -> bytes:
    from dulwich.objects import Commit

    commit = Commit()
    commit.tree = oid(tree)
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


def store_objects(repo: Repo, objects: list[GitObject]) -> None:
    if len(objects) > _PACK_AT_ONCE:
        _store_packed(repo, objects)
        return
    for one in objects:
        path = _loose_path(repo, one.sha)
        if not path.exists():
            level = 0 if one.kind == "tree" and len(one.data) > _BIG_TREE else 1
            header = f"{one.kind} {len(one.data)}\0".encode()
            files.private_dir(path.parent)
            files.write_atomic(path, zlib.compress(header + one.data, level), mode=OBJECT_MODE, durable=True)


def _store_packed(repo: Repo, objects: list[GitObject]) -> None:
    from dulwich.objects import ShaFile, object_class

    made = {}
    for one in objects:
        kind = object_class(one.kind.encode())
        assert kind is not None
        made[one.sha] = ShaFile.from_raw_string(kind.type_num, one.data)
    repo.object_store.add_objects([(one, None) for one in made.values()])


def pack_loose(repo: Repo) -> int:
    """Put all loose objects into packs, each of what fits in memory easily; returns how many there were."""
    made: list[ShaFile] = []
    size = packed = 0
    for path in sorted(Path(repo.controldir(), "objects").glob("??/" + "[0-9a-f]" * 38)):
        made.append(repo.object_store[oid(bytes.fromhex(path.parent.name + path.name))])
        size += made[-1].raw_length()
        if size > _PACK_SIZE:
            packed += _pack(repo, made)
            made, size = [], 0
    return packed + _pack(repo, made)


def _pack(repo: Repo, made: list[ShaFile]) -> int:
    """Put objects that are stored loose into one pack."""
    if made:
        repo.object_store.add_objects([(one, None) for one in made])
        repo.object_store.close()  # it would keep all of the pack in memory
    for one in made:
        repo.object_store.delete_loose_object(one.id)
    return len(made)


def _loose_path(repo: Repo, sha: bytes) -> Path:
    name = sha.hex()
    return Path(repo.controldir(), "objects", name[:2], name[2:])


def read_object(repo: Repo, sha: bytes) -> bytes:
    """The bytes of an object. Loose ones are read here: dulwich would parse a tree twice on the way."""
    try:
        return zlib.decompress(_loose_path(repo, sha).read_bytes()).split(b"\0", 1)[1]
    except FileNotFoundError:
        return repo.object_store.get_raw(oid(sha))[1]


def advance(repo: Repo, head: ObjectID | None, commit: ObjectID, message: str, when: datetime) -> bool:
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


def mark_stale(repo: Repo, paths: Iterable[bytes]) -> None:
    with open(os.path.join(repo.controldir(), STALE), "ab") as marker:
        marker.write(b"".join(b"\0" + path + b"\0" for path in paths))  # what is before may be torn


def change_of(commit: object) -> Change:
    from dulwich.objects import Commit

    assert isinstance(commit, Commit)
    when = datetime.fromtimestamp(commit.commit_time, timezone.utc)
    author = commit.author.decode("utf-8", "replace").split(" <")[0]
    return Change(commit.id.decode(), when, author, commit.message.decode("utf-8", "replace").rstrip())
