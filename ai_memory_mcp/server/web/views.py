"""What each page shows, as data for its template: every fact comes from `Memory`, asked as whoever looks may."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from itertools import groupby
from typing import Any, NamedTuple, get_args

from ai_memory_mcp.errors import AccessError, NotFoundError, ProjectError
from ai_memory_mcp.markdown import Meta, parse
from ai_memory_mcp.memory import Memory
from ai_memory_mcp.model import (
    Document,
    EmbeddingStatus,
    EventKind,
    Figures,
    Handoff,
    Hit,
    Link,
    LlmStatus,
    Project,
    Query,
    Scope,
    Session,
    Status,
)
from ai_memory_mcp.ranking import stems, take_apart
from ai_memory_mcp.server.web import markup, places
from ai_memory_mcp.sizes import readable

PROJECTS = 30  # on a page of the list
LATELY = 100  # sessions of a workspace that say which of its projects come first
DAYS = 28  # of the little chart of sessions
TREE = 5_000  # pages that a tree shows, the last changed
SESSIONS = 60  # in a timeline; more on request
STEPS = 150  # observations of a session on one page
COMMITS = 30
HITS = 25
SNIPPETS = 20_000  # tokens of all hits together
KINDS = ("decision", "gotcha", "procedure", "concept", "rule", "slot", "note", "session", "handoff", "observation")
WAITING = ("open", "offered")
OWN = ("title", "summary")  # front matter that stands above already


class Asked(NamedTuple):
    """What a browser asks for: parts of the address, fields of the form, and workspaces that it is bound to."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    bound: tuple[str, ...] = ()

    def text(self, name: str) -> str:
        """Return a field; '' for none."""
        return self.query.get(name, "").strip()[:2_000]

    def number(self, name: str, default: int, most: int) -> int:
        """Return a field as a number from 1 to `most`."""
        told = self.query.get(name, "")
        return min(most, max(1, int(told))) if told.isascii() and told.isdigit() and len(told) < 9 else default


class Go(NamedTuple):
    """The address at which a page is really."""

    address: str


Seen = dict[str, Any]
View = Callable[[Memory, Asked], "Seen | Go"]


# --- all projects


