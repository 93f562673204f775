"""What the imports of other memories share: a page that is to be made, and redaction of what they say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from ai_memory_mcp import markdown
from ai_memory_mcp.redact import Redactor


class Made(NamedTuple):
    """A page: its path; its text; what its front matter is to say (None: it cannot be read, and is left alone); the
    Unix time that dates it where that says none; whether secrets in it were redacted."""

    path: str
    text: str
    head: Mapping[str, object] | None
    at: float = 0.0
    redacted: bool = False


def redacted(record: Mapping[str, Any], redactor: Redactor) -> tuple[dict[str, Any], bool]:
    """Return a record without secrets, and whether there were any."""
    clean = cast("dict[str, Any]", redactor.value(dict(record)))
    return clean, clean != record


def file_name(title: str, told_apart_by: str = "") -> str:
    """Return the name of a page's file; with a mark, the same at every run, where titles alone are not enough."""
    mark = hashlib.sha256(told_apart_by.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{markdown.slug(title)}-{mark}.md" if told_apart_by else f"{markdown.slug(title)}.md"


def link(path: str, label: str) -> str:
    """Return a link to a page with words that cannot end it."""
    shown = "".join(char for char in label if char not in "[]|#")
    return f"[[{path.removesuffix('.md')}|{shown}]]"


def line(text: object) -> str:
    """Return a text as one line."""
    return " ".join(str(text or "").split())


def item(text: object) -> str:
    """Return a text as an item of a list; its further lines stay in the item."""
    return "- " + "\n  ".join(str(text or "").strip().splitlines())
