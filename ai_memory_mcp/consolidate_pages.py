"""Pages of what lasts, from a model's answer. Where a page lies is decided here, never by the model: it may only name
pages that it was shown. Rules, slots and pinned pages are never touched; what it wants of them becomes a proposal.

A page that a person or an agent wrote is not rewritten either: a new one takes its place, and the old one stays,
marked as superseded. So nothing that anybody wrote is lost by a bad answer.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from ai_memory_mcp import markdown, pages, sessions
from ai_memory_mcp.consolidate_check import OUR_SECTIONS, Checker, kind_of
from ai_memory_mcp.consolidate_model import PageAnswer, ProposalAnswer, Related
from ai_memory_mcp.errors import NotFoundError
from ai_memory_mcp.index import rows
from ai_memory_mcp.model import Page, PageKind, Project, Session
from ai_memory_mcp.project import NAMESPACE
from ai_memory_mcp.prose import normal
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.writing import FOLDERS

PAGES, PROPOSALS, SUPERSEDED, SEE_ALSO = 5, 2, 4, 6
TITLE, SUMMARY = 100, 200
SOURCES = 20  # sessions that a page names; of more the first and the last ones
PROPOSAL = "proposal"  # the tag of notes that a person shall decide on


class Place(NamedTuple):
    """Where a page of the answer goes: over `old`, a page of ours (whose words it does not replace where the model
    has not `seen` them), or to a new path in place of those it supersedes."""

    said: PageAnswer
    kind: PageKind
    title: str
    path: str
    old: Related | None
    seen: bool
    supersedes: tuple[Related, ...]


class Origin(NamedTuple):
    """What pages are made of: `key` names it in their ids, `cites` gives the lines of their sources (none: the page is
    left out), `page` is the path of its own page, if it has one, and `also` are those of others that may be linked to
    (the first one is, from each page)."""

    key: str
    when: datetime
    cites: Callable[[PageAnswer | ProposalAnswer, Page | None], list[str]]
    page: str = ""
    agent: str = ""
    session: str = ""
    also: tuple[str, ...] = ()


def cited_before(old: Page | None) -> list[str]:
    """Return the lines of the sources of a page that a model wrote."""
    lines = old.body.rpartition("\n## Sources\n")[2].splitlines() if old else []
    return [line for line in lines if line.startswith("- ")]


def of_session(session: Session, page: str) -> Origin:
    """Return a session as what pages are made of."""

    def cites(_: object, old: Page | None) -> list[str]:
        """Return the sessions that the page was made of, each once."""
        before = cited_before(old)
        mine = f"- [[{page}]] ({session.agent}, {session.last:%Y-%m-%d})"
        kept = [line for line in before if not line.startswith(f"- [[{page}]]")]
        return [*kept[:1], *kept[1:][-(SOURCES - 2) :], mine]

    return Origin(f"consolidated:{session.id}", session.last, cites, page, session.agent, session.native_id)


class Drafts:
    """What there is to link to and to take the place of: the session's page, pages that were shown, rules, and the
    pages of this very answer (`placed`, by title). Made before the model is asked: texts are as they were then."""

    def __init__(
        self,
        res: Resources,
        project: Project,
        origin: Origin,
        shown: Sequence[Related],
    ) -> None:
        self.project = project
        self.origin = origin
        self.placed: dict[str, str] = {}
        self._res = res
        self._given = {one.page.path: one for one in shown}
        self._texts = {one.page.path: one.text for one in shown}

    def given(self, ref: str) -> Related | None:
        """Return the page that was shown to the model and that `ref` names, by path."""
        ref = ref.strip().removeprefix("[[").removesuffix("]]").strip()
        return self._given.get(ref) or self._given.get(f"{ref}.md")

    def same(self, kind: str, title: str) -> Related | None:
        """Return the current page of this kind that is called so already, shown or not."""
        with self._res.index.read() as db:
            found = [
                ref for word in (title, markdown.slug(title)) for ref in rows.find_pages(db, word, self.project.id)
            ]
        for path in dict.fromkeys(path for _, path in found):
            try:
                page, text = pages.load(self._res, self.project, path)
            except NotFoundError:
                continue
            if page.kind == kind and page.status == "current" and normal(page.title) == normal(title):
                by_hand = sessions.standing_page(self._res, self.project, path).by_hand
                return self._given.get(path) or Related(page, text, ours=not by_hand)
        return None

    def page_at(self, ref: str) -> str:
        """Return the path that a link of the model's means: what it was shown or has written itself, '' for others."""
        found = self.given(ref)
        if found:
            return found.page.path
        titles = {normal(one.page.title): path for path, one in self._given.items()}
        titles |= {normal(title): path for title, path in self.placed.items()}
        known = {*self.placed.values(), self.origin.page, *self.origin.also} - {""}
        return next((path for path in (ref, f"{ref}.md") if path in known), "") or titles.get(normal(ref), "")

    def text_at(self, path: str) -> str:
        """Return the file at a path as it was when this was asked first, '' where there is none."""
        if path not in self._texts:
            self._texts[path] = sessions.standing_page(self._res, self.project, path).text
        return self._texts[path]

    def free_path(self, kind: str, title: str) -> str:
        """Return a path for a new page, which nobody has."""
        stem = f"{FOLDERS[kind]}/{markdown.slug(title)}"
        taken, number = set(self.placed.values()), 1
        while (path := f"{stem}{'' if number == 1 else f'-{number}'}.md") in taken or self.text_at(path):
            number += 1
        return path


