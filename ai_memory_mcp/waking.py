"""Starts the worker for what waits for a language or embedding model: from whatever has just taken something in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai_memory_mcp.files import first_in
from ai_memory_mcp.remote import RemoteMemory

if TYPE_CHECKING:
    from ai_memory_mcp.local import LocalMemory

START = 20.0  # seconds after which a worker that was started holds its lock, even where it has to wait for an ingest


def wake_worker(memory: LocalMemory | RemoteMemory) -> None:
    """Start a worker in a process of its own, if one is due and none was started just now; a server has its own."""
    if isinstance(memory, RemoteMemory) or not (memory.worker_is_due() or memory.embedding_is_due()):
        return
    if first_in(memory.res.home / "llm" / "woken", START):  # nobody has just started one
        from ai_memory_mcp.emit_rare import start_worker

        start_worker(str(memory.res.home), detached=True)
