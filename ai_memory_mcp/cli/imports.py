"""Commands that fill a memory with what is there already: `bootstrap` and `import`."""

from __future__ import annotations

import argparse
import os
from datetime import datetime, timezone
from pathlib import Path

from ai_memory_mcp.cli import render
from ai_memory_mcp.cli.context import opened, scope


def bootstrap(args: argparse.Namespace) -> int:
    """Make pages of what the repository here says."""
    from ai_memory_mcp.bootstrapping import bootstrap_project
    from ai_memory_mcp.importing_sessions import day

    asked = scope(args)
    if args.folder:
        asked = asked.model_copy(update={"cwd": os.path.abspath(args.folder)})
    since = day(args.since) if args.since else None
    with render.Bar() as bar, opened() as memory:
        found = bootstrap_project(memory, asked, since=since, dry_run=args.dry_run, llm=args.llm, progress=bar.show)
    render.as_json(found) if args.json else render.imported(found)
    return int(found.enriched is not None and found.enriched.state == "failed")


def markdown(args: argparse.Namespace) -> int:
    """Bring in the Markdown files of a folder as pages."""
    with render.Bar() as bar, opened() as memory:
        found = memory.import_markdown(scope(args), Path(args.folder), dry_run=args.dry_run, progress=bar.show)
    render.as_json(found) if args.json else render.imported(found)
    return 0


def basic_memory(args: argparse.Namespace) -> int:
    """Bring in the notes of a basic-memory folder."""
    from ai_memory_mcp import peers

    with render.Bar() as bar, opened() as memory:
        found = peers.basic_memory(memory, scope(args), Path(args.folder), dry_run=args.dry_run, progress=bar.show)
    render.as_json(found) if args.json else render.imported(found)
    return 0


def server_memory(args: argparse.Namespace) -> int:
    """Bring in the entities of a file of the MCP server `server-memory`."""
    from ai_memory_mcp import peers

    with render.Bar() as bar, opened() as memory:
        found = peers.server_memory(memory, scope(args), Path(args.file), dry_run=args.dry_run, progress=bar.show)
    render.as_json(found) if args.json else render.imported(found)
    return 0


def claude_mem(args: argparse.Namespace) -> int:
    """Bring in the sessions of a claude-mem database."""
    from ai_memory_mcp import peers

    with render.Bar() as bar, opened() as memory:
        found = peers.claude_mem(
            memory,
            scope(args),
            Path(args.file),
            named=args.named,
            everywhere=args.all,
            dry_run=args.dry_run,
            progress=bar.show,
        )
    render.as_json(found) if args.json else render.imported_from_peer(found)
    return 0


def sessions(args: argparse.Namespace) -> int:
    """Bring in past sessions from the agents' own transcripts on this machine."""
    from ai_memory_mcp.importing_sessions import import_sessions

    with render.Bar() as bar, opened() as memory:
        found = import_sessions(
            memory,
            scope(args),
            agents=args.agent,
            since=args.since,
            everywhere=args.all,
            dry_run=args.dry_run,
            now=datetime.now(timezone.utc),
            progress=bar.show,
        )
    render.as_json(found) if args.json else render.imported_sessions(found)
    return 0
