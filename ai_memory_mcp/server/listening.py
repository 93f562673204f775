"""The socket that a server listens at."""

from __future__ import annotations

import socket

from ai_memory_mcp.errors import StorageError


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises StorageError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each answer waits 40 ms for its last part
        return listener
    except OSError as error:
        why = error.strerror or error
        raise StorageError(f"cannot listen at {host} port {port}: {why}; try another --port") from error
