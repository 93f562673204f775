"""What the tools tell about a session: files changed, tests run, what failed and what repaired it, what was shipped.

A failure is repaired when the same kind of command, on the same targets or on all, passes later. Commands that only
look (cat, grep, git log) and inline scripts are probing: their failures are not worth keeping.
"""

# ruff: noqa: E501 - patterns, word lists and tables of them are easier to check on one line
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ai_memory_mcp import shell
from ai_memory_mcp.digest_model import Change, Failure, Run
from ai_memory_mcp.model import Observation, Todo
from ai_memory_mcp.prose import distinct
from ai_memory_mcp.verdict import Counted, count_tests, error_line

PROBES_LIMIT = 2  # probing commands named among the failures, where there is room
FAILURES_LIMIT = 12
RUNS_LIMIT = 10
COMMAND_LIMIT = 140  # characters of a command shown
REMEDY_FILES = 4


class Call(NamedTuple):
    """A shell command that came back, read once."""

    at: int
    command: str
    step: shell.Step
    purpose: shell.Purpose
    family: str
    targets: frozenset[str]
    ok: bool
    tests: Counted | None
    output: str


_HARMLESS = re.compile(r"nothing to commit|no changes added to commit|already (?:exists|up[- ]to[- ]date|installed)|no process found|not a git repository", re.I)  # fmt: skip
_REFUSAL = re.compile(r"user (?:doesn't want|does not want|rejected|denied|declined|chose not)|rejected by (?:the )?user|declined by (?:the )?user", re.I)  # fmt: skip
_USER_WORDS = re.compile(
    r"(?:the user said|user (?:feedback|said|provided the following reason)[^:]*):\s*(.+)", re.I | re.S
)


def tool_calls(observations: Sequence[Observation]) -> list[tuple[int, Observation]]:
    """Return the calls that came back, each with its place in the session."""
    return [(at, seen) for at, seen in enumerate(observations) if seen.kind in ("post-tool", "tool-failure")]


def shell_calls(observations: Sequence[Observation]) -> list[Call]:
    """Return the shell commands that came back, each parsed once."""
    found = []
    for at, seen in tool_calls(observations):
        step = shell.main_step(seen.text) if seen.family == "shell" and seen.text else None
        if step:
            found.append(_call(at, seen, step))
    return found


def _call(at: int, seen: Observation, step: shell.Step) -> Call:
    purpose = shell.purpose_of(step)
    tests = count_tests(seen.output) if purpose == "test" or seen.ok is False else None
    ok = seen.ok is not False and not (purpose == "test" and tests is not None and tests.failed > 0)
    shown = " ".join(word if word and not re.search(r"\s", word) else _quoted(word) for word in step.words)
    shown = re.sub(r"\s+(?:\d?>&\d|\d?>>?\s*/dev/null|2>>?\S*|<<\w+)", "", shown)
    return Call(at, shown, step, purpose, shell.family_of(step), shell.targets_of(step), ok, tests, seen.output)


def _quoted(word: str) -> str:
    flat = " ".join(word.split())
    return '"' + (flat if len(flat) <= 60 else flat[:59] + "…") + '"'


# --- files ---

_ADDED = re.compile(r"^\*\*\* Add File: (.+)$", re.M)
_DELETED = re.compile(r"^\*\*\* Delete File: (.+)$", re.M)
_MOVED = re.compile(r"^\*\*\* Update File: (.+)\n\*\*\* Move to: .+$", re.M)
_CREATED = re.compile(r"(?:file )?created\b|new file", re.I)


def changed_files(observations: Sequence[Observation]) -> tuple[Change, ...]:
    """Return what happened to each file, most edited first. A file made and removed in the session is left out."""
    seen: dict[str, Change] = {}
    for _, call in tool_calls(observations):
        if call.ok is not False or call.family == "shell":
            for path, verb in _touched(call):
                if _worth_naming(path):
                    seen[path] = _with(seen.get(path, Change(path=path)), verb)
    kept = [change for change in seen.values() if not (change.created and change.deleted) and (change.edits or change.deleted)]  # fmt: skip
    return tuple(sorted(kept, key=lambda change: (-change.edits, change.path)))


