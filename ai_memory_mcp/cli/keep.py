"""Commands that keep memory in order and safe: projects under other names, and `backup`, `restore` and `export`, which
only the machine that holds the memory can do."""

from __future__ import annotations

import argparse
import os
from datetime import datetime, timezone
from pathlib import Path

from ai_memory_mcp.cli import render
from ai_memory_mcp.cli.context import opened, scope
from ai_memory_mcp.config import environment, home_folder, load_config, user_home
from ai_memory_mcp.errors import ConfigError
from ai_memory_mcp.model import Project, Scope


def rename(args: argparse.Namespace) -> int:
    """Give a project another name."""
    with opened() as memory:
        return _told(args, memory.rename_project(_named(args), args.new))


def move(args: argparse.Namespace) -> int:
    """Put a project into another workspace."""
    with opened() as memory:
        return _told(args, memory.move_project(_named(args), args.to))


def merge(args: argparse.Namespace) -> int:
    """Make a project part of another one."""
    with opened() as memory:
        return _told(args, memory.merge_projects(_named(args), args.into))


def _named(args: argparse.Namespace) -> Scope:
    return Scope(project=args.name, workspace=args.workspace or "")


def _told(args: argparse.Namespace, project: Project) -> int:
    render.as_json({"project": project}) if args.json else render.renamed(args.name, project)
    return 0


def backup(args: argparse.Namespace) -> int:
    """Write everything that is kept here into one file."""
    from ai_memory_mcp.local import open_local

    _here_only("backup")
    now = datetime.now(timezone.utc)
    told = Path(os.path.abspath(os.path.expanduser(args.file or user_home(environment()) or ".")))
    target = told / f"ai-memory-{now:%Y-%m-%d-%H%M%S}.zip" if told.is_dir() else told
    with render.Bar() as bar:
        done = open_local().backup(target, progress=bar.show)
    render.as_json(done) if args.json else render.backed_up(done)
    return 0


def restore(args: argparse.Namespace) -> int:
    """Put a backup where no memory is yet."""
    from ai_memory_mcp import backup as backups

    _here_only("restore")
    home = home_folder(environment())
    if args.into:
        home = Path(os.path.abspath(os.path.expanduser(args.into)))
    elif args.beside:
        home = home.with_name(f"{home.name}-restored-{datetime.now(timezone.utc):%Y-%m-%d-%H%M%S}")
    file = Path(os.path.abspath(os.path.expanduser(args.file)))
    with render.Bar() as bar:
        done = backups.restore(file, home, dry_run=args.dry_run, progress=bar.show)
    render.as_json(done) if args.json else render.restored(done)
    return 0


def export(args: argparse.Namespace) -> int:
    """Write the pages of a project as plain files."""
    from ai_memory_mcp.local import open_local

    _here_only("export")
    target = Path(os.path.abspath(os.path.expanduser(args.target)))
    with render.Bar() as bar:
        done = open_local().export(scope(args), target, force=args.force, progress=bar.show)
    render.as_json(done) if args.json else render.exported(done)
    return 0


def _here_only(command: str) -> None:
    """Raise ConfigError on a machine whose memory is on a server."""
    env = environment()
    url = load_config(home_folder(env), env).server.url
    if url:
        raise ConfigError(f"this machine is a client: the memory is at {url}; run `ai-memory-mcp {command}` there")
