"""Atomic writes and locks, with real files and real processes."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ai_memory_mcp.errors import BusyError, StorageError
from ai_memory_mcp.files import holder_file, locked, private_dir, storage_error, sweep, write_atomic

ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
HOLD = """
import sys, time
from ai_memory_mcp.files import locked
with locked(sys.argv[1], timeout=5) as died:
    print(died, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("durable", [False, True])
def test_write_replaces_a_file_and_leaves_nothing_beside_it(tmp_path: Path, durable: bool) -> None:
    target = tmp_path / "page.md"
    write_atomic(target, b"old", durable=durable)
    write_atomic(target, b"new" * 100_000, durable=durable)
    assert target.read_bytes() == b"new" * 100_000
    assert os.listdir(tmp_path) == ["page.md"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    (tmp_path / "page.md").mkdir()
    (tmp_path / "page.md" / "inside").touch()
    with pytest.raises(StorageError, match=r"page\.md: a folder stands where the file should go"):
        write_atomic(tmp_path / "page.md", b"data")
    assert os.listdir(tmp_path) == ["page.md"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_named_with_what_to_do() -> None:
    with pytest.raises(OSError, match="No space") as caught, open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")
    assert "the disk is full; free some space" in str(storage_error("write", "a.md", caught.value))


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EROFS, "read-only"), (errno.EACCES, "permission denied"), (errno.EIO, "Input/output")],
)
def test_refusals_of_the_disk_say_why(number: int, words: str) -> None:
    assert words in str(storage_error("write", "a.md", OSError(number, os.strerror(number))))


def test_private_folders_are_for_the_owner_alone(tmp_path: Path) -> None:
    made = private_dir(tmp_path / "a" / "b")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (made, made.parent)] == [0o700, 0o700]
    assert private_dir(made) == made
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        private_dir(tmp_path / "file" / "b")


def test_a_lock_held_by_another_process_is_reported_with_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "locks" / "a.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENV,
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "False\n"
        with (
            pytest.raises(StorageError, match=f"process {other.pid} has held .*a.lock"),
            locked(lock, timeout=0.05),
        ):
            pass
        other.communicate("go\n")
    with locked(lock, timeout=1) as died:
        assert died is False
        assert holder_file(lock).read_text() == f"{os.getpid()}\n"
    assert not holder_file(lock).exists()


def test_the_next_holder_is_told_that_the_last_one_died(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENV,
    ) as other:
        assert other.stdout
        other.stdout.readline()
        other.kill()
    with locked(lock, timeout=1) as died:
        assert died is True
    with locked(lock, timeout=1) as died:
        assert died is False


def test_threads_exclude_each_other_too(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            with locked(tmp_path / "a.lock", timeout=10):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (80, 1)


def test_a_disk_that_refuses_to_forget_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    with locked(lock, timeout=1):
        holder_file(lock).unlink()
        holder_file(lock).mkdir()  # what cannot be removed as a file
    holder_file(lock).rmdir()
    with locked(lock, timeout=0):
        pass


def test_those_that_wait_are_served_as_they_came_and_nobody_passes_them_by(tmp_path: Path) -> None:
    served: list[int] = []

    def wait(number: int) -> None:
        with locked(tmp_path / "a.lock", timeout=20):
            served.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(5)]
    with locked(tmp_path / "a.lock", timeout=1):
        for number, thread in enumerate(threads, 1):
            thread.start()
            while len(list(tmp_path.glob(".a.lock-*"))) < number:
                time.sleep(0.001)
        with pytest.raises(BusyError), locked(tmp_path / "a.lock", timeout=0):
            pass
    for thread in threads:
        thread.join()
    assert served == [0, 1, 2, 3, 4]
    assert list(tmp_path.glob(".*")) == []


def test_nobody_stands_behind_one_that_was_killed_or_stopped_while_it_waited(tmp_path: Path) -> None:
    for number, at in enumerate((time.time() - 60, time.time() + 60)):  # the clock may have been set since
        left = tmp_path / f".a.lock-{number}-0000-1.tmp"
        left.touch()
        os.utime(left, (at, at))

    with locked(tmp_path / "a.lock", timeout=0) as died:
        assert died is False


def test_an_error_inside_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path / "a.lock", timeout=1):
        raise RuntimeError
    with locked(tmp_path / "a.lock", timeout=1) as died:
        assert died is False


def test_what_a_killed_writer_left_is_swept_away_after_an_hour(tmp_path: Path) -> None:
    for name in (".old.tmp", "page.md"):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (0, 4000))

    sweep(tmp_path, now=4000 + 3601)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.md"]


def test_what_is_being_written_is_not_swept(tmp_path: Path) -> None:
    (tmp_path / ".new.tmp").write_text("x")
    sweep(tmp_path, now=(tmp_path / ".new.tmp").stat().st_mtime + 60)
    sweep(tmp_path / "nowhere", now=0)

    assert (tmp_path / ".new.tmp").exists()


def test_other_files_are_swept_by_their_name_and_age(tmp_path: Path) -> None:
    for name, at in (("told-a", 0), ("told-b", 500), ("places-a", 0)):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (at, at))

    sweep(tmp_path, now=1000, pattern="told-*", age=900)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["places-a", "told-b"]
