"""Compiling a session by rule, without any LLM: from observations to what a colleague would tell about it.

Deterministic and pure. The agents' own closing messages are the prose; tools and their answers are the evidence.
"""

# ruff: noqa: E501 - patterns, word lists and tables of them are easier to check on one line
from __future__ import annotations

from collections.abc import Sequence

from ai_memory_mcp import digest_commands as evidence
from ai_memory_mcp import digest_words as words
from ai_memory_mcp.digest_model import Change, Digest, Failure, Rendered, Run, Turn
from ai_memory_mcp.digest_page import render_page, result_of
from ai_memory_mcp.model import Observation, Session, Todo
from ai_memory_mcp.observe import is_real_prompt, spoken
from ai_memory_mcp.prose import clean, clip, defuse, distinct, normal, sections

__all__ = [
    "Change",
    "Digest",
    "Failure",
    "Rendered",
    "Run",
    "Turn",
    "digest",
    "handoff_fields",
    "render_page",
]

SUMMARY_LIMIT = 1_500  # characters of a handoff's summary
FIELD_LIMIT = 400  # characters of one entry of a handoff's list
FIELD_ITEMS = 12  # entries of a handoff's list
TITLE_LIMIT = 80
GOAL_LIMIT = 4_000
OUTCOME_LIMIT = 900
REMARK = 200  # characters below which a closing message may be a remark on the one before
DONE_ITEM_LIMIT = 500
DONE_ITEMS = 14
RECENT_ANSWERS = 4  # closing messages looked at when the last one is only a remark


def digest(session: Session, observations: Sequence[Observation]) -> Digest:
    """Compile a session. Any number of observations, of any kind, in order of time; none gives an empty digest."""
    observations = [_local(seen, session.cwd) for seen in observations]
    prompts = [seen for seen in observations if is_real_prompt(seen)]
    said = [words.request(spoken(prompt.text)) for prompt in prompts]
    turns = _turns(observations)
    answers = [seen.text for seen in observations if _answers(seen) and seen.text]
    recaps = [seen.text for seen in observations if seen.kind == "post-compact" and seen.text]
    course = [text for text in said if words.is_course(text)]
    goal = next(iter(course or said), "") or " ".join(words.about(recaps, "goal"))
    last = answers[-1] if answers else ""
    calls = evidence.shell_calls(observations)
    todos = evidence.todo_list(observations)
    ran = evidence.runs(calls)
    commits = evidence.commit_subjects(observations)
    files = evidence.changed_files(observations)
    failures = evidence.failures(observations, calls)
    open_turn = _open_turn(observations)
    tools = evidence.tool_calls(observations)
    findings = distinct([*words.dead_ends([*recaps, *answers]), *evidence.discards(calls)], FIELD_ITEMS)
    decided = _others(words.decisions([*recaps, *answers], course[1:]), findings)
    return Digest(
        goal=clip(goal, GOAL_LIMIT),
        headline=words.headline(goal, TITLE_LIMIT) if goal else _untitled(commits, files),
        prompts=tuple(dict.fromkeys(clip(text, GOAL_LIMIT) for text in said)),
        turns=turns,
        outcome=_outcome_of(_closing(observations) or answers[-1:]),
        done=_others(_done(answers, recaps), [*findings, *decided]),
        commits=commits,
        acts=evidence.acts(observations),
        completed=tuple(dict.fromkeys(todo.text for todo in todos if todo.state == "completed")),
        decisions=decided,
        failures=failures,
        findings=findings,
        files=files,
        runs=ran,
        open_questions=distinct(_open_questions(last, open_turn), FIELD_ITEMS),
        next_steps=distinct(_next_steps(observations, last, open_turn, todos, ran, recaps), FIELD_ITEMS),
        summaries=len(recaps),
        interrupted=bool(open_turn),
        minutes=_minutes(observations),
        tool_calls=len(tools),
    )


def _local(seen: Observation, cwd: str) -> Observation:
    """Return the observation with the working directory's own path taken off the front of paths in its texts."""
    here = cwd.rstrip("\\") + "\\" if cwd[1:2] == ":" else cwd.rstrip("/") + "/"
    if len(here) < 6 or not (here in seen.text or here in seen.output):
        return seen
    return seen.model_copy(update={"text": seen.text.replace(here, ""), "output": seen.output.replace(here, "")})


