"""Consolidation: a language model makes a better page and handoff of a session, and pages of what lasts.

What the rules wrote is there and committed before anybody is asked, and stays whatever happens. The answer, checked, is
kept as a plan in `llm/plans/` before the first page is touched: who is killed in between asks nobody twice, and
comes to the same pages. While the model is waited for, only `locks/consolidate.lock` is held.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from ai_memory_mcp import brief, handoff, markdown, pages, recall, sessions, settle
from ai_memory_mcp.consolidate_check import Checker, better_digest
from ai_memory_mcp.consolidate_model import LASTING, Answer, Related
from ai_memory_mcp.consolidate_pages import TITLE, Drafts, lasting_pages, of_session
from ai_memory_mcp.consolidate_prompt import MAX_TOKENS, prompt, said, system
from ai_memory_mcp.errors import AiMemoryError, ConflictError, LlmError, NotFoundError
from ai_memory_mcp.files import locked, private_dir, remove, write_atomic
from ai_memory_mcp.index import facts, rows
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.language import language_of
from ai_memory_mcp.llm import Llm
from ai_memory_mcp.llm_meter import PROVIDERS_FAULT
from ai_memory_mcp.llm_queue import NOT_ITS_FAULT, Queue
from ai_memory_mcp.model import Consolidation, Handoff, Page, Planned, Project, Query, Resolved, Value
from ai_memory_mcp.prose import inline
from ai_memory_mcp.redact import Redactor
from ai_memory_mcp.resources import Resources

AUTHOR = "ai-memory-llm"
PURPOSE = "consolidate"
PATIENCE = 3.0  # seconds a person waits for another consolidation to end
RELATED, RULES = 8, 6  # pages that the model is shown
QUERIES = 12


class Change(Value):
    """One page as it shall be. `before` is the check sum of what it was when the model was asked ('' for none)."""

    path: str
    text: str
    before: str = ""


class Plan(Value):
    """What a consolidation comes to: `mark` stands for the observations, `page` is the session's own page."""

    session: str
    mark: str
    page: str
    message: str
    when: datetime
    changes: tuple[Change, ...]


def lock(res: Resources, timeout: float) -> AbstractContextManager[bool]:
    """Return the lock that one consolidation at a time holds, over the model's answer, too. Order: this, handoff."""
    return locked(res.home / "locks" / "consolidate.lock", timeout=timeout)


def work_off(res: Resources, llm: Llm, redactor: Redactor, *, now: datetime) -> list[Consolidation]:
    """Consolidate the sessions that wait and are due. The caller holds the lock. Never raises for one of them.

    Where the provider is the trouble, or the day's tokens are spent, the others wait as well.
    """
    queue = Queue(res.home)
    due = queue.due(now, asked=not res.config.llm.automatic)
    done = []
    for number, one in enumerate(due):
        begun = queue.begin(one, now)
        try:
            with res.index.read() as db:
                row, project = rows.session(db, one.session), rows.project(db, one.project)
            if row and project:
                done.append(consolidate(res, project, row, llm, redactor, now=now))
            queue.done(begun)
        except LlmError as error:
            queue.put_off(one, begun, error, now)
            if error.kind in NOT_ITS_FAULT:
                for other in due[number + 1 :]:
                    queue.put_off(other, other, error, now)
            if error.kind in (*NOT_ITS_FAULT, *PROVIDERS_FAULT):
                break
        except AiMemoryError as error:  # a wiki that refuses just now, a session that goes on
            queue.put_off(one, begun, LlmError(str(error), "paused"), now)
    return done


