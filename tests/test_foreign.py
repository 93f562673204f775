"""An agent that also runs another one's hooks (Cursor those of Claude Code) is captured once, under its own name."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hooking import Hook

from ai_memory_mcp.agents.bundle import bundle_files
from ai_memory_mcp.agents.changes import apply
from ai_memory_mcp.agents.install import plan
from ai_memory_mcp.agents.pieces import Target
from ai_memory_mcp.agents.spec import AgentSpec, all_specs, find_spec
from ai_memory_mcp.agents.wiring import Launch, wanted_groups

NOW = datetime(2026, 11, 22, 17, 0, tzinfo=timezone.utc)
PAYLOADS = Path(__file__).parent / "payloads" / "cursor"

# What Cursor takes from Claude Code's settings: these events, each as one of its own; of a hook its command alone.
STEPS = {
    "PreToolUse": "preToolUse",
    "PostToolUse": "postToolUse",
    "UserPromptSubmit": "beforeSubmitPrompt",
    "Stop": "stop",
    "SubagentStop": "subagentStop",
    "SessionStart": "sessionStart",
    "SessionEnd": "sessionEnd",
    "PreCompact": "preCompact",
}
KNOWN = {
    *STEPS.values(), "beforeShellExecution", "afterShellExecution", "beforeMCPExecution", "afterMCPExecution",
    "beforeReadFile", "afterFileEdit", "beforeTabFileRead", "afterTabFileEdit", "afterAgentResponse",
    "afterAgentThought", "subagentStart", "postToolUseFailure", "workspaceOpen",
}  # fmt: skip
SESSION = (
    "sessionStart", "beforeSubmitPrompt", "preToolUse", "postToolUse", "postToolUseFailure", "afterAgentResponse",
    "subagentStop", "preCompact", "stop", "sessionEnd",
)  # fmt: skip
KINDS = (
    "session-start", "user-prompt", "post-tool", "post-tool", "post-tool", "post-tool", "post-tool", "tool-failure",
    "assistant-message", "subagent-stop", "pre-compact", "stop", "session-end",
)  # fmt: skip


class Cursor:
    """Runs hooks as Cursor does: all of a step, each by a shell with the payload as a here-document behind it."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook

    def commands(self, step: str) -> Iterator[str]:
        own = self.hook.base / ".cursor" / "hooks.json"
        if own.exists():
            yield from (one["command"] for one in json.loads(own.read_text())["hooks"].get(step, ()))
        claude = self.hook.base / ".claude" / "settings.json"
        for event, groups in json.loads(claude.read_text())["hooks"].items() if claude.exists() else ():
            if STEPS.get(event) == step:
                yield from (one["command"] for group in groups for one in group["hooks"])

    def run(self, step: str, payload: dict[str, Any], extra: tuple[str, ...] = ()) -> list[str]:
        """Run a step's hooks; returns what those said that said anything."""
        said = []
        for command in (*self.commands(step), *extra):
            line = f"{command} <<'CURSOR_HOOK_EOF'\n{json.dumps(payload)}\nCURSOR_HOOK_EOF"
            done = subprocess.run(
                ["sh", "-c", line], env=self.hook.env, cwd=self.hook.base, capture_output=True, timeout=20
            )
            said += [done.stdout.decode()] if done.stdout else []
        return said

    def plays(self, session: str, extra: tuple[str, ...] = ()) -> dict[str, list[str]]:
        """Play a session, recorded from Cursor's own hook executor; returns what was said at each step."""
        said: dict[str, list[str]] = {}
        for step in SESSION:
            for told in json.loads((PAYLOADS / f"{step}.json").read_text(encoding="utf-8")):
                here = {"conversation_id": session, "session_id": session, "workspace_roots": [str(self.hook.project)]}
                said.setdefault(step, []).extend(self.run(step, {**told, **here}, extra))
        return said


@pytest.fixture
def hook(tmp_path):
    return Hook(tmp_path)


def wire(hook: Hook, *names: str) -> None:
    launch = Launch(str(hook.base / "ai-memory-mcp"), ("serve",), str(hook.launcher))
    planned = plan([find_spec(name) for name in names], Target(hook.base), launch, hook.home)
    assert not planned.errors
    assert not apply(planned, hook.home, NOW).errors


