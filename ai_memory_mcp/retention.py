"""Retention: which pages and raw observations have had their time, and taking them out. The README has the formula.

Planning changes nothing. What is planned is looked at once more before it is done, and everything is done so that a
rebuilt index knows it: pages leave by commit and tombstone, observations by a line in the journal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta

from ai_memory_mcp import evicting, ledger, unstored
from ai_memory_mcp import handoff as handoffs
from ai_memory_mcp.files import first_in
from ai_memory_mcp.index import rows, upkeep
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.journal import PACKED
from ai_memory_mcp.llm_queue import Queue
from ai_memory_mcp.model import Feedback, Page, Project, Sweep, Swept
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.sessions import standing_page
from ai_memory_mcp.settle import handoff_lock

# The weights, all of them. A page is kept so many days after it was last changed or opened:
DAYS = {
    "session": 730,
    "handoff": 180,
    "note": 730,
    "gotcha": 730,
    "procedure": 730,
    "concept": 730,
}  # others: for ever
PER_USE, MOST_USES = 0.25, 8  # each opening adds a quarter, up to three times as long
HELPFUL, STALE, WRONG = 2.0, 0.5, 0.25  # times, by the verdicts that stand
SUPERSEDED = 0.25  # times

AT_LEAST = timedelta(days=30)  # for so long after its last sign of life a session is never pruned
WORTH_IT = 4_096  # bytes; a smaller file takes a block of the disk either way
BY_MACHINE = ("session", "handoff")  # the kinds that a sweep by itself takes out
LISTS = ("index", "lint")
MB = 1_000_000


def plan(res: Resources, projects: Sequence[Project], *, now: datetime, by_itself: bool = False) -> Sweep:
    """Return what is due in these projects. `by_itself` leaves out what somebody wrote, unless it has expired."""
    items: list[Swept] = []
    for project in projects:
        with res.index.read() as db:
            due = list(_due_pages(db, project, now))
        if by_itself:
            due = [one for one in due if _may_go_by_itself(res, project, *one[:2], now)]
        items += [
            Swept(what="page", **_of(project), ref=page.path, title=page.title, why=why, bytes=size)
            for page, why, size in due
        ]
    sizes = res.journal.sizes()
    return Sweep(items=(*items, *_due_journal(res, projects, sizes, now)), journal=sum(sizes.values()))


def sweep(res: Resources, projects: Sequence[Project], planned: Sweep | None, *, now: datetime) -> Sweep:
    """Do what was planned and is still due; where nothing was, what may go by itself. Raises StorageError.

    The caller holds the ingest lock.
    """
    unstored.sum_up(res)  # before what was stored after all is forgotten
    due = plan(res, projects, now=now, by_itself=planned is None)
    wanted = {(one.what, one.project_id, one.ref) for one in (planned or due).items}
    items = [one for one in due.items if (one.what, one.project_id, one.ref) in wanted]
    for project in projects:
        mine = [one for one in items if one.project_id == project.id]
        _evict(res, project, {one.ref for one in mine if one.what == "page"}, now)
        for one in mine:
            if one.what == "observations":
                _prune(res, one.ref)
            elif one.what == "compress":
                _compress(res, res.journal.name_of(project.id, one.ref))
    return due.model_copy(update={"items": tuple(items), "dry_run": False})


def _of(project: Project) -> dict[str, str]:
    return {"project": project.name, "project_id": project.id}


# --- pages


def kept_days(page: Page, uses: int, verdicts: Sequence[Feedback]) -> float | None:
    """Return for how many days after its last change or opening a page is kept, None for ever."""
    if page.pinned or page.kind not in DAYS:
        return None
    told = {one.verdict for one in verdicts}
    days = DAYS[page.kind] * (1 + PER_USE * min(uses, MOST_USES))
    days *= (HELPFUL if "helpful" in told else 1) * (STALE if "stale" in told else 1)
    return days * (WRONG if "wrong" in told else 1) * (SUPERSEDED if page.status == "superseded" else 1)


def _due_pages(db: Connection, project: Project, now: datetime) -> Iterator[tuple[Page, str, int]]:
    """Yield the pages whose time is over, why, and their bytes."""
    every = upkeep.pages(db, project.id)
    uses, verdicts = upkeep.uses(db, project.id), upkeep.verdicts(db, project.id)
    waiting = {one.path for one in rows.handoffs(db, project.id) if handoffs.waiting(one)}
    idle: dict[str, str] = {}
    for path, (page, size) in every.items():
        if page.kind in ("project", *LISTS):
            continue
        if page.expires_at and page.expires_at <= now:
            yield page, f"expired on {page.expires_at:%Y-%m-%d}", size
        elif path not in waiting and (why := _idle(page, uses.get(page.id, (0, 0)), verdicts.get(page.id, ()), now)):
            idle[path] = why
    if idle:
        _keep_linked(idle, db, project, {path: page for path, (page, _) in every.items()}, now)
    for path, why in idle.items():
        yield every[path][0], why, every[path][1]


def _idle(page: Page, use: tuple[int, int], verdicts: Sequence[Feedback], now: datetime) -> str:
    """Say for how long nobody has changed or opened a page, '' when it is kept for longer."""
    opened, last = use
    days = kept_days(page, opened, verdicts)
    since = (now.timestamp() - max(page.updated.timestamp(), last / 1000)) / 86_400
    if days is None or since <= days:
        return ""
    old = ", superseded" if page.status == "superseded" else ""
    times = f"opened {opened} times" if opened else "never opened"
    return f"{page.kind}{old}, untouched for {since:.0f} days of {days:.0f}, {times}"


def _keep_linked(idle: dict[str, str], db: Connection, project: Project, every: dict[str, Page], now: datetime) -> None:
    """Take out of `idle` what a page that stays links to: a link must not break by itself.

    What machines have written holds nothing, nor do old pages hold each other.
    """
    links = upkeep.links(db, project.id)
    staying = [path for path in every if path not in idle]
    while staying:
        page = every[staying.pop()]
        if (
            page.status != "current"
            or page.kind in (*BY_MACHINE, *LISTS)
            or (page.expires_at and page.expires_at <= now)
        ):
            continue
        for link in links.get(page.path, ()):
            if idle.pop(link.path, ""):
                staying.append(link.path)


def _may_go_by_itself(res: Resources, project: Project, page: Page, why: str, now: datetime) -> bool:
    if page.expires_at and page.expires_at <= now:
        return True
    if page.kind == "session":
        return not standing_page(res, project, page.path).by_hand
    with res.index.read() as db:
        return any(one.id == page.id and one.automatic for one in rows.handoffs(db, project.id))


def _evict(res: Resources, project: Project, paths: Collection[str], now: datetime) -> None:
    if not paths:
        return
    with handoff_lock(res, project):
        with res.index.read() as db:
            found = [page for path in sorted(paths) if (page := rows.page_record(db, project.id, path))]
        evicting.evict(res, project, found, f"Sweep {len(found)} pages whose time is over", now=now)


# --- the journal


def _due_journal(res: Resources, projects: Sequence[Project], sizes: dict[str, int], now: datetime) -> Iterator[Swept]:
    """Yield the sessions to prune, the oldest first, and those to compress."""
    config = res.config.retention
    mine = {project.id: project for project in projects}
    with res.index.read() as db:
        every = rows.sessions(db, limit=-1)
    queued = {one.session for one in Queue(res.home).every() if not one.given_up}
    total = sum(sizes.values())
    for row in sorted(every, key=lambda row: (row.last, row.id)):
        name = res.journal.name_of(row.project, row.id)
        packed = f"{name}{PACKED}" in sizes
        size = sizes.get(f"{name}{PACKED}" if packed else name, 0)
        age = now - row.last
        if row.project not in mine or row.state != "closed" or row.dirty or row.id in queued or not size:
            continue
        compiled = row.page is not None or not (row.prompts or row.tools)
        told = {**_of(mine[row.project]), "ref": row.id, "title": row.title or row.native_id, "bytes": size}
        full = total > config.journal_mb * MB
        if compiled and _holds_observations(row) and age > AT_LEAST and (age.days > config.observation_days or full):
            over = f"{total / MB:,.0f} MB of journal, {config.journal_mb:,} are to be kept"
            why = f"compiled, {age.days} days old" if age.days > config.observation_days else over
            yield Swept.model_validate({"what": "observations", "why": why, **told})
            total -= size
        elif not packed and size > WORTH_IT and age.days > config.compress_days:
            yield Swept.model_validate({"what": "compress", "why": f"{age.days} days old", **told})
            total -= size * 3 // 4


def _holds_observations(row: SessionRow) -> bool:
    return row.observations > 0 and (row.pruned is None or row.last > row.pruned)


def _prune(res: Resources, session: str) -> None:
    """Take the observations of a session out of journal and index; that it was, and what came of it, stays."""
    with res.index.read() as db:
        row = rows.session(db, session)
    if row is None:
        return
    row = row.model_copy(update={"pruned": row.last})
    name = res.journal.name_of(row.project, row.id)
    kept = [one for one in res.journal.read(name) if one.get("type") not in ("observation", "pruned")]
    pruned = {"type": "pruned", "row": row.model_dump(mode="json", exclude_defaults=True)}
    ledger.rewrite(res.index, res.journal, name, [*kept, pruned])


def _compress(res: Resources, name: str) -> None:
    with res.index.write() as db:
        rows.set_file_size(db, f"{name}{PACKED}", res.journal.pack(name))


# --- by itself


def is_due(res: Resources, now: datetime) -> bool:
    """Tell whether the memory is to be swept by itself and was not in the last day; note that it is now."""
    if not res.config.retention.automatic:
        return False
    return first_in(res.home / "cache" / "swept", 86_400, now=now.timestamp())
