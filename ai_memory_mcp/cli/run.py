"""Commands that move things along: ingest, reindex; serve and emit only when called in-process (`__main__` has a
shorter way to both, because agents wait for them)."""

from __future__ import annotations

import argparse
import sys

from ai_memory_mcp.cli import render
from ai_memory_mcp.cli.context import opened, scope
from ai_memory_mcp.config import environment, home_folder
from ai_memory_mcp.errors import InputError
from ai_memory_mcp.model import IngestReport
from ai_memory_mcp.remote import RemoteMemory, open_memory
from ai_memory_mcp.spool import Spool


def serve(args: argparse.Namespace) -> int:
    """Run the MCP server."""
    from ai_memory_mcp.server.stdio import serve_main

    return serve_main(["--tool-names", args.tool_names, *(["--agent", args.agent] if args.agent else [])])


def serve_http(args: argparse.Namespace) -> int:
    """Serve this memory to other machines."""
    from ai_memory_mcp.server.http import serve_http as run

    return run(args.host, args.port, hosts=args.allow_host, token_file=args.token_file or "")


def serve_web(args: argparse.Namespace) -> int:
    """Open the browser's pages for one visit."""
    from ai_memory_mcp.server.web.serve import serve_web as run

    def opened(url: str) -> None:
        render.as_json({"url": url}) if args.json else render.out(url)
        sys.stdout.flush()
        if not args.no_open and not open_browser(url) and not args.json:
            render.warn("Open this address in a browser; it is good for one time. Ctrl-C ends it.")

    return run(open_memory, idle=args.idle * 60.0, opened=opened, port=args.port)


def open_browser(url: str) -> bool:
    """Show an address in the user's browser; False where there is none with a window."""
    env = environment()
    windows = sys.platform in ("win32", "darwin") or {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"} & set(env)
    if not windows:  # a browser for terminals would take this one
        return False
    import webbrowser

    return webbrowser.open(url)


def emit(args: argparse.Namespace) -> int:
    """Store one event, or a stream of them."""
    from ai_memory_mcp.emit import main

    words = [f"--{name}={value}" for name in ("agent", "event") if (value := getattr(args, name))]
    return main([*words, *(["--stream"] if args.stream else [])])


def ingest(args: argparse.Namespace) -> int:
    """Take in what waits in the spool."""
    home = home_folder(environment())
    if args.retry:
        Spool(home).retry()
    with opened() as memory:
        if args.quiet and isinstance(memory, RemoteMemory):
            report = IngestReport()
            memory.tick(RemoteMemory.WAIT)  # when the server is away, nobody is there to hear it
        else:
            report = memory.ingest()
        if args.quiet:
            from ai_memory_mcp.local import LocalMemory

            if isinstance(memory, LocalMemory):  # a server has a worker of its own
                memory.close()  # the model may take minutes
                memory.consolidate_waiting()
                memory.embed_waiting()
                memory.once_a_day()
    if args.quiet:  # the worker, for whose end nobody waits
        from ai_memory_mcp.agents.launcher import mend_launcher

        mend_launcher(home, sys.executable)
    if args.json:
        render.as_json(report)
    elif not args.quiet:
        delivered = f"{report.delivered} events delivered; " if report.delivered else ""
        render.out(
            f"{delivered}{report.ingested} observations, {report.duplicates} duplicates, {report.filtered} filtered,"
            f" {report.set_aside} set aside; {report.sessions_closed} sessions closed"
        )
    return 0


def consolidate(args: argparse.Namespace) -> int:
    """Compile a session now; 1 when the language model did not answer for one of them."""
    if args.all and args.session:
        raise InputError("say either a session or --all")
    with opened() as memory, render.Bar() as bar:
        found = memory.consolidate(scope(args), args.session, every=args.all, dry_run=args.dry_run, progress=bar.show)
    render.as_json({"sessions": found}) if args.json else render.consolidated(found)
    return 1 if any(one.state == "failed" for one in found) else 0


def lint(args: argparse.Namespace) -> int:
    """Tell what is wrong with the pages; 1 when a finding is an error."""
    with opened() as memory:
        here = scope(args)
        # what is known of contradictions is among the findings; only JSON has it by itself as well
        against = memory.contradictions(here, judge=args.llm) if args.llm or args.json else ()
        found = memory.lint(here, rules=tuple(args.rule), fix=args.fix, report=args.report)
    if args.json:
        render.as_json({**found.model_dump(mode="json"), "contradictions": against})
    else:
        render.linted(found, whole=bool(args.rule))
    return 1 if any(one.level == "error" for one in found.findings) else 0


def sync(args: argparse.Namespace) -> int:
    """Sync projects with a git remote; 1 when that failed for one of them."""
    with opened() as memory:
        if isinstance(memory, RemoteMemory):
            raise InputError(f"this machine is a client: the memory is synced where it is, at {memory.link.url}")
        from ai_memory_mcp.local import LocalMemory

        assert isinstance(memory, LocalMemory)
        found = memory.sync(scope(args), every=args.all, remote=args.remote, dry_run=args.dry_run)
    render.as_json(found) if args.json else render.synced(found)
    return 1 if any(one.state == "failed" for one in found.projects) else 0


def embed(args: argparse.Namespace) -> int:
    """Embed what has no vector yet."""
    with opened() as memory, render.Bar() as bar:
        if isinstance(memory, RemoteMemory):
            raise InputError(f"this machine is a client: the memory is embedded where it is, at {memory.link.url}")
        from ai_memory_mcp.local import LocalMemory

        assert isinstance(memory, LocalMemory)
        found = memory.embed(again=args.again, progress=bar.show)
    render.as_json(found) if args.json else render.embedded(found)
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
