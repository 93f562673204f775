"""Commands for using memory: search, read, write, recent, history, feedback, handoff, brief, sessions and so on."""

from __future__ import annotations

import argparse
import sys

from ai_memory_mcp.cli import render
from ai_memory_mcp.cli.context import opened, scope
from ai_memory_mcp.errors import InputError, NotFoundError
from ai_memory_mcp.model import Draft, Handoff, HandoffDraft, Query
from ai_memory_mcp.writing import MAX_BODY

MOST_BYTES = 4 * MAX_BODY + 1  # a character takes at most four


def search(args: argparse.Namespace) -> int:
    """Find pages and observations."""
    query = Query(
        text=" ".join(args.text),
        kinds=tuple(args.kind),
        limit=args.limit,
        max_tokens=args.max_tokens,
        everywhere=args.everywhere,
    )
    with opened() as memory:
        found = memory.search(scope(args), query)
    render.as_json(found) if args.json else render.answer(found)
    return 0


def read(args: argparse.Namespace) -> int:
    """Show a page or a session."""
    with opened() as memory:
        found = memory.read(scope(args), args.ref, observations=args.observations, links=args.links, at=args.at)
    render.as_json(found) if args.json else render.document(found)
    return 0


def write(args: argparse.Namespace) -> int:
    """Write a page; the body comes from --body, a file or stdin."""
    body = args.body if args.body is not None else _text_of(args.file, "the page")
    draft = Draft(
        title=args.title,
        body=body,
        kind=args.kind,
        path=args.path or "",
        tags=tuple(args.tag),
        pinned=True if args.pinned else None,
        supersedes=tuple(args.supersedes),
        agent="user",
    )
    with opened() as memory:
        page = memory.write(scope(args), draft)
        name = memory.resolve(scope(args)).project
    if args.json:
        render.as_json({"page": page, "project": name.name if name else "general"})
    else:
        render.out(f"wrote {page.path} in project {name.name if name else 'general'}")
    return 0


def _text_of(path: str | None, what: str) -> str:
    """Return the text of a file, or of stdin without one; no more than decides that it is too long for a page."""
    try:
        if path:
            with open(path, "rb") as file:
                return file.read(MOST_BYTES).decode("utf-8", "replace")
        if sys.stdin.isatty():
            render.warn(f"reading {what} from the terminal; end it with Ctrl-D on a line of its own")
        return sys.stdin.buffer.read(MOST_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise InputError(f"cannot read {path or 'standard input'}: {error.strerror}") from error


def recent(args: argparse.Namespace) -> int:
    """List the pages changed last."""
    with opened() as memory:
        found = memory.recent(scope(args), kinds=tuple(args.kind), limit=args.limit)
    render.as_json({"pages": found}) if args.json else render.hits(found)
    return 0


def history(args: argparse.Namespace) -> int:
    """Show the newest commits of the project or of one page."""
    with opened() as memory:
        found = memory.history(scope(args), args.ref, limit=args.limit, diff=args.diff)
    render.as_json({"history": found}) if args.json else render.revisions(found)
    return 0


def revert(args: argparse.Namespace) -> int:
    """Take back one commit, or the consolidation of a session."""
    with opened() as memory:
        done = memory.revert(scope(args), args.ref)
    render.as_json(done) if args.json else render.reverted(done)
    return 0


def feedback(args: argparse.Namespace) -> int:
    """Say what a page or a hit was worth."""
    with opened() as memory:
        told = memory.feedback(scope(args), args.ref, args.verdict, note=args.note)
    render.as_json(told) if args.json else render.feedback(told)
    return 0


_OUTDATED = ("superseded", "expired")  # nobody was told these and nobody will be


def handoff(args: argparse.Namespace) -> int:
    """List, leave, accept or close handoffs."""
    with opened() as memory:
        here = scope(args)
        if args.action == "list":
            every = memory.handoffs(here, every=True)
            found = tuple(one for one in every if args.all or one.state not in _OUTDATED)
        elif args.action == "get":
            found = _one_handoff(memory.handoffs(here, every=bool(args.id)), args.id)
        elif args.action == "leave":
            draft = HandoffDraft(
                summary=args.summary or _text_of(None, "the summary"),
                next_steps=tuple(args.next_step),
                open_questions=tuple(args.open_question),
                failed_approaches=tuple(args.failed_approach),
                decisions=tuple(args.decision),
                files_touched=tuple(args.file_touched),
                to_agent=args.to,
                from_agent="user",
            )
            found = (memory.leave_handoff(here, draft),)
        elif args.action == "accept":
            found = (memory.accept_handoff(here, args.id or "", by="", agent="user"),)
        else:
            if not args.id:
                raise InputError("say which one: handoff close ID")
            found = (memory.close_handoff(here, args.id),)
    render.as_json({"handoffs": found}) if args.json else render.handoffs(found, brief=args.action == "list")
    return 0


def _one_handoff(found: tuple[Handoff, ...], ref: str | None) -> tuple[Handoff, ...]:
    """Return the one meant (in any state), or the first that waits: as a list of one, none if none waits."""
    if not ref:
        return found[:1]
    meant = [one for one in found if ref in (one.id, one.path) or (len(ref) >= 6 and one.id.startswith(ref))]
    if not meant:
        raise NotFoundError(f"there is no handoff '{ref}'; `ai-memory-mcp handoff list --all` shows them")
    return (meant[0],)


def brief(args: argparse.Namespace) -> int:
    """Print what a session start would be told now."""
    with opened() as memory:
        found = memory.brief(scope(args), agent=args.agent or "")
    if args.json:
        render.as_json(found)
    else:
        render.out(render.safe(found.text.rstrip()) or "nothing to tell yet")
    return 0


def sessions(args: argparse.Namespace) -> int:
    """List sessions."""
    with opened() as memory:
        found = memory.sessions(scope(args), limit=args.limit)
    render.as_json({"sessions": found}) if args.json else render.sessions(found)
    return 0


def projects(args: argparse.Namespace) -> int:
    """List known projects."""
    with opened() as memory:
        found = memory.projects()
    render.as_json({"projects": found}) if args.json else render.projects(found)
    return 0


def status(args: argparse.Namespace) -> int:
    """Say what is there and whether all is well."""
    with opened() as memory:
        found = memory.status(scope(args))
    render.as_json(found) if args.json else render.status(found)
    return 0
