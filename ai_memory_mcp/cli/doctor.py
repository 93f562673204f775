"""The doctor command: gathers what there is to look at, has it examined, shows the findings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from ai_memory_mcp.agents.entry import server_entry
from ai_memory_mcp.agents.install import wired
from ai_memory_mcp.agents.spec import AgentSpec
from ai_memory_mcp.cli import render
from ai_memory_mcp.cli.wire import Machine, this_machine
from ai_memory_mcp.config import Config, environment, home_folder, load_config, user_home
from ai_memory_mcp.doctor import Wiring, examine, try_embedding, try_llm
from ai_memory_mcp.errors import ConfigError
from ai_memory_mcp.llm import Child
from ai_memory_mcp.place import working_folder
from ai_memory_mcp.resources import Resources

ABSENT = ("missing", "unsupported")


def doctor(args: argparse.Namespace) -> int:
    """Look for what is wrong; 1 when something is (remarks and warnings are not)."""
    env = environment()
    home = home_folder(env)
    config = Config()
    with suppress(ConfigError):  # the examination says so itself, and the rest of it needs no settings
        config = load_config(home, env)
    cwd = working_folder(env)
    findings = examine(
        Resources.at(home, user_home(env), config),
        agents(env, cwd),
        env=env,
        cwd=cwd,
        python=sys.executable,
        now=datetime.now(timezone.utc),
    )
    if args.llm:
        res = Resources.at(home, user_home(env), config)
        if config.llm.provider or not config.embedding.provider:
            with Child(env) as child:
                findings.append(try_llm(res, env, child))
        if config.embedding.provider:
            findings.append(try_embedding(res, env))
    ok = all(finding.level != "error" for finding in findings)
    if args.json:
        render.as_json({"ok": ok, "findings": findings})
    else:
        render.findings(findings)
    return 0 if ok else 1


def agents(env: Mapping[str, str], cwd: str) -> list[Wiring]:
    """Return how the agents on this machine are wired; none where not even the user's home is known."""
    if not user_home(env):
        return []
    machine = this_machine()
    return [_wiring(one.spec, machine, cwd) for one in machine.found()]


def _wiring(spec: AgentSpec, machine: Machine, cwd: str) -> Wiring:
    """How one agent stands: by the user's settings, and for a part that is not in them by those of the project here."""
    targets = [machine.target, *([replace(machine.target, project=Path(cwd))] if cwd else [])]
    levels = [(target, wired(spec, target, machine.launch)) for target in targets]
    mcp_level, mcp = next((level for level in levels if level[1].mcp not in ABSENT), levels[0])
    _, hooks = next((level for level in levels if level[1].hooks not in ABSENT), levels[0])
    entry = server_entry(spec, mcp_level)
    return Wiring(
        spec.name,
        spec.title,
        mcp.mcp,
        hooks.hooks,
        hooks.trusted,
        tuple(dict.fromkeys((*mcp.errors, *hooks.errors))),
        command=entry.command,
        env=entry.env,
        url=entry.url,
    )
