"""Runs real agent CLIs headless against a scripted model, with our product installed by our own `setup`.

Opt-in: REALCLIENTS names a folder with a `run.sh CLIENT HOME WORK SCRIPT PROMPT [argument...]` that starts one client
offline and leaves in OUT what it said (`stdout.txt`), how it ended (`result.json`) and what the model was sent
(`llm/req_*.json`). Two more clients can be run when REALCLIENTS_MORE names a folder where npm has installed them
(@qwen-code/qwen-code, @github/copilot).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import run_client
from run_client import INSTALLED, RUNNER

AGENTS = {  # what the runner calls a client -> our name of the agent
    "claude": "claude-code",
    "codex": "codex",
    "gemini": "gemini",
    "opencode": "opencode",
    "pi-mcp": "pi",
    "omp": "omp",
    "openclaw": "openclaw",
    "qwen": "qwen",
    "copilot": "copilot",
}
OTHERS = ("qwen", "copilot")  # the runner has no command for these
SHELLS = ["Bash", "exec_command", "shell", "shell_command", "run_shell_command", "bash", "exec"]


def here(client: str) -> bool:
    """Tell whether this client can be run."""
    installed = run_client.MORE / client if client in OTHERS else INSTALLED / client / ".installed"
    return bool(RUNNER) and installed.exists()


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


def helper_turns(spawn: dict[str, Any], prompt: str) -> list[dict[str, Any]]:
    """Return turns in which a model has a subagent run `echo in-sub` and answer HELPED, in whatever order they ask.

    `prompt` is in all requests of the main agent and in none of the subagent's: the former waits for the latter.
    """
    wait = {**shell_turn("sleep 2"), "if": prompt}
    answer = {"text": "HELPED"}
    done = {
        "tool": ["yield", "complete_task"],
        "args_by": {"yield": {"data": "HELPED"}, "complete_task": {"result": "HELPED"}},
        "optional": True,
    }
    return [spawn, wait, shell_turn("echo in-sub"), wait, done, answer, wait, answer, wait, answer]


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the old values with the new ones over them, table by table."""
    both = {key: merged(old[key], value) for key, value in new.items() if isinstance(old.get(key), dict)}
    return {**old, **new, **both}


@dataclass(frozen=True)
class Run:
    """One run of a client: how it ended, what it printed, and the bodies of its requests to the model."""

    status: int
    said: str
    left_running: list[Any]
    requests: list[dict[str, Any]]
    complained: str = ""

    def complaints(self) -> set[str]:
        """Return what the client found wrong with settings, hooks, plugins or servers, without numbers and places.

        Not what OpenClaw says of its own memory: that is a matter of luck.
        """
        bad = re.compile(r"invalid|error|fail|warn|unknown|unrecogni[sz]ed|not valid|refus|ignor", re.I)
        about = re.compile(r"hook|mcp|plugin|extension|setting|config|memory", re.I)
        lines = (line for line in self.complained.splitlines() if bad.search(line) and about.search(line))
        lines = (line for line in lines if not line.startswith("[memory]"))
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

    def shell(self, *words: str) -> str:
        """Return a command of ours as a client's shell can run it."""
        told = {"PYTHONPATH": str(Path(__file__).parent.parent), "HOME": str(self.home)}
        return shlex.join(
            ["env", *(f"{name}={value}" for name, value in told.items()), sys.executable, "-m", "ai_memory_mcp", *words]
        )

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

    def merge(self, path: Path, value: dict[str, Any]) -> None:
        """Put values into a JSON file of the user's or the project's."""
        path.parent.mkdir(parents=True, exist_ok=True)
        told = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(merged(told, value), indent=1))

    def run(self, client: str, turns: list[dict[str, Any]], prompt: str, *words: str, **settings: str) -> Run:
        """Run a client once with what its model will do, with more words on its command line; `settings` are variables
        of the runner."""
        process, out = self.start(client, turns, prompt, *words, **settings)
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
        ours = (
            b"supervise.py",
            b"run.sh",
            b"run_client",
            b"fakellm",
            b"ai_memory_mcp",
            b"ai-memory-mcp",
            b"ai-memory/bin/emit",
        )
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command, env = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
                if f"HOME={self.home}".encode() in env and not any(word in command for word in ours):
                    found.append(int(folder.name))
        return found

    def start(
        self, client: str, turns: list[dict[str, Any]], prompt: str, *words: str, **settings: str
    ) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a client; returns its runner's process and the folder of its recordings."""
        self.runs += 1
        out = self.base / f"out-{self.runs}-{client}"
        script = self.base / f"script-{self.runs}.json"
        script.write_text(json.dumps({"turns": turns, "side_text": "A title"}), encoding="utf-8")
        env = {**os.environ, "REALCLIENTS_HOME": str(INSTALLED.parent), "OUT": str(out), "TRUST": "0", **settings}
        out.mkdir()
        runner = [sys.executable, run_client.__file__] if client in OTHERS else [f"{RUNNER}/run.sh"]
        command = [*runner, client, str(self.home), str(self.project), str(script), prompt, *words]
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
