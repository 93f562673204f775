"""The parser, and the one place where errors become messages and exit codes.

0 done · 1 the user can act on it · 2 usage · 3 unexpected (a log file is named) · 130 interrupted.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence

from ai_memory_mcp import __version__
from ai_memory_mcp.cli.render import safe, warn
from ai_memory_mcp.config import environment, home_folder
from ai_memory_mcp.errors import AiMemoryError
from ai_memory_mcp.model import VERDICTS

Add = Callable[[str, str, str], argparse.ArgumentParser]
AddParser = Callable[..., argparse.ArgumentParser]  # argparse's own way to add a command
KINDS = ("note", "decision", "gotcha", "procedure", "concept", "rule", "slot", "session")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _speak_utf8()
    parser = build_parser()
    args = parser.parse_args(argv)
    if not args.run:
        parser.print_help()
        return 2
    try:
        command = _command(args.run)
        gc.freeze()  # what was imported stays: no collection need look at it again
        gc.enable()
        code = int(command(args))
        sys.stdout.flush()  # not at exit, where a closed pipe could only be complained about
        return code
    except AiMemoryError as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except BrokenPipeError:  # `ai-memory-mcp recent | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:  # a bug: the one place that says where its details are
        _say(f"unexpected {type(error).__name__}: {error}\n{_log(error)}")
        return 3


def _speak_utf8() -> None:
    """Memory holds every script; a terminal set to another encoding must not stop a command half-way."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")


def _say(text: str) -> None:
    warn(safe(f"ai-memory-mcp: {text}"))


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """Import the module of one command only."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(f"ai_memory_mcp.cli.{module}"), function)  # type: ignore[no-any-return]


def _log(error: BaseException) -> str:
    try:
        path = home_folder(environment()) / "logs" / "errors.log"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {' '.join(sys.argv[:2])}\n")
            traceback.print_exception(type(error), error, error.__traceback__, file=file)
        return f"details are in {path}; please report them"
    except (OSError, AiMemoryError):
        return "no log could be written"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; `run` names the function as module:function below cli/."""
    parser = argparse.ArgumentParser(
        prog="ai-memory-mcp", description="One shared, persistent memory for AI coding agents."
    )
    parser.add_argument("--version", action="version", version=f"ai-memory-mcp {__version__}")
    parser.set_defaults(run="")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    add = _adder(commands.add_parser)
    add_scoped = _scoped(add)
    _wire_commands(add)
    _use_commands(add_scoped)
    _bootstrap_command(add_scoped)
    _erase_commands(add, add_scoped)
    _keep_commands(add)
    _import_commands(commands.add_parser)
    _export_command(add_scoped)
    _run_commands(add, add_scoped)
    return parser


def _adder(add_parser: AddParser) -> Add:
    def add(name: str, run: str, text: str) -> argparse.ArgumentParser:
        command = add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.set_defaults(run=run)
        command.add_argument("--json", action="store_true", help="print JSON")
        return command

    return add


def _scoped(add: Add) -> Add:
    def add_scoped(name: str, run: str, text: str) -> argparse.ArgumentParser:
        command = add(name, run, text)
        command.add_argument("--project", help="project by name, instead of the one this folder belongs to")
        command.add_argument("--workspace", help="workspace by name")
        return command

    return add_scoped