def _touched(call: Observation) -> list[tuple[str, shell.Verb]]:
    if call.family == "shell":
        written = shell.writes(call.text) if call.paths else []
        verbs = [verb for _, verb in written]
        return list(zip(call.paths, verbs, strict=False)) if len(verbs) == len(call.paths) else []
    if call.family != "edit":
        return []
    added, deleted = _endings(_ADDED, call.text), _endings(_DELETED, call.text) + _endings(_MOVED, call.text)
    whole = bool(_CREATED.match(call.output)) and not added
    return [(path, "deleted" if _ends(path, deleted) else "created" if whole or _ends(path, added) else "edited") for path in call.paths]  # fmt: skip


def _endings(pattern: re.Pattern[str], text: str) -> tuple[str, ...]:
    return tuple(path.strip().removeprefix("./") for path in pattern.findall(text))


def _ends(path: str, named: tuple[str, ...]) -> bool:
    return any(path == name or path.endswith("/" + name) or name.endswith("/" + path) for name in named)


def _with(change: Change, verb: shell.Verb) -> Change:
    if verb == "deleted":
        return change.model_copy(update={"deleted": True})
    if verb == "restored":
        return change.model_copy(update={"edits": 0}) if not change.created else change
    fresh = verb == "created" and change.edits == 0 and not change.deleted
    return change.model_copy(update={"edits": change.edits + 1, "created": change.created or fresh, "deleted": False})


def _worth_naming(path: str) -> bool:
    return not path.startswith(("/tmp/", "/var/tmp/", "/dev/", "/private/tmp/")) and not path.endswith((".log", ".pyc"))


# --- runs and failures ---


def runs(calls: Iterable[Call]) -> tuple[Run, ...]:
    """Return the test, build and lint commands, each with its last result; a later pass that covers a failure settles it."""
    last: dict[str, tuple[Call, int]] = {}
    for call in calls:
        if call.purpose in ("test", "build", "lint"):
            _, times = last.pop(call.command, (call, 0))
            if call.ok:
                last = {name: (old, n) for name, (old, n) in last.items() if old.ok or old.family != call.family or not _covers(call, old)}  # fmt: skip
            last[call.command] = (call, times + 1)
    shown = [_run(call.command[:COMMAND_LIMIT], call, times) for call, times in last.values()]
    return tuple(_without_narrow(shown)[-RUNS_LIMIT:])


def _run(command: str, call: Call, times: int) -> Run:
    return Run.model_validate(
        {
            "command": command,
            "purpose": call.purpose,
            "ok": call.ok,
            "passed": call.tests.passed if call.tests else -1,
            "failed": call.tests.failed if call.tests else -1,
            "times": times,
            "error": "" if call.ok else error_line(call.output),
        }
    )


def _without_narrow(found: list[Run]) -> list[Run]:
    """Leave out the earlier variants of a command (`pytest -x tests/a.py`) when the family has many: keep the last 3."""
    kept: list[Run] = []
    count: dict[str, int] = {}
    for run in reversed(found):
        family = " ".join(run.command.split()[:2] if not run.command.startswith("pytest") else ["pytest"])
        count[family] = count.get(family, 0) + 1
        if count[family] <= 3:
            kept.append(run)
    return kept[::-1]


def failures(observations: Sequence[Observation], calls: Sequence[Call]) -> tuple[Failure, ...]:
    """Return what failed, with what then worked: streaks of the same command are one failure. Unsolved ones survive."""
    streaks: dict[str, list[Call]] = {}
    found: list[tuple[int, Failure]] = []
    for call in calls:
        if not call.ok and _worth_keeping(call):
            streaks.setdefault(call.family, []).append(call)
        elif call.ok and (open_ones := [c for c in streaks.get(call.family, []) if _covers(call, c)]):
            found.append((open_ones[0].at, _repaired(open_ones, call, observations)))
            streaks[call.family] = [c for c in streaks[call.family] if c not in open_ones]
    found += [(streak[0].at, _failure(streak, "")) for streak in streaks.values() if streak]
    if len(found) < PROBES_LIMIT:
        found += _last_probes(calls)
    found += refusals(observations)
    found.sort(key=lambda one: one[0])
    return _ranked([failure for _, failure in found])


