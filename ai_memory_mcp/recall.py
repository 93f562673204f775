"""Recall: a question becomes ranked hits within a token budget; the last pages; documents to read.

Pages come first; observations are the evidence below them: asked when pages miss or when `kinds` names them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ai_memory_mcp import history, pages, related
from ai_memory_mcp.errors import NotFoundError
from ai_memory_mcp.index import rows, search
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.index.search import Db, Match, Meant
from ai_memory_mcp.model import Answer, Document, Hit, Page, Project, Query, Resolved
from ai_memory_mcp.ranking import PAGE_KINDS, Question, clip, kind_named, snippet, take_apart, tokens
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.terms import terms

if TYPE_CHECKING:
    from ai_memory_mcp.meaning import Asked

# A decision or a rule says what holds; a session says what happened. Close calls go to what holds.
AUTHORITY = {"rule": 1.15, "decision": 1.1, "gotcha": 1.1, "procedure": 1.1, "concept": 1.05, "handoff": 0.8}
HIDDEN = ("index", "project", "lint")
SUPERSEDED = 0.3  # a superseded page stays findable, but below what is current
LINKED = 0.1  # the share of a linking page's score that a page gets whose words match too
LINKING = 10  # pages whose links count
HELPFUL, MANY = 0.05, 4  # for each reader who said so, up to so many
STALE, WRONG = 0.8, 0.6
NAMED_AGENT = 0.2  # from the agent that the question names
NAMED_TIME = 0.2  # from the time that the question names
LATELY = 0.3  # the newest of the hits, where the question asks for what is new; half of it 30 days before
HALF_LIFE = 30 * 86_400_000  # ms
BETTER = 0.25  # more of the question than any page has words for: then observations come first
PER_SESSION = 3  # observations of one session among the hits, where they only fill up
CLOSE = 0.5  # of the way from what all are to the nearest in meaning: then that is a reason
LATEST = 10  # revisions of a page that are told with its links
NAMED = 3  # projects that an answer names one by one
FRAME = (  # round an answer's hits
    "00 hits in project  by repository (); memory.read opens a `ref`.\n<memory-data>\n</memory-data>\n"
)
SEPARATORS = 56  # characters of a hit beside its facts, title and snippet, its date and project's name among them
SNIPPETS = (320, 200, 120, 60)  # characters: shorter ones before fewer hits
Scores = dict[tuple[str, str], float]  # by Match.place
Reasons = dict[tuple[str, str], list[str]]


def answer(
    db: Db,
    projects: Sequence[Project],
    query: Query,
    resolved: Resolved,
    without: Sequence[str] = (),
    ask: Callable[[str], Asked | None] = lambda text: None,
) -> Answer:
    """Rank pages and observations of the projects for a query; hits cost at most `max_tokens` when rendered.

    `without` names parts of the ranking that are switched off (config.SEARCH_PARTS). `ask` begins to ask for the vector
    of a text; None where there are none.
    """
    question = take_apart(query.text)
    asked = ask(question.text) if question.terms else None
    told = [kind_named(kind) for kind in query.kinds]
    wanted = [kind for kind in told if kind] or ([] if query.kinds else list(question.kinds))
    look = Look(db, {project.id: project.name for project in projects}, wanted, query.limit, tuple(without))
    if asked:
        look.meant = asked.meaning
    hint = ""
    hits: list[Hit] = []
    if not query.kinds or wanted:
        hits = _look(look, question)
        respelt, said = _respelt(look, question)
        if said:
            hits, hint = _look(look, respelt), said
        if not hits and (question.phrases or question.loose):
            hits = _look(look, replace(question, phrases=(), loose=()))
            hint = "nothing has the quoted words together; these hits have some of them" if hits else hint
    if not hits:
        hint = _hint(look, question, query)
    hint = clip(hint, query.max_tokens // 3)
    names = sorted({project.name for project in projects})
    where = ", ".join(names) if 0 < len(names) <= NAMED else f"{len(names)} projects" if names else "no project"
    looked = f"{' and '.join(look.searched) or 'pages'} of {where}" if names else "an empty memory"
    if asked:
        looked += f", by words alone: {asked.note}" if asked.note else ", by words and meaning"
    name = resolved.project.name if resolved.project else None
    kept = _within(hits, query.max_tokens - tokens(FRAME + looked + (name or "") + hint), name)
    if hits and not kept:
        hint = "there are hits, but not one fits; ask with a larger max_tokens"
    return Answer(query=query.text, project=name, resolved_by=resolved.by, hits=tuple(kept), searched=looked, hint=hint)


@dataclass
class Look:
    """One search: where, for which kinds, how many; and which tables were asked."""

    db: Db
    names: dict[str, str]  # of the projects, by id
    wanted: list[str]
    limit: int
    without: tuple[str, ...]
    searched: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)  # the terms of the question that any row has
    meant: Meant = lambda: None

    @property
    def ids(self) -> list[str]:
        """The projects' ids."""
        return list(self.names)


