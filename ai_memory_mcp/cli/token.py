"""The command `token`: make, list and revoke what opens the server of this machine."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone

from ai_memory_mcp.cli import render
from ai_memory_mcp.config import environment, home_folder
from ai_memory_mcp.errors import InputError
from ai_memory_mcp.tokens import Tokens


def token(args: argparse.Namespace) -> int:
    """Make, list or revoke tokens."""
    tokens = Tokens(home_folder(environment()))
    if args.action == "list":
        found = [one.model_dump(mode="json", exclude={"hash"}) for one in tokens.all()]
        render.as_json({"tokens": found}) if args.json else render.tokens(tokens.all())
        return 0
    if not args.name:
        raise InputError(f"say which one: token {args.action} NAME")
    if args.action == "create":
        made = tokens.create(
            args.name, read_only=args.read_only, workspaces=args.workspace, now=datetime.now(timezone.utc)
        )
        if args.json:
            render.as_json({"name": args.name, "token": made})
        else:
            render.out(made)
            render.warn("Keep it now: only its hash is stored, so it cannot be shown again.")
        return 0
    gone = tokens.revoke(args.name)
    if args.json:
        render.as_json({"revoked": gone.name})
    else:
        render.out(f"{gone.name} opens nothing any more")
    return 0
