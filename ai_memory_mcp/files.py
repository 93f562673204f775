"""The one door for atomic writes, private folders and locks between processes.

A lock file is never removed (removing it would let two holders in); who holds it stands in `<lock>.holder`,
which is left behind only when the holder died, so the next one knows that it has to look for half-done work.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ai_memory_mcp.alive import process_lives
from ai_memory_mcp.errors import BusyError, StorageError

if TYPE_CHECKING:
    from filelock import BaseFileLock

STALE = 3600  # seconds; no write takes that long
ATTENTIVE = 3.0  # seconds since somebody who waits was last seen to do so
PATIENCE = 2.0 if sys.platform == "win32" else 0.0  # seconds; elsewhere a refusal is meant
TEMPORARY = ".tmp"  # the ending of unfinished files; their names begin with "." so nothing lists them as pages

_WRITER = re.compile(rf"^\.(\d+)-[0-9a-f]{{8}}\{TEMPORARY}$|-(\d+)\{TEMPORARY}$")  # the process, by the file's name

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EROFS: "the file system is read-only; mount it writable or set AI_MEMORY_HOME to another folder",
    errno.EACCES: "permission denied; check the owner and mode of the folder",
    errno.EPERM: "permission denied; check the owner and mode of the folder",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
    errno.ENOTDIR: "a file stands where a folder is needed; rename one of the two",
    errno.EEXIST: "a file stands where a folder is needed; rename one of the two",
    errno.EISDIR: "a folder stands where the file should go; rename one of the two",
}


def storage_error(action: str, path: str | os.PathLike[str], error: OSError) -> StorageError:
    """Translate an OSError into what happened and what to do."""
    reason = _REASONS.get(error.errno or 0, str(error.strerror or error))
    return StorageError(f"Cannot {action} {os.fspath(path)}: {reason}.")


def private_dir(path: str | os.PathLike[str]) -> Path:
    """Make a folder (and its parents) that only the owner may enter (0700). Raises StorageError."""
    folder = Path(path)
    try:
        if not folder.is_dir():
            if not folder.parent.is_dir():
                private_dir(folder.parent)
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise storage_error("make the folder", folder, error) from error
    return folder


def file_stamp(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """Return what changes when a file or the list of a folder does; zeros where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def write_atomic(
    path: str | os.PathLike[str], data: bytes, *, mode: int = 0o600, durable: bool = False, keep: bool = False
) -> None:
    """Replace a file in one step: readers see the old bytes or the new ones, never a part of them.

    The folder must exist. With `durable` the bytes are on the disk before the name changes, so a power cut
    leaves the old file or the new one too. With `keep` an existing file's mode and owner stay. Raises
    StorageError; then the old file is untouched and no temporary is left.
    """
    target = os.fspath(path)
    temporary = os.path.join(os.path.dirname(target), f".{os.getpid()}-{os.urandom(4).hex()}{TEMPORARY}")
    try:
        _write_new(temporary, data, mode, durable)
        if keep:
            _keep_state(target, temporary)
        replace(temporary, target)
    except OSError as error:
        raise storage_error("write", target, error) from error
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable, where folders can be opened (not on Windows). Raises OSError."""
    if os.name == "posix":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def replace(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Give a file another name, in place of what has that name. Raises OSError."""
    _patiently(lambda: os.replace(source, target))


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a file; one that is not there is no error. Raises OSError."""
    with suppress(FileNotFoundError):
        _patiently(lambda: os.unlink(path))


def _patiently(action: Callable[[], None]) -> None:
    """Try again what Windows refuses while another process (a reader, a virus scanner) has the file open."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return action()
        except PermissionError:
            if time.monotonic() >= until:
                raise
        time.sleep(0.01)


def sweep(folder: Path, *, now: float, pattern: str = f".*{TEMPORARY}", age: float = STALE) -> None:
    """Remove what lies in a folder since more than `age` seconds before `now`: unfinished files of killed writers."""
    for path in folder.glob(pattern):
        with suppress(OSError):  # another process may sweep as well
            if now - path.stat().st_mtime > age:
                path.unlink()


def sweep_dead(folder: Path) -> None:
    """Remove the unfinished files of writers that do not run any more, wherever they lie in a folder."""
    for path in folder.rglob(f".*{TEMPORARY}"):
        writer = _WRITER.search(path.name)
        if writer and not process_lives(int(writer[1] or writer[2])):
            with suppress(OSError):
                remove(path)


