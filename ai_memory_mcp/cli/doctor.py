"""The doctor command: gathers what there is to look at, has it examined, shows the findings."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from ai_memory_mcp.agents.install import Target, detect, wired
from ai_memory_mcp.agents.launcher import launcher_path
from ai_memory_mcp.agents.spec import all_specs
from ai_memory_mcp.agents.wiring import Launch
from ai_memory_mcp.cli import render
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
        agents(env, home),
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


def agents(env: Mapping[str, str], home: Path) -> list[Wiring]:
    """Return how the agents on this machine are wired."""
    target = Target(Path(user_home(env)), env)
    launch = this_launch(home)
    found = []
    for one in detect(list(all_specs().values()), target, lambda name: shutil.which(name, path=env.get("PATH"))):
        state = wired(one.spec, target, launch)
        about = (one.spec.name, one.spec.title, state.mcp, state.hooks, state.trusted, state.errors)
        found.append(Wiring(*about, command=launch.command))
    return found


def this_launch(home: Path) -> Launch:
    """Return how agents are to start this installation: its own console script, by absolute path."""
    script = Path(sys.executable).with_name("ai-memory-mcp")
    emit = str(launcher_path(home))
    if script.exists():
        return Launch(str(script), ("serve",), emit)
    return Launch(sys.executable, ("-m", "ai_memory_mcp", "serve"), emit)
