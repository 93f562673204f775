"""The loop as users have it: `setup` wires both agents, their own settings say what runs, one hands over to the other.

Hooks are run exactly as the agents' settings name them (Claude Code: command and arguments; Codex: one shell line),
with payloads as the agents send them; the MCP server is started as configured, by the official client.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.smoke
ROOT = Path(__file__).parent.parent


class Machine:
    """A home folder with both agents wired, and a project."""

    def __init__(self, base: Path) -> None:
        self.home = base / "home"
        self.project = base / "work" / "app"
        self.project.mkdir(parents=True)
        (self.home / ".claude").mkdir(parents=True)
        (self.home / ".codex").mkdir()
        subprocess.run(["git", "init", "-q", self.project], check=True)
        self.env = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        self.turn = 0

    def run(self, *args: str) -> str:
        """Run one of our commands in the project and return what it prints."""
        code = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); from ai_memory_mcp.__main__ import main; sys.exit(main())"
        )
        command = [sys.executable, "-c", code, *args]
        done = subprocess.run(command, env=self.env, cwd=self.project, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, *args: str) -> Any:
        """Run one of our commands with --json."""
        return json.loads(self.run(*args, "--json"))

    def hook(self, agent: str, event: str, **payload: Any) -> str:
        """Run what the agent's settings say for this event, as the agent does; returns what the agent reads."""
        file = ".claude/settings.json" if agent == "claude" else ".codex/hooks.json"
        groups = json.loads((self.home / file).read_text())["hooks"].get(event, [])
        told = json.dumps({"cwd": str(self.project), "hook_event_name": event, **payload}).encode()
        said = b""
        for hook in [hook for group in groups for hook in group["hooks"]]:
            command = [hook["command"], *hook["args"]] if "args" in hook else ["sh", "-c", hook["command"]]
            done = subprocess.run(command, input=told, env=self.env, cwd=self.project, capture_output=True, timeout=15)
            assert (done.returncode, done.stderr) == (0, b"")
            said += done.stdout
        return said.decode()

    def work(self, agent: str, session: str, prompt: str, *, end: bool = True) -> None:
        """A session with a failing command, an edit, and last words about what is next."""
        told = {"session_id": session, "turn_id": f"{session}-1", "prompt_id": f"{session}-1"}
        shell = {**told, "tool_name": "Bash", "tool_use_id": f"{session}-a"}
        self.hook(agent, "UserPromptSubmit", **told, prompt=prompt)
        command = {"command": "make dist"}
        self.hook(agent, "PreToolUse", **shell, tool_input=command)
        failed = "make: *** No rule to make target 'dist'.  Stop."
        if agent == "claude":
            self.hook(agent, "PostToolUseFailure", **shell, tool_input=command, error=f"Exit code 2\n{failed}")
        else:
            self.hook(agent, "PostToolUse", **shell, tool_input=command, tool_response=failed + "\n")
        if not end:
            return
        last = "The Makefile has no dist target.\n\nNext steps:\n- add a dist target to the Makefile"
        self.hook(agent, "Stop", **told, last_assistant_message=last)
        self.hook(agent, "SessionEnd", session_id=session, reason="other")

    def settle(self) -> None:
        """Wait for the worker that a session end has started."""
        deadline = time.monotonic() + 15
        while os.listdir(self.memory / "spool") and time.monotonic() < deadline:
            time.sleep(0.05)

    @property
    def memory(self) -> Path:
        """Where memory lies when nothing else is said."""
        return self.home / ".local" / "share" / "ai-memory"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine with both agents wired by `setup`; afterwards nothing of ours may still run."""
    machine = Machine(tmp_path)
    machine.run("setup", "--agent", "claude-code", "--agent", "codex", "--yes")
    yield machine
    deadline = time.monotonic() + 10
    while (left := ours_running(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def ours_running(base: Path) -> list[str]:
    """Processes that work for a home below `base`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ") if Path("/proc").exists() else []:
        try:
            if str(base).encode() in entry.read_bytes() and int(entry.parent.name) != os.getpid():
                found.append((entry.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return found


def context(said: str) -> str:
    """The text that reaches the model from a session start hook."""
    return str(json.loads(said)["hookSpecificOutput"]["additionalContext"]) if said.strip() else ""


@pytest.mark.parametrize(("first", "second"), [("claude", "codex"), ("codex", "claude")])
def test_the_second_agent_is_told_where_the_first_one_left_off(machine: Machine, first: str, second: str) -> None:
    """Goal, failed command and next step are in the second agent's context; it accepts, once; it stays readable."""
    assert context(machine.hook(first, "SessionStart", session_id="one", source="startup")) == ""
    machine.work(first, "one", "Build the release archive")
    machine.settle()

    told = context(machine.hook(second, "SessionStart", session_id="two", source="startup"))
    assert "Build the release archive" in told
    assert "make dist" in told
    assert "add a dist target to the Makefile" in told
    assert len(told) <= 9000
    assert [one["state"] for one in machine.ask("handoff", "list")["handoffs"]] == ["offered"]

    machine.hook(second, "UserPromptSubmit", session_id="two", prompt="go on", turn_id="t", prompt_id="t")
    machine.run("ingest")
    (handoff,) = machine.ask("handoff", "list", "--all")["handoffs"]
    assert handoff["state"] == "accepted"
    assert handoff["accepted_by"].startswith({"claude": "claude-code", "codex": "codex"}[second])
    machine.hook(first, "SessionStart", session_id="three", source="startup")
    machine.hook(first, "UserPromptSubmit", session_id="three", prompt="and now?", turn_id="u", prompt_id="u")
    after = {one["id"]: one for one in machine.ask("handoff", "list", "--all")["handoffs"]}
    assert after[handoff["id"]] == handoff


@pytest.mark.parametrize(("first", "second"), [("claude", "codex"), ("codex", "claude")])
def test_an_agent_that_was_killed_still_hands_over(machine: Machine, first: str, second: str) -> None:
    """No end event: the next session start compiles what is there, within its bound; else the first prompt tells it."""
    machine.hook(first, "SessionStart", session_id="one", source="startup")
    machine.work(first, "one", "Build the release archive", end=False)

    begun = time.monotonic()
    told = context(machine.hook(second, "SessionStart", session_id="two", source="startup"))
    assert time.monotonic() - begun < 5
    if not told:  # a machine with a lot to do
        machine.settle()
        prompt = {"session_id": "two", "prompt": "go on", "turn_id": "t", "prompt_id": "t"}
        told = context(machine.hook(second, "UserPromptSubmit", **prompt))

    assert "Build the release archive" in told
    assert "make dist" in told


def test_hooks_that_are_installed_twice_store_once(machine: Machine) -> None:
    """User and project settings may both name our hooks."""
    settings = machine.home / ".claude" / "settings.json"
    doubled = json.loads(settings.read_text())
    for groups in doubled["hooks"].values():
        groups += groups
    settings.write_text(json.dumps(doubled))
    machine.hook("claude", "SessionStart", session_id="one", source="startup")
    machine.work("claude", "one", "Build the release archive")
    machine.settle()

    capture = machine.ask("status")["capture"]
    assert capture["stored"] == capture["duplicates"]
    assert len(machine.ask("sessions")["sessions"]) == 1
    assert len(machine.ask("handoff", "list")["handoffs"]) == 1


def test_the_configured_server_answers_and_leaves_nothing_behind(machine: Machine) -> None:
    """As each agent would start it: the tools are there, and search, read, handoff and status answer."""
    machine.hook("claude", "SessionStart", session_id="one", source="startup")
    machine.work("claude", "one", "Build the release archive")
    machine.settle()
    claude = json.loads((machine.home / ".claude.json").read_text())["mcpServers"]["aimemory"]
    codex = tomllib.loads((machine.home / ".codex" / "config.toml").read_text())["mcp_servers"]["aimemory"]
    assert (claude["command"], claude["args"]) == (codex["command"], codex["args"])
    env = {**machine.env, "PYTHONPATH": str(ROOT)}  # in a checkout the package is not installed for `-m`
    args = [arg for arg in claude["args"] if arg != "-I"]
    server = StdioServerParameters(command=claude["command"], args=args, env=env, cwd=machine.project)

    async def talk() -> dict[str, str]:
        said = {}
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            told = await session.initialize()
            assert "handoff" in (told.instructions or "")
            offered = {tool.name for tool in (await session.list_tools()).tools}
            calls = {
                "memory.search": {"query": "release archive"},
                "memory.handoff": {"action": "get"},
                "memory.status": {},
                "memory.brief": {},
            }
            for name, arguments in calls.items():
                assert name in offered
                answer = await session.call_tool(name, arguments)
                assert not answer.is_error
                said[name] = "".join(getattr(part, "text", "") for part in answer.content)
            read_ = await session.call_tool("memory.read", {"ref": "one"})
            said["memory.read"] = "".join(getattr(part, "text", "") for part in read_.content)
        return said

    said = anyio.run(talk)

    assert "Build the release archive" in said["memory.search"]
    assert "add a dist target" in said["memory.handoff"]
    assert "app" in said["memory.status"]
    assert "add a dist target" in said["memory.brief"]
    assert "make dist" in said["memory.read"]


def test_uninstall_gives_every_file_back_byte_for_byte(tmp_path: Path) -> None:
    """Whatever stood there before stands there again; what was not there is gone."""
    machine = Machine(tmp_path)
    files = {
        ".claude/settings.json": b'{\n    "model": "opus",\n    "hooks": {"Stop": [{"hooks": [{"type": "command",'
        b' "command": "say done"}]}]}\n}',
        ".claude.json": b'{"numStartups":7,"mcpServers":{"other":{"command":"x"}}}',
        ".codex/config.toml": b'# mine\r\nmodel = "gpt-5"\r\n',
    }
    for name, data in files.items():
        (machine.home / name).write_bytes(data)

    machine.run("setup", "--agent", "claude-code", "--agent", "codex", "--yes")
    changed = {name: (machine.home / name).read_bytes() for name in files}
    again = machine.ask("setup", "--agent", "claude-code", "--agent", "codex", "--yes")
    machine.run("uninstall", "--yes")

    assert all(changed[name] != data for name, data in files.items())
    assert again["changes"] == []
    assert {name: (machine.home / name).read_bytes() for name in files} == files
    assert not (machine.home / ".codex" / "hooks.json").exists()


def test_a_hook_of_a_removed_package_says_nothing_and_succeeds(machine: Machine) -> None:
    """The agent is not disturbed by what is left in its settings."""
    command = json.loads((machine.home / ".claude" / "settings.json").read_text())["hooks"]["Stop"][0]["hooks"][0]
    launcher = Path(command["command"])
    launcher.write_text(launcher.read_text().replace(shlex.quote(sys.executable), "/nowhere/python"))

    assert machine.hook("claude", "Stop", session_id="one", last_assistant_message="bye") == ""
