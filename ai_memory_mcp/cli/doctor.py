"""The doctor command: gathers what there is to look at, has it examined, shows the findings."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone

from ai_memory_mcp.agents.entry import server_entry
from ai_memory_mcp.agents.install import wired
from ai_memory_mcp.agents.spec import AgentSpec
from ai_memory_mcp.cli import render
from ai_memory_mcp.cli.wire import Machine, this_machine
from ai_memory_mcp.config import Config, environment, home_folder, load_config, user_home
from ai_memory_mcp.doctor import Wiring, examine
from ai_memory_mcp.errors import ConfigError
from ai_memory_mcp.resources import Resources


def doctor(args: argparse.Namespace) -> int:
    """Look for what is wrong; 1 when something is (remarks and warnings are not)."""
    env = environment()
    home = home_folder(env)
    config = Config()
    with suppress(ConfigError):  # the examination says so itself, and the rest of it needs no settings
        config = load_config(home, env)
    cwd = ""
    with suppress(FileNotFoundError):
        cwd = os.getcwd()
    findings = examine(
        Resources.at(home, user_home(env), config),
        agents(env),
        env=env,
        cwd=cwd,
        python=sys.executable,
        now=datetime.now(timezone.utc),
    )
    ok = all(finding.level != "error" for finding in findings)
    if args.json:
        render.as_json({"ok": ok, "findings": findings})
    else:
        render.findings(findings)
    return 0 if ok else 1


def agents(env: Mapping[str, str]) -> list[Wiring]:
    """Return how the agents on this machine are wired; none where not even the user's home is known."""
    if not user_home(env):
        return []
    machine = this_machine()
    return [_wiring(one.spec, machine) for one in machine.found()]


def _wiring(spec: AgentSpec, machine: Machine) -> Wiring:
    state, entry = wired(spec, machine.target, machine.launch), server_entry(spec, machine.target)
    return Wiring(
        spec.name,
        spec.title,
        state.mcp,
        state.hooks,
        state.trusted,
        state.errors,
        command=entry.command,
        env=entry.env,
        url=entry.url,
    )
