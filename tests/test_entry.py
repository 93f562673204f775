"""What an agent's settings say about our server is read back as it was written, whatever form the agent wants."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from ai_memory_mcp.agents import install
from ai_memory_mcp.agents.changes import apply
from ai_memory_mcp.agents.entry import Entry, server_entry, unfill
from ai_memory_mcp.agents.pieces import Target
from ai_memory_mcp.agents.spec import all_specs, find_spec
from ai_memory_mcp.agents.wiring import Launch, fill

LOCAL = Launch("/opt/my tools/ai-memory-mcp", ("serve", "-x"), "/home/bin/emit", {"AI_MEMORY_HOME": "/m"})
REMOTE = Launch("/opt/ai-memory-mcp", ("serve",), "/home/bin/emit", url="https://memory.example/mcp")
AGENTS = [name for name, spec in all_specs().items() if spec.mcp]


@pytest.fixture
def target(tmp_path):
    (tmp_path / "user").mkdir()
    return Target(tmp_path / "user")


def wire(name: str, target: Target, launch: Launch) -> None:
    home = target.user_home.parent / "memory"
    home.mkdir()
    plan = install.plan([find_spec(name)], target, launch, home, ("mcp",))
    assert apply(plan, home, datetime.now(timezone.utc)).done


@pytest.mark.parametrize("name", AGENTS)
def test_the_command_is_read_back_from_each_agents_settings(name, target):
    wire(name, target, LOCAL)
    assert server_entry(find_spec(name), target) == Entry((LOCAL.command, *LOCAL.args), LOCAL.env)


@pytest.mark.parametrize("name", [name for name in AGENTS if (mcp := all_specs()[name].mcp) and mcp.http])
def test_the_address_is_read_back_from_each_agents_settings(name, target):
    wire(name, target, REMOTE)
    assert server_entry(find_spec(name), target) == Entry(url=REMOTE.url)


@pytest.mark.parametrize(
    "text", [None, "{", '{"mcpServers": {"aimemory": 7}}', '{"mcpServers": {"aimemory": {"x": 1}}}']
)
def test_settings_that_name_no_command_of_ours_give_none(text, target):
    if text is not None:
        Path(target.user_home, ".claude.json").write_text(text)
    assert server_entry(find_spec("claude-code"), target) == Entry()


@pytest.mark.parametrize(
    "template",
    [
        {"command": "{command}", "args": ["{args}"], "env": "{env}"},
        {"run": {"argv": ["{command}", "{args}"]}, "environment": "{env}", "fixed": True},
        {"argv": ["run", "{command}", "{args}", "end"], "env": "{env}"},
    ],
)
@pytest.mark.parametrize("args", [(), ("serve",), ("serve", "--agent", "x")])
def test_taking_apart_undoes_filling_in(template, args):
    values = {"command": "/c", "args": args, "env": {"A": "1"}}
    found = unfill(template, fill(template, values))
    assert {**found, "args": tuple(found["args"])} == values
