"""Pages that a language model makes of what a repository says, beside those that are made by rule.

What is asked is known again by a check sum in `llm/bootstrapped.json`, so nobody is asked twice for the same. A page
stands as one of a consolidation does: it may take the place of pages that a model wrote before, never of anybody's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ai_memory_mcp import brief, consolidate, evicting, markdown, pages, sessions
from ai_memory_mcp.consolidate import Plan
from ai_memory_mcp.consolidate_check import Checker
from ai_memory_mcp.consolidate_model import LASTING, PageAnswer, ProposalAnswer, Related
from ai_memory_mcp.consolidate_pages import SOURCES, Drafts, Origin, cited_before, lasting_pages
from ai_memory_mcp.enriching_prompt import MAX_TOKENS, Answer, Asking, FoundPage, askings, cited, prompt, system
from ai_memory_mcp.errors import LlmError, NotFoundError
from ai_memory_mcp.files import locked, private_dir, write_atomic
from ai_memory_mcp.index import rows
from ai_memory_mcp.llm import Llm, estimate
from ai_memory_mcp.model import Enriched, Excerpt, Page, Planned, Project
from ai_memory_mcp.redact import Redactor
from ai_memory_mcp.resources import Resources

PURPOSE = "bootstrap"
TAG = "from-repository"  # of the pages that are made here, by which they are found again
PAGES = 8  # of one answer
EARLIER = 12  # pages of earlier runs that the model is shown
LOOKED_AT = 500  # newest pages among which those are
_OVERVIEW = "concepts/overview.md"  # what bootstrap makes by rule, and every page here leads to


def planned(res: Resources, project: Project | None, excerpts: Sequence[Excerpt], redactor: Redactor) -> Enriched:
    """Tell how many questions it would take, and about how many tokens at most. Asks nobody."""
    known = _marks(res, project.id) if project else {}
    fresh = [one for one in askings(excerpts, redactor) if known.get(one.part) != one.mark]
    tokens = sum(estimate(system(one), prompt(one, ()), MAX_TOKENS) for one in fresh)
    return Enriched(state="planned" if fresh else "unchanged", calls=len(fresh), tokens=tokens)


def enrich(
    res: Resources, project: Project, excerpts: Sequence[Excerpt], llm: Llm, redactor: Redactor, *, now: datetime
) -> Enriched:
    """Have the model make pages of what is new or has changed, in one commit. The caller holds `consolidate.lock`.

    Where it fails at the second question, what the first one gave is kept. Raises LlmError when nothing came of it.
    """
    known, calls, note = _marks(res, project.id), 0, ""
    plan = Plan(session="", mark="", page="", message="", when=now, changes=())
    for asking in askings(excerpts, redactor):
        if known.get(asking.part) == asking.mark:
            continue
        try:
            found = _asked(res, project, asking, llm, redactor, now)
        except LlmError as error:
            if not calls:
                raise
            note = str(error)
            break
        calls += 1
        before = {change.path for change in plan.changes}
        changes = (*plan.changes, *(change for change in found if change.path not in before))
        plan = plan.model_copy(update={"changes": changes})
        known |= {asking.part: asking.mark}
    written: tuple[consolidate.Change, ...] = ()
    if plan.changes:
        message = f"Bootstrap {project.name} with a language model: {len(plan.changes)} pages"
        written = consolidate.apply(res, project, plan.model_copy(update={"message": message})) or ()
        brief.render(res, project, now=now)
    if calls:
        _mark(res, project.id, known)
    told = (Planned(path=one.path, change="changed" if one.before else "new", text=one.text) for one in written)
    return Enriched(state="written" if calls else "unchanged", pages=tuple(told), calls=calls, note=note)


def _asked(
    res: Resources, project: Project, asking: Asking, llm: Llm, redactor: Redactor, now: datetime
) -> tuple[consolidate.Change, ...]:
    """Ask about one part and return the pages to write."""
    earlier = list(_earlier(res, project))

    def cites(said: PageAnswer | ProposalAnswer, old: Page | None) -> list[str]:
        mine = cited(said.sources, asking) if isinstance(said, FoundPage) else []
        kept = [line for line in cited_before(old) if line not in mine]
        return [redactor.text(line) for line in [*kept, *mine][-SOURCES:]] if mine else []

    found = Drafts(
        res, project, Origin(f"bootstrapped:{project.id}", now, cites, also=_by_rule(res, project, asking)), earlier
    )
    told = redactor.text(prompt(asking, earlier))
    answer = llm.ask(PURPOSE, system(asking), told, Answer, max_tokens=MAX_TOKENS)
    pages_told = [page.model_copy(update={"tags": [TAG, *page.tags]}) for page in answer.pages]
    check = Checker(redactor, told, found.page_at, asking.words)
    texts = lasting_pages(pages_told, (), check, found, most=PAGES, most_proposals=0)
    return consolidate.changes_to(
        found, {path: text for path, text in texts.items() if not _gone(res, project, path, text)}
    )


def _gone(res: Resources, project: Project, path: str, text: str) -> bool:
    """Tell whether somebody has taken a page out of memory that would be there again."""
    return evicting.gone(res, project, path, str(markdown.parse(text)[0].get("id", ""))) is not None


def _by_rule(res: Resources, project: Project, asking: Asking) -> tuple[str, ...]:
    """Return the pages by rule that the model's may lead to: the overview, which all do, and those that it is shown."""
    shown = (one.source for one in asking.excerpts if one.of == "page")
    with res.index.read() as db:  # a page is one that memory knows, whatever else the path of an excerpt leads to
        return tuple(path for path in dict.fromkeys((_OVERVIEW, *shown)) if rows.page_record(db, project.id, path))


def _earlier(res: Resources, project: Project) -> Iterator[Related]:
    """Yield the pages that were made here before and that nobody has edited."""
    with res.index.read() as db:
        newest = [path for _, path in rows.recent_pages(db, [project.id], LASTING, LOOKED_AT)]
        ours = [path for path in newest if (page := rows.page_record(db, project.id, path)) and TAG in page.tags]
    for path in ours[:EARLIER]:
        with suppress(NotFoundError):
            page, text = pages.load(res, project, path)
            if sessions.is_compiled(text):
                yield Related(page, text, ours=True)


# --- what was asked already


def forget(res: Resources, project_id: str) -> None:
    """Forget what was asked of a project."""
    if _marks(res, project_id):
        _mark(res, project_id, {})


def _path(res: Resources) -> Path:
    return res.home / "llm" / "bootstrapped.json"


def _read(res: Resources) -> dict[str, dict[str, str]]:
    try:
        found = json.loads(_path(res).read_bytes())
    except (OSError, ValueError):
        return {}
    told = found.items() if isinstance(found, dict) else ()
    return {name: marks for name, marks in told if isinstance(marks, dict)}


def _marks(res: Resources, project_id: str) -> dict[str, str]:
    """Return the check sums of what was asked of a project, by part."""
    return _read(res).get(project_id, {})


def _mark(res: Resources, project_id: str, marks: Mapping[str, str]) -> None:
    with locked(res.home / "locks" / "llm-bootstrapped.lock", timeout=10.0):
        known = {name: told for name, told in {**_read(res), project_id: dict(marks)}.items() if told}
        private_dir(_path(res).parent)
        write_atomic(_path(res), json.dumps(known, indent=1).encode())
