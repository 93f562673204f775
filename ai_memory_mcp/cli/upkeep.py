"""Commands that keep the memory small, on the machine that holds it."""

from __future__ import annotations

import argparse

from ai_memory_mcp.cli import render
from ai_memory_mcp.cli.context import opened
from ai_memory_mcp.cli.wire import agreed
from ai_memory_mcp.errors import InputError
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Scope


def forget_sweep(args: argparse.Namespace) -> int:
    """Show what has had its time, ask, and take it out."""
    named = args.project or args.workspace
    scope = Scope(project=args.project or "", workspace=args.workspace or "") if named else None
    with opened() as memory:
        if not isinstance(memory, LocalMemory):
            raise InputError("this machine is a client; run forget-sweep on the machine that holds the memory")
        found = memory.plan_sweep(scope)
        if not args.json:
            render.to_sweep(found)
        if found.items and not args.dry_run and (args.yes or agreed("Take this out?")):
            found = memory.sweep(found, scope)
            if not args.json:
                render.swept(found)
    if args.json:
        render.as_json(found)
    return 0
