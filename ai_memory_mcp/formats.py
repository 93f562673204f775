"""The version of the files in AI_MEMORY_HOME (`format` there), and how those of an older version are brought forward.

A home without a number is of version 1. The index has a version of its own and is made anew; entries of the spool say
theirs. Programs that are older than a home's files leave it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.files import private_dir, storage_error, write_atomic

Step = Callable[[Path], None]
# What brings a home from version 1 to 2, 2 to 3 …; each may be repeated after a crash. Whoever adds one adds
# `tests/formats/<new version>/` by `tests/make_home.py`.
STEPS: tuple[Step, ...] = ()
FORMAT = 1 + len(STEPS)
FILE = "format"
UNFINISHED = "restoring.json"  # there while a restore puts things in place: half of them may be somewhere else
CHANGING = "changing.json"  # there while a project is moved, or two are made one


def version(home: Path, newest: int = FORMAT) -> int:
    """Return which version a home's files are of, 0 where none is noted.

    Raises StorageError for a newer one, and for a home in the middle of a restore or of a change of projects.
    """
    for name, what in ((UNFINISHED, "a restore"), (CHANGING, "a change of projects")):
        if (home / name).exists():
            raise StorageError(f"{what} in {home} is not finished. Any command ends it: ai-memory-mcp status")
    try:
        told = (home / FILE).read_text("ascii", "replace").strip()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise storage_error("read", home / FILE, error) from error
    if not told.isdigit() or not int(told):
        raise StorageError(f"{home / FILE} is damaged: it holds no number. Write 1 into it, or restore a backup.")
    if int(told) > newest:
        raise StorageError(
            f"{home} was written by a newer version of ai-memory-mcp (format {told}, this one knows {newest})."
            " Nothing was changed. Run: ai-memory-mcp upgrade"
        )
    return int(told)


def unfinished(home: Path) -> bool:
    """Tell whether somebody is putting a restored memory in place, or was killed at it."""
    return (home / UNFINISHED).exists()


def bring_forward(home: Path, steps: Sequence[Step] = STEPS) -> None:
    """Bring a home's files to the newest version, and note it. The caller keeps everybody else out.

    Raises StorageError; then the next call goes on where this one stopped.
    """
    found = version(home, 1 + len(steps))
    told = found or 1
    for number, step in enumerate(steps[told - 1 :], told):
        step(home)
        _note(home, number + 1)
    if not found and told == 1 + len(steps):
        _note(home, told)


def _note(home: Path, number: int) -> None:
    write_atomic(private_dir(home) / FILE, f"{number}\n".encode(), durable=True)