def home(memory: Memory, asked: Asked) -> Seen:
    """The list of projects, the last active first, and what waits or was changed lately."""
    projects = memory.projects()
    active, recent, waiting = _lately(memory, projects)
    projects = tuple(sorted(projects, key=lambda one: (one.workspace, one.name.lower())))
    projects = tuple(sorted(projects, key=lambda one: active.get(one.id, _EVER), reverse=True))
    number = asked.number("page", 1, max(1, -(-len(projects) // PROJECTS)))
    shown = projects[(number - 1) * PROJECTS : number * PROJECTS]
    return {
        "rows": [_row(memory, project) for project in shown],
        "workspaces": len({project.workspace for project in projects}) > 1,
        "total": len(projects),
        "number": number,
        "more": number * PROJECTS < len(projects),
        "recent": recent[:10],
        "waiting": waiting[:5],
    }


_EVER = datetime.min.replace(tzinfo=timezone.utc)


def _lately(
    memory: Memory, projects: Sequence[Project]
) -> tuple[dict[str, datetime], list[tuple[Hit, str]], list[tuple[Handoff, Project]]]:
    """Return when each project was active, the pages changed last with their addresses, the handoffs that wait."""
    active: dict[str, datetime] = {}
    recent: list[tuple[Hit, str]] = []
    waiting: list[tuple[Handoff, Project]] = []
    by_id = {project.id: project for project in projects}
    for workspace in sorted({project.workspace for project in projects}):
        scope = Scope(workspace=workspace)
        here = [project for project in projects if project.workspace == workspace]
        for session in memory.sessions(scope, limit=LATELY):
            active[session.project] = max(active.get(session.project, _EVER), session.last)
        for hit in memory.recent(scope, limit=50):
            owner = next((one for one in here if one.name == hit.project), None)
            if owner and hit.date:
                active[owner.id] = max(active.get(owner.id, _EVER), hit.date)
            recent.append((hit, _leads_to(hit, here)))
        waiting += [(one, by_id[one.project]) for one in memory.handoffs(scope) if one.project in by_id]
    recent.sort(key=lambda pair: pair[0].date or _EVER, reverse=True)
    waiting.sort(key=lambda pair: pair[0].created, reverse=True)
    return active, recent, waiting


def _row(memory: Memory, project: Project) -> Seen:
    """Return what the list says of one project."""
    scope = Scope(project=project.id)
    sessions = memory.sessions(scope, limit=SESSIONS)
    pages = memory.recent(scope, limit=1)
    dates = [one.last for one in sessions[:1]] + [hit.date for hit in pages if hit.date]
    return {
        "project": project,
        "counts": memory.status(scope, figures=False).counts,
        "session": sessions[0] if sessions else None,
        "active": max(dates, default=None),
        "days": _per_day(sessions),
    }


def _per_day(sessions: Sequence[Session]) -> list[int]:
    """Count the sessions of each of the last days, the oldest first."""
    today = datetime.now(timezone.utc).date()
    found = Counter((today - one.last.date()).days for one in sessions)
    return [found[back] for back in range(DAYS - 1, -1, -1)]


def handoffs_of_all(memory: Memory, asked: Asked) -> Seen:
    """The handoffs that wait, of every project."""
    _, _, waiting = _lately(memory, memory.projects())
    return {"waiting": waiting}


def health(memory: Memory, asked: Asked) -> Seen:
    """Capture accounting, troubles and what models were asked, of the whole memory."""
    status = memory.status(Scope())
    return {"status": status, **_models(status), "project": None}


def find(memory: Memory, asked: Asked) -> Go:
    """Go to a page or session that stands in one of the projects with a name."""
    ref, name = asked.text("ref"), asked.text("name")
    for project in memory.projects():
        if name in ("", project.name):
            try:
                found = memory.read(Scope(project=project.id), ref)
            except NotFoundError:
                continue
            return Go(_address(project, found))
    raise NotFoundError(f"there is no page or session '{ref}'")


def _address(project: Project, found: Document) -> str:
    if found.page:
        return places.page(project.id, found.page.path)
    return places.session(project.id, found.session.id if found.session else found.ref)


# --- one project


def project(memory: Memory, asked: Asked) -> Seen:
    """What a project is, what waits in it and what was done last."""
    here, scope = _here(memory, asked)
    return {
        "project": here,
        "status": memory.status(scope, figures=False),
        "waiting": memory.handoffs(scope),
        "standing": memory.recent(scope, kinds=("rule", "slot"), limit=12),
        "recent": memory.recent(scope, limit=12),
        "sessions": memory.sessions(scope, limit=8),
    }


def tree(memory: Memory, asked: Asked) -> Seen:
    """The pages of a project in their folders."""
    here, scope = _here(memory, asked)
    hits = memory.recent(scope, limit=TREE)
    root = Folder("", "")
    for hit in sorted(hits, key=lambda hit: hit.path):
        *folders, _ = hit.path.split("/")
        at = root
        for name in folders:
            at = at.inner(name)
        at.pages.append(hit)
    return {"project": here, "root": root, "total": len(hits), "cut": len(hits) == TREE, "open": len(hits) <= 40}


class Folder:
    """A folder of pages."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self.folders: dict[str, Folder] = {}
        self.pages: list[Hit] = []

    def inner(self, name: str) -> Folder:
        """Return the folder of this name in it."""
        return self.folders.setdefault(name, Folder(name, f"{self.path}/{name}".lstrip("/")))

    @property
    def total(self) -> int:
        """How many pages are in it and below it."""
        return len(self.pages) + sum(inner.total for inner in self.folders.values())


def page(memory: Memory, asked: Asked) -> Seen | Go:
    """A page, now or as it was, with what belongs to it."""
    here, scope = _here(memory, asked)
    ref, at = asked.path["path"], asked.text("at")
    found = memory.read(scope, ref, links=not at, at=at)
    if found.page is None or (found.page.path != ref and not at):
        return Go(_address(here, found))
    links = {link.target: link.path for link in (_links_now(memory, scope, ref) if at else found.links)}
    meta, body = parse(found.text)

    def resolve(target: str) -> str | None:
        return places.page(here.id, links[target]) if links.get(target) else None

    shown = found.page
    return {
        "project": here,
        "doc": found,
        "page": shown,
        "html": markup.render(body, resolve, shown.title),
        "meta": _flat(meta),
        "broken": [link.target for link in found.links if not link.path],
        "leads_to": _once(link.path for link in found.links if link.path),
    }


def _links_now(memory: Memory, scope: Scope, ref: str) -> tuple[Link, ...]:
    """Return where the links of a page lead today; those of a page that is gone are not known."""
    try:
        return memory.read(scope, ref, links=True).links
    except NotFoundError:
        return ()


def _once(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(paths))


def _flat(meta: Meta) -> list[tuple[str, str]]:
    """Return front matter as names and texts."""
    return [(str(key)[:100], _plain(value)[:500]) for key, value in meta.items() if key not in OWN]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "" if value is None else str(value)


def history(memory: Memory, asked: Asked) -> Seen:
    """Commits of a project or of one page, with what they changed."""
    here, scope = _here(memory, asked)
    ref = asked.path.get("path", "")
    limit = asked.number("limit", COMMITS, 300)
    diff = bool(ref) or asked.text("diff") == "1"
    found = memory.history(scope, ref, limit=limit, diff=diff)
    return {
        "project": here,
        "path": ref,
        "revisions": found,
        "diff": diff,
        "limit": limit,
        "more": len(found) == limit and limit < 300,
    }


def sessions(memory: Memory, asked: Asked) -> Seen:
    """The sessions of a project by day, the last first."""
    here, scope = _here(memory, asked)
    limit = asked.number("limit", SESSIONS, 1_000)
    found = memory.sessions(scope, limit=limit)
    found = tuple(sorted(found, key=lambda one: one.started, reverse=True))
    days = [(day, list(some)) for day, some in groupby(found, key=lambda one: one.started.date())]
    return {"project": here, "days": days, "limit": limit, "more": len(found) == limit and limit < 1_000}


def session(memory: Memory, asked: Asked) -> Seen | Go:
    """A session: what was said and done in it."""
    here, scope = _here(memory, asked)
    found = memory.read(scope, asked.path["session"], observations=True)
    if found.session is None:
        return Go(_address(here, found))
    pages = max(1, -(-len(found.observations) // STEPS))
    number = asked.number("page", 1, pages)
    return {
        "project": here,
        "session": found.session,
        "title": found.title,
        "page": found.page,
        "steps": found.observations[(number - 1) * STEPS : number * STEPS],
        "number": number,
        "pages": pages,
    }


def handoffs(memory: Memory, asked: Asked) -> Seen:
    """The handoffs of a project, those that wait first."""
    here, scope = _here(memory, asked)
    found = memory.handoffs(scope, every=True)
    older = sorted((one for one in found if one.state not in WAITING), key=lambda one: one.created, reverse=True)
    return {"project": here, "waiting": [one for one in found if one.state in WAITING], "older": older[:100]}


def project_health(memory: Memory, asked: Asked) -> Seen:
    """The same as `health`, with the counts of one project."""
    here, scope = _here(memory, asked)
    status = memory.status(scope)
    return {"status": status, **_models(status), "project": here}


def _here(memory: Memory, asked: Asked) -> tuple[Project, Scope]:
    """Return the project of an address. Raises NotFoundError, also for one that others may see only."""
    scope = Scope(project=asked.path["project"])
    try:
        found = memory.resolve(scope).project
    except (AccessError, ProjectError):
        found = None
    if found is None:
        raise NotFoundError("there is no such project here")
    return found, Scope(project=found.id)


def _figures(found: Figures | None) -> Seen | None:
    """Return the figures of the memory, bytes in words."""
    if found is None:
        return None
    parts = sorted(((count, part) for part, count in found.sizes.items() if count), reverse=True)
    return {
        **{name: getattr(found, name) for name in ("day", "week", "junk", "loss", "slow", "slow_calls")},
        "whole": readable(sum(found.sizes.values())),
        "parts": [f"{part} {readable(count)}" for count, part in parts],
        "more": readable(found.week.bytes or 0),
    }


def _models(status: Status) -> Seen:
    """Return what models were asked, and the figures of the memory."""
    return {"llm": _spent(status.llm), "embedding": _spent(status.embedding), "figures": _figures(status.figures)}


def _spent(llm: LlmStatus | EmbeddingStatus | None) -> Seen | None:
    """Return what a model was asked: a row for each day, a column for each purpose."""
    if llm is None:
        return None
    purposes = sorted({purpose for day in llm.days.values() for purpose in day})
    days = [
        {
            "day": day,
            "cells": [told.get(purpose) for purpose in purposes],
            "tokens": sum(one.input + one.output for one in told.values()),
            "calls": sum(one.calls for one in told.values()),
        }
        for day, told in sorted(llm.days.items(), reverse=True)
    ]
    most = max(1, *(sum(one.input + one.output for one in told.values()) for told in llm.days.values()), 1)
    return {"status": llm, "purposes": purposes, "days": days, "most": most}


# --- search


def search(memory: Memory, asked: Asked) -> Seen:
    """Hits for a question, ranked and filtered as everywhere."""
    projects = sorted(memory.projects(), key=lambda one: (one.workspace, one.name.lower()))
    place = asked.text("in") or (f"w:{asked.bound[0]}" if len(asked.bound) > 1 else "")
    fields = {name: asked.text(name) for name in ("q", "kind", "agent", "after", "before", "path")}
    seen = {
        "projects": projects,
        "workspaces": sorted({one.workspace for one in projects}),
        "everything": len(asked.bound) < 2,
        "place": place,
        "fields": fields,
        "kinds": KINDS,
        "answer": None,
        "trouble": "",
    }
    if not fields["q"]:
        return seen
    scope, everywhere = _place(place)
    kinds = (fields["kind"],) if fields["kind"] in KINDS else ()
    text = " ".join([fields["q"], *(_filter(name, fields[name]) for name in ("agent", "after", "before", "path"))])
    query = Query(text=text, kinds=kinds, limit=HITS, max_tokens=SNIPPETS, everywhere=everywhere)
    try:
        answer = memory.search(scope, query)
    except (AccessError, ProjectError) as error:
        return seen | {"trouble": str(error)}
    words = take_apart(fields["q"]).words
    return seen | {
        "answer": answer,
        "hits": [(hit, _leads_to(hit, projects)) for hit in answer.hits],
        "stems": sorted({stem for word in words for stem in stems(word)}),
    }


def _filter(name: str, value: str) -> str:
    word = "".join(value.split()).replace('"', "")
    return f"{name}:{word}" if word else ""


def _place(told: str) -> tuple[Scope, bool]:
    """Return where to look, and whether that is everywhere."""
    kind, _, name = told.partition(":")
    if kind == "p" and name:
        return Scope(project=name), False
    if kind == "w" and name:
        return Scope(workspace=name), False
    return Scope(), True


def _leads_to(hit: Hit, projects: Sequence[Project]) -> str:
    """Return the address of a hit, which names its project only."""
    owners = [one for one in projects if one.name == hit.project]
    if len(owners) != 1:
        return places.find(hit.session if _is_observation(hit) else hit.id, hit.project)
    if _is_observation(hit):
        return places.session(owners[0].id, hit.session, hit.id)
    return places.page(owners[0].id, hit.path)


def _is_observation(hit: Hit) -> bool:
    return hit.kind in get_args(EventKind)
