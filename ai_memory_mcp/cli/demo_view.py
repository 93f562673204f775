"""How the demo looks: sections of at most 96 columns, colour on a terminal only."""

from __future__ import annotations

import re
import shutil
import textwrap
from dataclasses import dataclass, field

from ai_memory_mcp.cli.render import out, safe, styled
from ai_memory_mcp.model import Capture, Counts, Handoff, Hit, Observation

WIDEST = 96
MARGIN = "  │ "
_UNWRAP = re.compile("(?<=[a-z,])\n(?=[a-z])")  # sentences over several lines
LABELS = {"user-prompt": "you", "stop": "claude", "session-start": "start", "session-end": "end"}


@dataclass(frozen=True)
class Told:
    """All that the demo found, as --json tells it. `key_found_in`: files with the pasted key in them,
    which should be none; `hook_ms`: milliseconds of the median hook, of the first and of the one with the brief."""

    home: str
    kept: bool
    project: str
    wiki: str
    events: int
    brief: str
    question: str
    hits: tuple[Hit, ...]
    handoffs: tuple[Handoff, ...]
    commits: tuple[str, ...]
    counts: Counts
    capture: Capture
    redacted: str
    key_found_in: tuple[str, ...]
    hook_ms: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def opening() -> None:
    """Say what is about to happen."""
    out(styled("ai-memory-mcp demo", "bold") + styled(" · in a throw-away home: nothing of yours is touched", "dim"))
    heading(1, "Claude Code works in ~/courier; its hooks report every step")


def heading(number: int, text: str) -> None:
    """Begin a section."""
    out(f"\n{styled(str(number), 'cyan')} {styled(text, 'bold')}")


def event(seen: Observation) -> None:
    """Print one event in a line; the beginning of a tool call is left to its end."""
    if seen.kind == "pre-tool":
        return
    label = LABELS.get(seen.kind, seen.family or seen.kind)
    failed = seen.ok is False
    words = seen.title if label not in ("start", "end") else f"the session {label}s"
    line = textwrap.shorten(safe(words), width() - 14 - 9 * failed, placeholder=" …")
    told = label in ("you", "claude")
    out(f"  {styled(label.ljust(8), 'cyan' if told else 'dim')} {line}" + (styled("  failed", "red") if failed else ""))


def show(told: Told) -> None:
    """Print everything after the session."""
    _stored(told)
    _brief(told)
    _taken(told)
    _search(told)
    _history(told)
    _next(told)


def _stored(told: Told) -> None:
    ms = told.hook_ms
    heading(2, "What was kept of it")
    counts, capture = told.counts, told.capture
    row("hooks", f"{told.events} of them, {ms['median']:.0f} ms each; the first made the memory: {ms['first']:.0f} ms")
    kept = f"{capture.stored} of {capture.seen} events"
    row("memory", f"{kept}, {_many(counts.pages, 'page')}, {_many(counts.handoffs, 'handoff')}, no LLM involved")
    at = max(0, told.redacted.find("[REDACTED") - 26)
    row("the key", f"…{told.redacted[at : at + 62]}…")
    places = ", ".join(told.key_found_in)
    row(
        "",
        f"as pasted it is {'STILL IN ' + places if places else 'in no file of the memory, git history included'}",
        alert=bool(places),
    )


def _brief(told: Told) -> None:
    heading(3, f"Codex starts in the same folder; {told.hook_ms['brief']:.0f} ms later its hook has printed this")
    for line in _UNWRAP.sub(" ", told.brief).splitlines():
        style = "dim" if line.startswith(("<", "What earlier")) else "bold" if line.startswith("#") else ""
        for part in textwrap.wrap(safe(line), width() - 5, subsequent_indent=_hang(line)) or [""]:
            out(styled(MARGIN, "dim") + (styled(part, style) if style else part))


def _taken(told: Told) -> None:
    for one in told.handoffs:
        if one.accepted_by:
            row("then", "Codex is asked to go on, and so the handoff is its: no other session gets it")


def _search(told: Told) -> None:
    heading(4, f'ai-memory-mcp search "{told.question}"')
    for hit in told.hits:
        about = ", ".join(filter(None, (hit.kind, hit.agent)))
        title = textwrap.shorten(safe(hit.title), width() - 6 - len(about), placeholder=" …")
        out(f"  {styled(title, 'bold')}  {styled(about, 'dim')}")
        out(f"  {styled(hit.path, 'cyan')}")
        for part in textwrap.wrap(safe(hit.snippet), width() - 4)[:3]:
            out(f"    {part}")
    if not told.hits:
        out("  nothing found")


def _history(told: Told) -> None:
    heading(5, "All of it is Markdown in git")
    out(styled(f"  git -C {told.wiki if told.kept else '<wiki folder>'} log --oneline", "dim"))
    for commit in told.commits:
        sha, _, subject = commit.partition(" ")
        out(f"  {styled(sha, 'yellow')} {textwrap.shorten(safe(subject), width() - 12, placeholder=' …')}")


def _next(told: Told) -> None:
    out(f"\n{styled(f'Done in {told.seconds:.1f} s.', 'green')} " + _where(told))
    out(f"Next: {styled('ai-memory-mcp setup', 'bold')} wires the agents you have, and shows its plan first.")


def _where(told: Told) -> str:
    if not told.kept:
        return "The throw-away home is gone again (--keep keeps it)."
    return f"Kept: {told.home}\nLook around with: AI_MEMORY_HOME={told.home} ai-memory-mcp projects"


def row(name: str, text: str, *, alert: bool = False) -> None:
    """Print a named line."""
    shown = textwrap.shorten(safe(text), width() - 12, placeholder=" …")
    out(f"  {styled(name.ljust(8), 'dim')} {styled(shown, 'red') if alert else shown}")


def width() -> int:
    """Return how many columns to use."""
    return max(60, min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns))


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _hang(line: str) -> str:
    return "  " if line.startswith("- ") else ""
