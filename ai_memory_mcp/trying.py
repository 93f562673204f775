"""Run once what agents run, as they would: the hook launcher and the MCP server.

Both get a throw-away home, so that the memory sees nothing of it; AI_MEMORY_HOME goes before what they are told else.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ai_memory_mcp.processes import Conversation, conversation, run

CLIENT = {"name": "ai-memory-doctor", "version": "1"}  # no agent's name: the server has no session to end
PROTOCOL = "2025-06-18"


def try_launcher(path: Path, limit: float = 10.0) -> str:
    """Run the launcher for one event; returns what is wrong ('' for nothing). `limit` is in seconds."""
    with tempfile.TemporaryDirectory(prefix="ai-memory-try-") as folder:
        env = {"HOME": folder, "AI_MEMORY_HOME": folder, "PATH": os.defpath}
        try:
            done = run([str(path), "made-up-agent", "Try"], env=env, cwd=Path(folder), limit=limit, given="{}")
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{path} cannot be run: {error}"
        stored = any(Path(folder, "spool").glob("*.json"))
        said = done.stderr.strip()[-300:] or "its interpreter or package is gone"
        return "" if stored else f"{path} ran without effect: {said}"


def try_server(command: Sequence[str], env: Mapping[str, str], limit: float = 20.0) -> str:
    """Start an MCP server, have it list its tools and take its input away; returns what is wrong ('' for nothing).

    `env` is what the agent would give it. `limit` is in seconds.
    """
    with tempfile.TemporaryDirectory(prefix="ai-memory-try-") as folder:
        own = {**env, "AI_MEMORY_HOME": str(Path(folder, "memory"))}
        try:
            with conversation(_unnamed(command), env=own, cwd=Path(folder)) as talk:
                return _server_fault(talk, limit)
        except OSError as error:
            return f"cannot be run ({error.strerror})"


def _server_fault(talk: Conversation, limit: float) -> str:
    deadline = time.monotonic() + limit
    hello = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": CLIENT}
    try:
        talk.ask("initialize", hello, deadline)
        talk.tell("notifications/initialized")
        tools = talk.ask("tools/list", {}, deadline).get("tools")
    except (OSError, ValueError) as error:
        said = talk.complaint()
        return f"does not work: {error}{'; it says: ' + said if said else ''}"
    if not tools:
        return "does not work: it offers no tools"
    return "" if talk.close(min(limit, 5.0)) else "goes on when its agent has ended"


def _unnamed(command: Sequence[str]) -> list[str]:
    """The command without `--agent NAME`: for an agent the server would note an end, and start a worker for that."""
    words = list(command)
    if "--agent" in words[:-1]:
        at = words.index("--agent")
        del words[at : at + 2]
    return words