def _look(look: Look, question: Question) -> list[Hit]:
    """Return hits: pages, then observations where they were asked for, pages are few, or miss what is asked."""
    page_kinds = [kind for kind in look.wanted if kind in PAGE_KINDS]
    other_kinds = [kind for kind in look.wanted if kind not in PAGE_KINDS]
    look.searched = []
    hits: list[Hit] = []
    best = 0.0
    if look.names and (page_kinds or not look.wanted):
        found, known = search.pages(
            look.db,
            question,
            look.ids,
            page_kinds,
            look.limit * 3,
            hidden=HIDDEN,
            without=look.without,
            meant=look.meant,
        )
        look.known |= known
        best = max((match.covered for match in found), default=0.0)
        hits = _page_hits(look, found, question)
        look.searched.append("pages")
    if look.names and (other_kinds or (not look.wanted and (len(hits) < look.limit or best < 1 - BETTER))):
        evidence, known = search.observations(
            look.db, question, look.ids, other_kinds, look.limit * 4, without=look.without, meant=look.meant
        )
        look.known |= known
        per_session = look.limit if other_kinds else PER_SESSION
        seen = _observation_hits(look, evidence, question, per_session=per_session)
        look.searched.append("observations")
        better = [hit for hit, covered in seen if hits and covered >= best + BETTER]
        others = [hit for hit, _ in seen if hit not in better]
        hits = _stacked(better, hits, others)
    return hits[: look.limit]


def _stacked(*groups: Sequence[Hit]) -> list[Hit]:
    """Return groups of hits one below the other, their scores made to fall: each group's best below the last one's."""
    stacked: list[Hit] = []
    for group in groups:
        top = max((hit.score for hit in group), default=0.0)
        ceiling = stacked[-1].score * 0.95 if stacked else top
        scale = min(1.0, ceiling / top) if top > 0 else 1.0
        stacked += [hit.model_copy(update={"score": round(hit.score * scale, 4)}) for hit in group]
    return stacked


def _respelt(look: Look, question: Question) -> tuple[Question, str]:
    """Read words that nothing has as the nearest ones that something has, and say so."""
    if "typos" in look.without or not look.names or all(term in look.known for term in question.terms):
        return question, ""
    spelt = [part for word in question.words for part in word.split("_")]
    asked = {own[-1]: word for word in spelt if (own := terms(word)) and own[-1] not in look.known}
    meant = search.respell(look.db, asked, look.ids)
    said = ", ".join(f"read '{word}' for '{asked[term]}'" for term, word in meant.items())
    better = {asked[term]: word for term, word in meant.items()}
    for word in question.words:
        if (name := "_".join(better.get(part, part) for part in word.split("_"))) != word:
            meant[terms(word)[-1]] = name
    return question.respelt(meant), said


def recent(db: Db, projects: Sequence[Project], kinds: Sequence[str], limit: int) -> tuple[Hit, ...]:
    """Return the pages changed last, newest first."""
    names = {project.id: project.name for project in projects}
    found = rows.recent_pages(db, list(names), kinds, limit)
    hits = []
    for project_id, path in found:
        page = rows.page_record(db, project_id, path)
        if page:
            hits.append(_hit(page, names.get(project_id, ""), page.summary, 0.0, "recent"))
    return tuple(hits)


def read_page(res: Resources, db: Db, project: Project, path: str, *, links: bool) -> Document:
    """Return a page with the verdicts on it and, on request, what belongs to it and its newest revisions."""
    page, text = pages.load(res, project, path)
    more: dict[str, Any] = {"feedback": tuple(rows.standing(db, [page.id]))}
    if links:
        more |= related.of_page(db, page)
        more["history"] = history.of_page(db, res, project, path, limit=LATEST, diff=False)
    return Document(ref=path, title=page.title, text=text, page=page, **more)


def read_session(res: Resources, row: SessionRow, project: Project, *, observations: bool) -> Document:
    """Return a session: its page when it has one, and its observations when asked or when there is no page."""
    from ai_memory_mcp import sessions  # not at the top: it brings all that compiles sessions, 50 ms

    text = ""
    page: Page | None = None
    if row.page:
        try:
            page, text = pages.load(res, project, row.page)
        except NotFoundError:
            text = ""
    seen = sessions.read_observations(res, row) if observations or not text else []
    lines = [f"{one.at.strftime('%H:%M:%S')} {one.kind} {one.title}" for one in seen]
    if row.pruned and (observations or not text):
        lines.insert(0, f"(those up to {row.pruned:%Y-%m-%d} were pruned)")
    if lines:
        text = f"{text}\n\n## Observations\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"
    return Document(
        ref=row.id,
        title=row.title or f"{row.agent} session",
        text=text.strip() + "\n",
        page=page,
        session=row.plain(),
        observations=tuple(seen) if observations else (),
    )