def consolidate(
    res: Resources, project: Project, row: SessionRow, llm: Llm, redactor: Redactor, *, now: datetime, dry: bool = False
) -> Consolidation:
    """Have the model make more of one session. With `dry` nothing is written but the plan, which the next run takes.

    The same observations are consolidated once. The caller holds the lock. Raises LlmError, and StorageError where the
    wiki refuses; the pages by rule stand then.
    """
    row = by_rule(res, project, row)
    if not row.page:
        return _told(row, "unchanged", "nothing was said or done in this session that a page could tell")
    if row.pruned:
        return _told(row, "unchanged", f"its raw observations up to {row.pruned:%Y-%m-%d} were pruned")
    work = sessions.survey(res, project, row)
    if sessions.standing_page(res, project, row.page).consolidated == work.mark:
        _forget(res, row.id)
        return _told(row, "unchanged", "this session is consolidated already")
    plan = _kept(res, row.id, work.mark)
    if plan is None:
        plan = _plan(res, project, row, work, llm, redactor)
        _keep(res, plan)
    if dry:
        return _told(row, "planned", "nothing is written yet, and the next run need not ask again", plan)
    applied = apply(res, project, plan)
    _forget(res, row.id)
    if applied is None:
        raise ConflictError("the session went on meanwhile; what the model said of it is out of date, so ask again")
    brief.render(res, project, now=now)
    return _told(row, "consolidated", "", plan.model_copy(update={"changes": applied}))


def by_rule(res: Resources, project: Project, row: SessionRow) -> SessionRow:
    """Compile the page of a session that is still open, or return a closed one as it is."""
    if row.state == "closed":
        return row
    with settle.handoff_lock(res, project):
        return sessions.close(res, project, row, over=False)[0]


# --- the plan


def _plan(res: Resources, project: Project, row: SessionRow, work: sessions.Work, llm: Llm, redactor: Redactor) -> Plan:
    """Ask the model and make pages of its answer."""
    standing = sessions.standing_page(res, project, work.path)
    related = _related(res, project, row, work)
    rules = _rules(res, project)
    found = Drafts(res, project, of_session(work.told, work.path), [*related, *rules])
    rules_page, rules_handoff = sessions.written(work, work.found)
    waits = rules_handoff and found.text_at(rules_handoff.path) == _handoff_text(rules_handoff, rules_page)
    told = redactor.text(prompt(markdown.parse(standing.text)[1], work.observations, related, rules))
    user, agent = said(work.observations)
    language = language_of(user) or language_of(agent)
    answer = llm.ask(PURPOSE, system(language), told, Answer, max_tokens=MAX_TOKENS)
    check = Checker(redactor, told, found.page_at, f"{user}\n\n{agent}")
    if other := check.foreign(answer.words()):
        raise LlmError(f"the language model wrote in {other}, and nobody did in this session", "language")
    lasting = lasting_pages(answer.pages, answer.proposals, check, found)
    page, made = sessions.written(work, better_digest(work.found, answer, check))
    body = page.body + _list(lasting)
    text = sessions.stamped(markdown.text_from(page.model_copy(update={"body": body})))
    if standing.by_hand:
        text = standing.text
    texts = {page.path: markdown.set_keys(text, {"consolidated": work.mark}), **lasting}
    if made and waits:  # and nobody has changed it
        texts[made.path] = _handoff_text(made, page)
    changes = changes_to(found, texts, {work.path: standing.text})
    message = f"Consolidate the session of {row.agent}: {page.title}"
    return Plan(session=row.id, mark=work.mark, page=page.path, message=message, when=work.told.last, changes=changes)


def changes_to(found: Drafts, texts: Mapping[str, str], before: Mapping[str, str] = {}) -> tuple[Change, ...]:
    """Return pages to write (path -> text) with what they were when the model was asked."""
    return tuple(
        Change(path=path, text=text, before=_sum(before.get(path) or found.text_at(path)))
        for path, text in texts.items()
    )


def _handoff_text(made: Handoff, page: Page) -> str:
    return handoff.to_text(made, f"Handoff: {page.title}")


def _list(texts: dict[str, str]) -> str:
    """Return the section of the session's page that leads to the pages made of it."""
    front = {path: markdown.parse(text)[0] for path, text in texts.items()}
    made = [
        f"- [[{path}]]: {inline(str(meta.get('title', '')), TITLE)}"
        for path, meta in front.items()
        if meta.get("status") == "current"
    ]
    return "\n## Pages\n\n" + "\n".join(made) + "\n" if made else ""


