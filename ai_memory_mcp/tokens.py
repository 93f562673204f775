"""The tokens that open the server: `tokens.json`, with their hashes only. Looked at anew at every use.

A token is 256 random bits, so a plain hash is as good as any: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from ai_memory_mcp.errors import InputError, NotFoundError, StorageError
from ai_memory_mcp.files import locked, private_dir, storage_error, write_atomic
from ai_memory_mcp.model import Value

PREFIX = "aimem_"
LOCK_WAIT = 10.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Token(Value):
    """One token: what it is called, the SHA-256 of it, and what it may do (any workspace where none is named)."""

    name: str
    hash: str
    read_only: bool = False
    workspaces: tuple[str, ...] = ()
    created: datetime


class _File(Value):
    tokens: tuple[Token, ...] = ()


class Tokens:
    """The tokens of one AI_MEMORY_HOME; `more` are tokens that stand elsewhere, like in a container's secret.

    Without a home these are all, and none can be made or revoked."""

    def __init__(self, home: Path | None, more: Sequence[Token] = ()) -> None:
        self.path = (home or Path()) / "tokens.json"
        self._homeless = home is None
        self._more = tuple(more)
        self._lock = (home or Path()) / "locks" / "tokens.lock"
        self._stamp: tuple[int, int] | None = None
        self._read: tuple[Token, ...] = ()

    def all(self) -> tuple[Token, ...]:
        """Return every token, by the names. Raises StorageError when the file is damaged: then none is good."""
        if self._homeless:
            return self._more
        try:
            stat = os.stat(self.path)
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp != self._stamp:
                self._read = _File.model_validate_json(self.path.read_bytes()).tokens
                self._stamp = stamp
        except FileNotFoundError:
            self._stamp, self._read = None, ()
        except OSError as error:
            raise storage_error("read", self.path, error) from error
        except ValidationError as error:
            raise StorageError(f"{self.path} is damaged; move it away and make new tokens") from error
        return (*self._read, *self._more)

    def find(self, secret: str) -> Token | None:
        """Return the token that this is; every one is looked at, so that time tells nothing."""
        told = hash_of(secret)
        found = None
        for token in self.all():
            if hmac.compare_digest(token.hash, told):
                found = token
        return found

    def create(self, name: str, *, read_only: bool, workspaces: Sequence[str], now: datetime) -> str:
        """Make a token and return it: it cannot be shown again. Raises InputError for a name that is taken or odd."""
        if not _NAME.fullmatch(name):
            raise InputError(f"'{name}' is no name for a token; use letters, digits and . _ @ -, like laptop")
        secret = PREFIX + secrets.token_urlsafe(32)
        made = Token(name=name, hash=hash_of(secret), read_only=read_only, workspaces=tuple(workspaces), created=now)
        with locked(self._lock, timeout=LOCK_WAIT):
            known = self.all()
            if any(token.name == name for token in known):
                raise InputError(f"there is a token '{name}' already; `ai-memory-mcp token revoke {name}` ends it")
            self._write((*self._read, made))
        return secret

    def revoke(self, name: str) -> Token:
        """End a token: requests with it are refused from now on. Raises NotFoundError."""
        with locked(self._lock, timeout=LOCK_WAIT):
            known = self.all()
            gone = next((token for token in known if token.name == name), None)
            if gone is None or gone in self._more:
                names = ", ".join(token.name for token in known) or "none"
                raise NotFoundError(f"there is no token '{name}'; there are: {names}")
            self._write(tuple(token for token in self._read if token.name != name))
        return gone

    def _write(self, tokens: tuple[Token, ...]) -> None:
        private_dir(self.path.parent)
        write_atomic(self.path, _File(tokens=tokens).model_dump_json(indent=1).encode() + b"\n", durable=True)


def hash_of(secret: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