def _page_hits(look: Look, found: Sequence[Match], question: Question) -> list[Hit]:
    """Return the best pages as hits; whatever is superseded stands below all that is current."""
    pages_of = {match.place: rows.page_of(match.record) for match in found}
    old = {place for place, page in pages_of.items() if page.status == "superseded"}
    scores = {match.place: match.score for match in found}
    reasons = {match.place: _reasons(match) for match in found}
    if "authority" not in look.without:
        for match in found:
            if match.kind in AUTHORITY:
                scores[match.place] *= AUTHORITY[match.kind]
                reasons[match.place] += [f"{match.kind} counts more"] if AUTHORITY[match.kind] > 1 else []
    if "feedback" not in look.without:
        _add_feedback(look, found, scores, reasons)
    if "links" not in look.without:
        _add_links(look, found, scores, reasons)
    if "speaker" not in look.without:
        _add_agents({place: page.agent for place, page in pages_of.items()}, question, scores, reasons)
    if "dates" not in look.without:
        _add_dates(found, question, scores, reasons)
    ranked = sorted(
        found, key=lambda match: (match.place in old, -scores[match.place], match.path, match.id, match.project)
    )
    ranked = ranked[: look.limit]
    lowest = min((scores[match.place] for match in ranked if match.place not in old), default=float("inf"))
    hits = []
    for match in ranked:
        page = pages_of[match.place]
        score = scores[match.place]
        if match.place in old:
            reasons[match.place].append(f"superseded by {page.superseded_by or 'a newer page'}")
            score = min(score * SUPERSEDED, lowest)
        text = snippet(match.text, page.title, question.words)
        hits.append(_hit(page, look.names.get(match.project, ""), text, score, ", ".join(reasons[match.place])))
    return hits


def _add_feedback(look: Look, found: Sequence[Match], scores: Scores, reasons: Reasons) -> None:
    """Let what readers found helpful stand a little higher, and what they found stale or wrong lower."""
    verdicts = rows.feedback(look.db, [match.id for match in found])
    for match in found:
        helpful, stale, wrong = verdicts.get(match.id, (0, 0, 0))
        told = [word for word, count in (("helpful", helpful), ("stale", stale), ("wrong", wrong)) if count]
        if told:
            scores[match.place] *= 1 + HELPFUL * min(helpful, MANY)
            scores[match.place] *= (STALE if stale else 1.0) * (WRONG if wrong else 1.0)
            reasons[match.place].append(f"readers say {' and '.join(told)}")


def _add_links(look: Look, found: Sequence[Match], scores: Scores, reasons: Reasons) -> None:
    """Let a page that a better one links to stand a little higher."""
    best = sorted(found, key=lambda match: (-scores[match.place], match.path))
    places = {match.place: match for match in best}
    before = dict(scores)
    for match in best[:LINKING]:
        for path in rows.linked_pages(look.db, match.project, match.path):
            target = places.get((match.project, path))
            if target and target.place != match.place and before[target.place] < before[match.place]:
                scores[target.place] += LINKED * before[match.place]
                reasons[target.place].append(f"linked from {match.path}")


def _add_agents(agents: Mapping[tuple[str, str], str], question: Question, scores: Scores, reasons: Reasons) -> None:
    """Prefer what comes from the agent that the question names (`claude` is `claude-code` too)."""
    top = max(scores.values(), default=0.0)
    for place, agent in agents.items():
        if agent and {agent, agent.partition("-")[0]} & set(question.words):
            scores[place] += NAMED_AGENT * top
            reasons[place].append("by the agent named")


def _add_dates(found: Sequence[Match], question: Question, scores: Scores, reasons: Reasons) -> None:
    """Prefer what is from the time that the question names, or the newest where it asks for that."""
    newest = max((match.at for match in found), default=0)
    top = max(scores.values(), default=0.0)
    for match in found:
        if question.since and question.until:
            if rows.millis(question.since) <= match.at < rows.millis(question.until):
                scores[match.place] += NAMED_TIME * top
                reasons[match.place].append("from that time")
        elif question.lately:
            scores[match.place] += LATELY * top * 0.5 ** ((newest - match.at) / HALF_LIFE)