def _worth_keeping(call: Call) -> bool:
    return not _probing(call) and not _HARMLESS.search(call.output[:2000]) and not _REFUSAL.search(call.output[:600])


def _probing(call: Call) -> bool:
    """Tell whether a command only looked around: long sessions are full of such failures, and they teach nothing."""
    minor = ("kill", "curl", "rm", "cp", "mv", "touch")
    return call.purpose == "look" or call.family.endswith("(inline)") or call.family in minor


def _last_probes(calls: Sequence[Call]) -> list[tuple[int, Failure]]:
    """Return the last probing commands that failed and were not seen to work: in a session where nothing else
    failed, that is what the next one would run into first."""
    found: dict[str, tuple[int, Failure]] = {}
    for call in calls:
        found.pop(call.command, None)
        if (
            not call.ok
            and _probing(call)
            and not _HARMLESS.search(call.output[:2000])
            and not _REFUSAL.search(call.output[:600])
        ):
            found[call.command] = (call.at, _failure([call], ""))
    return list(found.values())[-PROBES_LIMIT:]


def _covers(passed: Call, failed: Call) -> bool:
    return not passed.targets or not failed.targets or bool(passed.targets & failed.targets) or any(
        theirs.startswith(ours + "/") for ours in passed.targets for theirs in failed.targets
    )  # fmt: skip


def _failure(streak: Sequence[Call], remedy: str) -> Failure:
    errors = distinct((error_line(call.output) for call in (streak[0], streak[-1])), 2)
    return Failure(what=streak[-1].command[:COMMAND_LIMIT], error=" / ".join(errors), remedy=remedy, times=len(streak))


def _repaired(streak: Sequence[Call], passed: Call, observations: Sequence[Observation]) -> Failure:
    between = observations[streak[0].at : passed.at]
    edited = [path for path, _ in (pair for seen in between if seen.ok is not False for pair in _touched(seen)) if _worth_naming(path)]  # fmt: skip
    files = list(dict.fromkeys(edited))
    named = ", ".join(f"`{path}`" for path in files[:REMEDY_FILES])
    more = f" and {len(files) - REMEDY_FILES} more" if len(files) > REMEDY_FILES else ""
    installed = [name for seen in between if seen.family == "shell" and seen.ok is not False for step in shell.steps(seen.text) for name in shell.packages(step)]  # fmt: skip
    if files:
        remedy = f"passed after edits to {named}{more}"
    elif installed:
        remedy = f"passed after installing {', '.join(f'`{name}`' for name in dict.fromkeys(installed[:4]))}"
    elif passed.command != streak[-1].command:
        remedy = f"worked as `{passed.command[:COMMAND_LIMIT]}`"
    else:
        remedy = "passed when run again, without any edit in between"
    return _failure(streak, remedy)


def _ranked(found: list[Failure]) -> tuple[Failure, ...]:
    """Merge failures with the same words, then keep the most telling in order of time: unsolved first, then by number."""
    merged: dict[tuple[str, str], Failure] = {}
    for one in found:
        key = (one.what.split(" ")[0], one.error or one.what)
        before = merged.pop(key, None)
        merged[key] = one.model_copy(update={"times": one.times + before.times}) if before else one
    ones = list(merged.values())
    order = sorted(range(len(ones)), key=lambda at: (bool(ones[at].remedy), -ones[at].times, -at))
    return tuple(ones[at] for at in sorted(order[:FAILURES_LIMIT]))


def refusals(observations: Sequence[Observation]) -> list[tuple[int, Failure]]:
    """Return the tool calls that the user refused, with the reason where one was given."""
    found = []
    for at, seen in tool_calls(observations):
        if seen.ok is False and _REFUSAL.search(seen.output[:600]):
            said = _USER_WORDS.search(seen.output)
            reason = " ".join(said.group(1).split())[:200] if said else ""
            found.append((at, Failure(what=seen.title, error=reason, remedy="the user refused it")))
    return found


