"""Tokens: shown once, kept as hashes, told apart by name, gone when revoked."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from ai_memory_mcp.config import Config, ServerConfig, read_token, server_token
from ai_memory_mcp.errors import ConfigError, InputError, NotFoundError, StorageError
from ai_memory_mcp.redact import Redactor
from ai_memory_mcp.tokens import Tokens

NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)


def made(home: Path, name: str = "laptop", **more: object) -> str:
    options = {"read_only": False, "workspaces": (), **more}
    return Tokens(home).create(name, now=NOW, **options)


def test_a_token_is_found_by_what_was_shown_once(home: Path) -> None:
    secret = made(home, read_only=True, workspaces=("zoo",))
    found = Tokens(home).find(secret)

    assert found
    assert (found.name, found.read_only, found.workspaces) == ("laptop", True, ("zoo",))
    assert Tokens(home).find(secret[:-1]) is None
    assert Tokens(home).find("") is None


def test_only_hashes_are_kept_and_only_for_the_owner(home: Path) -> None:
    secret = made(home)
    path = home / "tokens.json"

    assert secret not in path.read_text()
    assert secret.removeprefix("aimem_") not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_name_is_given_once(home: Path) -> None:
    made(home)
    with pytest.raises(InputError, match="there is a token 'laptop' already"):
        made(home)
    for name in ("", "../x", "a b", "x" * 65, "ü"):
        with pytest.raises(InputError, match="no name for a token"):
            made(home, name)


def test_a_revoked_token_opens_nothing_for_who_has_looked_before(home: Path) -> None:
    kept, gone = made(home, "kept"), made(home, "gone")
    server = Tokens(home)
    assert server.find(gone)
    Tokens(home).revoke("gone")

    assert server.find(gone) is None
    assert server.find(kept)
    with pytest.raises(NotFoundError, match="there are: kept"):
        server.revoke("gone")


def test_with_a_damaged_file_no_token_is_good(home: Path) -> None:
    secret = made(home)
    (home / "tokens.json").write_text('{"tokens": [')

    with pytest.raises(StorageError, match="damaged"):
        Tokens(home).find(secret)
    with pytest.raises(StorageError, match="damaged"):
        made(home, "other")


def test_a_client_takes_its_token_from_the_variable_or_a_file_of_its_own(home: Path) -> None:
    home.mkdir(parents=True)
    config = Config()
    assert server_token(home, config, {}) == ""
    (home / "token").write_text(" secret-1 \n")
    (home / "token").chmod(0o600)
    named = home / "elsewhere"
    named.write_text("secret-2")
    named.chmod(0o600)
    own = Config(server=ServerConfig(token_file=str(named)))

    assert server_token(home, config, {}) == "secret-1"
    assert server_token(home, own, {}) == "secret-2"
    assert server_token(home, own, {"AI_MEMORY_TOKEN": "secret-3"}) == "secret-3"


def test_a_token_that_others_can_read_or_nobody_finds_is_refused(home: Path) -> None:
    home.mkdir(parents=True)
    path = home / "token"
    path.write_text("secret")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token(path)
    with pytest.raises(ConfigError, match="does not exist"):
        server_token(home, Config(server=ServerConfig(token_file=str(home / "none"))), {})


def test_a_token_that_an_agent_sees_is_redacted(home: Path) -> None:
    secret = made(home)
    told = Redactor(extra=[], allow=[]).value({"said": f"the token is {secret}, keep it"}, 1000)

    assert secret not in json.dumps(told)
