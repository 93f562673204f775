"""Backup and restore: everything that cannot be made anew in one file (see `archive`), and a memory from such a file.

A backup is taken while agents write. Events come first, then the journal, then each wiki under its own lock, what is
known of other machines before them and what is gone for good last: in this order what was acknowledged before is in
it, at most twice, and counts once. Not in it: index, briefs, caches, logs, a client's `token`, and what belongs to the
machine (`bin/`, `backups/`, `machine.json`).

A restore unpacks and checks everything beside the memory's places. From `restoring.json` on all of it is right and
lies ready; what is left is moving, which whoever comes next ends if need be (`finish`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from ai_memory_mcp import __version__, formats, ingest
from ai_memory_mcp.archive import FILES, FOLDERS, Archive, Packer, caseless, tamed
from ai_memory_mcp.config import Config
from ai_memory_mcp.errors import InputError, StorageError
from ai_memory_mcp.files import (
    TEMPORARY,
    held,
    locked,
    private_dir,
    remove,
    replace,
    storage_error,
    sweep,
    sync_folder,
    write_atomic,
)
from ai_memory_mcp.formats import UNFINISHED
from ai_memory_mcp.memory import Progress
from ai_memory_mcp.model import Value
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.tokens import Tokens
from ai_memory_mcp.tombstones import FILE as TOMBSTONES

LOCK_WAIT = 60.0  # seconds
ROOM = 64 << 20  # bytes that a restore leaves free on the disk
AGAIN = 5  # looks at a folder for files that have come into it, or got another name, while it was packed
ENDING = ".backup.tmp"
_STAGE = ".restore-"
_ASIDE = "before-restore"


class Backup(Value):
    """A backup that was written: its file and size, how many files with how many bytes are in it, and what of the
    wikis is not (path -> why)."""

    file: str
    size: int
    files: int
    bytes: int
    made: datetime
    left_out: dict[str, str]


class Restored(Value):
    """What a restore has put, or would put, into a home.

    `kept`: settings that were there already and stay. `aside`: folders that came to be meanwhile, under other names
    now. `tokens`: the names of those that open the server again.
    """

    home: str
    files: int
    bytes: int
    made: datetime
    version: str
    kept: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    dry_run: bool = False


class _Ready(Value):
    """`restoring.json`: what lies ready in which folder, of the archive whose manifest has this check sum."""

    stage: str
    sum: str
    told: Restored


def lock(home: Path, wait: float = LOCK_WAIT) -> AbstractContextManager[bool]:
    """Return the lock that keeps a backup from packing what is just being erased, moved or restored."""
    return locked(home / "locks" / "backup.lock", timeout=wait)


# --- backup


def backup(res: Resources, target: Path, *, now: datetime, progress: Progress) -> Backup:
    """Write a memory into a new file, whole or not at all. Raises InputError for a file that exists, StorageError."""
    if target.exists():
        raise InputError(f"{target} exists already; name another file")
    if target.is_relative_to(res.home):
        raise InputError(f"{target} would be lost together with {res.home}; name a file elsewhere")
    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}{ENDING}")
    try:
        with lock(res.home), open(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
            sweep(target.parent, now=now.timestamp(), pattern=f".*{ENDING}")
            with Packer(file) as packer:
                _pack(res, packer, progress)
                manifest = packer.finish(__version__, now)
            file.flush()
            os.fsync(file.fileno())
        size = temporary.stat().st_size
        _named(temporary, target)
    except OSError as error:
        raise storage_error("write", target, error) from error
    finally:
        with suppress(OSError):
            remove(temporary)
    return Backup(
        file=str(target),
        size=size,
        files=len(manifest.files),
        bytes=manifest.bytes,
        made=now,
        left_out=_told_left_out(packer.left_out),
    )


def _named(temporary: Path, target: Path) -> None:
    """Give the file its name, never in place of another one."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise InputError(f"{target} exists by now; name another file") from None
    except OSError:  # a disk without second names
        replace(temporary, target)
    sync_folder(target.parent)


