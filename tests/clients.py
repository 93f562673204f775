"""Runs real agent CLIs headless against a scripted model, with our product installed by our own `setup`.

Opt-in: REALCLIENTS names a folder with a `run.sh CLIENT HOME WORK SCRIPT PROMPT` that starts one client offline and
leaves in OUT what it said (`stdout.txt`), how it ended (`result.json`) and what the model was sent (`llm/req_*.json`).
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUNNER = os.environ.get("REALCLIENTS", "")
INSTALLED = Path(os.environ.get("REALCLIENTS_HOME") or os.path.expanduser("~/.cache/realclients")) / "clients"
AGENTS = {  # what the runner calls a client -> our name of the agent
    "claude": "claude-code",
    "codex": "codex",
    "gemini": "gemini",
    "opencode": "opencode",
    "pi-mcp": "pi",
    "omp": "omp",
    "openclaw": "openclaw",
}
SHELLS = ["Bash", "exec_command", "shell", "shell_command", "run_shell_command", "bash", "exec"]


def here(client: str) -> bool:
    """Tell whether this client can be run."""
    return bool(RUNNER) and (INSTALLED / client / ".installed").exists()


def shell_turn(command: str, text: str = "") -> dict[str, Any]:
    """Return a turn of the model in which it runs a command, by whatever tool the client offers for that."""
    args = {"command": command, "description": "as asked"}
    others = {"exec_command": {"cmd": command}, "shell": {"command": ["bash", "-lc", command]}}
    return {"text": text, "tool": SHELLS, "args": args, "args_by": others}


def write_turn(name: str, content: str) -> dict[str, Any]:
    """Return a turn in which it writes a file of the project; skipped where the client offers no such tool."""
    path = f"{{cwd}}/{name}"
    patch = f"*** Begin Patch\n*** Add File: {name}\n+{content}\n*** End Patch"
    return {
        "tool": ["Write", "write_file", "write", "apply_patch"],
        "args": {"file_path": path, "content": content + "\n"},
        "args_by": {
            "write": {"filePath": path, "path": path, "content": content + "\n"},
            "apply_patch": {"input": patch},
        },
        "optional": True,
    }


def search_turns(query: str) -> list[dict[str, Any]]:
    """Return turns that search memory, each for clients that offer MCP tools in one way; the others skip it."""
    names = "ALL_TOOLS.filter(t => /memory.search/.test(t.name))"
    code = f"for (const t of {names}) text(JSON.stringify(await tools[t.name]({{query: {query!r}}})));"
    wanted = {"query": query}
    return [
        {"tool_re": "^(?!xd).*memory[._-]search", "args": wanted, "optional": True},
        {
            "if": "xd://",
            "tool": "write",
            "args": {"path": "xd://mcp__aimemory_memory_search", "content": json.dumps(wanted)},
            "optional": True,
        },
        {"tool": "tool_call", "args": {"id": "aimemory__memory-search", "args": wanted}, "optional": True},
        {"tool": "codemode", "args": {"code": code}, "optional": True},
    ]


@dataclass(frozen=True)
class Run:
    """One run of a client: how it ended, what it printed, and the bodies of its requests to the model."""

    status: int
    said: str
    left_running: list[Any]
    requests: list[dict[str, Any]]
    complained: str = ""

    def complaints(self) -> set[str]:
        """Return what the client found wrong with settings, hooks, plugins or servers, without numbers and places."""
        bad = re.compile(r"invalid|error|fail|warn|unknown|unrecogni[sz]ed|not valid|refus|ignor", re.I)
        about = re.compile(r"hook|mcp|plugin|extension|setting|config|memory", re.I)
        lines = (line for line in self.complained.splitlines() if bad.search(line) and about.search(line))
        return {re.sub(r"/\S+|[0-9a-f-]{6,}|\d+", "…", line) for line in lines}

    def told(self, words: str) -> bool:
        """Tell whether the model was sent these words."""
        return any(words in json.dumps(request["body"], ensure_ascii=False) for request in self.requests)

    def first(self) -> str:
        """Return the first request that offers tools, as text: titles and summaries come without."""
        body = next(request["body"] for request in self.requests if request.get("offered_tools"))
        return json.dumps(body, ensure_ascii=False)


class Place:
    """A user's home with a project in a git repository, where clients are run."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.home = base / "home"
        self.project = base / "project"
        self.home.mkdir()
        subprocess.run(["git", "init", "-q", str(self.project)], check=True)
        self.runs = 0

    def command(self, *words: str) -> Any:
        """Run a command of ours in the project as this user; returns its JSON."""
        told = [sys.executable, "-m", "ai_memory_mcp", *words, "--json"]
        done = subprocess.run(told, cwd=self.project, env=self.env(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def env(self) -> dict[str, str]:
        """Return the user's environment: the default memory inside the home."""
        codex = INSTALLED / "codex" / "node_modules" / ".bin"
        root = Path(__file__).parent.parent
        return {"HOME": str(self.home), "PATH": f"{codex}:{os.environ['PATH']}", "PYTHONPATH": str(root)}

    def setup(self, *clients: str) -> None:
        """Wire these clients, as a user would."""
        agents = [word for client in clients for word in ("--agent", AGENTS[client])]
        told = self.command("setup", "--yes", "--trust-codex-hooks", *agents)
        assert told["errors"] == []
        assert all(told["trust"].values())

    def run(self, client: str, turns: list[dict[str, Any]], prompt: str, **settings: str) -> Run:
        """Run a client once with what its model will do; `settings` are variables of the runner."""
        process, out = self.start(client, turns, prompt, **settings)
        process.wait(timeout=200)
        return self.came_of(out)

    def run_killed(self, client: str, turns: list[dict[str, Any]], prompt: str, requests: int) -> Run:
        """Run a client and kill it, with what it has started but not what is ours, after so many of its requests."""
        process, out = self.start(client, turns, prompt)
        while process.poll() is None and len(list((out / "llm").glob("req_*.json"))) < requests:
            time.sleep(0.005)
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(timeout=60)
        return self.came_of(out)

    def processes(self) -> list[int]:
        """Return the processes of clients that run in this home, without the runner's and ours."""
        ours = (b"supervise.py", b"run.sh", b"fakellm", b"ai_memory_mcp", b"ai-memory-mcp")
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command, env = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
                if f"HOME={self.home}".encode() in env and not any(word in command for word in ours):
                    found.append(int(folder.name))
        return found

    def start(
        self, client: str, turns: list[dict[str, Any]], prompt: str, **settings: str
    ) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a client; returns its runner's process and the folder of its recordings."""
        self.runs += 1
        out = self.base / f"out-{self.runs}-{client}"
        script = self.base / f"script-{self.runs}.json"
        script.write_text(json.dumps({"turns": turns, "side_text": "A title"}), encoding="utf-8")
        env = {**os.environ, "REALCLIENTS_HOME": str(INSTALLED.parent), "OUT": str(out), "TRUST": "0", **settings}
        command = [f"{RUNNER}/run.sh", client, str(self.home), str(self.project), str(script), prompt]
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return process, out

    @staticmethod
    def came_of(out: Path) -> Run:
        """Return what the runner has recorded."""
        result = json.loads((out / "result.json").read_text())
        requests = [json.loads(path.read_text()) for path in sorted((out / "llm").glob("req_*.json"))]
        printed = (out / "stdout.txt").read_text(encoding="utf-8", errors="replace")
        said = [line for line in printed.splitlines() if not line.startswith("[")]  # without its log: ids, counts
        complained = (out / "stderr.txt").read_text(encoding="utf-8", errors="replace")
        return Run(result["rc"], "\n".join(said), result["left_running"], requests, complained)

    def sessions(self) -> list[dict[str, Any]]:
        """Return the sessions, the oldest first."""
        found: list[dict[str, Any]] = self.command("sessions")["sessions"]
        return sorted(found, key=lambda session: str(session["started"]))

    def observations(self, session: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a session's observations in order."""
        found: list[dict[str, Any]] = self.command("read", session["id"], "--observations")["observations"]
        return found
