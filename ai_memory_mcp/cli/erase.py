"""Commands that take something out of memory: forget, purge-session, purge-project, scrub. Each shows what goes and
asks before it goes for good."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable

from ai_memory_mcp.cli import render
from ai_memory_mcp.cli.context import opened, scope
from ai_memory_mcp.cli.wire import agreed
from ai_memory_mcp.config import environment, home_folder
from ai_memory_mcp.errors import InputError
from ai_memory_mcp.files import remove
from ai_memory_mcp.model import Erased, Scope


def forget(args: argparse.Namespace) -> int:
    """Remove a page or a session."""
    with opened() as memory:
        if args.for_good:
            return _for_good(args, lambda dry: memory.forget(scope(args), args.ref, for_good=True, dry_run=dry))
        told = memory.forget(scope(args), args.ref, dry_run=args.dry_run, agent="user")
    render.as_json(told) if args.json else render.erased(told)
    return 0


def purge_session(args: argparse.Namespace) -> int:
    """Erase a session for good."""
    with opened() as memory:
        erase = memory.forget
        return _for_good(
            args, lambda dry: erase(scope(args), args.session, for_good=True, dry_run=dry), wanted="session"
        )


def purge_project(args: argparse.Namespace) -> int:
    """Erase a project for good."""
    named = Scope(project=args.name, workspace=args.workspace or "")  # never the one of this folder
    with opened() as memory:
        return _for_good(args, lambda dry: memory.purge_project(named, dry_run=dry))


def scrub(args: argparse.Namespace) -> int:
    """Take a text out of everything."""
    text = _text(args)
    with opened() as memory:
        return _for_good(args, lambda dry: memory.scrub(text, regex=args.regex, dry_run=dry))


def _text(args: argparse.Namespace) -> str:
    """Return what is to be scrubbed: on the command line it would stay in the shell's history."""
    if args.pattern != "-":
        return str(args.pattern)
    if sys.stdin.isatty():
        return getpass.getpass("Text to scrub (not shown): ")
    return sys.stdin.read()


def _for_good(args: argparse.Namespace, act: Callable[[bool], Erased], wanted: str = "") -> int:
    """Show what would go, ask, and have it go."""
    plan = act(True)
    if wanted and plan.what != wanted:
        raise InputError(f"'{plan.name}' is a {plan.what} and no {wanted}; use forget --for-good")
    if args.dry_run:
        render.as_json(plan) if args.json else render.erased(plan)
        return 0
    if not args.yes:
        if not args.json:
            render.erased(plan)
        if not sys.stdin.isatty():
            raise InputError("nothing was erased: there is no terminal to ask on; look at the plan and add --yes")
        if not agreed("Erase this for good? It cannot be brought back."):
            render.warn("nothing was erased")
            return 1
    told = act(False)
    _drop_copies()
    render.as_json(told) if args.json else render.erased(told)
    return 0


def _drop_copies() -> None:
    """Remove the briefs that this machine has, as the client of a server: the next ones are fetched anew."""
    for path in (home_folder(environment()) / "brief").glob("[0-9a-f]*.json"):
        remove(path)
