"""Git's own index of a wiki, which commits go round: brought up to date later, under git's own lock."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ai_memory_mcp import files
from ai_memory_mcp.wiki_git import STALE, Trees, head_of, oid, root_of

if TYPE_CHECKING:
    from dulwich.index import ConflictedIndexEntry, IndexEntry
    from dulwich.repo import Repo

_INDEX_LOCK = b"ai-memory\n"  # tells our own index.lock from git's after a crash


@contextmanager
def locked_index(path: Path) -> Iterator[bool]:
    """Take git's own lock of its index; False when git has it, or where files cannot have two names. Raises OSError
    where the disk refuses.

    It is ours from its first moment: killed before it said so, it would stand in git's way for good.
    """
    ours = path.with_name("ai-memory-index")  # one at a time: the caller holds the wiki's lock
    drop_own_lock(path)  # one that a disk did not let go
    ours.write_bytes(_INDEX_LOCK)
    try:
        os.link(ours, path)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC):
            raise
        yield False
        return
    finally:
        ours.unlink()
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)


def drop_own_lock(path: Path) -> None:
    """Remove git's lock of its index where it is one of ours, which somebody was killed with."""
    with suppress(FileNotFoundError):
        if path.read_bytes() == _INDEX_LOCK:
            path.unlink()


def refresh(repo: Repo, index: Path, paths: Iterable[str]) -> bool:
    """Rewrite git's index with the given paths as they are in HEAD; False for a form we cannot write.

    The entries get no time and size, so git itself compares the file once: a hand edit is never hidden.
    """
    found = _read_index(index)
    if found is None:
        return False
    entries, version = found
    trees, root = Trees(repo), root_of(repo, head_of(repo))
    for path in paths:
        blob = trees.blob(root, path)
        if blob is None:
            entries.pop(os.fsencode(path), None)
        else:
            entries[os.fsencode(path)] = _unseen(blob)
    _write(index, entries, version)
    return True


def renew(repo: Repo) -> None:
    """Write git's index anew, with what is in HEAD and nothing else."""
    git = Path(repo.controldir())
    head = head_of(repo)
    root = root_of(repo, head)
    entries: dict[bytes, IndexEntry | ConflictedIndexEntry] = {}
    if root is not None:
        for one in repo.object_store.iter_tree_contents(oid(root)):
            entries[one.path] = _unseen(bytes.fromhex(one.sha.decode()), one.mode)
    for shared in git.glob("sharedindex.*"):
        shared.unlink()
    _write(git / "index", entries, 2)
    (git / STALE).unlink(missing_ok=True)


def _write(index: Path, entries: dict[bytes, IndexEntry | ConflictedIndexEntry], version: int) -> None:
    from dulwich.index import write_index_dict

    out = BytesIO()
    write_index_dict(out, entries, version=version)
    data = out.getvalue()
    files.write_atomic(index, data + hashlib.sha1(data, usedforsecurity=False).digest())


def _unseen(blob: bytes, mode: int = 0o100644) -> IndexEntry:
    from dulwich.index import IndexEntry

    return IndexEntry(ctime=0, mtime=0, dev=0, ino=0, mode=mode, uid=0, gid=0, size=0, sha=oid(blob))


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
