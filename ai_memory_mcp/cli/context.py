"""What every command needs: the memory to speak to and the scope it was asked in."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from ai_memory_mcp.config import environment
from ai_memory_mcp.memory import Memory
from ai_memory_mcp.model import Scope
from ai_memory_mcp.place import working_folder
from ai_memory_mcp.remote import open_memory
from ai_memory_mcp.waking import wake_worker


@contextmanager
def opened() -> Iterator[Memory]:
    """Open the memory for one command: this machine's, or that of the server it is a client of."""
    memory = open_memory()
    try:
        yield memory
    finally:
        memory.close()
    wake_worker(memory)


def scope(args: argparse.Namespace) -> Scope:
    """Return the scope of a command: --project, --workspace, else the working directory."""
    return Scope(cwd=working_folder(environment()), project=args.project or "", workspace=args.workspace or "")