def sessions(hook: Hook) -> list[dict[str, Any]]:
    hook.ingest()
    listed = subprocess.run(
        [*hook.module()[:-1], "sessions", "--json"], env=hook.env, cwd=hook.project, check=True, capture_output=True
    )
    found: list[dict[str, Any]] = json.loads(listed.stdout)["sessions"]
    return found


def kinds(hook: Hook) -> list[str]:
    lines = [line for path in hook.home.glob("journal/*/*.jsonl") for line in path.read_text().splitlines()]
    return [one["kind"] for one in map(json.loads, lines) if one["type"] == "observation"]


@pytest.mark.parametrize("home", ["memory", "my memory"])
@pytest.mark.parametrize("agents", [("cursor",), ("claude-code", "cursor")])
def test_a_session_is_captured_once_under_its_own_name_whatever_else_is_wired(tmp_path, agents, home):
    hook = Hook(tmp_path, home=home)
    wire(hook, *agents)

    Cursor(hook).plays("c1")

    assert [(one["agent"], one["native_id"]) for one in sessions(hook)] == [("cursor", "c1")]
    assert tuple(kinds(hook)) == KINDS


def test_the_brief_is_told_once(hook):
    wire(hook, "claude-code", "cursor")
    cursor = Cursor(hook)
    cursor.plays("c1")
    hook.ingest()

    told = cursor.plays("c2")

    assert ["Mend the parser" in said for said in told.pop("sessionStart")] == [True]
    assert {said for step in told.values() for said in step} == {"{}\n"}


def test_with_its_arguments_such_a_hook_stores_the_same_and_it_is_kept_once(hook):
    wire(hook, "cursor")
    claude = f"{hook.launcher} claude-code PostToolUse"

    said = Cursor(hook).plays("c1", extra=(claude,))

    assert [(one["agent"], one["native_id"]) for one in sessions(hook)] == [("cursor", "c1")]
    assert tuple(kinds(hook)) in {KINDS, (*KINDS[:2], "pre-tool", *KINDS[2:])}
    assert not [one for one in said["sessionStart"] if "brief" in one]


def test_hooks_of_another_agent_alone_store_nothing_under_a_wrong_name(hook):
    wire(hook, "claude-code")

    assert not any(Cursor(hook).plays("c1").values())
    assert sessions(hook) == []


def test_a_plugin_of_another_agent_captures_under_the_own_name(hook):
    shutil.copytree(Path(__file__).parent.parent / "agent_configs/claude-code/bundle", hook.base / "plugin")
    hook.env["CLAUDE_PLUGIN_ROOT"] = str(hook.base / "plugin")
    (hook.base / ".claude").mkdir()
    shutil.copy(hook.base / "plugin/hooks/hooks.json", hook.base / ".claude/settings.json")

    Cursor(hook).plays("c1")

    assert [(one["agent"], one["native_id"]) for one in sessions(hook)] == [("cursor", "c1")]
    without = [kind for kind in KINDS if kind not in ("tool-failure", "assistant-message")]
    assert sorted(kinds(hook)) == sorted(without)


def hooks_of(spec: AgentSpec) -> Iterator[dict[str, Any]]:
    """Every hook that we give to an agent: in its settings, in its plugin."""
    groups: list[Any] = []
    if spec.hooks:
        groups += wanted_groups(spec, Launch("/opt/serve", (), "/opt/bin/emit")).values()
    for path, text in bundle_files(spec).items() if spec.bundle else ():
        if path.endswith("hooks.json"):
            groups += [group for listed in json.loads(text)["hooks"].values() for group in listed]
    for group in groups:
        yield from group.get("hooks", [group])


@pytest.mark.parametrize("name", sorted(all_specs()))
def test_no_hook_becomes_an_interpreter_when_its_arguments_are_left_out(name):
    """It would run the event, which others write, as a script."""
    for one in hooks_of(find_spec(name)):
        if "args" in one:
            assert one["command"] == "/opt/bin/emit"


def test_cursor_is_given_nothing_for_which_it_would_drop_the_file():
    groups = wanted_groups(find_spec("cursor"), Launch("/opt/serve", (), "/opt/my data/bin/emit"))
    assert groups.keys() <= KNOWN
    for group in groups.values():
        assert group.keys() <= {"command", "type", "matcher", "timeout", "failClosed", "loop_limit"}
        assert isinstance(group["timeout"], int)
        assert "//" not in group["command"]
