"""Changes to settings files: planned as bytes, applied atomically with backup and record.

The record (`installed.json`) is written before the files, so that whatever a crash leaves can be uninstalled.
Original bytes come back only while a file still holds what we wrote; `wrote` lists every such state.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import stat
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ai_memory_mcp.agents.wiring import Trace
from ai_memory_mcp.errors import InstallError, StorageError
from ai_memory_mcp.files import locked, private_dir, write_atomic


class FileRecord(BaseModel):
    """What we did to one file. `original` is the sha256 before us, "" when only text surgery can undo us."""

    model_config = ConfigDict(extra="forbid")

    wired: list[tuple[str, str]] = Field(default_factory=list)
    existed: bool = True
    original: str = ""
    backup: str = ""
    wrote: list[str] = Field(default_factory=list)
    folders: list[str] = Field(default_factory=list)
    trace: Trace = Trace()


class Installed(BaseModel):
    """The content of `installed.json`: a record for each settings file, by its real path."""

    model_config = ConfigDict(extra="forbid")

    version: int = 1
    files: dict[str, FileRecord] = Field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """One file: bytes before (None: new) and after (None: delete). `record` None forgets what we did there.

    `mode` is for a new file; `folders` go with a deleted one when they are empty.
    """

    path: Path
    before: bytes | None
    after: bytes | None
    summary: tuple[str, ...]
    record: FileRecord | None = None
    mode: int = 0o644
    folders: tuple[str, ...] = ()


@dataclass
class Plan:
    """What would be done: changes, places that are right already, and what cannot be done and why."""

    changes: list[Change] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    errors: list[InstallError] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)


@dataclass
class Applied:
    """What was done, and what was refused."""

    done: list[Change] = field(default_factory=list)
    errors: list[InstallError] = field(default_factory=list)


def sha256(data: bytes) -> str:
    """Return the hex digest."""
    return hashlib.sha256(data).hexdigest()


def diff(change: Change) -> str:
    """Return the change as unified diff text; '/dev/null' stands for a file that is not there."""
    before, after = ((data or b"").decode("utf-8", "replace") for data in (change.before, change.after))
    old, new = ("/dev/null" if data is None else str(change.path) for data in (change.before, change.after))
    lines = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), old, new)
    return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)


def read_settings(path: Path) -> bytes | None:
    """Return the bytes, None where there is no file. Raises InstallError when it is not ours to write."""
    try:
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        _check_folder(path)
        return None
    except OSError as error:
        raise _refused(path, error) from error
    if not stat.S_ISREG(state.st_mode):
        raise InstallError(f"{path} is not a regular file; move it away and try again")
    if not state.st_mode & 0o200 or not os.access(path, os.W_OK):
        raise InstallError(f"{path} is read-only (managed by another tool?); make it writable and try again")
    _check_folder(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise _refused(path, error) from error


def _check_folder(path: Path) -> None:
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise InstallError(f"{folder} is not a folder, so {path} cannot be written; move it away and try again")
    if not folder.stat().st_mode & 0o200 or not os.access(folder, os.W_OK):
        raise InstallError(f"the folder {folder} is read-only, so {path} cannot be written; make it writable")


def load_installed(memory_home: Path) -> Installed:
    """Read `installed.json`; empty when it is lost or spoilt: our entries are then found by their command."""
    try:
        return Installed.model_validate_json((memory_home / "installed.json").read_bytes())
    except (OSError, ValidationError):
        return Installed()


def read_backup(memory_home: Path, record: FileRecord) -> bytes | None:
    """Return the original bytes if the backup is there and still is what it was."""
    with contextlib.suppress(OSError):
        data = (_backups(memory_home) / record.backup).read_bytes() if record.backup else b""
        return data if record.original and sha256(data) == record.original else None
    return None


def apply(plan: Plan, memory_home: Path, now: datetime) -> Applied:
    """Do the planned changes. A file that changed since planning, or cannot be written, is refused and named.

    Raises StorageError when another installation is running or the memory home cannot be written.
    """
    applied = Applied()
    if not plan.changes and not plan.forget:
        return applied
    with locked(memory_home / "locks" / "install.lock", timeout=10):
        ready = [change for change in plan.changes if _unchanged(change, applied)]
        installed = load_installed(memory_home)
        for change in ready:
            backup = _back_up(change, memory_home, now)
            if change.record:
                installed.files[str(change.path)] = _recorded(change, change.record, backup)
        _save(installed, memory_home)
        for change in ready:
            _carry_out(change, applied)
        for path in [*plan.forget, *(str(change.path) for change in applied.done if not change.record)]:
            installed.files.pop(path, None)
        _save(installed, memory_home)
    return applied


def _unchanged(change: Change, applied: Applied) -> bool:
    try:
        if read_settings(change.path) != change.before:
            raise InstallError(f"{change.path} has changed meanwhile and was left alone; run the command again")
    except InstallError as error:
        applied.errors.append(error)
        return False
    return True


def _recorded(change: Change, record: FileRecord, backup: str) -> FileRecord:
    folders = [str(folder) for folder in change.path.parents if not folder.exists()]
    return record.model_copy(
        update={"backup": record.backup or backup, "folders": sorted({*record.folders, *folders}, key=len)}
    )


def _carry_out(change: Change, applied: Applied) -> None:
    if not _unchanged(change, applied):
        return
    try:
        if change.after is None:
            change.path.unlink()
            _remove_folders(change)
        else:
            change.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(change.path, change.after, mode=change.mode, durable=True, keep=True)
        applied.done.append(change)
    except OSError as error:
        applied.errors.append(_refused(change.path, error))
    except StorageError as error:
        applied.errors.append(InstallError(str(error)))


def _remove_folders(change: Change) -> None:
    for folder in sorted(change.folders, key=len, reverse=True):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def _back_up(change: Change, memory_home: Path, now: datetime) -> str:
    """Keep the bytes before; return the backup's name, "" where there was no file."""
    if change.before is None:
        return ""
    folder = private_dir(_backups(memory_home))
    stamp = now.strftime("%Y%m%dT%H%M%S")
    place, content = sha256(os.fsencode(change.path))[:8], sha256(change.before)[:8]
    name = f"{stamp}-{place}-{content}-{change.path.name}"
    write_atomic(folder / name, change.before, durable=True)
    return name


def _backups(memory_home: Path) -> Path:
    return memory_home / "backups" / "install"


def _save(installed: Installed, memory_home: Path) -> None:
    data = installed.model_dump_json(indent=2).encode() + b"\n"
    write_atomic(memory_home / "installed.json", data, durable=True)


def _refused(path: Path, error: OSError) -> InstallError:
    return InstallError(f"{path} cannot be changed: {error.strerror or error}; check its owner and permissions")
