"""Sessions: what an observation changes in one, when one is over, and closing it (page and automatic handoff).

State is derived: replaying a session's journal gives the same row. Everything here can be repeated after a crash:
pages depend only on the observations, never on the clock.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from ai_memory_mcp import handoff as handoffs
from ai_memory_mcp import markdown, pages
from ai_memory_mcp.alive import process_lives
from ai_memory_mcp.config import SessionConfig
from ai_memory_mcp.digest import TITLE_LIMIT, digest, handoff_fields
from ai_memory_mcp.digest_model import Digest, Rendered
from ai_memory_mcp.digest_page import render_page
from ai_memory_mcp.digest_words import headline, is_course
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.model import PAST, Handoff, Observation, Page, Project, Session
from ai_memory_mcp.observe import is_real_prompt
from ai_memory_mcp.project import NAMESPACE
from ai_memory_mcp.resources import Resources

OUTLIVES = timedelta(seconds=1)  # a hook that its agent's end has overtaken
_CONTINUED = " (continued)"
_EARLIER = "\n## Before its observations were pruned\n"
_STILL_OPEN = "Still open from the handoff before"
_WORK = ("post-tool", "tool-failure", "pre-tool")
_LIFECYCLE = ("session-start", "session-end", "notification", "pre-compact", "other")  # they add nothing to hand over


def session_id(agent: str, native_id: str, project_id: str) -> str:
    """Return our id of a session: the same wherever and however often its events are ingested."""
    return str(uuid.uuid5(NAMESPACE, f"session:{agent}:{native_id}:{project_id}"))


def native_mark(agent: str, native_id: str) -> str:
    """Return what stands for an agent's own session, in whatever project it works, among what is gone."""
    return str(uuid.uuid5(NAMESPACE, f"native:{agent}:{native_id}"))


def fold(row: SessionRow, observation: Observation) -> SessionRow:
    """Return the session after one more observation. A prompt or a tool use reopens a closed one.

    Not a tool use that a hook tells of which has outlived its agent: it comes right after the end, or from another
    process, the one that took the hook over.
    """
    real = is_real_prompt(observation)
    late = observation.pid != 0 or (row.gone is not None and observation.at - row.gone <= OUTLIVES)
    stray = row.over and observation.kind in _WORK and late
    work = observation.kind in _WORK and not observation.subagent and not stray
    changes: dict[str, object] = {
        "observations": row.observations + 1,
        "last": max(row.last, observation.at),
        "started": min(row.started, observation.at),
        "past": PAST in observation.id and (row.past or not row.observations),
        "dirty": True,
    }
    if real:
        changes["prompts"] = row.prompts + 1
        changes["title"] = row.title or observation.title
    if observation.kind in ("post-tool", "tool-failure"):
        changes["tools"] = row.tools + 1
    if real or work or observation.kind == "session-start":
        changes |= {"state": "open", "ended": None, "end_seen": False}
    if observation.pid and observation.kind not in _WORK:  # of a tool use it may be who took the hook over
        changes["pid"] = observation.pid
    if observation.kind == "session-start" and observation.detail != "compact":
        changes["begun"] = observation.at
    if observation.kind == "session-end":
        changes["end_seen"] = True
    return row.model_copy(update=changes)


def fold_close(row: SessionRow, at: datetime) -> SessionRow:
    """Return the session after it was closed."""
    return row.model_copy(update={"state": "closed", "ended": at, "dirty": False})


def is_over(row: SessionRow, others: Sequence[SessionRow], config: SessionConfig, *, now: datetime) -> bool:
    """Tell whether an open session has ended.

    Its end was seen, or it was imported when it was over; or another session of the project started after its last
    sign of life and its agent is gone, runs that other session now, or has been idle; or nothing was heard of it for a
    long time.
    """
    if row.end_seen or row.past:
        return True
    idle = now - row.last
    if idle > timedelta(minutes=config.abandoned_minutes):
        return True
    newer = [other for other in others if other.id != row.id and (other.begun or other.started) >= row.last]
    replaced = any(other.pid == row.pid != 0 for other in newer)
    gone = not process_lives(row.pid) or idle > timedelta(minutes=config.idle_minutes)
    return bool(newer) and (replaced or gone)


