"""Commands that move things along: ingest, reindex, serve. (`emit` never comes here: it must start in no time.)"""

from __future__ import annotations

import argparse

from ai_memory_mcp.cli import render
from ai_memory_mcp.cli.context import opened, scope
from ai_memory_mcp.local import open_local


def ingest(args: argparse.Namespace) -> int:
    """Take in what waits in the spool."""
    if args.retry:
        open_local().res.spool.retry()
    with opened() as memory:
        report = memory.ingest()
    if args.json:
        render.as_json(report)
    elif not args.quiet:
        render.out(
            f"{report.ingested} observations, {report.duplicates} duplicates, {report.filtered} filtered,"
            f" {report.set_aside} set aside; {report.sessions_closed} sessions closed"
        )
    return 0


def reindex(args: argparse.Namespace) -> int:
    """Build the index anew."""
    with opened() as memory:
        memory.reindex()
        found = memory.status(scope(args))
    if args.json:
        render.as_json({"reindexed": True, "counts": found.counts})
    else:
        render.out("the index is built anew from wiki and journal")
    return 0
