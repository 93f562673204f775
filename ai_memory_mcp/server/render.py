"""Answers as compact Markdown for an agent. Whatever was stored stands inside one fence that says it is data.

Stored text cannot close the fence: its markers are defused, in titles and snippets too.
"""

from __future__ import annotations

from ai_memory_mcp.model import (
    Answer,
    Brief,
    Consolidation,
    Document,
    Erased,
    Feedback,
    Handoff,
    Hit,
    LintReport,
    Page,
    Status,
)
from ai_memory_mcp.prose import fence, unmarked

READ_LIMIT = 24_000  # characters of one `memory.read`, about 6,000 tokens
VERDICTS_SHOWN = 5
FOUND = 40  # findings of lint
LISTED = 30  # pages of one line of what belongs to a page


def answer(found: Answer) -> str:
    """Render ranked hits."""
    by = f" by {found.resolved_by}" if found.resolved_by else ""
    where = f"project {_word(found.project)}{by}" if found.project else "the whole workspace"
    searched = f" ({_word(found.searched)})" if found.searched else ""
    hint = f"\n{unmarked(found.hint)}" if found.hint else ""
    if not found.hits:
        return f"Nothing found in {where}{searched}.{hint}"
    hits = "\n".join(_hit(number, hit, found.project) for number, hit in enumerate(found.hits, 1))
    count = f"{len(found.hits)} hit{'s' if len(found.hits) > 1 else ''}"
    return f"{count} in {where}{searched}; memory.read opens a `ref`.\n{fence(hits)}{hint}"


def document(found: Document, offset: int = 0) -> str:
    """Render a page, session or handoff from character `offset` on, at most READ_LIMIT characters."""
    part = found.text[offset : offset + READ_LIMIT]
    left = len(found.text) - offset - len(part)
    more = f"\n{left} more characters: memory.read with offset={offset + len(part)}." if left > 0 else ""
    head = [f"# {found.title}", *_page_facts(found)] if offset == 0 else []
    return fence("\n".join([*head, part, *_belongings(found)])) + more


def written(page: Page) -> str:
    """Say where a page was written."""
    return f"Written: `{_word(page.path)}` ({page.kind}, id {page.id})."


def feedback(told: Feedback) -> str:
    """Say what was noted."""
    return f"Noted: `{_word(told.path or told.title or told.target)}` is {told.verdict}."


def forgotten(told: Erased) -> str:
    """Say what is gone."""
    how = "erased for good" if told.for_good else "removed; memory.read with `at` shows pages as they were"
    pages = ", ".join(f"`{_word(path)}`" for path in told.pages[:10])
    return f"The {told.what} {_word(told.name)} is {how}. Pages: {pages or 'none'}."


def handoff(found: Handoff) -> str:
    """Render one handoff in full."""
    origin = f" from {_word(found.from_agent)}" if found.from_agent else ""
    head = f"Handoff {found.id} ({found.state}){origin}, {found.created:%Y-%m-%d %H:%M} UTC:"
    lists = (
        ("Next steps", found.next_steps),
        ("Open questions", found.open_questions),
        ("Failed approaches", found.failed_approaches),
        ("Decisions", found.decisions),
        ("Files touched", found.files_touched),
    )
    parts = [found.summary]
    for title, items in lists:
        if items:
            parts.append("\n".join([f"{title}:", *(f"- {item}" for item in items)]))
    return f"{head}\n{fence(chr(10).join(parts))}"


def handoffs(found: tuple[Handoff, ...]) -> str:
    """Render handoffs as a list, one line each."""
    if not found:
        return "There are no handoffs in this project."
    lines = (
        f"- {one.id} · {one.state} · {one.created:%Y-%m-%d} · "
        f"from {one.from_agent or 'unknown'} to {one.to_agent}: {_cut(one.summary, 200)}"
        for one in found
    )
    return fence("\n".join(lines))


def brief(found: Brief) -> str:
    """Render what a session start would be told."""
    return fence(found.text) if found.text.strip() else "There is nothing to tell yet."


def consolidation(found: Consolidation) -> str:
    """Say what became of a session."""
    page = f"memory.read `{_word(found.page)}`" if found.page else "nothing was said or done that a page could tell"
    note = f" {_word(found.note)}." if found.note else ""
    return f"Session {_word(found.session)} is compiled: {page}.{note}"


