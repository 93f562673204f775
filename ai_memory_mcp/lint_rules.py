"""The rules of lint: each a function from a `Shelf` (all pages of one project) to remarks, in the table RULES.

A remark may come with a mend: what it makes of the page's text, None where the page is to go. It must be safe without
anybody looking: whatever takes judgement only says so. A new rule is a function and a line in RULES.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from ai_memory_mcp import alike, markdown
from ai_memory_mcp.model import Contradiction, Feedback, Link, Page
from ai_memory_mcp.redact import Redactor

Mend = Callable[[str], str | None]
KNOWLEDGE = ("decision", "gotcha", "procedure", "concept", "note", "rule", "slot")  # what somebody wrote to last
RECORDS = ("session", "handoff")  # what was so at its time: nothing in them gets old
GENERATED = ("project", "index", "lint")

OLD = timedelta(days=180)  # without a change or a reader
LONG = 60_000  # bytes; more than an agent reads at once
TOLD_LONG = 2_500  # bytes of a rule or slot: all of them together get so much room in a brief
USED_OFTEN = 5
SAID = 0.6  # of a rule's runs of words that a file must have for it to say the same


class Remark(NamedTuple):
    """What a rule found on a page, and what mends it: by itself, or what a person can do."""

    page: str
    message: str
    mend: Mend | None = None
    fix: str = ""


@dataclass(frozen=True)
class Shelf:
    """All pages of a project without their bodies, and what is known of them, by path (uses and verdicts by id).

    `texts` reads a page's whole text. `links` are those of current pages, `moved` says where the page of a broken link
    (page, target) is now, `successors` what superseded a page. `instructions` is what the repository's own files tell
    every agent, None where the repository is not on this machine.
    """

    now: datetime
    redactor: Redactor
    pages: Mapping[str, Page]
    texts: Mapping[str, str]
    sizes: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[str, list[Link]] = field(default_factory=dict)
    moved: Mapping[tuple[str, str], str] = field(default_factory=dict)
    successors: Mapping[str, str] = field(default_factory=dict)
    uses: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # how often, when last (Unix ms)
    verdicts: Mapping[str, list[Feedback]] = field(default_factory=dict)
    judged: tuple[Contradiction, ...] = ()
    instructions: str | None = None

    def current(self, *kinds: str) -> Iterator[Page]:
        """Yield the pages that hold now, of these kinds (of all that are not generated, where none is named)."""
        for page in self.pages.values():
            if page.status == "current" and (page.kind in kinds if kinds else page.kind not in GENERATED):
                yield page

    def opened(self, page: Page) -> int:
        """Return how often a page was opened."""
        return self.uses.get(page.id, (0, 0))[0]


class Rule(NamedTuple):
    """One line of the table: `about` says in a few words what it finds."""

    name: str
    level: Literal["error", "warning", "hint"]
    about: str
    find: Callable[[Shelf], Iterator[Remark]]


def secrets(shelf: Shelf) -> Iterator[Remark]:
    """Pages edited by hand or brought in by git never went through the redactor."""
    for path in shelf.pages:
        found = shelf.redactor.spans(shelf.texts[path])
        if found:
            labels = ", ".join(sorted({label for _, _, label in found}))
            yield Remark(
                path,
                f"holds what looks like a secret ({labels}); once it is redacted, the history of the page still has it",
                shelf.redactor.text,
            )


def front_matter(shelf: Shelf) -> Iterator[Remark]:
    """A page whose front matter cannot be read is a page without kind, status, pins and id."""
    for path, page in shelf.pages.items():
        if page.id == markdown.page_id(page.project, path) and (told := markdown.problem(shelf.texts[path])):
            yield Remark(path, told, fix="mend it in an editor")


def contradictions(shelf: Shelf) -> Iterator[Remark]:
    """Pages that say of themselves that they contradict another, and those that a language model found."""
    names = {name: page.path for page in shelf.pages.values() for name in _names(page)}
    for page in shelf.current():
        text = shelf.texts[page.path]
        if "\ncontradicts:" not in text[:5_000].replace("\r", ""):
            continue
        told = markdown.parse(text)[0].get("contradicts")
        for ref in told if isinstance(told, list) else [told]:
            other = shelf.pages.get(names.get(str(ref).strip().removeprefix("[[").removesuffix("]]"), ""))
            if other and other.status == "current":
                yield Remark(page.path, f"says that it contradicts {other.path}", fix=_SUPERSEDE)
    for one in shelf.judged:
        why = f" {one.why}" if one.why else ""
        yield Remark(
            one.page, f"contradicts {one.other}: “{one.quote}” against “{one.other_quote}”.{why}", fix=_SUPERSEDE
        )


_SUPERSEDE = "write what holds, with supersedes naming the other"


def _names(page: Page) -> Iterator[str]:
    yield from (page.title, page.path.rsplit("/", 1)[-1].removesuffix(".md"), page.id)
    yield from (page.path.removesuffix(".md"), page.path)


def called_wrong(shelf: Shelf) -> Iterator[Remark]:
    """What readers called wrong, and nobody has changed since."""
    return _called("wrong", shelf)


def called_stale(shelf: Shelf) -> Iterator[Remark]:
    """What readers called stale, and nobody has changed since."""
    return _called("stale", shelf)


def _called(verdict: str, shelf: Shelf) -> Iterator[Remark]:
    for page in shelf.current():
        for one in shelf.verdicts.get(page.id, ()):
            if one.verdict == verdict:
                note = f": {one.note}" if one.note else ""
                yield Remark(page.path, f"was called {verdict} by {one.agent}, {one.at:%Y-%m-%d}{note}", fix=_SETTLE)


_SETTLE = "write what holds now; a page that is changed is judged anew"


def expired(shelf: Shelf) -> Iterator[Remark]:
    """Pages whose own time is over."""
    for page in shelf.pages.values():
        if page.expires_at and page.expires_at <= shelf.now and page.kind not in GENERATED:
            yield Remark(page.path, f"expired on {page.expires_at:%Y-%m-%d}", lambda _: None)


def broken_links(shelf: Shelf) -> Iterator[Remark]:
    """Links that lead to no page; mended where the page is now elsewhere, and certainly that one."""
    for page in shelf.current():
        for link in shelf.links.get(page.path, ()):
            if link.path:
                continue
            new = shelf.moved.get((page.path, link.target), "")
            where = f", which is now {new}" if new else ""
            yield Remark(
                page.path,
                f"links to {link.target}{where or ', and there is no such page'}",
                relinked(page.path, link.target, new) if new else None,
            )


def superseded_links(shelf: Shelf) -> Iterator[Remark]:
    """Links of pages that hold to pages that do not: what replaced them is meant."""
    for page in shelf.current(*KNOWLEDGE):
        for link in shelf.links.get(page.path, ()):
            old = shelf.pages.get(link.path)
            new = _last_successor(shelf, link.path)
            if old and old.status == "superseded" and new != page.path and not _supersedes(page, old):
                where = f" by {new}" if new else ""
                yield Remark(
                    page.path,
                    f"links to {link.target}, which was superseded{where}",
                    relinked(page.path, link.target, new) if new else None,
                )


def _last_successor(shelf: Shelf, path: str) -> str:
    seen = {path}
    while (path := shelf.successors.get(path, "")) and path not in seen:
        seen.add(path)
        page = shelf.pages.get(path)
        if page and page.status == "current":
            return path
    return ""


def _supersedes(page: Page, old: Page) -> bool:
    return any(name in page.supersedes for name in _names(old))


def relinked(source: str, target: str, new: str) -> Mend:
    """Return what makes the links of the page at `source` to `target` lead to the page at `new`."""
    plain = new.removesuffix(".md")
    relative = posixpath.relpath(new, posixpath.dirname(source) or ".")

    def mend(text: str) -> str:
        body = markdown.parse(text)[1]
        done = markdown.relink(
            body,
            lambda told: (new if target.endswith(".md") else plain) if told == target else None,
            lambda told: relative if told == target else None,
        )
        return text[: len(text) - len(body)] + done

    return mend


def empty(shelf: Shelf) -> Iterator[Remark]:
    """Pages with nothing but headings."""
    for page in shelf.current(*KNOWLEDGE):
        if (
            shelf.sizes.get(page.path, 0) < 2_000
            and not _HEADINGS.sub("", markdown.parse(shelf.texts[page.path])[1]).strip()
        ):
            yield Remark(page.path, "says nothing", fix="write it, or forget it")


_HEADINGS = re.compile(r"<!--.*?-->|^#{1,6}[^\n]*$|^[-*_=\s]+$", re.S | re.M)


def oversize(shelf: Shelf) -> Iterator[Remark]:
    """Pages that nobody reads to the end, and rules that leave no room in the brief for others."""
    for page in shelf.current(*KNOWLEDGE):
        size, told = shelf.sizes.get(page.path, 0), page.kind in ("rule", "slot")
        if size > (TOLD_LONG if told else LONG):
            why = "; all rules that are told at a start have as much room together" if told else ""
            yield Remark(page.path, f"is {size:,} bytes long{why}", fix="split it, or write it shorter")


def duplicates(shelf: Shelf) -> Iterator[Remark]:
    """Pages with one title, or nearly the same words."""
    mine = sorted(shelf.current(*KNOWLEDGE), key=lambda page: (page.created, page.path))
    sketches = {page.path: alike.sketch(markdown.parse(shelf.texts[page.path])[1]) for page in mine}
    told = set()
    for one in alike.pairs(sketches):
        told.add(one.name)
        how = "the same words as" if one.share == 1 else f"nearly the same words ({one.share:.0%}) as"
        yield Remark(one.name, f"has {how} {one.other}", fix=_SUPERSEDE)
    titles: dict[str, str] = {}
    for page in mine:
        other = titles.setdefault(" ".join(page.title.lower().split()), page.path)
        if other != page.path and page.path not in told:
            yield Remark(page.path, f"has the title of {other}: {page.title}", fix=_SUPERSEDE)


def stale(shelf: Shelf) -> Iterator[Remark]:
    """Pages that nobody has changed or opened for long, and nobody called helpful."""
    for page in shelf.current("decision", "gotcha", "procedure", "concept", "note"):
        used = shelf.uses.get(page.id, (0, 0))[1] / 1000
        last = max(page.updated.timestamp(), used)
        helpful = any(one.verdict == "helpful" for one in shelf.verdicts.get(page.id, ()))
        days = int((shelf.now.timestamp() - last) / 86_400)
        if not page.pinned and not helpful and days > OLD.days:
            since = "opened" if used > page.updated.timestamp() else "changed"
            yield Remark(page.path, f"was last {since} {days} days ago", fix="see whether it still holds")


def orphans(shelf: Shelf) -> Iterator[Remark]:
    """Pages that no page links to and that link to none; what is told at every start needs no links."""
    linked = {link.path for source, found in shelf.links.items() for link in found if link.path != source}
    for page in shelf.current("decision", "gotcha", "procedure", "concept", "note"):
        alone = page.path not in linked and not any(link.path for link in shelf.links.get(page.path, ()))
        if alone and not page.pinned and not shelf.opened(page):
            yield Remark(page.path, "no page links to it, it links to none, and nobody has opened it yet")


def promote(shelf: Shelf) -> Iterator[Remark]:
    """Rules that have proved themselves (pinned, opened often, called helpful) and that only memory tells.

    In the repository's own AGENTS.md or CLAUDE.md they would be told to everybody who works on it.
    """
    if shelf.instructions is None:
        return
    told = _runs(shelf.instructions)
    for page in shelf.current("rule"):
        helpful = sum(one.verdict == "helpful" for one in shelf.verdicts.get(page.id, ()))
        if not (page.pinned or shelf.opened(page) >= USED_OFTEN or helpful >= 2):
            continue
        said = _runs(markdown.parse(shelf.texts[page.path])[1])
        if said and len(said & told) < SAID * len(said):
            yield Remark(
                page.path,
                "is a rule for everybody here, and neither AGENTS.md nor CLAUDE.md has it",
                fix="put it there",
            )


def _runs(text: str) -> set[str]:
    """Return the runs of two words in a text, of a single word that word."""
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + 2]) for i in range(max(1, len(words) - 1))} - {""}


RULES: tuple[Rule, ...] = (
    Rule("secret", "error", "secrets in pages that were edited by hand", secrets),
    Rule("front-matter", "error", "front matter that cannot be read", front_matter),
    Rule(
        "contradiction",
        "error",
        "pages that contradict each other, by their own word or a language model's",
        contradictions,
    ),
    Rule("wrong", "error", "what readers called wrong", called_wrong),
    Rule("outdated", "warning", "what readers called stale", called_stale),
    Rule("expired", "warning", "pages whose expires_at is over", expired),
    Rule("broken-link", "warning", "links that lead nowhere", broken_links),
    Rule("superseded-link", "warning", "links to pages that were superseded", superseded_links),
    Rule("duplicate", "warning", "pages with the same title or nearly the same words", duplicates),
    Rule("empty", "warning", "pages that say nothing", empty),
    Rule("oversize", "warning", "pages that are too long to be read, or told", oversize),
    Rule("stale", "hint", "pages that nobody has changed or opened for long", stale),
    Rule("orphan", "hint", "pages without links that nobody has opened", orphans),
    Rule("promote", "hint", "rules that AGENTS.md or CLAUDE.md should tell", promote),
)