def _pack(res: Resources, packer: Packer, progress: Progress) -> None:
    total = sum(1 for name in FOLDERS for _ in _below(res.home / name))
    done: set[Path] = set()

    def take(find: Callable[[Path], Iterable[Path]], folder: Path, *, lines: bool = False) -> None:
        for _ in range(AGAIN):
            fresh = [path for path in find(folder) if path not in done]
            for path in fresh:
                name = os.path.relpath(path, res.home).replace(os.sep, "/")
                packer.add(path, name, lines=lines and path.suffix in (".jsonl", ".log"))
                done.add(path)
                progress("packing", len(done), max(total, len(done)))
            if not fresh:
                return

    for folder in (res.spool.folder, res.spool.aside, res.spool.folder):  # what is tried again goes back
        take(_entries, folder)
    for name in ("sync", "llm"):
        take(_unhidden, res.home / name)
    take(_unhidden, res.journal.folder, lines=True)
    for workspace, project in res.wiki_folders():
        wiki = res.wiki_at(workspace, project)
        take(_below, wiki.folder / ".git" / "objects")  # most of it, and it never changes: no lock is needed
        with wiki.at_rest():
            take(_below, wiki.folder)
    take(lambda home: (path for name in FILES if (path := home / name).exists()), res.home)


def _below(folder: Path) -> Iterator[Path]:
    """Yield all below a folder that is no folder itself; links are not followed."""
    for top, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(top, name) for name in sorted(names))
        yield from (path for name in folders if (path := Path(top, name)).is_symlink())


def _unhidden(folder: Path) -> Iterator[Path]:
    return (path for path in _below(folder) if not path.name.startswith("."))


def _entries(spool: Path) -> list[Path]:
    return [path for path in sorted(spool.glob("[!.]*")) if path.is_file()]


def _told_left_out(left_out: dict[str, str]) -> dict[str, str]:
    """Return what a person may miss: not what git keeps for itself, and no unfinished files."""
    return {name: why for name, why in left_out.items() if "/.git/" not in name and not name.endswith(TEMPORARY)}


# --- restore


def restore(file: Path, home: Path, *, dry_run: bool = False, progress: Progress) -> Restored:
    """Put the memory of an archive into a home that holds none. With `dry_run` only read and check all of it.

    Raises InputError for an archive that is not what it says and for a home that holds a memory, StorageError;
    then nothing of it is there. Killed, it leaves nothing but what the next restore removes, or, once everything lies
    ready, what the next command of any kind puts in place.
    """
    if dry_run:
        with Archive(file) as archive:
            for done, entry in enumerate(archive.manifest.files):
                progress("checking", done, len(archive.manifest.files))
                archive.unpack(entry, None)
            return _told(archive, home, None)
    if not home.exists():
        with Archive(file):  # before a folder is made for it
            pass
    with lock(private_dir(home)):
        ready = _ready(home)
        if ready:  # somebody was killed
            return _ended(home, ready, file)
        formats.version(home)
        _clear(home)
        _refuse_full(home)
        try:
            with Archive(file, caseless=caseless(home)) as archive:
                stage = _unpack(archive, home, progress)
                ready = _Ready(stage=stage.name, sum=archive.sum, told=_told(archive, home, stage))
            with ingest.lock(_bare(home), LOCK_WAIT):
                _refuse_full(home)
                write_atomic(home / UNFINISHED, ready.model_dump_json().encode(), durable=True)
                return _move_in(home, ready)
        except OSError as error:
            raise storage_error("restore into", home, error) from error
        finally:
            if not formats.unfinished(home):
                _clear(home)


def finish(home: Path, wait: float = LOCK_WAIT) -> None:
    """End a restore that was killed when everything lay ready. Raises StorageError, BusyError."""
    with lock(home, wait):
        ready = _ready(home)
        if ready:
            with ingest.lock(_bare(home), wait):
                _move_in(home, ready)


def sweep_stages(home: Path) -> None:
    """Remove what a restore has unpacked that was killed before everything lay ready, once nobody is at it."""
    if not formats.unfinished(home) and not held(home / "locks" / "backup.lock"):
        _clear(home)


def _ended(home: Path, ready: _Ready, file: Path) -> Restored:
    """End an earlier restore. Raises InputError where it was not one of this archive."""
    with ingest.lock(_bare(home), LOCK_WAIT):
        told = _move_in(home, ready)
    with Archive(file) as archive:
        if archive.sum == ready.sum:
            return told
    raise InputError(f"an earlier restore was ended: {home} holds the memory of {told.made:%Y-%m-%d %H:%M} UTC now")


