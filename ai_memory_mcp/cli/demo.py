"""`demo`: a recorded Claude Code session, played through the real hooks into a throw-away home, then what Codex gets.

Nothing here is staged: every event is a process of the installed launcher, and all that is shown was read back from
the memory it filled. Only the session itself (`demo_session.jsonl`) was written beforehand.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ai_memory_mcp.agents.launcher import launcher_command, write_launcher
from ai_memory_mcp.agents.spec import find_spec
from ai_memory_mcp.cli import demo_view as view
from ai_memory_mcp.cli import render
from ai_memory_mcp.config import Config, environment
from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.files import storage_error
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Event, Query, Scope
from ai_memory_mcp.observe import observe
from ai_memory_mcp.resources import Resources

QUESTION = "why is the jitter not inside retry_delay?"
CODEX_PROMPT = "Go on where Claude Code stopped."
# In two parts, so that nobody's secret scanner takes the source of a demonstration for a leak.
KEY = "sk_live_" + "51NqXv8KbT2yRz0aWmCqPdEf"
WORKER_WAIT = 15.0  # seconds for the worker that the session's end starts; it takes about one


@dataclass
class Stage:
    """The throw-away machine: user's home `base`, a project and a memory in it, and the hooks' environment.

    `ends` are pipes that a hook and the worker it leaves behind hold open: end of file says that they are gone. (On
    Windows they cannot be handed on; there it is seen by what lies in the memory.)
    """

    base: Path
    env: dict[str, str]
    quiet: bool
    ends: list[int] = field(default_factory=list)
    took: list[float] = field(default_factory=list)  # seconds of each hook process

    @property
    def project(self) -> Path:
        """The project's folder."""
        return self.base / "courier"

    @property
    def memory(self) -> Path:
        """AI_MEMORY_HOME."""
        return self.base / "memory"


def demo(args: argparse.Namespace) -> int:
    """Play the session and show, or with --json tell, what comes of it."""
    begun = time.monotonic()
    with throw_away(keep=args.keep, quiet=args.json) as stage:
        if not stage.quiet:
            view.opening()
        leaks = _play_session(stage)
        told = _look(stage, _codex_starts(stage), leaks, kept=args.keep)
        told = replace(told, seconds=round(time.monotonic() - begun, 2))
        if stage.quiet:
            render.as_json(asdict(told))
        else:
            view.show(told)
    return 0


def _play_session(stage: Stage) -> list[str]:
    """Play the recorded session to its end and wait for what follows. Returns files of the spool that hold the key."""
    events = recorded(stage)
    for payload in events[:-1]:
        _play(stage, payload)
    leaks = holding(stage.memory, KEY)
    _play(stage, events[-1])
    _wait(stage, WORKER_WAIT)
    return leaks


def recorded(stage: Stage) -> list[dict[str, object]]:
    """Return the payloads of the recorded session, moved into this project."""
    text = (Path(__file__).parent / "demo_session.jsonl").read_text(encoding="utf-8")
    for name, value in (("@PROJECT@", str(stage.project)), ("@HOME@", str(stage.base)), ("@KEY@", KEY)):
        text = text.replace(name, json.dumps(value)[1:-1])
    return [json.loads(line) for line in text.splitlines()]


# --- the throw-away home