def discards(calls: Sequence[Call]) -> list[str]:
    """Return how work was thrown away on purpose: resets, reverts and restores, the plainest sign of a dead end."""
    found = []
    for call in calls:
        words = call.step.words
        if call.ok and words[0] == "git" and len(words) > 1:
            reset = words[1] == "reset" and "--hard" in words
            restored = (words[1] == "checkout" and "--" in words) or (words[1] == "restore" and "--staged" not in words)
            if reset or restored or words[1] == "revert":
                found.append(f"Threw changes away with `{call.command[:COMMAND_LIMIT]}`")
    return found


# --- what was shipped ---


def commit_subjects(observations: Sequence[Observation]) -> tuple[str, ...]:
    """Return the subjects of the commits made, in order; a subject amended or repeated counts once."""
    made = [
        subject
        for _, seen in tool_calls(observations)
        if seen.family == "shell" and seen.ok is not False
        for subject in shell.commits(seen.text, seen.output)
    ]
    return tuple(dict.fromkeys(made))


_URL = re.compile(r"https?://\S+/(?:pull|merge_requests)/\d+")


def acts(observations: Sequence[Observation]) -> tuple[str, ...]:
    """Return what left the working copy or entered it: pull requests, pushes, deploys, packages."""
    found, names = list[str](), list[str]()
    for _, seen in tool_calls(observations):
        if seen.family != "shell" or seen.ok is False:
            continue
        for step in shell.steps(seen.text):
            names += shell.packages(step)
            found += _act(step, seen.output)
    if names:
        listed = list(dict.fromkeys(names))
        found.append("Installed " + ", ".join(f"`{name}`" for name in listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else ""))  # fmt: skip
    return tuple(dict.fromkeys(found))


def _act(step: shell.Step, output: str) -> list[str]:
    if shell.purpose_of(step) != "deploy":
        return []
    family = shell.family_of(step)
    if family == "gh pr" and "create" in step.words:
        url = _URL.search(output)
        title = step.words[step.words.index("--title") + 1] if "--title" in step.words[:-1] else ""
        return ["Opened a pull request" + (f": {title}" if title else "") + (f" ({url.group()})" if url else "")]
    line = " ".join(word for word in step.words if ">" not in word and not re.search(r"\s", word))
    return [
        f"Pushed to the remote (`{line[:COMMAND_LIMIT]}`)" if family == "git push" else f"Ran `{line[:COMMAND_LIMIT]}`"
    ]


# --- the agent's own list ---

_TASK_ID = re.compile(r"^taskId: (\S+)", re.M)
_TASK_STATUS = re.compile(r"^status: (\S+)", re.M)
_NEW_ID = re.compile(r"#(\w+)|\bid: (\w+)")


def todo_list(observations: Sequence[Observation]) -> tuple[Todo, ...]:
    """Return the agent's to-do list as it last stood: whole lists replace, single tasks are added or updated."""
    whole: tuple[Todo, ...] = ()
    tasks: dict[str, Todo] = {}
    for seen in observations:
        if seen.family != "todo" or seen.subagent or seen.kind != "post-tool" or seen.ok is False:
            continue
        single = _TASK_ID.search(seen.text)
        if single:
            _update(tasks, single.group(1), seen)
        elif seen.tool == "TaskCreate" and seen.todos:
            number = _NEW_ID.search(seen.output)
            tasks[next((g for g in number.groups() if g), "") if number else str(len(tasks) + 1)] = seen.todos[0]
        elif len(seen.todos) > 1 or seen.tool not in ("TaskList", "TaskGet"):
            whole = seen.todos
    return whole + tuple(tasks.values())


def _update(tasks: dict[str, Todo], number: str, seen: Observation) -> None:
    status = _TASK_STATUS.search(seen.text)
    if status and status.group(1) == "deleted":
        tasks.pop(number, None)
    elif number in tasks and status and status.group(1) in ("pending", "in_progress", "completed"):
        tasks[number] = tasks[number].model_copy(update={"state": status.group(1)})