def _ready(home: Path) -> _Ready | None:
    try:
        return _Ready.model_validate_json((home / UNFINISHED).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise StorageError(f"{home / UNFINISHED} cannot be read: {error}") from error


def _bare(home: Path) -> Resources:
    return Resources.at(home, "", Config())


def _told(archive: Archive, home: Path, stage: Path | None) -> Restored:
    manifest = archive.manifest
    tokens: tuple[str, ...] = ()
    if stage and not (home / "tokens.json").exists():
        with suppress(StorageError):  # a damaged one opens nothing
            tokens = tuple(token.name for token in Tokens(stage).all())
    return Restored(
        home=str(home),
        files=len(manifest.files),
        bytes=manifest.bytes,
        made=manifest.made,
        version=manifest.version,
        tokens=tokens,
        dry_run=stage is None,
    )


def _clear(home: Path) -> None:
    for stage in home.glob(f"{_STAGE}*"):
        shutil.rmtree(stage, ignore_errors=True)


def _refuse_full(home: Path) -> None:
    full = [name for name in ("journal", "wiki") if next(_below(home / name), None)]
    if full:
        raise InputError(
            f"{home} holds a memory already ({' and '.join(full)}). Restore beside it (--beside) or into another folder"
            " (--into FOLDER), or move it away. Nothing was restored."
        )


def _unpack(archive: Archive, home: Path, progress: Progress) -> Path:
    """Unpack into a folder below the home, where all of it is on the disk when this returns."""
    manifest = archive.manifest
    free = shutil.disk_usage(home).free
    if manifest.bytes + ROOM > free:
        raise InputError(f"the backup takes {manifest.bytes:,} bytes, and the disk of {home} has {free:,} left")
    stage = private_dir(home / f"{_STAGE}{os.urandom(4).hex()}")
    for name in FOLDERS:
        private_dir(stage / name)
    for done, entry in enumerate(manifest.files):
        progress("unpacking", done, len(manifest.files))
        archive.unpack(entry, private_dir((stage / entry.path).parent) / Path(entry.path).name)
    for git in stage.glob("wiki/*/*/.git"):
        for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            private_dir(git / name)  # without these git takes it for no repository, be they empty
        config = git / "config"
        write_atomic(config, tamed(config.read_text("utf-8", "replace") if config.exists() else "").encode())
    _on_disk(stage)
    return stage


def _on_disk(folder: Path) -> None:
    """Have everything below a folder outlive a power cut. Raises OSError."""
    if hasattr(os, "sync"):
        os.sync()  # at once what takes minutes file by file
        return
    for path in _below(folder):
        with open(path, "rb+") as file:
            os.fsync(file.fileno())


def _move_in(home: Path, ready: _Ready) -> Restored:
    """Move what lies ready to its places, however much of it is there by now. The caller holds the ingest lock."""
    res, stage = _bare(home), home / ready.stage
    told = ready.told
    try:
        res.index.discard()
        for brief in (home / "brief").glob("*.json"):
            remove(brief)
        for name in FOLDERS:
            if (stage / name).exists():
                told = _move_folder(stage / name, home / name, told)
        for name in FILES:
            if (stage / name).exists():
                told = _move_file(stage / name, home / name, told)
        sync_folder(home)
        remove(home / UNFINISHED)
        shutil.rmtree(stage, ignore_errors=True)
    except OSError as error:
        raise storage_error("restore into", home, error) from error
    return told


def _move_folder(source: Path, target: Path, told: Restored) -> Restored:
    """Move a folder into its place. Events that wait there stay, old notes of syncs and models go."""
    if target.name == "spool":
        for path in list(_below(source)):
            there = target / path.relative_to(source)
            private_dir(there.parent)
            replace(path, there)
        return told
    if target.name in ("journal", "wiki") and next(_below(target), None):  # it came to be a moment ago
        aside = target.with_name(f"{target.name}-{_ASIDE}-{os.urandom(4).hex()}")
        os.rename(target, aside)
        told = told.model_copy(update={"aside": (*told.aside, str(aside))})
    elif target.exists():
        shutil.rmtree(target)
    os.rename(source, target)
    return told


def _move_file(source: Path, target: Path, told: Restored) -> Restored:
    """Move a file into its place; settings that are there stay, and what is gone for good in either stays gone."""
    if not target.exists() or target.name == formats.FILE:
        replace(source, target)
    elif target.name == TOMBSTONES:
        write_atomic(target, target.read_bytes() + b"\n" + source.read_bytes(), durable=True)
        remove(source)
    elif target.read_bytes() != source.read_bytes():
        return told.model_copy(update={"kept": (*told.kept, target.name)})
    return told