def linted(found: LintReport) -> str:
    """Render what lint found, the worst first."""
    if not found.findings:
        return f"{found.pages} pages, nothing to remark."
    lines = [f"- {one.level} {one.rule}: `{one.page}` {_cut(one.message, 300)}" for one in found.findings[:FOUND]]
    left = len(found.findings) - FOUND
    more = f"\n{left} more: ask for one rule." if left > 0 else ""
    return f"{len(found.findings)} findings in {found.pages} pages.\n{fence(chr(10).join(lines))}{more}"


def status(found: Status) -> str:
    """Render project, counts, capture accounting and problems."""
    project = found.project or {}
    by = project.get("resolved_by") or "nothing"
    told = _word(str(project.get("name") or ""))
    name = f"{told} (resolved by {by})" if told else "none here: workspace only"
    lines = [
        f"Project: {name}",
        f"Stored: {_numbers(found.counts.model_dump())}",
        f"Capture: {_numbers(found.capture.model_dump())}",
        f"Spool: {_numbers(found.spool)}",
    ]
    if found.handoff:
        lines.append(f"Waiting handoff: {_word(found.handoff)} (memory.handoff, action accept)")
    if found.llm:
        told = f"{found.llm.spent:,} of {found.llm.daily_tokens:,} tokens today, {found.llm.waiting} sessions wait"
        lines.append(f"Language model: {_word(found.llm.model)}, {told}. {_word(found.llm.problem)}".rstrip())
    if found.embedding:
        one = found.embedding
        told = f"{one.embedded:,} embedded, {one.waiting:,} wait, {one.spent:,} of {one.daily_tokens:,} tokens today"
        lines.append(f"Embedding model: {_word(one.model)}, {told}. {_word(one.problem)}".rstrip())
    lines += [f"Problem: {_word(problem)}" for problem in found.problems] or ["No problems."]
    return "\n".join(lines)


def _hit(number: int, hit: Hit, project: str | None) -> str:
    facts = [
        hit.kind,
        f"ref `{hit.path or hit.session or hit.id}`",
        f"{hit.date:%Y-%m-%d}" if hit.date else "",
        hit.agent,
        f"project {hit.project}" if hit.project and hit.project != project else "",
        hit.why,
    ]
    snippet = "\n".join(f"   {line}" for line in hit.snippet.strip().splitlines() if line.strip())
    return f"{number}. **{_cut(hit.title, 200)}** · " + " · ".join(filter(None, facts)) + f"\n{snippet}"


def _page_facts(found: Document) -> list[str]:
    page = found.page
    if page is None:
        return []
    version = found.revision
    facts = [
        f"`{page.path}`",
        page.kind,
        f"updated {page.updated:%Y-%m-%d}",
        page.agent,
        *(f"#{t}" for t in page.tags),
    ]
    if page.status == "superseded":
        facts.append(f"SUPERSEDED by {page.superseded_by or 'a newer page'}")
    if version:
        facts.append(f"AS IT WAS, committed {version.at:%Y-%m-%d %H:%M} UTC ({version.commit[:10]})")
    verdicts = [
        f"marked {one.verdict} by {one.agent}, {one.at:%Y-%m-%d}{': ' + _cut(one.note, 200) if one.note else ''}"
        for one in found.feedback[:VERDICTS_SHOWN]
    ]
    return [" · ".join(filter(None, facts)), *verdicts, ""]


def _belongings(found: Document) -> list[str]:
    """What belongs to a page, a line for each sort."""
    whole = [one for one in found.links if one.path]
    lines = (
        ("Links", [f"{one.target} → {one.path}" if one.path != one.target else one.path for one in whole]),
        ("Broken links", [one.target for one in found.links if not one.path]),
        ("Backlinks", found.backlinks),
        ("Same session", found.same_session),
        ("Supersedes", found.supersedes),
        ("Superseded by", found.superseded_by),
        ("History", [f"{one.commit[:10]} {one.at:%Y-%m-%d} {_cut(one.message, 80)}" for one in found.history]),
    )
    return [f"{name}: {', '.join(items[:LISTED])}{_more(len(items))}" for name, items in lines if items]


def _more(count: int) -> str:
    return f" and {count - LISTED} more" if count > LISTED else ""


def _numbers(values: dict[str, int]) -> str:
    return ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in values.items())


def _cut(text: str, limit: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _word(text: str) -> str:
    """Return stored text that is quoted outside the fence: one short line without markers."""
    return unmarked(_cut(text, 200))
