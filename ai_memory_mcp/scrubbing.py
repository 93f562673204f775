"""Scrubbing: a text that should never have been stored goes from every file of memory, in each way it may be written.

In JSON it stands escaped, in a path as a slug; a text of several lines also line by line, as pages quote it. What is
left in its place is REPLACEMENT, which is a possible name of a file, too.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from ai_memory_mcp import markdown, sessions
from ai_memory_mcp.errors import InputError
from ai_memory_mcp.files import write_atomic
from ai_memory_mcp.wiki_rewrite import Edit

REPLACEMENT = "scrubbed-secret"
SHORTEST = 4  # characters of a text: shorter ones would be in everything
LINE = 8  # characters of a line of a longer text that is looked for alone
KEPT = ("config.toml", "token", "tokens.json", "machine.json", "installed.json")  # settings are not ours to change
_OURS = ("erasing.json", "tombstones.jsonl")  # the one goes when all is done, the other holds no texts
_NOT_HERE = ("wiki", "locks", "bin", "backups")  # wikis have histories, see `Edit`; backups are of agents' settings


class Scrubber(NamedTuple):
    """Takes one text, or what a pattern matches, out of whatever it is given."""

    pattern: re.Pattern[str]
    raw: re.Pattern[bytes]

    @classmethod
    def of(cls, text: str, *, regex: bool = False) -> Scrubber:
        """Make one of a text, or of a regular expression. Raises InputError for one that would take too much."""
        told = text.strip()
        if len(told) < SHORTEST:
            raise InputError(f"what is to be scrubbed must have at least {SHORTEST} characters")
        if regex:
            try:
                pattern, raw = re.compile(told), re.compile(told.encode())
            except re.error as error:
                raise InputError(f"'{told}' is not a regular expression: {error}") from error
            if pattern.search(""):
                raise InputError("this regular expression matches everything")
            return cls(pattern, raw)
        forms = _forms(told)
        joined = "|".join(map(re.escape, forms))
        return cls(re.compile(joined, re.IGNORECASE), re.compile(joined.encode(), re.IGNORECASE))  # titles begin large

    def data(self, data: bytes) -> bytes:
        """Return bytes without it."""
        return self.raw.sub(REPLACEMENT.encode(), data)

    def value(self, value: Any) -> Any:
        """Return a JSON value without it, in texts and in names."""
        if isinstance(value, str):
            return self.pattern.sub(REPLACEMENT, value)
        if isinstance(value, dict):
            return {self.value(key): self.value(inner) for key, inner in value.items()}
        return [self.value(inner) for inner in value] if isinstance(value, list) else value

    def edit(self) -> Edit:
        """Return what becomes of a wiki."""
        return Edit(gone=lambda _: False, text=lambda _, data: scrubbed_text(data, self.data(data)), words=self.data)

    def scrub_home(self, home: Path) -> int:
        """Scrub every file of a home but wikis, settings and what can be made anew; returns how many changed."""
        return sum(self._file(path, write=True) for path in _files(home))

    def count(self, home: Path) -> int:
        """Return in how many files it stands, pages as they are now among them."""
        return sum(self._file(path, write=False) for path in (*_files(home), *_pages(home)))

    def left(self, home: Path) -> list[str]:
        """Return the settings, and copies of agents' settings, that hold it: `uninstall` needs them as they are."""
        found = [home / name for name in KEPT]
        found += [path for path in sorted((home / "backups").rglob("*")) if path.is_file()]
        return [path.relative_to(home).as_posix() for path in found if self._file(path, write=False)]

    def _file(self, path: Path, *, write: bool) -> bool:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return False
        packed = path.suffix == ".gz"
        plain = gzip.decompress(data) if packed else data
        lines = path.name.removesuffix(".gz").endswith((".json", ".jsonl", ".events", ".log"))
        told = b"".join(map(self._line, plain.splitlines(keepends=True))) if lines else self.data(plain)
        if told == plain:
            return False
        if write:
            write_atomic(path, gzip.compress(told, mtime=0) if packed else told, keep=True, durable=True)
        return True

    def _line(self, line: bytes) -> bytes:
        """Return a line without it: one of JSON stays JSON."""
        try:
            value = json.loads(line)
        except ValueError:
            return self.data(line)
        told = self.value(value)
        if told != value:
            end = b"\n" if line.endswith(b"\n") else b""
            line = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + end
        return self.data(line)


def scrubbed_text(before: bytes, after: bytes) -> bytes:
    """Return the new text of a page, still marked as compiled where it was: no person has edited it."""
    if before == after or b"compiled:" not in before:
        return after
    text = before.decode("utf-8", "replace")
    return sessions.stamped(after.decode("utf-8", "replace")).encode() if sessions.is_compiled(text) else after


def _forms(text: str) -> list[str]:
    """Return the ways in which a text may be written, the longest first."""
    parts = [text]
    if "\n" in text:
        parts += [line.strip() for line in text.splitlines() if len(line.strip()) >= LINE]
    found = set(parts)
    for part in parts:
        found |= {json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1], part.replace("'", "''")}
        if len(slug := markdown.slug(part)) >= LINE:
            found.add(slug)
    return sorted(found, key=len, reverse=True)


def _files(home: Path) -> list[Path]:
    found = []
    for top in sorted(home.glob("*")) if home.is_dir() else ():
        if top.is_dir() and top.name not in _NOT_HERE:
            found += [path for path in sorted(top.rglob("*")) if path.is_file() and not path.is_symlink()]
        elif top.is_file() and top.name not in (*KEPT, *_OURS) and not top.name.startswith("index"):
            found.append(top)
    return found


def _pages(home: Path) -> list[Path]:
    return [path for path in sorted((home / "wiki").rglob("*.md")) if ".git" not in path.parts and path.is_file()]
