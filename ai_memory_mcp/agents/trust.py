"""Trust for our hooks in Codex, which skips hooks that its user has not approved by hash.

Only Codex can compute the hash: it is asked over `codex app-server` (JSON-RPC on stdio). Writing the entry
stands in for the user's own approval, so callers ask first.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ai_memory_mcp.agents.changes import Plan
from ai_memory_mcp.agents.install import plan_edit
from ai_memory_mcp.agents.pieces import Target, locate, settings_path
from ai_memory_mcp.agents.spec import AgentSpec
from ai_memory_mcp.agents.trustkeys import own_trust_keys, wire_trust
from ai_memory_mcp.agents.wiring import Launch, emit_line
from ai_memory_mcp.errors import InstallError

_BY_HAND = "open codex, type /hooks and approve the hooks of ai-memory there"


def codex_trust_plan(
    spec: AgentSpec, target: Target, launch: Launch, memory_home: Path, codex: str | None, limit: float = 10.0
) -> Plan:
    """Return the change of config.toml that makes Codex trust our hooks, which must be wired already.

    `codex` is the executable (None: not found), `limit` seconds for its answer. Raises InstallError when it
    cannot be asked, answers oddly, or does not know our hooks: the message says how to do it by hand.
    """
    hooks = settings_path(spec, "hooks", target)
    if not codex or hooks is None or spec.hooks is None:
        raise InstallError(f"the codex command was not found; {_BY_HAND}")
    ours = own_trust_keys(spec, hooks, launch)
    cwd = target.project or target.user_home
    commands = {emit_line(launch, spec, event) for event in spec.events}
    hooks_known = ask_hooks(codex, cwd, {**target.env, "HOME": str(target.user_home)}, limit)
    hashes = _hashes(hooks_known, commands)
    trusted = {key: hashes[key] for forms in ours for key in forms if key in hashes}
    if not ours or len(trusted) < len(ours):
        raise InstallError(f"codex knows {len(trusted)} of the {len(ours)} hooks in {hooks}; {_BY_HAND}")
    path = locate(spec.hooks.trust_file, spec, target)
    return plan_edit(path, spec, "trust", lambda draft: wire_trust(draft, trusted), memory_home)


def ask_hooks(codex: str, cwd: Path, env: Mapping[str, str], limit: float) -> list[dict[str, Any]]:
    """Return what `hooks/list` says for this folder. Raises InstallError."""
    try:
        with _app_server(codex, cwd, env) as server:
            return _converse(server, cwd, time.monotonic() + limit)
    except (OSError, ValueError, KeyError, TypeError, queue.Empty) as error:
        raise InstallError(f"codex did not say which hooks it knows ({error!r}); {_BY_HAND}") from error


@contextlib.contextmanager
def _app_server(codex: str, cwd: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    server = subprocess.Popen(
        [codex, "app-server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=cwd,
        env=dict(env),
        encoding="utf-8",
        start_new_session=os.name == "posix",
    )
    try:
        yield server
    finally:
        _stop(server)


def _stop(server: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError):
        if server.stdin:
            server.stdin.close()
    try:
        server.wait(1)
    except subprocess.TimeoutExpired:
        _kill(server)
        server.wait()


def _kill(server: subprocess.Popen[str]) -> None:
    """The command may be a wrapper around the real one: on POSIX its whole group goes."""
    with contextlib.suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(server.pid, signal.SIGKILL)
        else:
            server.kill()


def _converse(server: subprocess.Popen[str], cwd: Path, deadline: float) -> list[dict[str, Any]]:
    if server.stdin is None or server.stdout is None:
        raise ValueError("no pipes")
    answers: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_pump, args=(server.stdout, answers), daemon=True).start()
    client = {"name": "ai-memory-mcp", "version": "1"}
    _send(server.stdin, {"id": 0, "method": "initialize", "params": {"clientInfo": client}})
    _answer(answers, 0, deadline)
    _send(server.stdin, {"method": "initialized"})
    _send(server.stdin, {"id": 1, "method": "hooks/list", "params": {"cwds": [str(cwd)]}})
    result = _answer(answers, 1, deadline)
    return [hook for folder in result["data"] for hook in folder["hooks"] if isinstance(hook, dict)]


def _pump(source: IO[str], answers: queue.Queue[str]) -> None:
    with contextlib.suppress(OSError, ValueError), source:
        for line in source:
            answers.put(line)
    answers.put("")


def _send(pipe: IO[str], message: dict[str, Any]) -> None:
    pipe.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    pipe.flush()


def _answer(answers: queue.Queue[str], number: int, deadline: float) -> dict[str, Any]:
    """Return the result of this request; notifications between are skipped."""
    while True:
        line = answers.get(timeout=max(0.01, deadline - time.monotonic()))
        if not line:
            raise ValueError("it ended without an answer")
        message = json.loads(line)
        if isinstance(message, dict) and message.get("id") == number:
            result: dict[str, Any] = message["result"]
            return result


def _hashes(hooks: list[dict[str, Any]], commands: set[str]) -> dict[str, str]:
    known = [hook for hook in hooks if hook.get("command") in commands]
    return {
        str(hook["key"]): str(hook["currentHash"])
        for hook in known
        if str(hook.get("currentHash")).startswith("sha256:")
    }