def _minutes(observations: Sequence[Observation]) -> int:
    if not observations:
        return 0
    return max(int((observations[-1].at - observations[0].at).total_seconds() // 60), 0)


def _untitled(commits: Sequence[str], files: Sequence[Change]) -> str:
    if commits:
        return clip(commits[-1], TITLE_LIMIT)
    return clip("Work on " + ", ".join(change.path for change in files[:3]), TITLE_LIMIT) if files else ""


# --- the course of the session ---


def _answers(seen: Observation) -> bool:
    return seen.kind in ("stop", "assistant-message") and not seen.subagent and seen.ok is not False


def _turns(observations: Sequence[Observation]) -> tuple[Turn, ...]:
    """Pair each telling prompt with the last answer before the next one; "yes" and "continue" belong to the turn."""
    found: list[Turn] = []
    for seen in observations:
        if is_real_prompt(seen):
            said = words.request(spoken(seen.text))
            if words.is_course(said) or not found:
                found.append(Turn(prompt=words.headline(said, 200)))
        elif _answers(seen) and seen.text and found:
            answer = _lead(seen.text)
            found[-1] = found[-1].model_copy(update={"answer": answer or found[-1].answer})
    return tuple(turn for at, turn in enumerate(found) if turn.prompt and turn not in found[:at])


def _lead(message: str) -> str:
    """Return the first paragraph (else the first items) of a message: what it comes to in a sentence or two."""
    for part in sections(message):
        if part.paragraphs and (not part.heading or words.topic_of(part) == "done"):
            return clip(part.paragraphs[0], 280)
        if part.items:
            return clip("; ".join(part.items[:3]), 280)
    return ""


def _open_turn(observations: Sequence[Observation]) -> tuple[str, ...]:
    """Return the prompt that got no answer, then the commands that never came back; empty when the last turn ended."""
    ended, asked = -1, -1
    stops = any(seen.kind == "stop" for seen in observations)  # else remarks are all there is
    for at, seen in enumerate(observations):
        if _answers(seen) and (seen.kind == "stop" or not stops):
            ended = at
        elif is_real_prompt(seen):
            asked = at
    if asked <= ended and (asked >= 0 or not _unreturned(observations[ended + 1 :])):
        return ()
    prompt = words.request(spoken(observations[asked].text)) if asked >= 0 else ""
    return (prompt, *_unreturned(observations[ended + 1 :]))


def _unreturned(observations: Sequence[Observation]) -> list[str]:
    back = {seen.tool_use for _, seen in evidence.tool_calls(observations)}
    waiting = [seen for seen in observations if seen.kind == "pre-tool" and seen.tool_use and seen.tool_use not in back]
    return [seen.title for seen in waiting[-2:]]


# --- what came of it ---


def _closing(observations: Sequence[Observation]) -> list[str]:
    """Return the answers of the last turn: more than one where a hook sent the agent back to work."""
    found: list[str] = []
    for seen in observations:
        if is_real_prompt(seen):
            found = []
        elif _answers(seen) and seen.text:
            found.append(seen.text)
    return found


def _outcome_of(closing: Sequence[str]) -> tuple[str, ...]:
    """Return the outcome by the last answer; where that is a mere remark, what the answers before it came to stands first."""
    told = _outcome(closing[-1]) if closing else ()
    if sum(map(len, told)) >= REMARK:
        return told
    earlier = [clip(opening[0], 280) for message in closing[-3:-1] if (opening := _outcome(message))]
    return distinct([*earlier, *told], FIELD_ITEMS)


def _outcome(last: str) -> tuple[str, ...]:
    """Return the opening of the last message: its paragraphs before the lists, without what is ahead."""
    kept: list[str] = []
    for part in sections(last):
        if part.heading and (kept or words.topic_of(part) != "done"):
            break
        kept += part.paragraphs
        if part.items:
            break
    room, shown = OUTCOME_LIMIT, list[str]()
    for paragraph in kept:
        if room > 80:
            shown.append(clip(paragraph, room))
            room -= len(paragraph)
    return tuple(shown)


def _done(answers: Sequence[str], recaps: Sequence[str]) -> tuple[str, ...]:
    """Return what was done in the agent's words: the lists of its closing summary, newest summary first."""
    recent = list(answers[-RECENT_ANSWERS:])[::-1]
    opening = normal(" ".join(_outcome(answers[-1]))) if answers else ""
    told = [items for message in recent if (items := _told(message, opening))]
    items = [item for part in told[: 1 if told and len(told[0]) > 2 else 2] for item in part]
    if len(items) < 3:
        items += [item for recap in recaps[-1:] for item in _told(recap, "")]
    return distinct(items, DONE_ITEMS)


def _others(texts: Sequence[str], said: Sequence[str]) -> tuple[str, ...]:
    """Return the texts that are not already said under another heading."""
    known = {normal(text) for text in said}
    return tuple(text for text in texts if normal(text) not in known)


def _told(message: str, known: str) -> list[str]:
    """Return what a message tells was done: list items under their heading, and headed paragraphs not yet `known`."""
    found: list[str] = []
    for part in sections(message):
        if words.topic_of(part) != "done":
            continue
        if part.heading and part.paragraphs and normal(part.paragraphs[0]) not in known:
            found.append(clip(f"{part.heading}: {part.paragraphs[0]}", DONE_ITEM_LIMIT))
        named = part.heading and normal(part.heading) not in (
            "summary",
            "changes",
            "whatwasdone",
            "whatidid",
            "总结",
        )
        if named and len(part.items) > 1:
            found.append(
                clip(f"{part.heading}: {'; '.join(item.rstrip('.;') for item in part.items)}", DONE_ITEM_LIMIT)
            )
        else:
            found += [clip(f"{part.heading}: {item}" if named else item, DONE_ITEM_LIMIT) for item in part.items]
    return found


# --- what is left ---


def _open_questions(last: str, open_turn: Sequence[str]) -> list[str]:
    asked = [clip(text, FIELD_LIMIT) for text in words.questions(last)] if not open_turn else []
    unanswered = open_turn[0] if open_turn else ""
    if unanswered.rstrip().endswith(("?", "？")):
        asked.append(f"The user asked, and got no answer: {words.headline(unanswered, 300)}")
    return asked


def _next_steps(
    observations: Sequence[Observation],
    last: str,
    open_turn: Sequence[str],
    todos: Sequence[Todo],
    ran: Sequence[Run],
    recaps: Sequence[str],
) -> list[str]:
    found: list[str] = []
    if open_turn:
        if open_turn[0]:
            found.append(f"Continue where it stopped: {clip(' '.join(open_turn[0].split()), 300)}")
        found += [f"Check `{title.removeprefix('$ ')}`: it was started and never came back" for title in open_turn[1:]]
    failed_stop = next((seen for seen in reversed(observations) if seen.kind == "stop"), None)
    if failed_stop is not None and failed_stop.ok is False:
        found.append(f"The last turn ended with an error: {clip(clean(failed_stop.output), 200)}")
    found += [f"Still failing: {result_of(run, plain=True)}" for run in ran[::-1] if run.ok is False]
    started = [todo for todo in todos if todo.state == "in_progress"]
    found += [f"{todo.text} (begun)" for todo in started]
    found += [todo.text for todo in todos if todo.state == "pending"]
    ahead = words.next_steps(last) if not open_turn else []
    if not ahead and not todos and recaps and (open_turn or not last):
        ahead = words.about(recaps[-1:], "next")
    return [clip(text, FIELD_LIMIT) for text in [*found, *ahead]]


# --- the handoff ---


def handoff_fields(compiled: Digest) -> dict[str, str | tuple[str, ...]]:
    """Return the automatic handoff's fields: summary ≤ SUMMARY_LIMIT characters, lists ≤ FIELD_ITEMS × FIELD_LIMIT."""
    return {
        "summary": defuse(_summary(compiled)),
        "open_questions": _bounded(compiled.open_questions),
        "failed_approaches": _bounded([*(_failed(failure) for failure in compiled.failures), *compiled.findings]),
        "next_steps": _bounded(compiled.next_steps),
        "decisions": _bounded(compiled.decisions),
        "files_touched": _bounded([_touched(change) for change in compiled.files]),
    }


def _bounded(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(clip(defuse(" ".join(text.split())), FIELD_LIMIT) for text in texts[:FIELD_ITEMS])


def _failed(failure: Failure) -> str:
    often = f" ({failure.times} times)" if failure.times > 1 else ""
    return f"`{failure.what}`{often}: {failure.error or 'failed'}; {failure.remedy or 'not solved'}"


def _touched(change: Change) -> str:
    return change.path + (" (deleted)" if change.deleted else " (new)" if change.created else "")


def _summary(compiled: Digest) -> str:
    parts = [clip(" ".join(compiled.goal.split()), 450)] if compiled.goal else []
    if len(compiled.turns) > 1:
        parts.append("Last asked: " + compiled.turns[-1].prompt)
    told = " ".join(compiled.outcome) or "; ".join(compiled.done[:4])
    if compiled.interrupted:
        parts.append("The session ended before the last request was answered.")
    if compiled.interrupted and told:
        parts.append("Before that: " + clip(told, 400))
    elif told:
        parts.append("Outcome: " + clip(told, 550))
    if compiled.commits:
        parts.append("Committed: " + clip("; ".join(compiled.commits[-5:]), 250))
    if compiled.runs:
        told = "; ".join(result_of(run, plain=True).rstrip(".") for run in compiled.runs[-3:])
        parts.append(f"Last results: {clip(told, 250)}.")
    return clip("\n".join(parts), SUMMARY_LIMIT)