def read_observations(res: Resources, row: SessionRow) -> list[Observation]:
    """Return a session's observations from its journal, in order of time."""
    found: dict[str, Observation] = {}
    for record in res.journal.read(res.journal.name_of(row.project, row.id)):
        if record.pop("type", "") == "observation":
            with suppress(ValueError):  # a damaged line must not take the others with it
                observation = Observation.model_validate(record)
                found.setdefault(observation.id, observation)
    return sorted(found.values(), key=lambda observation: (observation.at, observation.id))


@dataclass(frozen=True)
class Work:
    """What a session's page and handoff are made of, up to its last work. `mark` stands for the observations: the
    same mark, the same input. `offered` are the ids of `others` that some session was shown."""

    told: Session
    found: Digest
    mark: str
    observations: list[Observation]
    own: list[Handoff]
    others: list[Handoff]
    offered: frozenset[str]
    taken: Handoff | None
    path: str  # of the page that there is already, '' for none
    handed_over: bool  # nothing is left to hand over


def survey(res: Resources, project: Project, row: SessionRow) -> Work:
    """Read what a session did and what stands about it."""
    with res.index.read() as db:
        own = rows.handoffs(db, session_id=row.id)
        others = rows.handoffs(db, project.id)
        offered = frozenset(one.id for one in others if rows.offered(db, one.id))
        path = row.page or rows.path_of_id(db, row.id, project.id)  # of one made before the session was over
    observations = read_observations(res, row)
    worked = max((seen.at for seen in observations if seen.kind not in _LIFECYCLE), default=row.last)
    asked = max((seen.at for seen in observations if is_real_prompt(seen)), default=row.started)
    told = row.plain().model_copy(update={"last": worked, "ended": worked})
    taken = _taken_up(others, row.id)
    known = [seen for seen in observations if seen.at <= worked]
    return Work(
        told=told,
        found=_continued(digest(told, known), taken),
        mark=_check("\n".join(seen.id for seen in known if seen.kind not in _LIFECYCLE)),
        observations=known,
        own=own,
        others=others,
        offered=offered,
        taken=taken,
        path=path,
        handed_over=_already_told(worked, asked, own),
    )


def written(work: Work, found: Digest) -> tuple[Page, Handoff | None]:
    """Return the session's page and its automatic handoff (None when nobody has to know anything) by a digest."""
    rendered = render_page(found, work.told)
    if work.taken:
        rendered = rendered.model_copy(update={"body": f"Continues [[{work.taken.path}]].\n\n{rendered.body}"})
    made = None if work.handed_over else _handoff(work.told, found, rendered, work.own)
    if made and work.taken and not any(seen.family in ("shell", "edit") for seen in work.observations):
        made = _carried_over(made, work.taken)
    if made and not (made.summary or any(getattr(made, name) for name in handoffs.SECTIONS)):
        made = None  # a tool was used and nothing said or changed: nothing that anybody must know
    return _page(work.told.model_copy(update={"page": work.path or None}), rendered), made


def close(res: Resources, project: Project, row: SessionRow, *, over: bool = True) -> tuple[SessionRow, Handoff | None]:
    """Compile the session's page and automatic handoff in one commit. Returns the row and the handoff, if any.

    A session without substance (no real prompt and no tool use) leaves nothing; one that is not `over` leaves no
    handoff. What was made better of the same observations stays as it is. The caller holds the project's handoff
    lock, so that nobody accepts what is being rewritten.
    """
    if (not row.prompts and not row.tools) or res.tombstones.has("session", row.id):
        return row, None
    work = survey(res, project, row)
    if row.pruned and not work.observations:
        return row, None  # its page is all that is left
    page, made = written(work, work.found)
    texts: dict[str, str | None] = {}
    standing = standing_page(res, project, page.path)
    page = _with_earlier(page, standing.text) if row.pruned else page
    better = standing.consolidated == work.mark
    if not standing.by_hand and not better:
        texts[page.path] = stamped(markdown.text_from(page))
    if made and over:
        if not better or not (res.wiki(project).folder / made.path).exists():
            texts[made.path] = handoffs.to_text(made, f"Handoff: {page.title}")
        for old in handoffs.superseded_by(made, row.begun or row.started, work.others, work.offered):
            text = pages.load(res, project, old.path)[1]
            texts[old.path] = markdown.set_keys(text, {"state": "superseded", "superseded_by": made.path})
    pages.save(res, project, texts, f"Session of {row.agent}: {page.title}", when=work.told.last)
    return row.model_copy(update={"page": page.path, "title": page.title}), made if over else None


