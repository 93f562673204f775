"""What `setup --server-url` changes in our own home: the server's address in config.toml, the token in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ai_memory_mcp.agents import tomledit
from ai_memory_mcp.agents.changes import Change, read_settings
from ai_memory_mcp.agents.wiring import LOCAL
from ai_memory_mcp.config import TOKEN
from ai_memory_mcp.errors import InstallError
from ai_memory_mcp.files import private_dir, write_atomic
from ai_memory_mcp.link import server_parts


def server_address(told: str) -> str:
    """Return the address of a server as config.toml has it; LOCAL and '' as they are. Raises ConfigError."""
    return told if told in ("", LOCAL) else server_parts(told).geturl()


def config_change(home: Path, url: str) -> Change | None:
    """Return what makes this machine a client of the server at `url` (LOCAL: of none); None when it is already.

    Raises InstallError for a config.toml that cannot be changed safely.
    """
    path = home / "config.toml"
    before = read_settings(path)
    try:
        text = (before or b"").decode("utf-8")
        table = tomledit.get(text, ("server",))
        if not isinstance(table, dict | None):
            raise InstallError("`server` holds something else than a table")
        wanted = _wanted(table or {}, url)
        if wanted == (table or {}):
            return None
        if not wanted:
            after = tomledit.remove(text, ("server",))
        elif table is None:
            after = tomledit.append(text, ("server",), wanted)
        else:
            after = tomledit.replace(text, ("server",), wanted)
    except (UnicodeDecodeError, InstallError) as error:
        raise InstallError(f"{path} was left alone: {error}") from error
    summary = "ask and deliver to no server" if url == LOCAL else f"ask and deliver to {url}"
    return Change(path, before, after.encode("utf-8"), (summary,), mode=0o600)


def keep_token(home: Path, env: Mapping[str, str], ask: Callable[[], str]) -> str:
    """Keep the token in a file of ours, for whoever is started without a variable for it; says what was done.

    It is that of the environment, or what is answered when it is asked for (none is kept yet). Agents give hooks and
    servers no more variables than they like, and their settings are no place for a token.
    """
    path = home / "token"
    told = env.get(TOKEN, "").strip()
    secret = told or ("" if path.exists() else ask().strip())
    if not secret:
        return "" if path.exists() else f"If the server wants a token, put it into {path} (chmod 600)."
    private_dir(home)
    write_atomic(path, secret.encode() + b"\n", durable=True)
    return f"The token is kept in {path}."


def _wanted(table: Mapping[str, object], url: str) -> dict[str, object]:
    rest = {key: value for key, value in table.items() if key != "url"}
    return rest if url == LOCAL else {"url": url, **rest}
