"""The figures of `status`: how large the memory is, how it grows, what of it nobody needs, what is lost, what was slow.

`status` is asked often, so nothing is looked through here: what is on the disk was measured earlier (`sizes`), and
the rest is counted by the index.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone

from ai_memory_mcp import sizes, slow
from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.index import figures as counting
from ai_memory_mcp.index import rows
from ai_memory_mcp.llm_meter import Meter
from ai_memory_mcp.model import Figures, Loss
from ai_memory_mcp.resources import Resources

DAY, WEEK = timedelta(days=1), timedelta(days=7)
TOLD = 5  # slow calls


def of(res: Resources, projects: Sequence[str] | None, *, now: datetime, look_only: bool = False) -> Figures:
    """Return the figures of these projects (of all: None) and of the memory that holds them.

    What was never measured, or long ago, is measured, unless nothing may be written.
    """
    if not look_only:
        with suppress(StorageError):  # they are told as far as they are known
            sizes.note(res.home, now, after=WEEK)
    known = sizes.noted(res.home)
    with res.index.read() as db:
        day, week = (counting.activity(db, projects, now - span) for span in (DAY, WEEK))
        junk = counting.junk(db, projects, now)
        stored, unstored = rows.taken_in(db), rows.unstored_counts(db)
    recent = [one for one in slow.noted(res.home) if now - one.at < WEEK]
    tokens = sum(one.input + one.output for told in Meter(res.home).days(now).values() for one in told.values())
    return Figures(
        sizes=(known[-1].sizes if known else {}) | {"index": sizes.of_index(res.home)},
        measured=known[-1].at if known else None,
        day=day.model_copy(update={"bytes": sizes.grown(known, DAY)}),
        week=week.model_copy(update={"bytes": sizes.grown(known, WEEK)}),
        junk=junk,
        loss=_loss(res, stored + sum(unstored.values()), unstored.get("set_aside", 0), now),
        tokens=tokens,
        slow=tuple(recent[-TOLD:]),
        slow_calls=len(recent),
    )


def _loss(res: Resources, seen: int, set_aside: int, now: datetime) -> Loss:
    """An event leaves the spool only once journal and index have it: only what was set aside can be lost after that."""
    here = sum(1 for _ in res.spool.kept_aside()) + res.spool.pending()  # what waits may be tried again just now
    lost = max(0, set_aside - here)
    return Loss(lost=lost, rate=lost / seen if seen else 0.0, hook_failures=len(complaints(res, "emit.log", now, WEEK)))


def complaints(res: Resources, name: str, now: datetime, span: timedelta) -> list[str]:
    """Return the lines of a log that begin with a time in a span that ends now."""
    path = res.home / "logs" / name
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return [line for line in text.splitlines() if (at := logged_at(line)) and now - at < span]


def logged_at(line: str) -> datetime | None:
    """Return the time that a line of a log begins with, None where it goes on from the one before."""
    try:
        return datetime.strptime(line.partition(" ")[0], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
