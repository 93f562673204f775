"""Templates to text. All that a template is given is escaped, unless `markup` made it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ai_memory_mcp.server.web import places
from ai_memory_mcp.server.web.markup import clean

FOLDER = Path(__file__).parent
TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def page(name: str, seen: dict[str, Any]) -> bytes:
    """Return the page of a template."""
    return _environment().get_template(name).render(seen).encode("utf-8", "replace")


@cache
def static(name: str) -> tuple[bytes, str]:
    """Return a file that pages need and its type."""
    return (FOLDER / "static" / name).read_bytes(), TYPES[name.rpartition(".")[2]]


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "ago": ago,
        "day": day,
        "when": when,
        "clock": clock,
        "mark": mark,
        "diff": diff_lines,
        "name": name,
    }
    made.globals |= {"at": places, "asset": asset}
    return made


def _shown(value: object) -> object:
    return clean(value) if type(value) is str else value


def asset(file: str) -> str:
    """Return the address of a static file: another one when the file is another."""
    return f"/web/static/{file}?{blake2b(static(file)[0], digest_size=6).hexdigest()}"


def ago(then: datetime | None) -> str:
    """Say how long ago something was."""
    if then is None:
        return ""
    seconds = max(0, int((datetime.now(timezone.utc) - then).total_seconds()))
    for size, unit in (
        (365 * 86_400, "year"),
        (30 * 86_400, "month"),
        (86_400, "day"),
        (3_600, "hour"),
        (60, "minute"),
    ):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' * (count > 1)} ago"
    return "just now"


def day(then: datetime) -> str:
    """Write a date."""
    return f"{then:%A}, {then.day} {then:%B %Y}"


def when(then: datetime | None) -> str:
    """Write a time in UTC."""
    return f"{then.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC" if then else ""


def clock(then: datetime) -> str:
    """Write the time of day in UTC."""
    return f"{then.astimezone(timezone.utc):%H:%M}"


def name(path: str) -> str:
    """Return what a page is called in lists that know its path only."""
    return path.rpartition("/")[2].removesuffix(".md").replace("-", " ")


def mark(text: str, stems: Sequence[str]) -> Markup:
    """Return text in which the words that begin with one of these stems are marked."""
    text = clean(text)
    wanted = sorted(filter(None, stems), key=len, reverse=True)
    if not wanted:
        return escape(text)
    pattern = re.compile(
        "|".join(rf"\b{re.escape(stem)}\w*" if stem.isascii() else re.escape(stem) for stem in wanted), re.I
    )
    told, at = Markup(), 0
    for found in pattern.finditer(text):
        told += escape(text[at : found.start()]) + Markup("<mark>{}</mark>").format(found.group())
        at = found.end()
    return told + escape(text[at:])


def diff_lines(diff: str) -> Iterable[tuple[str, str]]:
    """Return the lines of a unified diff, each with what it is."""
    kinds = {"+": "added", "-": "removed", "@": "place", "\\": "place"}
    lines = diff.splitlines()
    for line in lines[2:] if lines and lines[0].startswith("--- ") else lines:
        yield kinds.get(line[:1], "same"), line
