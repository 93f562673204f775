"""Commands that bring in what was kept elsewhere: `import sessions`, `import markdown`."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from pathlib import Path

from ai_memory_mcp.cli import render
from ai_memory_mcp.cli.context import opened, scope


def markdown(args: argparse.Namespace) -> int:
    """Bring in the Markdown files of a folder as pages."""
    with render.Bar() as bar, opened() as memory:
        found = memory.import_markdown(scope(args), Path(args.folder), dry_run=args.dry_run, progress=bar.show)
    render.as_json(found) if args.json else render.imported(found)
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
