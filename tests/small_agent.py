"""A small agent in a process of its own: an MCP server, hooks and a plugin's stream, as a real one has them.

    python small_agent.py LAUNCHER SESSION TELL-FD [terminal]

It says on TELL-FD how far it is, one word a line ("server PID", "greeted", "worked", "answered"), and leaves in good
order when its standard input ends. With `terminal` its standard input is the terminal that it shall control.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import termios
from typing import IO, Any


def main(launcher: str, session: str, tell: str, terminal: str = "") -> None:
    """Work until the end of the input."""
    if terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def said(word: str) -> None:
        os.write(int(tell), f"{word}\n".encode())

    pipe = subprocess.PIPE
    server = subprocess.Popen([sys.executable, "-m", "ai_memory_mcp", "serve"], stdin=pipe, stdout=pipe)
    stream = subprocess.Popen([launcher, "--agent", "pi", "--stream"], stdin=pipe, stdout=subprocess.DEVNULL)
    said(f"server {server.pid}")
    client = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "claude-code", "version": "1"},
    }
    ask(server, "initialize", 1, client)
    said("greeted")
    for event, told in (("SessionStart", {"source": "startup"}), ("UserPromptSubmit", {"prompt": f"Ask {session}"})):
        hook(launcher, event, session_id=session, **told)
        line = {"event": "input", "payload": {"session_id": f"pi-{session}", "cwd": os.getcwd(), "prompt": "Ask it"}}
        give(stream.stdin, line)
    said("worked")
    ask(server, "tools/call", 2, {"name": "memory.write", "arguments": {"title": session, "body": "Words."}})
    said("answered")
    sys.stdin.read()
    hook(launcher, "SessionEnd", session_id=session, reason="other")
    for child in (server, stream):
        child.communicate()  # ends its input; it may have been killed


def hook(launcher: str, event: str, **payload: Any) -> None:
    command = [launcher, "claude-code", event]
    told = json.dumps({"cwd": os.getcwd(), "hook_event_name": event, **payload}).encode()
    subprocess.run(command, input=told, stdout=subprocess.DEVNULL, check=True)


def ask(server: subprocess.Popen[bytes], method: str, ident: int, params: dict[str, Any]) -> None:
    """Send a request and wait for its answer, or for the server's end."""
    give(server.stdin, {"jsonrpc": "2.0", "id": ident, "method": method, "params": params})
    server.stdout.readline()  # type: ignore[union-attr]


def give(to: IO[bytes] | None, message: dict[str, Any]) -> None:
    try:
        to.write(json.dumps(message).encode() + b"\n")  # type: ignore[union-attr]
        to.flush()  # type: ignore[union-attr]
    except BrokenPipeError:  # it was killed, which is what the test is about
        return


if __name__ == "__main__":
    main(*sys.argv[1:])