def lasting_pages(
    told: Sequence[PageAnswer],
    proposed: Sequence[ProposalAnswer],
    check: Checker,
    found: Drafts,
    *,
    most: int = PAGES,
    most_proposals: int = PROPOSALS,
) -> dict[str, str]:
    """Return the pages to write, path -> text: those of the answer, those they supersede, and proposals."""
    proposals = list(proposed)
    places = list(_places(told[:most], check, found, proposals))
    texts: dict[str, str] = {}
    for place in places:  # only now: their links may lead to each other
        text = _text(place, check, found)
        if text:
            texts[place.path] = text
            for old in place.supersedes:
                gone = {"status": "superseded", "superseded_by": place.path}
                texts.setdefault(old.page.path, markdown.set_keys(old.text, gone))
    for proposal in proposals[:most_proposals]:
        texts |= _proposal(proposal, check, found)
    return texts


def _places(
    told: Sequence[PageAnswer], check: Checker, found: Drafts, proposals: list[ProposalAnswer]
) -> Iterator[Place]:
    """Decide where each page goes; what may not be written becomes a proposal."""
    left = SUPERSEDED
    for said in told:
        kind, title = kind_of(said.kind), check.line(said.title, TITLE)
        if not title or title in found.placed or not check.body(said.body):
            continue
        old = found.given(said.updates) or (found.same(kind, title) if kind else None)
        if check.foreign(f"{title}\n\n{said.body}", old.page.body if old else "") or not found.origin.cites(said, None):
            continue
        seen = bool(old and found.given(old.page.path))
        if not kind or (old and not (old.changeable and (seen or old.ours))):
            about = old.page.path if old else ""
            proposals.append(ProposalAnswer(about=about, title=said.title, body=said.body))
            continue
        ours = old if old and old.ours and old.page.path not in found.placed.values() else None
        path = ours.page.path if ours else found.free_path(kind, title)
        outdated = {one.page.path: one for ref in said.supersedes if (one := found.given(ref)) and one.changeable}
        if old and not ours:
            outdated = {old.page.path: old, **outdated}
        over = tuple(one for where, one in outdated.items() if where not in (path, *found.placed.values()))[:left]
        left -= len(over)
        found.placed[title] = path
        yield Place(said, _kind(ours, kind), title, path, ours, seen, over)


def _kind(ours: Related | None, kind: str) -> PageKind:
    """A page that is rewritten stays of its kind: its folder says so."""
    found: PageKind = ours.page.kind if ours else kind  # type: ignore[assignment]  # one of LASTING
    return found


def _text(place: Place, check: Checker, found: Drafts) -> str:
    body = check.body(place.said.body)
    if not body:
        return ""
    origin, old = found.origin, place.old.page if place.old else None
    if old and not place.seen:
        body = f"{OUR_SECTIONS.sub('', old.body).strip()}\n\n## {origin.when:%Y-%m-%d}\n\n{body}"
    see_also = dict.fromkeys(path for ref in (*origin.also[:1], *place.said.see_also) if (path := found.page_at(ref)))
    linked = [path for path in (*see_also, *(one.page.path for one in place.supersedes)) if path != place.path]
    body += _section("See also", [f"- [[{path}]]" for path in linked if path != origin.page][:SEE_ALSO])
    body += _section("Sources", origin.cites(place.said, old))
    page = Page(
        id=old.id if old else str(uuid.uuid5(NAMESPACE, f"{origin.key}:{place.path}")),
        path=place.path,
        title=place.title,
        kind=place.kind,
        project=found.project.id,
        body=body + "\n",
        tags=check.tags(place.said.tags) or (old.tags if old else ()),
        created=old.created if old else origin.when,
        updated=origin.when,
        agent=origin.agent,
        session=origin.session,
        supersedes=tuple(
            dict.fromkeys((*(old.supersedes if old else ()), *(one.page.path for one in place.supersedes)))
        ),
        summary=_summary(body, check),
    )
    return sessions.stamped(markdown.text_from(page, place.old.text if place.old else ""))


def _proposal(said: ProposalAnswer, check: Checker, found: Drafts) -> dict[str, str]:
    """Return a note that says what the model would change, for a person to decide; {} when it says nothing."""
    title, body = check.line(said.title, TITLE), check.body(said.body)
    path = f"{FOLDERS['note']}/{PROPOSAL}-{markdown.slug(title)}.md"
    standing = found.text_at(path)
    old = found.given(said.about)
    if not title or not body or check.foreign(said.body, old.page.body if old else ""):
        return {}
    if standing and "compiled" not in markdown.parse(standing)[0]:
        return {}
    about = found.page_at(said.about)
    head = "A language model proposes this after a session. Nothing was changed; decide, and remove this note.\n\n"
    head += f"About [[{about}]].\n\n" if about else ""
    page = Page(
        id=str(uuid.uuid5(NAMESPACE, f"{found.origin.key}:{path}")),
        path=path,
        title=f"Proposal: {title}",
        kind="note",
        project=found.project.id,
        body=head + body + _section("Sources", found.origin.cites(said, None)) + "\n",
        tags=(PROPOSAL,),
        created=found.origin.when,
        updated=found.origin.when,
        agent=found.origin.agent,
        session=found.origin.session,
        summary=_summary(body, check),
    )
    return {path: sessions.stamped(markdown.text_from(page))}


def _section(heading: str, lines: Sequence[str]) -> str:
    return f"\n\n## {heading}\n\n" + "\n".join(lines) if lines else ""


def _summary(body: str, check: Checker) -> str:
    """Return the first words of a page as plain text."""
    first = next((line for line in body.splitlines() if line.strip() and not line.startswith(("#", "`", "~", "|"))), "")
    return check.line(re.sub(r"[*_`>\[\]]", "", first).strip("- "), SUMMARY)
