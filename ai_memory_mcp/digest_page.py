"""A digest as a Markdown page: plain sections, those with nothing in them left out, everything from the session escaped."""

# ruff: noqa: E501 - patterns, word lists and tables of them are easier to check on one line
from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from ai_memory_mcp.digest_model import Change, Digest, Failure, Rendered, Run
from ai_memory_mcp.model import Session
from ai_memory_mcp.prose import clip, code, defuse, inline, normal, quote

SLUG_LIMIT = 48
SUMMARY_LIMIT = 280
GOAL_SHOWN = 1_200
ITEM_SHOWN = 500
FILES_SHOWN = 25
TURNS_HEAD, TURNS_TAIL = 4, 10
COMMITS_SHOWN = 15
ENTITIES, ENTITY_LIMIT = 10, 64


def render_page(compiled: Digest, session: Session) -> Rendered:
    """Return the session's page. The title is not repeated in the body; headings start at level 2."""
    title = inline(compiled.headline, 100).lstrip("\\") or f"Session of {session.agent} on {session.started:%Y-%m-%d}"
    parts = [
        _section("Goal", [quote(compiled.goal, GOAL_SHOWN)] if compiled.goal else []),
        _section("Outcome", _outcome(compiled)),
        _section("What was done", _done(compiled)),
        _section("Course", _course(compiled)),
        _section("Decisions", _bullets(compiled.decisions)),
        _section("What did not work", _failures(compiled)),
        _section("Open questions", _bullets(compiled.open_questions)),
        _section("Next steps", _bullets(compiled.next_steps)),
        _section("Tests and builds", _results(compiled.runs)),
        _section("Files", _files(compiled.files)),
        _section("Session", [_about(compiled, session)]),
    ]
    return Rendered(
        title=title,
        slug=slug(compiled.headline) or "session",
        summary=_summary(compiled),
        body="\n".join(part for part in parts if part),
        tags=_tags(compiled),
        entities=_entities(compiled),
    )


def _section(heading: str, lines: Sequence[str]) -> str:
    return f"## {heading}\n\n" + "\n".join(lines) + "\n" if any(lines) else ""


def _bullets(texts: Iterable[str]) -> list[str]:
    return [f"- {line}" for text in texts if (line := inline(text, ITEM_SHOWN))]


