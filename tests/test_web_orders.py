"""Stored orders in a browser: every kind of page that shows stored text is made of our own parts, and of no others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import quote, urlencode

import pytest
from hostile import MARKDOWN, TITLES, Look
from injections import CASES
from library import NOW, Library
from playing import Player, repository
from remotes import ask, serving
from test_injection_cli import TERMINAL, assert_harmless

from ai_memory_mcp import registry
from ai_memory_mcp.model import Draft, HandoffDraft, Scope
from ai_memory_mcp.server.web import places
from ai_memory_mcp.server.web.routes import PAGES

ORDERS = (*(text for _, _, text in CASES), *MARKDOWN, *TITLES, *TERMINAL)
SCRIPT = "<script>alert(1)</script>"
OUTSIDE = ("https://ok.example", "https://evil.invalid/m?", "mailto:")  # where a page's own Markdown may lead
SESSIONS = 4
FRAME = ("script", "meta", "link", "img", "base", "style", "iframe")  # these say the same on every page
FORMS = {"/web/search", "/web/theme", "/web/logout"}


class Parts(HTMLParser):
    """Counts what a page is made of, and tells a page's own text from what stands round it."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.counts: Counter[str] = Counter()
        self.forms: set[str] = set()
        self.links: list[tuple[str, bool, str]] = []  # where to, out of a page's own text, rel
        self.run = ""
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.counts[tag] += 1
        if tag == "div":
            self._open.append(told.get("class", ""))
        elif tag == "form":
            self.forms.add(told.get("action", ""))
        elif tag == "a":
            self.links.append((told.get("href", ""), "text" in self._open, told.get("rel", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "div" and self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self.lasttag in ("script", "style"):
            self.run += data.strip()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """A memory in which every order stands wherever memory keeps what it is told."""
    made = Library(tmp_path_factory.mktemp("zoo"))
    memory, one = made.memory, made.projects["one"]
    scope = Scope(project=one.id)
    for number, order in enumerate(ORDERS):
        text = order.replace("\r", " ")  # a body has the line ends of a file
        line = " ".join(order.split())[:150] or "Title"
        made.page(
            f"{number} {line}",
            f"Parser {number}.\n\n{text}\n\nbefore {text} after [[Good]] [[{line}]]\n",
            kind="rule" if number % 9 == 0 else "note",
            tags=(line[:40],),
            summary=line,
            agent=line[:60],
            path=f"notes/{odd(number)}/{number:03}.md",
        )
    folder = repository(made.base / "okapi")
    for number in range(SESSIONS):
        player = Player(memory.res.home, folder, f"{number}", ago=900, agent=("claude-code", "codex")[number % 2])
        player.start()
        for order in ORDERS[number::SESSIONS]:
            player.prompt(order).runs(order, order).fails(order, order).plans(**{order[:60]: "pending"}).says(order)
        if number:
            player.ends()
    named = one.model_copy(
        update={"name": TITLES[0], "id": "0" * 8 + one.id[8:], "roots": tuple(TITLES), "remotes": tuple(TITLES)}
    )
    registry.record(memory.res, named, now=NOW)
    for part in (ORDERS[:70], ORDERS[70:]):
        memory.leave_handoff(
            scope,
            HandoffDraft(
                summary=" ".join(part)[:4000], next_steps=part, open_questions=part, decisions=part,
                failed_approaches=part, files_touched=part, from_agent=part[0][:60], to_agent=part[1][:60],
            ),
        )  # fmt: skip
    for order in (ORDERS, ORDERS[::-1]):
        draft = Draft(title="Diff " + TITLES[0], body="\n\n".join(order), path="notes/diff.md", agent=TITLES[2])
        memory.write(scope, draft)
    memory.feedback(scope, "notes/diff.md", "stale", note=" ".join(TITLES), agent=TITLES[3])
    memory.ingest()
    return made


def odd(number: int) -> str:
    """A folder's name that is as near to markup as a page's path may be."""
    return ("&lt;script&gt;alert(1)", "' onmouseover='alert(1)", "{{ 7 }}", "%22%3E%3Cimg onerror=alert(1)%3E")[
        number % 4
    ]


@pytest.fixture(scope="module")
def url(zoo: Library) -> Iterator[str]:
    with serving(zoo.memory.res.home) as address:
        yield address


def look(url: str, path: str, status: int = 200) -> Look:
    """Open a page and look at its parts: none is anybody's but ours, and no link leads where ours do not."""
    told, headers, body = ask(url, path, None, "GET", Accept="text/html,*/*")
    assert (told, headers["content-type"]) == (status, "text/html; charset=utf-8"), (path, body)
    shown, parts = Look(body), Parts(body)
    assert shown.bad == [], path
    assert parts.run == "", (path, "a script or a style that stands in the page")
    assert {tag: parts.counts[tag] for tag in FRAME} == frame(url), path
    assert parts.forms <= FORMS | {""}, path
    for target, own, rel in parts.links:
        if own and target.startswith(OUTSIDE):
            assert {"noopener", "noreferrer"} <= set(rel.split()), (path, target)
        else:
            assert re.match(r"#|/web(?:$|[/?])", target), (path, target)
            assert not re.match(r"/web/(?:logout|login|enter|theme|beat)", target), (path, target)
    assert_harmless(shown.text)
    return shown


def frame(url: str) -> dict[str, int]:
    """What stands round a page that shows nothing stored."""
    if url not in _frames:
        _, _, body = ask(url, "/web/p/none", None, "GET", Accept="text/html")
        counts = Parts(body).counts
        _frames[url] = {tag: counts[tag] for tag in FRAME}
    return _frames[url]


_frames: dict[str, dict[str, int]] = {}


def test_every_kind_of_page_shows_stored_orders_and_none_of_them_lives(url: str, zoo: Library) -> None:
    one = zoo.projects["one"].id
    okapi, odd_one = (
        next(project.id for project in zoo.memory.projects() if project.name == name) for name in ("okapi", TITLES[0])
    )
    sessions = [session.id for session in zoo.memory.sessions(Scope(project=okapi))]
    question = urlencode({"q": f"parser alert {TITLES[0]}", "agent": TITLES[2], "path": TITLES[1], "in": TITLES[3]})
    pages = {
        "": "/web", "/": "/web/?page=1", "/search": "/web/search?q=parser", "/handoffs": "/web/handoffs",
        "/health": "/web/health", "/p/{project}": f"/web/p/{one}", "/p/{project}/pages": f"/web/p/{one}/pages",
        "/p/{project}/page/{path:path}": places.page(one, "notes/diff.md"),
        "/p/{project}/history": places.history(one) + "?diff=1",
        "/p/{project}/history/{path:path}": places.history(one, "notes/diff.md"),
        "/p/{project}/sessions": f"/web/p/{okapi}/sessions",
        "/p/{project}/session/{session}": places.session(okapi, sessions[0]),
        "/p/{project}/handoffs": f"/web/p/{one}/handoffs", "/p/{project}/health": f"/web/p/{odd_one}/health",
        "places": f"/web/p/{odd_one}",
    }  # fmt: skip
    shown = {kind: look(url, path).text for kind, path in pages.items()}
    steps = [
        look(url, places.session(okapi, session) + f"?page={page}").text for session in sessions for page in (1, 2)
    ]
    shown["/p/{project}/session/{session}"] += "".join(steps)
    shown["asked"] = look(url, f"/web/search?{question}").text
    shown["missing"] = look(url, f"/web/find?ref={quote(SCRIPT)}&name={quote(TITLES[0])}", 404).text

    assert {path for path, _, template in PAGES if template} <= shown.keys()
    for kind in ("/search", "/p/{project}/page/{path:path}", "/p/{project}/session/{session}", "/handoffs"):
        assert SCRIPT in shown[kind], kind
    for kind in ("/p/{project}/history", "/p/{project}/history/{path:path}", "/p/{project}/handoffs", "missing"):
        assert SCRIPT in shown[kind], kind
    for kind in (
        "",
        "/p/{project}",
        "/p/{project}/pages",
        "/p/{project}/sessions",
        "asked",
        "/p/{project}/health",
        "places",
    ):
        assert re.search(r"alert\(1\)|onerror|TITLE=", shown[kind]), kind


def test_every_stored_order_is_shown_on_a_page_and_does_nothing_there(url: str, zoo: Library) -> None:
    one = zoo.projects["one"].id
    assert len(ORDERS) >= 120
    for number in range(len(ORDERS)):
        path = f"notes/{odd(number)}/{number:03}.md"
        text = look(url, places.page(one, path)).text
        assert f"Parser {number}." in text
        assert "after" in text