@contextmanager
def locked(path: str | os.PathLike[str], *, timeout: float) -> Iterator[bool]:
    """Hold the lock file `path` alone among all processes and threads; waits up to `timeout` seconds, and those that
    wait are served in the order in which they came.

    Gives True when the previous holder died inside, so that half-done work may lie about. Raises BusyError
    on time-out, naming the holder.
    """
    import filelock  # not at the top: 50-180 ms, it pulls asyncio

    lock = Path(path)
    private_dir(lock.parent)
    mutex = filelock.FileLock(lock, timeout=0, mode=0o600)
    holder = holder_file(lock)
    try:
        if (_awaited(lock) or not _got(mutex)) and not _got_in_turn(mutex, lock, timeout):
            raise BusyError(_busy(lock, timeout))
        died = holder.exists()
        holder.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        mutex.release()
        raise storage_error("lock", lock, error) from error
    try:
        yield died
    finally:
        with suppress(OSError):  # the next holder then looks for half-done work in vain, but it gets the lock
            remove(holder)
        mutex.release()


def _got(mutex: BaseFileLock) -> bool:
    """Take the lock if it is free."""
    import filelock

    try:
        mutex.acquire()
    except filelock.Timeout:
        return False
    return True


def _got_in_turn(mutex: BaseFileLock, lock: Path, timeout: float) -> bool:
    """Wait for the lock, behind those who wait already: without an order, a busy one passes some by for minutes.

    A file tells since when one waits. It counts while it is touched: nobody stands behind who was killed or stopped.
    """
    until = time.monotonic() + timeout
    ticket = lock.with_name(f".{lock.name}-{time.time_ns():020d}-{os.urandom(2).hex()}-{os.getpid()}{TEMPORARY}")
    try:
        while time.monotonic() < until:
            with suppress(OSError):  # a full disk: then it waits in no order
                ticket.touch(mode=0o600)
            if not _awaited(lock, ticket.name) and _got(mutex):
                return True
            time.sleep(0.01)
        return False
    finally:
        with suppress(OSError):
            remove(ticket)


def _awaited(lock: Path, ticket: str = "~") -> bool:
    """Tell whether somebody waits for a lock, and came before the one with this ticket."""
    now = time.time()
    for name in os.listdir(lock.parent):
        if name.startswith(f".{lock.name}-") and name < ticket:
            with suppress(OSError):
                if abs(now - os.stat(lock.with_name(name)).st_mtime) < ATTENTIVE:
                    return True
    return False


def is_recent(mark: Path, seconds: float, *, now: float) -> bool:
    """Tell whether a file was written in the last so many seconds before `now` (Unix time)."""
    try:
        return 0 <= now - mark.stat().st_mtime < seconds
    except OSError:
        return False


def first_in(mark: Path, seconds: float, *, now: float | None = None) -> bool:
    """Tell whether nobody has asked this in so many seconds, and note that somebody has now. Raises StorageError."""
    if is_recent(mark, seconds, now=time.time() if now is None else now):
        return False
    private_dir(mark.parent)
    write_atomic(mark, b"")
    return True


def holder_file(lock: Path) -> Path:
    """Where the process id of a lock's holder stands."""
    return lock.with_name(lock.name + ".holder")


def held(lock: Path) -> bool:
    """Tell whether a process that runs holds a lock; without waiting for it, and so only as of a moment ago."""
    try:
        return process_lives(int(holder_file(lock).read_text(encoding="ascii")))
    except (OSError, ValueError):
        return False


def _busy(lock: Path, timeout: float) -> str:
    try:
        who = f"process {int(holder_file(lock).read_text(encoding='ascii'))}"
    except (OSError, ValueError):
        who = "another process"
    return f"{who} has held {lock} for more than {timeout:g} s. Wait, or end it if it hangs, and try again."


def _keep_state(target: str, temporary: str) -> None:
    """Give the new file the mode and owner of the one it replaces, as far as this user may."""
    try:
        state = os.stat(target)
    except FileNotFoundError:
        return
    if hasattr(os, "chown"):
        with suppress(PermissionError):
            os.chown(temporary, state.st_uid, state.st_gid)
    os.chmod(temporary, stat.S_IMODE(state.st_mode))


def _write_new(path: str, data: bytes, mode: int, durable: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags, mode), "wb", buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]
        if durable:
            os.fsync(file.fileno())
