"""Plays agents: spools the events that Claude Code and Codex send, at times and from processes of the test's choice."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from typing import Any

from ai_memory_mcp.agents.spec import all_specs
from ai_memory_mcp.place import find_root, place_key

LIVE = os.getpid()
DEAD = 2**31 - 2  # no system gives such a process id
_numbers = count(1)


class Player:
    """One session of one agent in a folder. Every event comes a second after the one before."""

    def __init__(
        self,
        home: Path,
        cwd: Path,
        session: str,
        *,
        agent: str = "claude-code",
        pid: int = LIVE,
        ago: float = 300,
        ids: bool = True,
    ) -> None:
        self.home = home
        self.cwd = cwd
        self.session = session
        self.agent = agent
        self.pid = pid
        self.now = datetime.now(timezone.utc) - timedelta(seconds=ago)
        self.ids = ids
        self.turn = 0
        self.calls = 0

    def send(self, event: str, *, times: int = 1, **fields: Any) -> Player:
        """Spool one event, as often as told (hooks that are installed twice)."""
        self.now += timedelta(seconds=1)
        payload = {"session_id": self.session, "cwd": str(self.cwd), "hook_event_name": event, **fields}
        if self.ids and self.turn and event not in ("SessionStart", "SessionEnd"):
            payload["prompt_id" if self.agent == "claude-code" else "turn_id"] = f"{self.session}-turn-{self.turn}"
        for again in range(times):
            at = self.now + timedelta(milliseconds=4 * again)
            spool(self.home, self.cwd, self.agent, event, payload, at=at, pid=self.pid)
        return self

    def start(self, source: str = "startup", **fields: Any) -> Player:
        return self.send("SessionStart", source=source, **fields)

    def offered(self, handoff: str) -> Player:
        """What the hook notes when the brief of this session start showed a handoff."""
        self.now += timedelta(milliseconds=20)
        payload = {"session_id": self.session}
        spool(
            self.home,
            self.cwd,
            self.agent,
            "handoff-offered",
            payload,
            at=self.now,
            pid=self.pid,
            offered=handoff,
        )
        return self

    def prompt(self, text: str, **fields: Any) -> Player:
        self.turn += 1
        return self.send("UserPromptSubmit", prompt=text, **fields)

    def call(self, tool: str, given: dict[str, Any], answer: Any, **fields: Any) -> Player:
        self.calls += 1
        if self.ids:
            fields["tool_use_id"] = f"{self.session}-call-{self.calls}"
        return self.send("PostToolUse", tool_name=tool, tool_input=given, tool_response=answer, **fields)

    def runs(self, command: str, output: str = "", **fields: Any) -> Player:
        answer = {"stdout": output, "stderr": "", "interrupted": False} if self.agent == "claude-code" else output
        return self.call("Bash", {"command": command}, answer, **fields)

    def fails(self, command: str, error: str) -> Player:
        self.calls += 1
        given = {"command": command}
        return self.send(
            "PostToolUseFailure",
            tool_name="Bash",
            tool_input=given,
            error=error,
            tool_use_id=f"{self.session}-call-{self.calls}",
        )

    def edits(self, path: str, old: str = "a", new: str = "b") -> Player:
        given = {"file_path": str(self.cwd / path), "old_string": old, "new_string": new}
        return self.call("Edit", given, {"filePath": str(self.cwd / path)})

    def plans(self, **states: str) -> Player:
        todos = [{"content": text.replace("_", " "), "status": state} for text, state in states.items()]
        return self.call("TodoWrite", {"todos": todos}, {"newTodos": todos})

    def says(self, text: str, **fields: Any) -> Player:
        return self.send("Stop", last_assistant_message=text, **fields)

    def ends(self, reason: str = "other", **fields: Any) -> Player:
        return self.send("SessionEnd", reason=reason, **fields)

    def works(self, what: str = "the parser") -> Player:
        """A short session's worth of work: a prompt, a failure, an edit, a test run, an answer."""
        self.prompt(f"Please mend {what}")
        self.fails(f"pytest -k {what.split()[-1]}", "Exit code 1\nAssertionError: expected 3")
        self.edits(f"src/{what.split()[-1]}.py")
        self.plans(mend_it="completed", write_the_docs="pending")
        self.runs("pytest", "12 passed in 0.1s")
        return self.says(f"I mended {what}. Next step: write the docs.")


def spool(
    home: Path,
    cwd: Path,
    agent: str,
    event: str,
    payload: dict[str, Any],
    *,
    at: datetime,
    pid: int = LIVE,
    offered: str = "",
) -> str:
    """Put one event into the spool as `emit` does; returns its id."""
    root, marker = find_root(os.path.realpath(cwd), str(home.parent))
    micros = int(at.timestamp() * 1_000_000)
    name = f"{micros * 1000:020d}-{pid}-{next(_numbers):08x}"
    record = {
        "v": 1,
        "id": name,
        "at": micros // 1000,
        "agent": agent,
        "event": event,
        "cwd": str(cwd),
        "root": root,
        "marker": marker,
        "pid": pid,
        "problem": "",
        "filtered": "",
        "offered": offered,
        "payload": payload,
    }
    put(home, f"{name}-{place_key(root, marker)}.json", json.dumps(record))
    return name


def put(home: Path, name: str, data: str | bytes) -> Path:
    """Write a spool entry of any content."""
    folder = home / "spool"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / name
    unfinished = folder / f".{name}"  # another process may be reading the spool
    unfinished.write_bytes(data.encode() if isinstance(data, str) else data)
    return unfinished.replace(path)


def repository(path: Path, *, remote: str = "", branch: str = "main") -> Path:
    """Make the least that is a git repository to us."""
    git = path / ".git"
    git.mkdir(parents=True)
    (git / "HEAD").write_text(f"ref: refs/heads/{branch}\n")
    (git / "config").write_text(f'[remote "origin"]\n\turl = {remote}\n' if remote else "[core]\n")
    return path


def known_agents() -> list[str]:
    return sorted(all_specs())
