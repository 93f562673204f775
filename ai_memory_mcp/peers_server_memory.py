"""The knowledge graph of the MCP server `server-memory` (@modelcontextprotocol/server-memory 2026.8.31, src/memory/
index.ts): a line of JSON for each entity, then for each relation. Every entity becomes a concept with its
observations as a list and its relations as links. The file knows no dates, so its own counts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ai_memory_mcp.errors import InputError
from ai_memory_mcp.files import storage_error
from ai_memory_mcp.peers_pages import Made, file_name, item, line, link, redacted
from ai_memory_mcp.redact import Redactor

LARGEST = 256 * 2**20  # bytes of a file

_SHAPES = {"entity": ("name", "entityType"), "relation": ("from", "to", "relationType")}
_NOTHING = "nothing was brought in"


def pages(file: Path, redactor: Redactor) -> Iterator[Made]:
    """Yield the page of every entity. Raises InputError, before the first one, for a file that is broken anywhere."""
    entities: dict[str, dict[str, Any]] = {}
    relations: dict[str, list[dict[str, Any]]] = {}
    secret: set[str] = set()
    for number, record in _records(file):
        if not _is_sound(record):
            raise InputError(f"line {number} of {file} is no entity and no relation of server-memory; {_NOTHING}")
        clean, changed = redacted(record, redactor)
        relation = clean["type"] == "relation"
        name = clean["from"] if relation else clean["name"]
        if changed:
            secret.add(name)
        if relation:
            relations.setdefault(name, []).append(clean)
            entities.setdefault(name, {})
        else:
            known = entities.setdefault(name, {})
            known.setdefault("entityType", clean["entityType"])
            known.setdefault("observations", {}).update(dict.fromkeys(clean["observations"]))
    yield from _pages(entities, relations, secret, os.stat(file).st_mtime)


def _is_sound(record: object) -> bool:
    if not isinstance(record, dict):
        return False
    said = record.get("observations") if record.get("type") == "entity" else []
    names = _SHAPES.get(str(record.get("type")), ())
    texts = [*(record.get(name) for name in names), *(said if isinstance(said, list) else [None])]
    return bool(names) and all(isinstance(text, str) for text in texts) and bool(record[names[0]].strip())


def _records(file: Path) -> Iterator[tuple[int, Any]]:
    try:
        if not file.is_file():
            raise InputError(f"there is no file {file}; name the memory.jsonl (or memory.json) of server-memory")
        if file.stat().st_size > LARGEST:
            raise InputError(f"{file} is larger than {LARGEST // 2**20} MiB; {_NOTHING}")
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise storage_error("read", file, error) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no text in UTF-8, and no file of server-memory; {_NOTHING}") from error
    for number, told in enumerate(text.split("\n"), 1):
        if not told.strip():
            continue
        try:
            record = json.loads(told)
        except (ValueError, RecursionError) as error:
            raise InputError(f"line {number} of {file} is no whole JSON; {_NOTHING}") from error
        yield number, record


def _pages(
    entities: dict[str, dict[str, Any]], relations: dict[str, list[dict[str, Any]]], secret: set[str], at: float
) -> Iterator[Made]:
    files = _files(entities)
    for name, entity in entities.items():
        related = [_related(one, files) for one in relations.get(name, ())]
        parts = [
            "\n".join(item(one) for one in entity.get("observations", ()) if one.strip()),
            "\n".join(["## Relations", "", *dict.fromkeys(related)]) if related else "",
        ]
        kind = line(entity.get("entityType"))
        body = "\n\n".join(filter(None, parts)) or f"{line(name)} ({kind})"
        head = {"title": line(name)[:200], "kind": "concept", "tags": [kind] if kind else None}
        yield Made(f"concepts/{files[name]}", body + "\n", head, at, name in secret)


def _files(names: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return every entity's file. Of names that read alike only the first, which is the oldest, goes without a mark."""
    taken: set[str] = set()
    found = {}
    for name in names:
        plain = file_name(name)
        found[name] = file_name(name, name) if plain in taken else plain
        taken.add(plain)
    return found


def _related(relation: dict[str, Any], files: dict[str, str]) -> str:
    to = line(relation["to"])
    file = files.get(relation["to"])
    return f"- {line(relation['relationType'])} " + (link(file, to) if file else to)