def _reasons(match: Match) -> list[str]:
    """Say in a few words what a score is made of."""
    told = {"adjacent": "words together", "cover": "title", "context": "beside what matches"}
    words = [f"{match.covered:.0%} of the words", *(told[part] for part in match.parts if part in told)]
    meaning = ["close in meaning"] if match.near >= CLOSE or not match.parts else []
    return [*(words if match.parts else []), *meaning]


def _observation_hits(
    look: Look, found: Sequence[Match], question: Question, *, per_session: int
) -> list[tuple[Hit, float]]:
    """Return observations as hits, each with the share of the question it has words for; the same text once."""
    scores = {match.place: match.score for match in found}
    reasons = {match.place: ["seen in a session", *_reasons(match)] for match in found}
    if "feedback" not in look.without:
        _add_feedback(look, found, scores, reasons)
    sessions = {match.session: rows.session(look.db, match.session) for match in found}
    if "speaker" not in look.without:
        agents = {match.place: row.agent for match in found if (row := sessions[match.session])}
        _add_agents(agents, question, scores, reasons)
    if "dates" not in look.without:
        _add_dates(found, question, scores, reasons)
    taken: dict[str, int] = {}
    seen: set[tuple[str, str, str]] = set()
    hits = []
    for match in sorted(found, key=lambda match: (-scores[match.place], -match.at, match.id)):
        same = (match.session, match.title, match.text)
        if same in seen or taken.get(match.session, 0) >= per_session:
            continue
        taken[match.session] = taken.get(match.session, 0) + 1
        seen.add(same)
        row = sessions[match.session]
        hit = Hit(
            id=match.id,
            path=row.page if row and row.page else f"session:{match.session}",
            title=match.title,
            kind=match.kind,
            project=look.names.get(match.project, ""),
            snippet=snippet(match.text, match.title, question.words),
            score=round(scores[match.place], 4),
            why=", ".join(reasons[match.place]),
            agent=row.agent if row else "",
            session=match.session,
            date=datetime.fromtimestamp(match.at / 1000, timezone.utc),
        )
        hits.append((hit, match.covered))
    return hits


def _hit(page: Page, project: str, text: str, score: float, why: str) -> Hit:
    return Hit(
        id=page.id,
        path=page.path,
        title=page.title,
        kind=page.kind,
        project=project,
        snippet=text,
        score=round(score, 4),
        why=why,
        agent=page.agent,
        session=page.session,
        date=page.updated,
    )


def _within(hits: Sequence[Hit], budget: int, here: str | None) -> list[Hit]:
    """Keep hits within the budget of tokens: shorter snippets before fewer hits."""
    for width in SNIPPETS:
        short = [hit.model_copy(update={"snippet": _narrower(hit.snippet, width)}) for hit in hits]
        if sum(_price(hit, here) for hit in short) <= budget:
            return short
    kept: list[Hit] = []
    for hit in short:
        if _price(hit, here) > budget and not kept:
            hit = _shortened(hit, budget, here)
        if _price(hit, here) > budget:
            break
        kept.append(hit)
        budget -= _price(hit, here)
    return kept


def _narrower(text: str, width: int) -> str:
    """Cut a snippet to a width; its evidence stands near its beginning."""
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def _price(hit: Hit, here: str | None) -> int:
    """Return what a hit costs when it is rendered with its facts, in tokens (see server/render.py)."""
    facts = f"{hit.title[:200]}{hit.kind}{hit.path}{hit.agent}{hit.why}{hit.project if hit.project != here else ''}"
    text = f"{facts}{hit.snippet}".replace("<", "&lt;")  # as much as forged marks cost when they are defused
    return tokens(f"{text}{' ' * SEPARATORS}")


def _shortened(hit: Hit, budget: int, here: str | None) -> Hit:
    """Cut the snippet, then the title, as far as the budget asks."""
    for key in ("snippet", "title"):
        bare = hit.model_copy(update={key: ""})
        hit = hit.model_copy(update={key: clip(getattr(hit, key), max(0, budget - _price(bare, here) - 1))})
    return hit


def _hint(look: Look, question: Question, query: Query) -> str:
    """Say what to try where nothing was found; with filters, what would be found without them."""
    if query.kinds and not look.wanted:
        return f"there is no kind {', '.join(query.kinds)[:60]}; known are {', '.join(PAGE_KINDS)} and observations"
    if not question.terms and not question.phrases:
        return "the question has no words to look for"
    if question.phrases or question.loose:
        return "quoted words must stand together; try without the quotes"
    if look.wanted or question.narrowed:
        free = replace(look, wanted=[], limit=NAMED)
        near = _look(free, replace(question, kinds=(), agent="", path="", before=None, after=None))
        missed = "; without the filters there are: " + ", ".join(hit.title[:60] for hit in near) if near else ""
        return f"try without the filters{missed}"
    return "try other words, fewer words, or a search everywhere"
