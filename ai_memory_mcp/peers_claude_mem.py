"""The database of claude-mem (src/services/sqlite/SessionStore.ts of claude-mem 13.15.3, schema 49, and what 13.25.3,
schema 52, writes): a session becomes one page with what was asked, its summaries and its observations. Decisions and
bugs that were fixed get pages of their own, too.

A session that memory has captured itself has its page already: what claude-mem made of it becomes a note of that
session, without what was asked since it is captured. The file is called the same either way, so that an import of
before turns into that note.

The columns differ from version to version, so what is there is asked first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

from ai_memory_mcp.errors import InputError
from ai_memory_mcp.index import foreign
from ai_memory_mcp.markdown import when_from
from ai_memory_mcp.peers_pages import Made, file_name, item, line, link, redacted
from ai_memory_mcp.redact import Redactor

_NEEDED = {
    "sdk_sessions": {"id", "memory_session_id", "content_session_id", "project", "started_at"},
    "observations": {"id", "memory_session_id", "project", "type", "title", "created_at"},
    "session_summaries": {"id", "memory_session_id", "project", "request", "created_at"},
}
_SUMMARY = {
    "request": "Request",
    "investigated": "Investigated",
    "learned": "Learned",
    "completed": "Completed",
    "next_steps": "Next steps",
    "notes": "Notes",
}
_OWN_PAGES = {"decision": ("decisions", "decision"), "bugfix": ("gotchas", "gotcha")}
_LISTS = ("facts", "concepts", "files_read", "files_modified", "files_edited")
PROMPT = 2_000  # characters of a prompt that are kept
_NEVER = datetime.fromtimestamp(0, timezone.utc)  # of a row that does not tell its time
_LATER = timedelta(minutes=1)  # what hooks of two programs tell of the same moment lies less apart

Captured = Mapping[str, datetime]  # the agents' own ids of sessions, and since when memory captures them


class Brought(NamedTuple):
    """The pages of some projects, and of how many sessions that memory has captured they tell."""

    pages: list[Made]
    captured: int


class _Prompt(NamedTuple):
    text: str
    at: datetime


def projects(file: Path) -> dict[str, int]:
    """Return the projects of a database, each with how many observations and summaries it has. Raises InputError for
    another file, StorageError."""
    if not file.is_file():
        raise InputError(f"there is no file {file}; claude-mem keeps its own at ~/.claude-mem/claude-mem.db")
    for table, needed in _NEEDED.items():
        if missing := sorted(needed - foreign.columns(file, table)):
            raise InputError(
                f"{file} is no database of claude-mem, or of a version that is not known: {table} has no {missing[0]}"
            )
    found: dict[str, int] = {}
    for table in ("observations", "session_summaries"):
        sql = f"SELECT {_project(file, table)} AS project, count(*) AS many FROM {table} GROUP BY 1 ORDER BY 1"
        for row in foreign.rows(file, sql):
            found[str(row["project"])] = found.get(str(row["project"]), 0) + int(row["many"])
    return found


def pages(
    file: Path, wanted: Sequence[Sequence[str]], captured: Sequence[Captured], redactor: Redactor
) -> list[Brought]:
    """Return for each group of projects their pages, given the sessions that memory has captured in each. Raises
    StorageError for a file that is locked or damaged."""
    sessions = {str(row["memory_session_id"]): row for row in foreign.rows(file, "SELECT * FROM sdk_sessions")}
    prompts = _prompts(file)
    found = []
    for names, known in zip(wanted, captured, strict=True):
        told = _told(file, names)
        made = [page for one in told.items() for page in _session(*one, sessions, prompts, known, redactor)]
        found.append(Brought(made, sum(_native(sessions.get(ident, {})) in known for ident in told)))
    return found


def _told(file: Path, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return what was kept of projects, by session."""
    told: dict[str, list[dict[str, Any]]] = {}
    for table in ("session_summaries", "observations"):
        marks = ", ".join("?" * len(names))
        sql = f"SELECT * FROM {table} WHERE {_project(file, table)} IN ({marks}) ORDER BY id"
        for row in foreign.rows(file, sql, tuple(names)):
            told.setdefault(str(row["memory_session_id"]), []).append({**_read(row), "table": table})
    return told


def _project(file: Path, table: str) -> str:
    """The project of a row: work trees that were merged belong to their repository."""
    merged = "merged_into_project" in foreign.columns(file, table)
    return "COALESCE(merged_into_project, project)" if merged else "project"


def _prompts(file: Path) -> dict[str, list[_Prompt]]:
    there = foreign.columns(file, "user_prompts")
    if not {"content_session_id", "prompt_text"} <= there:
        return {}
    found: dict[str, list[_Prompt]] = {}
    for row in map(_read, foreign.rows(file, "SELECT * FROM user_prompts ORDER BY id")):
        prompt = _Prompt(str(row["prompt_text"]), _when(row.get("created_at"), row.get("created_at_epoch")))
        found.setdefault(_native(row), []).append(prompt)
    return found


def _native(session: Mapping[str, Any]) -> str:
    return str(session.get("content_session_id"))


