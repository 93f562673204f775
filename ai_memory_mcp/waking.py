"""Starts the worker for sessions that wait for the language model: from whatever has just taken something in."""

from __future__ import annotations

from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.remote import RemoteMemory


def wake_worker(memory: LocalMemory | RemoteMemory) -> None:
    """Start a worker in a process of its own, if one is due; a server has its own."""
    if isinstance(memory, LocalMemory) and memory.worker_is_due():
        from ai_memory_mcp.emit_rare import start_worker

        start_worker(str(memory.res.home), detached=True)