def _related(res: Resources, project: Project, row: SessionRow, work: sessions.Work) -> list[Related]:
    """Return the pages that the session may have to do with: those made of it before, then what search finds."""
    digest = work.found
    asked = [
        digest.headline,
        *digest.outcome,
        *digest.decisions,
        *digest.findings,
        *(failure.error for failure in digest.failures),
    ]
    asked += [turn.prompt for turn in digest.turns[-2:]]
    asked.append(" ".join(change.path for change in digest.files[:6]))
    kinds = (*LASTING, "note")
    here = Resolved(project=project, workspace=project.workspace, root="", by="named")
    with res.index.read() as db:
        paths = dict.fromkeys(facts.having(db, project.id, facts.SESSION, (row.id, row.native_id)))
        for text in list(dict.fromkeys(text for text in asked if text.strip()))[:QUERIES]:
            query = Query(text=text[:400], kinds=kinds, limit=RELATED, max_tokens=20_000)
            found = recall.answer(db, [project], query, here, res.config.search.without)
            paths |= dict.fromkeys(hit.path for hit in found.hits)
    every = _loaded(res, project, paths)
    return list(islice((one for one in every if one.page.kind in kinds), RELATED))


def _rules(res: Resources, project: Project) -> list[Related]:
    with res.index.read() as db:
        found = rows.recent_pages(db, [project.id], ("rule",), RULES)
    return list(_loaded(res, project, [path for _, path in found]))


def _loaded(res: Resources, project: Project, paths: Iterable[str]) -> Iterator[Related]:
    for path in paths:
        with suppress(NotFoundError):
            page, text = pages.load(res, project, path)
            if page.status == "current":
                yield Related(page, text, ours=not sessions.standing_page(res, project, path).by_hand)


# --- writing it


def apply(res: Resources, project: Project, plan: Plan) -> tuple[Change, ...] | None:
    """Write what is planned in one commit; a page that somebody else has changed meanwhile is left to them.

    Returns what was written; None when the session's own page is another by now: then all of it is out of date.
    """
    with settle.handoff_lock(res, project):
        written = []
        for change in plan.changes:
            now = sessions.standing_page(res, project, change.path).text
            if now == change.text or _sum(now) == change.before:
                written.append(change)
            elif change.path == plan.page:
                return None
        texts: dict[str, str | None] = {change.path: change.text for change in written}
        pages.save(res, project, texts, plan.message, when=plan.when, author=AUTHOR)
    return tuple(written)


def _keep(res: Resources, plan: Plan) -> None:
    path = _plan_path(res, plan.session)
    private_dir(path.parent)
    write_atomic(path, plan.model_dump_json().encode("utf-8", "replace"), durable=True)


def _kept(res: Resources, session: str, mark: str) -> Plan | None:
    """Return the plan that an earlier run left for the same observations."""
    try:
        plan = Plan.model_validate_json(_plan_path(res, session).read_bytes())
    except (OSError, ValidationError):
        return None
    return plan if (plan.session, plan.mark) == (session, mark) else None


def _forget(res: Resources, session: str) -> None:
    remove(_plan_path(res, session))


def _plan_path(res: Resources, session: str) -> Path:
    return res.home / "llm" / "plans" / f"{session}.json"


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() if text else ""


def _told(row: SessionRow, state: str, note: str, plan: Plan | None = None) -> Consolidation:
    changes = plan.changes if plan else ()
    return Consolidation.model_validate(
        {
            "session": row.id,
            "agent": row.agent,
            "title": row.title,
            "page": row.page or "",
            "state": state,
            "note": note,
            "pages": tuple(
                Planned(path=one.path, change="changed" if one.before else "new", text=one.text) for one in changes
            ),
        }
    )
