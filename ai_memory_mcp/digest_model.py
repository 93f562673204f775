"""What a session comes to: the values between `digest` and `digest_page`. Texts in them are cleaned, not yet escaped."""

# ruff: noqa: E501 - patterns, word lists and tables of them are easier to check on one line
from __future__ import annotations

from typing import Literal

from ai_memory_mcp.model import Value


class Change(Value):
    """What happened to one file, over the whole session."""

    path: str
    created: bool = False
    deleted: bool = False
    edits: int = 0


class Run(Value):
    """A test, build or lint command that matters, with its last result. `passed`/`failed` are -1 when not printed."""

    command: str
    purpose: Literal["test", "build", "lint"]
    ok: bool | None
    passed: int = -1
    failed: int = -1
    times: int = 1
    error: str = ""


class Failure(Value):
    """Something that did not work, the line that said so, and what then helped ('' while nothing did)."""

    what: str
    error: str = ""
    remedy: str = ""
    times: int = 1


class Turn(Value):
    """One prompt of the user and the agent's answer to it ('' when the session ended before)."""

    prompt: str
    answer: str = ""


class Digest(Value):
    """A session compiled by rule. Every tuple is in order of time unless said otherwise; nothing is repeated."""

    goal: str = ""
    headline: str = ""
    prompts: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    outcome: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()
    acts: tuple[str, ...] = ()
    completed: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    findings: tuple[str, ...] = ()
    files: tuple[Change, ...] = ()
    runs: tuple[Run, ...] = ()
    open_questions: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()
    summaries: int = 0
    interrupted: bool = False
    minutes: int = 0
    tool_calls: int = 0


class Rendered(Value):
    """A session page, ready to be written: `body` is Markdown without front matter and without the title."""

    title: str
    slug: str
    summary: str
    body: str
    tags: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
