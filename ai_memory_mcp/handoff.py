"""Handoffs: from and to their page, their order, and the changes of state that exactly one caller may make.

The page is the truth: its front matter says the state, its sections hold the lists. "Offered" is not written
there: it is an open handoff that some session was shown.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from ai_memory_mcp import markdown
from ai_memory_mcp.model import Handoff, HandoffState, Page
from ai_memory_mcp.project import NAMESPACE

SECTIONS: Mapping[str, str] = {
    "next_steps": "Next steps",
    "open_questions": "Open questions",
    "failed_approaches": "Failed approaches",
    "decisions": "Decisions",
    "files_touched": "Files touched",
}
_STATES = ("open", "offered", "accepted", "closed", "superseded", "expired")
_HEADING = re.compile(r"^## (.+?)\s*$", re.M)


def waiting(handoff: Handoff) -> bool:
    """Tell whether a handoff can still be taken."""
    return handoff.state in ("open", "offered")


def in_order(handoffs: Iterable[Handoff]) -> list[Handoff]:
    """Return waiting handoffs, the one to offer first at the front: by hand before automatic, newest first."""
    return sorted(
        (handoff for handoff in handoffs if waiting(handoff)),
        key=lambda handoff: (handoff.automatic, -handoff.created.timestamp(), handoff.id),
    )


def expired(handoff: Handoff, days: int, now: datetime) -> bool:
    """Tell whether a waiting handoff has waited too long."""
    return waiting(handoff) and now - handoff.created > timedelta(days=days)


def state_now(handoff: Handoff, days: int, now: datetime, *, offered: bool) -> HandoffState:
    """Return the state as the world sees it: some are expired, or were offered, without the page saying so yet."""
    if expired(handoff, days, now):
        return "expired"
    return "offered" if handoff.state == "open" and offered else handoff.state


def for_agent(handoff: Handoff, agent: str) -> bool:
    """Tell whether this agent may take the handoff."""
    return handoff.to_agent in ("any", "", agent)


def automatic_id(session_id: str, earlier: Sequence[Handoff]) -> str:
    """Return the id of the handoff that this close of the session makes.

    The same as long as the last one still waits (it is rewritten), a new one once that was taken: a session that
    closes twice without new work has one handoff.
    """
    automatic = [handoff for handoff in earlier if handoff.automatic]
    taken = sum(1 for handoff in automatic if not waiting(handoff))
    return str(uuid.uuid5(NAMESPACE, f"handoff:{session_id}:{taken}"))


def superseded_by(new: Handoff, begun: datetime, others: Sequence[Handoff], offered: Container[str]) -> list[Handoff]:
    """Return the waiting automatic handoffs that `new` replaces: same branch, made before its session began.

    The last one before it stays when no session was ever shown it (`offered` has the ids of those that were): the
    start that should have told of it was too slow or told nothing, and what it says would be lost unread.
    """
    earlier = [other for other in others if other.automatic and other.id != new.id]
    last = max(earlier, key=lambda other: other.created, default=None)
    return [
        other
        for other in earlier
        if waiting(other)
        and other.branch == new.branch
        and (other.created <= begun or other.from_session == new.from_session)
        and (other is not last or other.id in offered or other.from_session == new.from_session)
    ]


def page_path(handoff: Handoff, title: str) -> str:
    """Return where a handoff's page lies."""
    day = handoff.created.strftime("%Y/%m/%d")
    return f"handoffs/{day}-{markdown.slug(title)}-{handoff.id[:8]}.md"


def to_text(handoff: Handoff, title: str, previous: str = "") -> str:
    """Write the handoff's page."""
    page = Page(
        id=handoff.id,
        path=handoff.path,
        title=title,
        kind="handoff",
        project=handoff.project,
        body=_body(handoff),
        created=handoff.created,
        updated=handoff.accepted or handoff.created,
        agent=handoff.from_agent,
        session=handoff.from_session,
        summary=" ".join(handoff.summary.split())[:200],
    )
    return markdown.set_keys(markdown.text_from(page, previous), state_keys(handoff))


def state_keys(handoff: Handoff) -> dict[str, object]:
    """Return the front matter that only handoffs have."""
    return {
        "state": "open" if handoff.state == "offered" else handoff.state,
        "to_agent": handoff.to_agent,
        "automatic": "true" if handoff.automatic else "false",
        "branch": handoff.branch or None,
        "accepted": handoff.accepted,
        "accepted_by": handoff.accepted_by or None,
    }


def from_page(page: Page, meta: Mapping[str, object]) -> Handoff:
    """Read a handoff from its page, leniently: people edit pages."""
    told = str(meta.get("state") or "open")
    state: HandoffState = told if told in _STATES else "open"  # type: ignore[assignment]
    accepted = meta.get("accepted")
    parts = _sections(page.body)
    return Handoff(
        id=page.id,
        project=page.project,
        state=state,
        summary=parts.pop("summary"),
        from_agent=page.agent,
        from_session=page.session,
        to_agent=str(meta.get("to_agent") or "any"),
        automatic=str(meta.get("automatic", "false")).lower() == "true",
        created=page.created,
        accepted=markdown.when_from(accepted, page.updated) if accepted else None,
        accepted_by=str(meta.get("accepted_by") or ""),
        branch=str(meta.get("branch") or ""),
        path=page.path,
        **{name: tuple(_items(parts.get(heading, ""))) for name, heading in SECTIONS.items()},
    )


def _body(handoff: Handoff) -> str:
    headings = {f"## {heading}" for heading in SECTIONS.values()}
    lines = [f"\\{line}" if line.strip() in headings else line for line in handoff.summary.strip().splitlines()]
    text = "\n".join(lines) + "\n"
    for name, heading in SECTIONS.items():
        items: tuple[str, ...] = getattr(handoff, name)
        if items:
            text += f"\n## {heading}\n\n" + "".join(f"- {' '.join(item.split())}\n" for item in items)
    return text


def _sections(body: str) -> dict[str, str]:
    """Return the summary and the text under each heading of ours; other headings belong to where they stand."""
    known = set(SECTIONS.values())
    marks = [match for match in _HEADING.finditer(body) if match.group(1) in known]
    found = {"summary": body[: marks[0].start() if marks else len(body)].strip().replace("\\## ", "## ")}
    for mark, after in zip(marks, [*marks[1:], None], strict=False):
        found[mark.group(1)] = body[mark.end() : after.start() if after else len(body)]
    return found


def _items(text: str) -> list[str]:
    """Return the items of a Markdown list; lines that go on belong to the item above."""
    found: list[str] = []
    for line in text.splitlines():
        match = re.match(r"^\s{0,3}[-*+]\s+(.*)$", line)
        if match:
            found.append(match.group(1).strip())
        elif line.strip() and found:
            found[-1] += " " + line.strip()
        elif line.strip():
            found.append(line.strip())
    return [item for item in found if item]