def _between(low: int, high: int) -> Callable[[str], int]:
    """Return a reader of whole numbers for argparse, which says what the bounds are."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from {low} to {high}")
        return int(text)

    return read


def _wire_commands(add: Add) -> None:
    setup = add("setup", "wire:setup", "find every agent, show what would be written, wire MCP and hooks")
    _wiring(setup)
    _server_url(setup)
    setup.add_argument("--trust-codex-hooks", action="store_true", help="have Codex trust our hooks (asks first)")
    setup.add_argument("--refresh", action="store_true", help="only bring up to date what is wired, add nothing")
    mcp = add("install-mcp", "wire:install_mcp", "add the MCP server to one agent (a dry run unless --apply)")
    hooks = add("install-hooks", "wire:install_hooks", "add the hooks to one agent (a dry run unless --apply)")
    mcp.add_argument("--client", dest="agent", action="append", required=True, help="the agent, e.g. claude-code")
    hooks.add_argument("--agent", action="append", required=True, help="the agent, e.g. codex")
    for command in (mcp, hooks):
        command.add_argument("--apply", action="store_true", help="write it")
        _project_level(command)
    _server_url(mcp)
    uninstall = add("uninstall", "wire:uninstall", "take everything of ours out of the agents' settings again")
    _wiring(uninstall)
    agents = add("agents", "wire:agents", "list the agents that are supported, how far, and what is wired")
    agents.add_argument("--markdown", action="store_true", help="print only what is supported, as a Markdown table")
    agents.add_argument("--bundle", metavar="AGENT", help="write the ready plugin of this agent instead")
    agents.add_argument("--out", metavar="FOLDER", default=".", help="where to write it (default: here)")
    doctor = add("doctor", "doctor:doctor", "look for what is wrong and say how to mend it")
    doctor.add_argument("--llm", action="store_true", help="also ask the language and the embedding model for one word")
    upgrade = add("upgrade", "upgrade:upgrade", "upgrade this program and what setup has wired")
    upgrade.add_argument("--check", action="store_true", help="only tell which version is installed and available")
    upgrade.add_argument("--yes", action="store_true", help="do it without asking")


def _wiring(command: argparse.ArgumentParser) -> None:
    command.add_argument("--agent", action="append", help="only this agent (may be repeated)")
    command.add_argument("--yes", action="store_true", help="do it without asking")
    command.add_argument("--dry-run", action="store_true", help="only show what would change")
    _project_level(command)


def _project_level(command: argparse.ArgumentParser) -> None:
    command.add_argument("--project", action="store_true", help="the settings of the project here, not the user's")


def _server_url(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--server-url",
        metavar="URL",
        help="this machine is a client of the server there: its hooks deliver to it, the MCP server that agents start"
        " asks it; 'local' takes that back. A token in AI_MEMORY_TOKEN is kept in AI_MEMORY_HOME/token",
    )
    command.add_argument(
        "--http",
        action="store_true",
        help="with --server-url: agents ask that server themselves, with the token that they find in AI_MEMORY_TOKEN",
    )


def _use_commands(add: Add) -> None:
    search = add("search", "use:search", "find pages and observations")
    search.add_argument("text", nargs="+", help="the question; filters: kind: agent: before: after: path:")
    search.add_argument("--kind", action="append", default=[], help="only this kind (may be repeated)")
    search.add_argument("--limit", type=_between(1, 100), default=8, metavar="N", help="how many hits (1-100)")
    search.add_argument(
        "--max-tokens", type=_between(100, 100_000), default=2000, metavar="N", help="budget for all hits (100-100000)"
    )
    search.add_argument("--everywhere", action="store_true", help="all projects")
    read = add("read", "use:read", "show a page or a session")
    read.add_argument("ref", help="path, id or title of a page; id of a session")
    read.add_argument("--observations", action="store_true", help="a session's observations")
    read.add_argument("--links", action="store_true", help="links both ways, the page's history, its session's pages")
    read.add_argument("--at", default="", metavar="WHEN", help="as it was on a date, at a time (UTC) or in a commit")
    write = add("write", "use:write", "write a page (its text from --body, --file or standard input)")
    write.add_argument("title", help="its title; a page of the same kind and title is replaced")
    write.add_argument("--body", help="its text")
    write.add_argument("--file", help="read its text from this file")
    write.add_argument("--kind", default="note", choices=KINDS, help="default: note")
    write.add_argument("--path", help="where in the wiki; derived from kind and title by default")
    write.add_argument("--tag", action="append", default=[], help="may be repeated")
    write.add_argument("--pinned", action="store_true", help="keep it before others in rank")
    write.add_argument("--supersedes", action="append", default=[], help="a page that this one replaces")
    recent = add("recent", "use:recent", "list the pages changed last")
    recent.add_argument("--kind", action="append", default=[], help="only this kind (may be repeated)")
    recent.add_argument("--limit", type=_between(1, 100), default=20, metavar="N", help="how many pages (1-100)")
    history = add("history", "use:history", "show who changed what when, in the project or in one page")
    history.add_argument("ref", nargs="?", default="", help="path, id or title of a page; one that is gone by its path")
    history.add_argument("--limit", type=_between(1, 1000), default=20, metavar="N", help="how many commits (1-1000)")
    history.add_argument("--diff", action="store_true", help="show what changed")
    revert = add("revert", "use:revert", "take back one commit, or what the language model made of a session")
    revert.add_argument("ref", help="the beginning of a commit's id, or the id of a session")
    feedback = add("feedback", "use:feedback", "say what a page or a hit was worth, for its rank from now on")
    feedback.add_argument("ref", help="path, id or title of a page; id of a hit")
    feedback.add_argument("verdict", choices=VERDICTS, help="stale: it was true once")
    feedback.add_argument("--note", default="", help="why, or what is true instead")
    _handoff_command(add)
    brief = add("brief", "use:brief", "print what an agent would be told at session start")
    brief.add_argument("--agent", help="for this agent")
    sessions = add("sessions", "use:sessions", "list sessions, the last active first")
    sessions.add_argument("--limit", type=_between(1, 1000), default=20, metavar="N", help="how many (1-1000)")
    add("projects", "use:projects", "list known projects")
    add("status", "use:status", "say what is there and whether all is well")


def _handoff_command(add: Add) -> None:
    handoff = add("handoff", "use:handoff", "list, leave, accept or close handoffs")
    handoff.add_argument(
        "action", nargs="?", default="list", choices=("list", "get", "leave", "accept", "close"), help="default: list"
    )
    handoff.add_argument("id", nargs="?", help="get, accept and close: which one (its first 6 characters will do)")
    handoff.add_argument("--all", action="store_true", help="list: also those superseded or expired")
    handoff.add_argument("--summary", help="leave: where things stand (or on standard input)")
    handoff.add_argument("--to", default="any", help="leave: only for this agent")
    for name in ("next-step", "open-question", "failed-approach", "decision", "file-touched"):
        handoff.add_argument(f"--{name}", action="append", default=[], help="leave: may be repeated")


def _bootstrap_command(add: Add) -> None:
    text = "make a first wiki of what the repository already says; again, what has changed there"
    command = add("bootstrap", "imports:bootstrap", text)
    command.add_argument("folder", nargs="?", default="", metavar="DIR", help="the repository (default: the one here)")
    command.add_argument("--since", default="", metavar="DATE", help="read only the history after this day")
    command.add_argument(
        "--llm", action="store_true", help="have the language model make more of it: asks it twice at most"
    )
    command.add_argument(
        "--dry-run", action="store_true", help="only tell what would come, with --llm what it may cost"
    )


def _erase_commands(add: Add, add_scoped: Add) -> None:
    forget = add_scoped("forget", "erase:forget", "remove a page or a session; history keeps pages unless --for-good")
    forget.add_argument("ref", help="path, id or title of a page; id of a session")
    forget.add_argument("--for-good", action="store_true", help="out of history, journal and every other file (asks)")
    session = add_scoped("purge-session", "erase:purge_session", "erase a session for good, with what was made of it")
    session.add_argument("session", help="its id, or the agent's own")
    project = add("purge-project", "erase:purge_project", "erase a project for good, with everything in it")
    project.add_argument("name", help="its name or id")
    project.add_argument("--workspace", help="workspace by name")
    scrub = add("scrub", "erase:scrub", "take a text, like a secret found later, out of all projects for good")
    scrub.add_argument("pattern", help="the text; - reads it from the terminal or standard input")
    scrub.add_argument("--regex", action="store_true", help="it is a regular expression")
    for command in (forget, session, project, scrub):
        command.add_argument("--yes", action="store_true", help="do it without asking")
        command.add_argument("--dry-run", action="store_true", help="only tell what would go")


def _keep_commands(add: Add) -> None:
    rename = add("rename-project", "keep:rename", "give a project another name; the old one goes on leading to it")
    move = add("move", "keep:move", "put a project into another workspace; its old name goes on leading to it")
    merge = add(
        "merge-projects", "keep:merge", "make a project part of another one: sessions, pages, history, handoffs"
    )
    for command in (rename, move, merge):
        command.add_argument("name", help="the project, by name or id")
        command.add_argument("--workspace", help="the workspace that it is in, where the name alone is not enough")
    rename.add_argument("new", help="its new name")
    move.add_argument("to", metavar="WORKSPACE", help="the workspace that it goes to; it need not exist yet")
    merge.add_argument("into", help="the project that has everything then; workspace/name where that is needed")
    backup = add("backup", "keep:backup", "write everything that is kept into one file, while agents go on")
    backup.add_argument(
        "file", nargs="?", default="", help="a new file, or a folder for it (default: your home folder)"
    )
    restore = add("restore", "keep:restore", "put a backup, checked to the last byte, where no memory is yet")
    restore.add_argument("file", help="what `backup` wrote")
    where = restore.add_mutually_exclusive_group()
    where.add_argument("--into", metavar="FOLDER", help="into this folder, instead of AI_MEMORY_HOME")
    where.add_argument("--beside", action="store_true", help="into a new folder beside AI_MEMORY_HOME")
    restore.add_argument("--dry-run", action="store_true", help="only read and check all of it")


def _export_command(add: Add) -> None:
    export = add("export", "keep:export", "write the pages of the project as plain Markdown files")
    export.add_argument("target", metavar="DIR|FILE", help="a new or empty folder, or a file .tar, .tar.gz or .tgz")
    export.add_argument(
        "--force", action="store_true", help="replace the file; put the earlier export in this folder aside"
    )


def _import_commands(add_parser: AddParser) -> None:
    text = "bring in what was kept elsewhere"
    command = add_parser("import", help=text, description=text[0].upper() + text[1:] + ".")
    add = _scoped(_adder(command.add_subparsers(title="what to import", metavar="WHAT", required=True).add_parser))
    text = "bring in the Markdown files of a folder as pages; again, what is new or has changed"
    sessions = add("sessions", "imports:sessions", "bring in past sessions from the agents' own transcripts")
    sessions.add_argument("--agent", action="append", default=[], help="only this agent (may be repeated)")
    sessions.add_argument("--since", default="", metavar="DATE", help="only sessions that went on after this day")
    sessions.add_argument("--all", action="store_true", help="of every project, not of this one alone")
    sessions.add_argument("--dry-run", action="store_true", help="only tell what would come")
    markdown = add("markdown", "imports:markdown", text)
    markdown.add_argument("folder", metavar="DIR", help="the folder, e.g. a vault of Obsidian or the docs of a project")
    basic = add("basic-memory", "imports:basic_memory", "bring in the notes of a basic-memory folder as pages")
    basic.add_argument("folder", metavar="DIR", help="the folder of a basic-memory project, e.g. ~/basic-memory")
    claude = add("claude-mem", "imports:claude_mem", "bring in the sessions of a claude-mem database as pages")
    claude.add_argument("file", metavar="FILE", help="the database, e.g. ~/.claude-mem/claude-mem.db")
    which = claude.add_mutually_exclusive_group()
    which.add_argument(
        "--from",
        dest="named",
        action="append",
        default=[],
        metavar="NAME",
        help="a project there (may be repeated; default: the one that is called like this one)",
    )
    which.add_argument("--all", action="store_true", help="every project there, each into the one of its name here")
    graph = add("server-memory", "imports:server_memory", "bring in the entities of the MCP server server-memory")
    graph.add_argument("file", metavar="FILE", help="its memory.jsonl")
    for one in (markdown, basic, claude, graph):
        one.add_argument("--dry-run", action="store_true", help="only tell what would come")


def _server_commands(add: Add) -> None:
    http = add("serve-http", "run:serve_http", "serve this memory to other machines and to agents over HTTP")
    http.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine only)")
    http.add_argument("--port", type=_between(0, 65535), default=49374, help="default: 49374; 0 takes a free one")
    http.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which the server is asked, like that of a proxy (may be repeated)",
    )
    http.add_argument("--token-file", metavar="FILE", help="the token in this file opens the server too")
    web = add("serve-web", "run:serve_web", "look through this memory in a browser, on this machine, for one visit")
    web.add_argument("--no-open", action="store_true", help="only print the address, open no browser")
    web.add_argument(
        "--idle",
        type=_between(1, 1440),
        default=15,
        metavar="MINUTES",
        help="end after so long without use (default: 15)",
    )
    web.add_argument("--port", type=_between(0, 65535), default=0, help="default: 0, a free one")
    token = add("token", "token:token", "make, list and revoke the tokens that open the server")
    token.add_argument(
        "action",
        choices=("create", "list", "revoke"),
        help="create shows the token, once; revoke ends it",
    )
    token.add_argument("name", nargs="?", help="create, revoke: what it is called, like the machine that gets it")
    token.add_argument("--read-only", action="store_true", help="create: it may only look")
    token.add_argument("--workspace", action="append", default=[], help="create: only this workspace (may be repeated)")


def _lint_command(add: Add) -> None:
    lint = add(
        "lint", "run:lint", "tell what is wrong with the pages of the project; exit code 1 when something is an error"
    )
    lint.add_argument("--rule", action="append", default=[], metavar="NAME", help="only this rule (may be repeated)")
    lint.add_argument("--fix", action="store_true", help="mend what is safe, in one commit")
    lint.add_argument("--report", action="store_true", help="write what was found to the page _lint/report.md")
    lint.add_argument("--llm", action="store_true", help="have the language model judge which pages contradict others")


def _sweep_command(add: Add) -> None:
    sweep = add(
        "forget-sweep",
        "upkeep:forget_sweep",
        "take out pages and raw observations whose time is over, of all projects unless one is named",
    )
    sweep.add_argument("--dry-run", action="store_true", help="only show what would go, and why")
    sweep.add_argument("--yes", action="store_true", help="do it without asking")


def _run_commands(add: Add, add_scoped: Add) -> None:
    serve = add("serve", "run:serve", "run the MCP server on standard input and output")
    serve.add_argument("--agent", help="the agent that starts it")
    serve.add_argument(
        "--tool-names",
        choices=("dotted", "underscore"),
        default="dotted",
        help="underscore: memory_search for memory.search, for agents that take no dots",
    )
    _server_commands(add)
    emit = add("emit", "run:emit", "store one event of an agent's hook (its JSON on standard input)")
    emit.add_argument("--agent", help="the agent, e.g. claude-code")
    emit.add_argument("--event", help="its name for the event, e.g. SessionStart")
    emit.add_argument("--stream", action="store_true", help="many events, one JSON object per line, until end of file")
    ingest = add("ingest", "run:ingest", "take in what waits in the spool")
    ingest.add_argument("--quiet", action="store_true", help="say nothing")
    ingest.add_argument("--retry", action="store_true", help="try again what was set aside")
    consolidate = add_scoped(
        "consolidate", "run:consolidate", "compile a session now, and have the language model make more of it"
    )
    consolidate.add_argument("session", nargs="?", default="", help="its id (default: the newest of the project)")
    consolidate.add_argument("--all", action="store_true", help="every session of the project, newest first")
    consolidate.add_argument(
        "--dry-run", action="store_true", help="ask the model, but only show what would be written"
    )
    _lint_command(add_scoped)
    sync = add_scoped("sync", "run:sync", "send and take in pages by a git remote")
    sync.add_argument("--all", action="store_true", help="every project, and those that only the remote has")
    sync.add_argument("--remote", default="", metavar="URL", help="this one, instead of the one in config.toml")
    sync.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    _sweep_command(add_scoped)
    embed = add(
        "embed", "run:embed", "have an embedding model read what is new, so that search finds what is meant, too"
    )
    embed.add_argument("--again", action="store_true", help="everything, also what this model has read before")
    add_scoped("reindex", "run:reindex", "build the index anew from wiki and journal")
    demo = add("demo", "demo:demo", "play a recorded session in a throw-away home and show what comes of it")
    demo.add_argument("--keep", action="store_true", help="keep the throw-away home")
