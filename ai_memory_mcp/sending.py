"""Sending a folder of Markdown to the server, for an import: found and read here, in parts that every proxy takes."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from ai_memory_mcp.endpoints import UPLOAD
from ai_memory_mcp.errors import ServerError
from ai_memory_mcp.importing import checked
from ai_memory_mcp.importing_files import Source, Unusable, find, read
from ai_memory_mcp.link import Link, TooLarge
from ai_memory_mcp.memory import Progress
from ai_memory_mcp.model import UploadedFiles

PART = 512 * 2**10  # bytes


class Sent(NamedTuple):
    """An upload: its id, the folder that it is of, what was left out of it (name -> reason), and how many other files
    lie there."""

    id: str
    folder: str
    skipped: dict[str, str]
    others: int


def send_folder(link: Link, folder: Path, home: Path, progress: Progress) -> Sent:
    """Send the Markdown files below a folder. Raises InputError for one that is none, and what the server says."""
    root = checked(folder)
    finds = find(root, home.resolve())
    upload = secrets.token_hex(16)
    skipped = dict(finds.skipped)
    part: list[str] = []
    size = 0
    head = f'{{"id":"{upload}","folder":{json.dumps(root.as_posix())},"files":['
    _send(link, head, part, skipped)  # so that there is one, be the folder empty
    for done, source in enumerate(finds.sources):
        progress("sending", done, len(finds.sources))
        try:
            file = _packed(source)
        except Unusable as reason:
            skipped[source.name] = str(reason)
            continue
        if part and size + len(file) > PART:
            _send(link, head, part, skipped)
            part, size = [], 0
        part.append(file)
        size += len(file)
    if part:
        _send(link, head, part, skipped)
    return Sent(upload, str(root), skipped, finds.others)


def _packed(source: Source) -> str:
    text = read(source)
    return json.dumps({"name": source.name, "text": text, "mtime": max(0.0, source.mtime)}, ensure_ascii=False)


def _send(link: Link, head: str, files: list[str], skipped: dict[str, str]) -> None:
    body = f"{head}{','.join(files)}]}}".encode("utf-8", "replace")
    try:
        told = UploadedFiles.model_validate_json(link.post(UPLOAD, body))
    except TooLarge:
        if len(files) > 1:
            raise
        skipped[json.loads(files[0])["name"]] = "too large for the server"
    except ValidationError as error:
        raise ServerError(f"{link.url} runs another version; upgrade the older one of the two") from error
    else:
        skipped |= told.skipped