@contextmanager
def throw_away(*, keep: bool, quiet: bool) -> Iterator[Stage]:
    """Make the throw-away machine; remove it at the end, however that comes. Raises StorageError."""
    try:
        base = Path(os.path.realpath(tempfile.mkdtemp(prefix="ai-memory-demo-")))
    except OSError as error:
        raise StorageError(
            f"no throw-away home can be made: {error.strerror or error}. "
            "Set TMPDIR to a folder that you may write to and try again."
        ) from error
    env = {name: value for name, value in environment().items() if not name.startswith(("AI_MEMORY_", "XDG_"))}
    user = {"HOME": str(base), "USERPROFILE": str(base)}
    stage = Stage(base, env | user | {"AI_MEMORY_HOME": str(base / "memory")}, quiet)
    try:
        with _ended_by_signals():
            _furnish(stage)
            yield stage
    finally:
        _wait(stage, 5.0)
        if not keep:
            _remove(base)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have a closed terminal or a `kill` end this like Ctrl-C, so that it is cleaned up after."""
    names = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = [(name, signal.signal(name, signal.default_int_handler)) for name in names]
    try:
        yield
    finally:
        for name, handler in before:
            signal.signal(name, handler)


def _furnish(stage: Stage) -> None:
    """Make the project (as git would, without git) and write the launcher."""
    git = stage.project / ".git"
    try:
        for folder in ("objects", "refs/heads"):
            (git / folder).mkdir(parents=True)
        (git / "HEAD").write_text("ref: refs/heads/webhook-backoff\n", encoding="ascii")
        (git / "config").write_text("[core]\n\trepositoryformatversion = 0\n", encoding="ascii")
    except OSError as error:
        raise storage_error("make the throw-away home", stage.base, error) from error
    write_launcher(stage.memory, sys.executable)


def _wait(stage: Stage, seconds: float) -> None:
    """Wait until the processes we started are gone, workers included. What they leave, the next reader does."""
    deadline = time.monotonic() + seconds
    while stage.ends:
        end = stage.ends.pop()
        if os.name == "posix":
            select.select([end], [], [], max(0.0, deadline - time.monotonic()))
        os.close(end)
    quiet_since = time.monotonic()
    while os.name != "posix" and quiet_since + 0.5 > time.monotonic() < deadline:
        time.sleep(0.05)
        if any(stage.memory.glob("spool/*.json")) or any(stage.memory.glob("locks/*.holder")):
            quiet_since = time.monotonic()


def _remove(base: Path) -> None:
    for _ in range(50):  # a worker that was not waited for may still be writing
        shutil.rmtree(base, ignore_errors=True)
        if not base.exists():
            return
        time.sleep(0.1)
    render.warn(f"{base} could not be removed; delete it by hand")


# --- playing


def _play(stage: Stage, payload: dict[str, object]) -> None:
    """Send one event of Claude Code through the launcher and show it."""
    event = str(payload["hook_event_name"])
    emit(stage, "claude-code", event, payload)
    if not stage.quiet:
        seen = Event.model_validate(
            {"id": "", "at": 0, "agent": "claude-code", "event": event, "payload": payload, "root": str(stage.project)}
        )
        view.event(observe(seen, find_spec("claude-code"), ""))


def emit(stage: Stage, agent: str, event: str, payload: dict[str, object]) -> str:
    """Run the hook as the agent would and return what it prints. Raises StorageError when it cannot be started."""
    runner, launcher = launcher_command(stage.memory)
    end, held = os.pipe()
    stage.ends.append(end)
    begun = time.perf_counter()
    try:
        done = subprocess.run(
            [*runner, launcher, agent, event],
            input=json.dumps(payload, ensure_ascii=False).encode(),
            stdout=subprocess.PIPE,
            cwd=stage.project,
            env={**stage.env, "AI_MEMORY_HOLD": str(held)},
            pass_fds=[held] if os.name == "posix" else [],
            check=False,
        )
    except OSError as error:
        raise StorageError(
            f"hooks cannot be started from {stage.base}: {error.strerror}. If it is mounted noexec, set TMPDIR to "
            "another folder and try again."
        ) from error
    finally:
        os.close(held)
    stage.took.append(time.perf_counter() - begun)
    return done.stdout.decode("utf-8", "replace")


def _codex_starts(stage: Stage) -> str:
    """Start a Codex session in the same folder; returns the brief in what its hook prints."""
    session = "01a203c2-d065-7d03-b28c-9eece50c85b7"
    common: dict[str, object] = {
        "session_id": session,
        "transcript_path": f"{stage.base}/.codex/sessions/2026/11/22/rollout-2026-11-22T14-57-08-{session}.jsonl",
        "cwd": str(stage.project),
        "model": "gpt-5.5",
        "permission_mode": "default",
    }
    printed = emit(stage, "codex", "SessionStart", common | {"hook_event_name": "SessionStart", "source": "startup"})
    turn = {"turn_id": "01a203c2-d097-7ec1-a553-64eeda7cb1db", "prompt": CODEX_PROMPT}
    emit(stage, "codex", "UserPromptSubmit", common | turn | {"hook_event_name": "UserPromptSubmit"})
    return str(json.loads(printed or "{}").get("hookSpecificOutput", {}).get("additionalContext", ""))


# --- looking


def _look(stage: Stage, brief: str, leaks: list[str], *, kept: bool) -> view.Told:
    """Read back from the memory what came of it, as a search or an agent would."""
    memory = LocalMemory(Resources.at(stage.memory, str(stage.base), Config()))
    here = Scope(cwd=str(stage.project))
    with closing(memory):
        hits = memory.search(here, Query(text=QUESTION, limit=3)).hits
        resolved = memory.resolve(here).project
        status = memory.status(here)
        sessions = memory.sessions(here)
        handoffs = memory.handoffs(here, every=True)
        wiki = memory.res.wiki(resolved) if resolved else None
        commits = wiki.log(limit=10) if wiki else []
        _check_stored(stage, status.capture.seen)
        claude = next(one for one in sessions if one.agent == "claude-code")
        seen = memory.read(here, claude.id, observations=True).observations
    prompts = [one.text for one in seen if one.kind == "user-prompt"]
    return view.Told(
        home=str(stage.memory),
        kept=kept,
        project=str(stage.project),
        wiki=str(wiki.folder) if wiki else "",
        events=len(stage.took),
        brief=brief,
        question=QUESTION,
        hits=hits,
        handoffs=handoffs,
        commits=tuple(f"{one.id[:7]} {one.message.splitlines()[0]}" for one in commits),
        counts=status.counts,
        capture=status.capture,
        redacted=next((text for text in prompts if "[REDACTED" in text), ""),
        key_found_in=tuple({*leaks, *holding(stage.memory, KEY)}),
        hook_ms={
            "median": _ms(statistics.median(stage.took)),
            "first": _ms(stage.took[0]),
            "brief": _ms(stage.took[-2]),
        },
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def holding(folder: Path, words: str) -> list[str]:
    """Return the files below a folder that hold these words, git's compressed objects included."""
    found = []
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        with suppress(zlib.error):
            data += zlib.decompress(data) if ".git" in path.parts else b""
        if words.encode() in data:
            found.append(str(path))
    return found


def _check_stored(stage: Stage, seen: int) -> None:
    """Hooks say nothing to an agent, so a failure has to be looked for."""
    if seen != len(stage.took):
        log = stage.memory / "logs" / "emit.log"
        said = log.read_text(encoding="utf-8", errors="replace").strip()[-300:] if log.exists() else "without a word"
        raise StorageError(
            f"of {len(stage.took)} events the hooks stored {seen}: {said}. Check the space and rights of "
            f"{stage.base.parent}, or set TMPDIR to another folder."
        )