def _session(
    ident: str,
    rows: list[dict[str, Any]],
    sessions: Mapping[str, dict[str, Any]],
    asked: Mapping[str, list[_Prompt]],
    captured: Captured,
    redactor: Redactor,
) -> Iterator[Made]:
    session = _read(sessions.get(ident, {}))
    since = captured.get(_native(session))
    prompts = [one.text for one in asked.get(_native(session), ()) if since is None or _NEVER < one.at < since - _LATER]
    record, secret = redacted({"session": session, "prompts": prompts, "rows": rows}, redactor)
    session, prompts, rows = record["session"], record["prompts"], record["rows"]
    summaries = [row for row in rows if row["table"] == "session_summaries"]
    observations = [row for row in rows if row["table"] == "observations"]
    times = [_when(row.get("created_at"), row.get("created_at_epoch")) for row in rows]
    began = _when(session.get("started_at"), session.get("started_at_epoch")) if session else min(times)
    origin = {"agent": line(session.get("platform_source")), "session": line(session.get("content_session_id"))}
    source = {key: value for key, value in origin.items() if value} or None
    links: dict[int, str] = {}
    for row in observations:
        if own := _OWN_PAGES.get(str(row["type"])):
            mark = f"{ident} {row['id']}"
            path = f"{own[0]}/{file_name(_title(row), mark)}"
            at = _when(row.get("created_at"), row.get("created_at_epoch"))
            head = _head(
                _title(row),
                own[1],
                at,
                at,
                source,
                [line(one) for one in row.get("concepts", ())],
                line(row.get("subtitle")),
            )
            links[row["id"]] = path
            yield Made(path, _observation(row) + "\n", head, redacted=secret)
    title = _named(session, summaries, [] if since else prompts) or f"Session of {began:%Y-%m-%d}"
    title = f"{title[:180]} (claude-mem)" if since else title  # the session's own page is called so
    path = f"sessions/{began:%Y/%m/%d}-{file_name('claude-mem', ident)}"
    head = _head(title, "note" if since else "session", began, max([began, *times]), source, [], "")
    yield Made(path, _text(prompts, summaries, observations, links), head, redacted=secret)


def _head(
    title: str, kind: str, created: datetime, updated: datetime, source: object, tags: list[str], summary: str
) -> dict[str, object]:
    return {
        "title": title[:200],
        "kind": kind,
        "tags": tags or None,
        "created": created,
        "updated": updated,
        "source": source,
        "summary": summary or None,
    }


def _text(
    prompts: list[str], summaries: list[dict[str, Any]], observations: list[dict[str, Any]], links: dict[int, str]
) -> str:
    parts = []
    if prompts:
        parts.append("\n".join(["## Asked", "", *(item(prompt[:PROMPT]) for prompt in prompts)]))
    for row in summaries:
        told = [
            f"**{label}:** {str(row[key]).strip()}"
            for key, label in _SUMMARY.items()
            if str(row.get(key) or "").strip()
        ]
        files = _files(row.get("files_edited"))
        told += [f"**Files:** {files}"] if files else []
        at = _when(row.get("created_at"), row.get("created_at_epoch"))
        parts.append("\n\n".join([f"## Summary, {at:%Y-%m-%d %H:%M} UTC", *told]))
    for row in observations:
        label = line(row["type"])
        if row["id"] in links:
            parts.append(f"## {label}: {link(links[row['id']], _title(row))}")
        else:
            parts.append(f"## {label}: {_title(row)}\n\n{_observation(row)}")
    return "\n\n".join(parts) + "\n"


def _observation(row: dict[str, Any]) -> str:
    facts = "\n".join(item(fact) for fact in row.get("facts", ()))
    files = _files(row.get("files_modified"), row.get("files_read"))
    parts = [
        line(row.get("subtitle")),
        str(row.get("narrative") or row.get("text") or "").strip(),
        facts,
        f"Files: {files}" if files else "",
    ]
    return "\n\n".join(filter(None, parts)) or _title(row)


def _title(row: dict[str, Any]) -> str:
    return (line(row.get("title")) or line(row.get("subtitle")) or line(row.get("text")) or line(row["type"]))[:200]


def _named(session: dict[str, Any], summaries: list[dict[str, Any]], prompts: list[str]) -> str:
    requests = [line(row.get("request")) for row in summaries]
    first = [line(session.get("user_prompt")), line(prompts[0])] if prompts else []
    return next(filter(None, [line(session.get("custom_title")), *requests, *first]), "")


def _read(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with all of its texts as texts, and its lists as lists: as redaction has to see them."""
    plain = {key: value.decode("utf-8", "replace") if isinstance(value, bytes) else value for key, value in row.items()}
    return {key: _listed(value) if key in _LISTS else value for key, value in plain.items()}


def _listed(value: object) -> list[str]:
    """Lists are JSON in a column; what is none is one text."""
    if not isinstance(value, str) or not value.strip():
        return []
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return [value]
    return [str(one) for one in found if str(one).strip()] if isinstance(found, list) else [value]


def _files(*lists: object) -> str:
    """Return file names in a row, each once."""
    names = [line(name) for some in lists if isinstance(some, list) for name in some]
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def _when(text: object, epoch: object) -> datetime:
    """Read a time: ISO 8601, else Unix ms."""
    try:
        counted = datetime.fromtimestamp(float(str(epoch)) / 1000, timezone.utc)
    except (ValueError, OverflowError, OSError):
        counted = _NEVER
    return when_from(text, counted)