def slug(title: str) -> str:
    """Return a file name part: lower-case letters and digits of any script, hyphens, at most SLUG_LIMIT characters."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", title).lower())
    kept = ""
    for word in words:
        if len(kept) + len(word) >= SLUG_LIMIT:
            break
        kept += ("-" if kept else "") + word
    return kept or "".join(words)[:SLUG_LIMIT]


# --- sections ---


def _outcome(compiled: Digest) -> list[str]:
    lines = [line for text in compiled.outcome for line in (inline(text, 1_000), "")][:-1]
    if compiled.interrupted:
        state = "The session ended before the last request was answered; see the next steps."
        return [state, "", "Before that:", "", *lines] if lines else [state]
    return lines


def _done(compiled: Digest) -> list[str]:
    told = _bullets(compiled.done)
    known = normal(" ".join((*compiled.done, *compiled.outcome)))
    committed = [code(subject, 120) for subject in compiled.commits]
    if len(committed) > COMMITS_SHOWN:
        more = len(committed) - COMMITS_SHOWN
        committed = [f"{more} earlier ones", *committed[-COMMITS_SHOWN:]]
    if len(committed) > 3:
        told += ["- Committed:", *(f"  - {subject}" for subject in committed)]
    elif committed:
        told.append("- Committed " + ", ".join(committed))
    told += _bullets(compiled.acts)
    finished = [text for text in compiled.completed if normal(text) not in known]
    if finished and len(compiled.done) < 4:
        told.append("- Finished from the to-do list: " + inline("; ".join(finished), ITEM_SHOWN))
    return told


def _course(compiled: Digest) -> list[str]:
    turns = compiled.turns
    if len(turns) < 2:
        return []
    lines = [
        f"{number}. {inline(turn.prompt, 220)}"
        + (f" → {inline(turn.answer, 300)}" if turn.answer else " → not answered")
        for number, turn in enumerate(turns, 1)
    ]
    if len(lines) > TURNS_HEAD + TURNS_TAIL + 1:
        hidden = len(lines) - TURNS_HEAD - TURNS_TAIL
        return [*lines[:TURNS_HEAD], "", f"… {hidden} more requests …", "", *lines[-TURNS_TAIL:]]
    return lines


def _failures(compiled: Digest) -> list[str]:
    return [_failure(failure) for failure in compiled.failures] + _bullets(compiled.findings)


def _failure(failure: Failure) -> str:
    often = f" failed {failure.times} times" if failure.times > 1 else " failed"
    why = f": {inline(failure.error, 300)}" if failure.error else ""
    if failure.remedy == "the user refused it":
        return f"- The user refused {code(failure.what, 160)}{why}"
    end = f" It {inline(failure.remedy, 300)}." if failure.remedy else " Not solved."
    return f"- {code(failure.what, 160)}{often}{why}{'' if why.endswith(('.', '…')) else '.'}{end}"


def result_of(run: Run, plain: bool = False) -> str:
    """Return a run with its last result: `pytest -q`: 12 passed, 1 failed. `plain` leaves Markdown escapes out."""
    error = "" if not run.error else f" ({run.error if plain else inline(run.error, 240)})"
    if run.passed >= 0 and run.purpose == "test":
        counts = ", ".join(f"{n} {word}" for n, word in ((run.passed, "passed"), (run.failed, "failed")) if n > 0)
        said = (counts or "no tests ran") + (error if run.failed > 0 else "")
    else:
        said = (run.error if plain else inline(run.error, 240)) or "failed" if run.ok is False else "passed"
    often = f", run {run.times} times" if run.times > 1 and not plain else ""
    return f"{code(run.command, 140)}: {said}{often}"


def _results(runs: Sequence[Run]) -> list[str]:
    telling = [run for run in runs if run.purpose == "test" or run.ok is False]
    clean = [code(run.command, 100) for run in runs if run not in telling]
    return [f"- {result_of(run)}" for run in telling] + ([f"- Passed too: {', '.join(clean)}"] if clean else [])


def _files(files: Sequence[Change]) -> list[str]:
    lines = [f"- {code(change.path, 200)}: {_happened(change)}" for change in files[:FILES_SHOWN]]
    if len(files) > FILES_SHOWN:
        lines.append(f"- and {len(files) - FILES_SHOWN} more")
    return lines


def _happened(change: Change) -> str:
    if change.deleted:
        return "deleted"
    edits = change.edits - change.created
    again = f"edited {edits} times" if edits > 1 else "edited" if edits else ""
    return f"created, then {again}" if change.created and again else "created" if change.created else again


def _about(compiled: Digest, session: Session) -> str:
    took = f"{compiled.minutes} min" if compiled.minutes else "under a minute"
    facts = [f"{session.started:%Y-%m-%d %H:%M} UTC", took, f"{compiled.tool_calls} tool calls"]
    if session.branch:
        facts.append(f"branch {code(session.branch, 80)}")
    if compiled.summaries:
        facts.append(f"context compacted {compiled.summaries} time{'s' if compiled.summaries > 1 else ''}")
    return f"{inline(session.agent, 40)}, " + ", ".join(facts) + "."


# --- what finds it again ---


def _summary(compiled: Digest) -> str:
    told = compiled.outcome[0] if compiled.outcome else compiled.done[0] if compiled.done else ""
    if compiled.interrupted:
        told = f"Interrupted: {compiled.turns[-1].prompt if compiled.turns else compiled.headline}"
    return clip(" ".join(defuse(told or compiled.headline).split()), SUMMARY_LIMIT)


def _tags(compiled: Digest) -> tuple[str, ...]:
    tests = [run for run in compiled.runs if run.purpose == "test"]
    marks = {
        "interrupted": compiled.interrupted,
        "unfinished": bool(compiled.next_steps),
        "tests-failing": bool(tests) and tests[-1].ok is False,
        "committed": bool(compiled.commits),
    }
    return tuple(mark for mark, holds in marks.items() if holds)


def _entities(compiled: Digest) -> tuple[str, ...]:
    return tuple(change.path for change in compiled.files if len(change.path) <= ENTITY_LIMIT)[:ENTITIES]
