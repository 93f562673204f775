"""The addresses of pages. Whatever stands in them is quoted here, nowhere else."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from ai_memory_mcp.server.logins import WEB


def project(ident: str, *parts: str) -> str:
    """Return the address of a project, or of a part of it."""
    return "/".join([WEB, "p", *(quote(part, safe="") for part in (ident, *parts))])


def page(ident: str, path: str, **query: str) -> str:
    """Return the address of a page of a project."""
    told = f"?{urlencode(query)}" if query else ""
    return f"{project(ident, 'page')}/{quote(path)}{told}"


def history(ident: str, path: str = "") -> str:
    """Return the address of what changed in a project, or in one page."""
    return f"{project(ident, 'history')}/{quote(path)}" if path else project(ident, "history")


def session(ident: str, session_id: str, observation: str = "") -> str:
    """Return the address of a session, or of one of its observations."""
    return project(ident, "session", session_id) + (f"#o-{quote(observation, safe='')}" if observation else "")


def find(ref: str, name: str) -> str:
    """Return the address that looks for something in the projects of a name, where there are several."""
    return f"{WEB}/find?{urlencode({'ref': ref, 'name': name})}"


def within(path: str) -> str:
    """Return where to go back to: the given address if it is one of these pages, else the first page."""
    ours = path == WEB or path.startswith((WEB + "/", WEB + "?"))
    return path if ours and path.isascii() and path.isprintable() and "\\" not in path and "//" not in path else WEB