def _with_earlier(page: Page, before: str) -> Page:
    """A session that went on after its observations were pruned keeps what its page said of them."""
    body = markdown.parse(before)[1]
    earlier = (body.partition(_EARLIER)[2] or body).strip()
    return page.model_copy(update={"body": f"{page.body.rstrip()}\n{_EARLIER}\n{earlier}\n"}) if earlier else page


def _page(row: Session, rendered: Rendered) -> Page:
    path = f"sessions/{row.started.strftime('%Y/%m/%d')}-{rendered.slug}-{row.id[:8]}.md"
    return Page(
        id=row.id,
        path=row.page or path,
        title=rendered.title,
        kind="session",
        project=row.project,
        body=rendered.body,
        tags=rendered.tags,
        created=row.started,
        updated=row.last,
        agent=row.agent,
        session=row.native_id,
        entities=rendered.entities,
        summary=rendered.summary,
    )


def _already_told(worked: datetime, last_prompt: datetime, own: Sequence[Handoff]) -> bool:
    """Tell whether nothing is left to hand over: the agent left a handoff itself after its last prompt, or nothing
    has happened since the last automatic one was taken."""
    if any(not handoff.automatic and handoff.created >= last_prompt for handoff in own):
        return True
    taken = [handoff for handoff in own if handoff.automatic and not handoffs.waiting(handoff)]
    return any(handoff.created >= worked for handoff in taken)


def _handoff(row: Session, found: Digest, rendered: Rendered, own: Sequence[Handoff]) -> Handoff:
    """Return the automatic handoff of this close of the session."""
    made = Handoff.model_validate(
        {
            **handoff_fields(found),
            "id": handoffs.automatic_id(row.id, own),
            "project": row.project,
            "from_agent": row.agent,
            "from_session": row.id,
            "automatic": True,
            "created": row.last,
            "branch": row.branch,
        }
    )
    path = next((handoff.path for handoff in own if handoff.id == made.id), "")
    return made.model_copy(update={"path": path or handoffs.page_path(made, rendered.title)})


def _taken_up(others: Sequence[Handoff], session: str) -> Handoff | None:
    """Return the handoff that the session went on from, the last one of several."""
    taken = [one for one in others if one.accepted_by.endswith(session) and one.from_session != session]
    return max(taken, key=lambda one: one.accepted or one.created, default=None)


def _continued(found: Digest, taken: Handoff | None) -> Digest:
    """Give a session that was only told to go on the goal of the work that it went on with."""
    if taken is None or is_course(found.goal):
        return found
    goal = taken.summary.strip().partition("\n")[0]
    title = headline(goal, TITLE_LIMIT).removesuffix(_CONTINUED)
    return found.model_copy(update={"goal": goal, "headline": title + _CONTINUED})


def _carried_over(made: Handoff, old: Handoff) -> Handoff:
    """Carry over what the handoff before left to do: its session ran and changed nothing, so it is still to be done."""
    merged = {
        name: tuple(dict.fromkeys((*getattr(made, name), *getattr(old, name))))[:12] for name in handoffs.SECTIONS
    }
    before = old.summary.partition(_STILL_OPEN)[0].strip()  # one step back is enough: that one links to its own
    summary = f"{made.summary}\n\n{_STILL_OPEN} ({old.path}): {before}"
    return made.model_copy(update={**merged, "summary": summary[:2000]})


def stamped(text: str) -> str:
    """Mark a compiled page with a check sum of its body, so that an edit by hand is seen and never overwritten."""
    return markdown.set_keys(text, {"compiled": _check(markdown.parse(text)[1])})


def is_compiled(text: str) -> bool:
    """Tell whether a page was compiled and nobody has changed its body since."""
    meta, body = markdown.parse(text)
    return str(meta.get("compiled", "")) == _check(body)


class Standing(NamedTuple):
    """What is at a path: the text ('' for none), whether a person or an agent wrote its body, and the mark of the
    observations that a language model has made it of ('' where none has)."""

    text: str = ""
    by_hand: bool = False
    consolidated: str = ""


def standing_page(res: Resources, project: Project, path: str) -> Standing:
    """Look at a page as it is on disk."""
    if not (res.wiki(project).folder / path).exists():
        return Standing()
    text = res.wiki(project).read(path).decode("utf-8", "replace")
    meta, body = markdown.parse(text)
    return Standing(text, str(meta.get("compiled", "")) != _check(body), str(meta.get("consolidated", "")))


def _check(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8", "replace")).hexdigest()[:16]
