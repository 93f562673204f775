"""The folder of a basic-memory project (0.22.1, docs/NOTE-FORMAT.md, and what 0.24.1 writes): Markdown already, with
`type` and `permalink` in front matter, `created` and `modified` where somebody put them there, and links by title or
permalink. Files keep their names; a note whose type is a kind of ours becomes that kind, links by permalink lead to the
file, and times without a zone are those of this machine."""

from __future__ import annotations

import posixpath
from datetime import datetime, timezone
from pathlib import Path

from ai_memory_mcp import markdown
from ai_memory_mcp.importing import checked
from ai_memory_mcp.importing_files import Source, Unusable, find, read
from ai_memory_mcp.markdown import Meta
from ai_memory_mcp.memory import Progress
from ai_memory_mcp.peers_pages import Made
from ai_memory_mcp.redact import Redactor

_KINDS = frozenset(("decision", "gotcha", "procedure", "concept", "note"))  # no rule: what is told at every start


def pages(folder: Path, home: Path, redactor: Redactor, progress: Progress) -> tuple[list[Made], dict[str, str]]:
    """Return the page of every note, and what was left out (name -> why). Raises InputError for what is no folder."""
    finds = find(checked(folder), home.resolve())
    skipped = dict(finds.skipped)
    texts: dict[str, tuple[Source, str]] = {}
    for done, source in enumerate(finds.sources):
        progress("looking", done, len(finds.sources))
        try:
            texts[source.name] = source, read(source)
        except Unusable as reason:
            skipped[source.name] = str(reason)
    permalinks = _permalinks(texts)
    return [_page(source, text, permalinks, redactor) for source, text in texts.values()], skipped


def _permalinks(texts: dict[str, tuple[Source, str]]) -> dict[str, str]:
    """Return where permalinks lead; the name of the project, with which all of them may begin, need not be told."""
    found: dict[str, str] = {}
    for name, (_, text) in texts.items():
        told = markdown.parse(text)[0].get("permalink")
        if isinstance(told, str) and told.strip("/ "):
            found.setdefault(told.strip("/ ").casefold(), posixpath.splitext(name)[0])
    project = {link.partition("/")[0] for link in found}
    short = {link.partition("/")[2]: to for link, to in found.items()} if len(project) == 1 else {}
    names = {posixpath.basename(to).casefold() for to in found.values()}  # what a file is called leads to it by itself
    return {**{link: to for link, to in short.items() if link and link not in names}, **found}


def _page(source: Source, text: str, permalinks: dict[str, str], redactor: Redactor) -> Made:
    clean = redactor.text(text)
    name = redactor.text(source.name)
    if markdown.problem(clean):
        return Made(name, clean, None, source.mtime, clean != text)
    meta, body = markdown.parse(clean)
    linked = markdown.relink(body, lambda target: permalinks.get(target.strip("/").casefold()), lambda _: None)
    head = clean[: len(clean) - len(body)]
    kind = str(meta.get("type", "")).strip().lower()
    told = {
        "kind": kind if kind in _KINDS and "kind" not in meta else None,
        "created": _when(meta, "created"),
        "updated": _when(meta, "modified") or _when(meta, "updated"),
    }
    changes = {key: value for key, value in told.items() if value is not None}
    return Made(name, head + linked, changes, source.mtime, clean != text)


def _when(meta: Meta, key: str) -> datetime | None:
    try:
        told = datetime.fromisoformat(str(meta.get(key, "")).strip().replace("Z", "+00:00"))
        return (told if told.tzinfo else told.astimezone()).astimezone(timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None
