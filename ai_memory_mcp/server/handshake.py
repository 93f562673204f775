"""The first messages of an MCP connection, answered from plain data in the shape every client sends.

Anything out of the ordinary gets no answer here (None) and is left to the SDK, the one judge of odd input.
"""

from __future__ import annotations

from ai_memory_mcp import __version__
from ai_memory_mcp.server.tools import SERVER_NAME, TOOLS, Tools

# The revisions that are reached by `initialize`; the newest is the counter-offer to an unknown one.
PROTOCOL_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")

_ENVELOPE = "io.modelcontextprotocol/protocolVersion"
_UNSERVED = ("resources/list", "resources/templates/list", "prompts/list")


def negotiate(requested: object) -> str:
    """Return the protocol version for what the client asks for."""
    return requested if isinstance(requested, str) and requested in PROTOCOL_VERSIONS else PROTOCOL_VERSIONS[-1]


def initialize_result(version: str, instructions: str) -> dict[str, object]:
    """Return the result of `initialize`."""
    return {
        "protocolVersion": version,
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": {"name": SERVER_NAME, "version": __version__},
        "instructions": instructions,
    }


def is_request(message: dict[str, object]) -> bool:
    """Tell whether this is a well-formed JSON-RPC request."""
    return (
        message.get("jsonrpc") == "2.0"
        and type(message.get("id")) in (int, str)
        and isinstance(message.get("method"), str)
        and message.keys() <= {"jsonrpc", "id", "method", "params"}
    )


def opens_modern(message: dict[str, object]) -> bool:
    """Tell whether this request, as the first one, opens a connection of the 2026-07-28 protocol."""
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    probe = message.get("method") in ("initialize", "server/discover")
    return is_request(message) and not probe and isinstance(meta, dict) and _ENVELOPE in meta


def is_plain_initialize(message: dict[str, object]) -> bool:
    """Tell whether this is an `initialize` that the SDK would accept."""
    params = message.get("params")
    if message.get("method") != "initialize" or not is_request(message) or not isinstance(params, dict):
        return False
    client, capabilities = params.get("clientInfo"), params.get("capabilities")
    return (
        isinstance(params.get("protocolVersion"), str)
        and _plain_meta(params)
        and isinstance(capabilities, dict)
        and all(isinstance(value, dict) for value in capabilities.values())
        and isinstance(client, dict)
        and isinstance(client.get("name"), str)
        and isinstance(client.get("version"), str)
        and all(isinstance(value, str | list) for value in client.values())
    )


def plain_answer(message: dict[str, object], *, initialized: bool, tools: Tools = TOOLS) -> dict[str, object] | None:
    """Return `{"result": …}` or `{"error": …}` for an ordinary request other than `initialize`, else None.

    `server/discover` is the probe of the 2026-07-28 protocol; refused, its senders fall back to `initialize`.
    """
    if not is_request(message):
        return None
    method = message["method"]
    if method == "server/discover":
        return _not_found(method)
    if not _plain_params(message.get("params")):
        return None
    if method == "ping":
        return {"result": {}}
    if method == "tools/list" and initialized:
        return {"result": {"tools": tools}}
    return _not_found(method) if method in _UNSERVED else None


def _not_found(method: object) -> dict[str, object]:
    return {"error": {"code": -32601, "message": "Method not found", "data": method}}


def _plain_params(params: object) -> bool:
    if params is None:
        return True
    return (
        isinstance(params, dict)
        and params.keys() <= {"_meta", "cursor"}
        and params.get("cursor") is None
        and _plain_meta(params)
    )


def _plain_meta(params: dict[str, object]) -> bool:
    if "_meta" not in params:
        return True
    meta = params["_meta"]
    return isinstance(meta, dict) and _ENVELOPE not in meta and type(meta.get("progressToken", 0)) in (int, str)
