"""`ai-memory-mcp serve-http`: one process that serves this machine's memory to others."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import uvicorn

from ai_memory_mcp.config import environment, home_folder, load_config, read_token, user_home
from ai_memory_mcp.errors import ConfigError, InputError
from ai_memory_mcp.files import private_dir
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.server.app import build_app
from ai_memory_mcp.server.guard import is_loopback
from ai_memory_mcp.server.hands import Apart
from ai_memory_mcp.server.listening import listen
from ai_memory_mcp.tokens import Token, Tokens, hash_of

SHORTEST = 32  # characters of a token that somebody else has made
SWITCH = 0.0005  # seconds: a tenth of the usual, for the loop has to get its turn while threads compute
GRACE = 10  # seconds for requests to end when the server is told to
CONNECTIONS = 1_000


def serve_http(host: str, port: int, *, hosts: Sequence[str] = (), token_file: str = "") -> int:
    """Serve until SIGTERM or SIGINT. Raises InputError, ConfigError, StorageError when it cannot begin.

    `hosts` are names under which the server is asked besides its addresses; the token in `token_file` opens it too.
    """
    env = environment()
    home = home_folder(env)
    config = load_config(home, env)
    if config.server.url:
        raise ConfigError(
            f"this memory is set up as a client of {config.server.url}: a server needs one of its own; unset"
            " AI_MEMORY_SERVER_URL (or [server] url in config.toml), or set AI_MEMORY_HOME to another folder"
        )
    tokens = Tokens(private_dir(home), _from_file(token_file))
    if not tokens.all() and not all(map(is_loopback, (host, *hosts))):
        raise InputError(
            f"anybody who reaches {host} could read this memory; make a token first: ai-memory-mcp token create NAME"
        )
    listener = listen(host, port)
    own = {host, *hosts, *_own_names(host)}

    def open_memory() -> LocalMemory:
        return LocalMemory(Resources.at(home, user_home(env), config))

    _log_to_stderr()
    sys.setswitchinterval(SWITCH)
    settings = uvicorn.Config(
        build_app(home, open_memory, tokens, own, lambda: Apart(home, env)),
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=CONNECTIONS,
    )
    address = listener.getsockname()
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    logging.getLogger("ai_memory_mcp").info("serving %s at http://%s:%d", home, shown, address[1])
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)  # uvicorn sends itself the signal that ended it, when all is done
    uvicorn.Server(settings).run(sockets=[listener])
    return 0


def _from_file(path: str) -> list[Token]:
    if not path:
        return []
    secret = read_token(Path(path))
    if len(secret) < SHORTEST:
        raise ConfigError(f"the token in {path} is too short to be one; make it with: openssl rand -hex 32")
    return [Token(name="token-file", hash=hash_of(secret), created=datetime.now(timezone.utc))]


def _own_names(host: str) -> list[str]:
    """Return the names by which a server that listens everywhere is surely meant: those of its machine."""
    if host not in ("0.0.0.0", "::", ""):
        return []
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return [name, short, f"{short}.local"]


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("ai_memory_mcp").setLevel(logging.INFO)
