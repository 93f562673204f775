"""The support matrix: what a description offers, as rows, as Markdown, and as `agents` prints it."""

from __future__ import annotations

import json

import pytest

from ai_memory_mcp.agents.spec import AgentSpec, all_specs
from ai_memory_mcp.agents.support import Support, markdown, support
from ai_memory_mcp.cli.main import main

MCP = {"format": "json", "table": ["servers"], "entry": {"command": "{command}"}}
ONLY_MCP = {"name": "desk", "title": "Desk", "evidence": "docs", "mcp": {**MCP, "user": {"macos": "~/Desk/a.json"}}}
PLUGGED = {
    "name": "plug",
    "title": "Plug",
    "evidence": "package",
    "seen": "1.2",
    "note": "a|b",
    "mcp": {**MCP, "project": ".plug.json"},
    "plugin": {"files": [{"text": "x", "user": "~/.plug/plugin.ts"}]},
    "events": {"end": {"kind": "session-end", "install": False}},
}
HOOKED = {
    "name": "hook",
    "title": "Hook",
    "evidence": "run",
    "hooks": {"format": "json", "user": "~/.hook.json", "table": ["hooks"], "group": {}},
    "brief": {"event": "Start", "shape": "text"},
    "events": {"End": {"kind": "session-end", "install": False}, "Compact": {"kind": "pre-compact"}},
}


def row(told: dict) -> Support:
    return support(AgentSpec.model_validate(told))


def test_an_agent_without_hooks_has_its_server_only():
    assert row(ONLY_MCP) == Support("desk", "Desk", "~/Desk/a.json", "none", "", False, False, False, "docs", "", "")


def test_a_plugin_hears_every_event_that_is_described():
    assert row(PLUGGED) == Support(
        "plug", "Plug", ".plug.json", "plugin", "~/.plug/plugin.ts", False, True, False, "package", "1.2", "a|b"
    )


def test_hook_commands_hear_only_what_is_installed():
    assert row(HOOKED) == Support("hook", "Hook", "", "settings", "~/.hook.json", True, False, True, "run", "", "")


def test_the_matrix_as_markdown():
    assert markdown(map(row, (ONLY_MCP, PLUGGED, HOOKED))).splitlines()[2:] == [
        "| Desk (`desk`) | `~/Desk/a.json` | none | no | no | no | its documents | |",
        "| Plug (`plug`) | `.plug.json` | plugin `~/.plug/plugin.ts` | no | yes | no | its package (1.2) | a\\|b |",
        "| Hook (`hook`) | none | `~/.hook.json` | yes | no | yes | running it | |",
    ]


@pytest.fixture
def agents(own_home, capsys, monkeypatch):
    """Run `agents` where Claude Code is wired and nothing else is found; gives what it prints."""
    monkeypatch.setenv("PATH", "/nowhere")
    (own_home / ".claude").mkdir()
    assert main(["setup", "--yes"]) == 0

    def run(*words: str) -> str:
        capsys.readouterr()
        assert main(["agents", *words]) == 0
        return capsys.readouterr().out

    return run


def test_agents_prints_the_matrix_with_what_is_wired_here(agents):
    head, *lines = agents().splitlines()
    assert head.split() == "agent name MCP hooks brief end compaction known from here".split()
    assert len(lines) == len(all_specs())
    by_name = {line.split()[line.split().index(name)]: line for name, line in zip(all_specs(), lines, strict=True)}
    assert by_name["claude-code"].startswith("Claude Code")
    assert by_name["claude-code"].endswith("wired")
    assert by_name["codex"].endswith("not found")


def test_agents_tells_the_same_as_json(agents):
    rows = {row["name"]: row for row in json.loads(agents("--json"))["agents"]}
    assert set(rows) == set(all_specs())
    claude = rows["claude-code"]
    assert (claude["found"], claude["mcp"], claude["hooks"], claude["errors"]) == (True, "wired", "wired", [])
    assert (claude["hooks_by"], claude["brief"], claude["evidence"]) == ("settings", True, "run")
    assert {"title", "executable", "trusted", "events", "seen", "note"} < set(claude)


def test_agents_prints_the_readmes_table(agents):
    table = markdown(map(support, all_specs().values()))
    assert agents("--markdown") == table
    assert json.loads(agents("--markdown", "--json")) == {"markdown": table}


def test_a_part_that_is_not_wired_and_hooks_without_trust_are_told(agents, own_home):
    (own_home / ".claude" / "settings.json").unlink()
    (own_home / ".codex").mkdir()
    assert main(["setup", "--yes", "--agent", "codex"]) == 0
    lines = agents().splitlines()
    assert any(line.endswith("MCP wired, hooks missing") for line in lines)
    assert any(line.startswith("Codex") and line.endswith("wired, not trusted yet") for line in lines)
    (own_home / ".claude" / "settings.json").write_text("{")
    assert ".claude/settings.json" in agents().splitlines()[-1]
