"""The upgrade command: the installer that brought this program upgrades it, then the new one refreshes the wiring.

Once the installer has run, the modules on disk are not those of this process: import nothing from then on.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ai_memory_mcp
from ai_memory_mcp.cli import render
from ai_memory_mcp.cli.wire import agreed, program
from ai_memory_mcp.config import environment
from ai_memory_mcp.errors import UpgradeError
from ai_memory_mcp.processes import run, show
from ai_memory_mcp.upgrade import (
    NAME,
    REFRESH,
    Installation,
    cannot_run,
    complaint,
    installation,
    is_newer,
    newest,
    upgrade_command,
    version_of,
)

REFRESH_SECONDS = 120.0


def upgrade(args: argparse.Namespace) -> int:
    """Tell what is installed and what is available; on confirmation upgrade and refresh what setup wired."""
    env = environment()
    package = Path(ai_memory_mcp.__file__).resolve().parent
    here = installation(ai_memory_mcp.__version__, package, Path(sys.prefix), sys.executable)
    told: dict[str, Any] = {"installed": here.version, "installer": here.manager or None, "origin": here.origin or None}
    told |= {"available": None, "newer": None, "command": here.by_hand, "upgraded": None, "refreshed": None}
    if here.by_hand:
        return _by_hand(args, here, told)
    told["available"] = newest(here, env)
    told["newer"] = is_newer(told["available"], here.version)
    command = upgrade_command(here)
    told["command"] = shlex.join(command)
    if not args.json:
        render.upgrade(told)
    if told["newer"] and not args.check and (args.yes or agreed(f"Run `{told['command']}`?")):
        told["upgraded"] = _carry_out(here, command, env)
        told["refreshed"] = _refreshed(env)
        if not args.json:
            render.upgraded(told)
    if args.json:
        render.as_json(told)
    return 1 if told["refreshed"] and told["refreshed"].get("errors") else 0


def _by_hand(args: argparse.Namespace, here: Installation, told: dict[str, Any]) -> int:
    """Say what its installer cannot be asked to do. Raises UpgradeError when it was to be done."""
    if not args.check:
        where = f"comes from {here.origin}" if here.origin else f"was installed by {here.manager or 'something else'}"
        raise UpgradeError(
            f"{NAME} {here.version} {where}, which `upgrade` cannot renew; do it by hand: {here.by_hand}"
        )
    if args.json:
        render.as_json(told)
    else:
        render.upgrade(told)
    return 0


def _carry_out(here: Installation, command: list[str], env: Mapping[str, str]) -> str:
    """Run the installer and return the new version. Raises UpgradeError unless a newer one runs afterwards."""
    try:
        code = show(command, env=env, cwd=Path(sys.prefix))
    except OSError as error:
        raise UpgradeError(cannot_run(command[0], error)) from error
    if code:
        raise UpgradeError(f"`{shlex.join(command)}` ended with {code}; what it says above is what to mend")
    now = version_of(program(sys.executable), env)
    if not is_newer(now, here.version):
        raise UpgradeError(f"{here.manager} left version {now} in place; is it pinned there, or bound to a version?")
    return now


def _refreshed(env: Mapping[str, str]) -> dict[str, Any]:
    """Have the new version bring up to date what setup has wired, and return what it tells."""
    reason = ""
    try:
        done = run([*program(sys.executable), "setup", "--refresh", "--yes", "--json"], env=env, limit=REFRESH_SECONDS)
        reason = complaint(done.stderr)
        told: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise UpgradeError(
            f"the upgrade is done, but what agents run was not refreshed ({reason or error}); run {REFRESH}"
        ) from error
    return told
