"""What a browser is shown: every page, for whom, and that nothing stored ever runs in it or calls anybody."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from datetime import datetime, timezone
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from hostile import ELSEWHERE, MARKDOWN, TITLES, Look
from hypothesis import given, settings
from hypothesis import strategies as st
from injections import CASES
from playing import Player, repository
from remotes import PROGRAM, HttpServer, Machine, ask, local, token

from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import (
    Draft,
    EmbeddingStatus,
    Figures,
    HandoffDraft,
    Junk,
    LlmStatus,
    Query,
    Scope,
    Slow,
    Spending,
    Status,
)
from ai_memory_mcp.server.guard import OPEN
from ai_memory_mcp.server.logins import IDLE, LONGEST, Logins
from ai_memory_mcp.server.web import markup, places, routes, templates, views
from ai_memory_mcp.server.web.serve import LEFT, Visit
from ai_memory_mcp.tokens import Tokens

BROWSER = {"Accept": "text/html,*/*"}


def write(memory: LocalMemory, folder: Path, title: str, body: str, **more: object) -> None:
    memory.write(Scope(cwd=str(folder)), Draft.model_validate({"title": title, "body": body, **more}))


@pytest.fixture
def zoo(server: Path) -> LocalMemory:
    """A memory with the project `okapi`: pages that link to and supersede each other, sessions and a handoff."""
    memory, folder = local(server), repository(server.parent / "okapi")
    write(memory, folder, "Old feed", "Hay.", kind="decision")
    write(memory, folder, "Feed", "Leaves, see [[Water]].", kind="decision", supersedes=("Old feed",), tags=("food",))
    write(memory, folder, "Water", "# Water\n\nFrom the [[Feed#when|trough]].\n\n```python\ndef pour(): ...\n```\n")
    write(memory, folder, "Water", "# Water\n\nFrom the [[Feed#when|trough]] or [[Nowhere]].\n\n```python\npass\n```\n")
    Player(server, folder, "one", ago=900).start().works("the fence").ends()
    memory.ingest()
    memory.leave_handoff(Scope(cwd=str(folder)), HandoffDraft(summary="Mind the fence.", next_steps=("paint it",)))
    return memory


def get(url: str, path: str, status: int = 200, **headers: str) -> Look:
    """Open a page; what it consists of is looked at."""
    told, more, body = ask(url, path, None, "GET", **{**BROWSER, **headers})
    assert told == status, (path, told, body)
    assert more["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in more["content-security-policy"]
    assert "unsafe" not in more["content-security-policy"]
    look = Look(body)
    assert look.bad == [], path
    return look


def all_pages(url: str, **headers: str) -> dict[str, Look]:
    """Follow every link from the first page."""
    found: dict[str, Look] = {}
    waiting = ["/web"]
    while waiting:
        path = waiting.pop()
        if path in found or len(found) > 120:
            continue
        found[path] = get(url, path, **headers)
        waiting += [link.partition("#")[0] for link in found[path].links if link.startswith("/web")]
    return found


def form(url: str, path: str, fields: dict[str, str], **headers: str) -> tuple[int, dict[str, str], str]:
    """Send a form as these pages do."""
    body = urlencode(fields).encode()
    told = {"Content-Type": "application/x-www-form-urlencoded", "Origin": url, **BROWSER, **headers}
    return ask(url, path, body, "POST", **told)


def log_in(url: str, secret: str) -> dict[str, str]:
    """Log in; returns the header with the cookie."""
    status, headers, _ = form(url, "/web/login", {"token": secret, "to": "/web/health"})
    assert (status, headers["location"]) == (303, "/web/health")
    cookie = headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/web"} <= {part.strip() for part in cookie.split(";")}
    return {"Cookie": cookie.partition(";")[0]}


# --- what is shown


def test_every_page_of_a_memory_can_be_reached_and_shows_what_memory_tells(url: str, zoo: LocalMemory) -> None:
    (project,) = [one for one in zoo.projects() if one.name == "okapi"]
    pages = all_pages(url)
    kinds = {re.sub(r"^/p/[^/]+/?([a-z]*).*$", r"/p/\1", path.removeprefix("/web").partition("?")[0]) for path in pages}

    assert {"", "/handoffs", "/health", *(f"/p/{part}" for part in ("", "pages", "page", "history"))} <= kinds
    assert {f"/p/{part}" for part in ("sessions", "session", "handoffs", "health")} <= kinds
    assert "okapi" in pages["/web"].text
    assert "Mend the fence" in pages["/web"].text
    assert "Mind the fence." in pages[places.project(project.id, "handoffs")].text
    assert "paint it" in pages[places.project(project.id)].text
    session = next(look for path, look in pages.items() if "/session/" in path)
    assert "Please mend the fence" in session.text
    assert "AssertionError: expected 3" in session.text
    assert "All is well." in pages["/web/health"].text


def test_a_page_is_shown_with_its_links_both_ways_its_code_and_its_history(url: str, zoo: LocalMemory) -> None:
    (project,) = [one for one in zoo.projects() if one.name == "okapi"]
    _, _, water = ask(url, places.page(project.id, "notes/water.md"), None, "GET")
    feed = get(url, places.page(project.id, "decisions/feed.md"))
    old = get(url, places.page(project.id, "decisions/old-feed.md"))
    _, _, changes = ask(url, places.history(project.id, "notes/water.md"), None, "GET")
    then = re.findall(r'href="([^"]*\?at=[^"]*)"', changes)[-1]

    assert f'href="{places.page(project.id, "decisions/feed.md")}#h-when" class="wikilink"' in water
    assert '<span class="missing" title="There is no page Nowhere">Nowhere</span>' in water
    assert '<span class="k">pass</span>' in water
    assert water.count("<h1") == 1
    assert places.page(project.id, "notes/water.md") in feed.links
    assert "decisions/feed.md" in feed.text.replace("\n", "").replace(" ", "")
    assert "Superseded." in old.text
    assert places.page(project.id, "decisions/feed.md") in old.links
    assert '<span class="added">+From the [[Feed#when|trough]] or [[Nowhere]].' in changes
    assert "or Nowhere" not in get(url, then).text
    assert "as it was on" in get(url, then).text
    assert places.page(project.id, "decisions/feed.md") in {link.partition("#")[0] for link in get(url, then).links}


def test_search_shows_the_same_hits_in_the_same_order_with_the_words_marked(url: str, zoo: LocalMemory) -> None:
    hits = zoo.search(Scope(), Query(text="fence leaves", limit=25, max_tokens=20_000, everywhere=True)).hits
    _, _, page = ask(url, "/web/search?q=fence+leaves", None, "GET")
    titles = re.findall(r'<a class="item"[^>]*><span class="what" dir="auto">(.*?)</span>', page)

    assert len(hits) > 3
    assert [re.sub("<[^>]+>", "", title) for title in titles] == [markup.clean(str(hit.title)) for hit in hits]
    assert "<mark>fence</mark>" in page
    assert "<mark>Leaves</mark>" in page
    for field, wanted in (("kind=decision", {"decision"}), ("agent=nobody", set()), ("after=2999-01-01", set())):
        _, _, narrowed = ask(url, f"/web/search?q=fence+leaves&{field}", None, "GET")
        assert set(re.findall(r'class="kind k-([a-z-]+)"', narrowed)) == wanted, field
    for field in ("in=p:nothing", "in=w:nowhere"):
        assert "no" in get(url, f"/web/search?q=fence&{field}").text


def test_every_hit_leads_somewhere_also_where_projects_share_a_name(url: str, server: Path) -> None:
    memory = local(server)
    for workspace in ("one", "two"):
        folder = repository(server.parent / workspace)
        (folder / ".ai-memory.toml").write_text(f'workspace = "{workspace}"\nproject = "app"\n')
        write(memory, folder, f"Quokka of {workspace}", "Text.")
        Player(server, folder, f"s-{workspace}", ago=900).start().works(f"the quokka {workspace}").ends()
    memory.ingest()
    page = get(url, "/web/search?q=quokka")
    found = [link for link in page.links if "/find" in link]

    assert len(found) > 4
    for link in found:
        status, headers, _ = ask(url, link, None, "GET")
        assert status == 303, link
        get(url, headers["location"])
    get(url, "/web/find?ref=nothing&name=app", 404)


def test_what_models_were_asked_stands_by_day_and_purpose() -> None:
    days = {"2026-11-25": {"session": Spending(calls=3, failed=1, input=1500, output=700)}, "2026-11-26": {}}
    llm = LlmStatus(provider="openai", model="m-1", address="", spent=2200, daily_tokens=9000, days=days, problem="Hm.")
    bare = Status.model_construct(home="", project=None, problems=(), llm=llm)
    status = zoo_status().model_copy(update={"llm": bare.llm})
    around = {
        "theme": "system",
        "themes": (),
        "by_key": False,
        "inside": True,
        "question": "",
        "back": "",
        "reader": "",
    }
    slow = Slow(at=datetime.now(timezone.utc), what="search", seconds=2.5)
    figures = Figures(sizes={"wiki": 2_000_000}, junk=Junk(pages=4, rate=0.25), slow=(slow,), slow_calls=1)
    vectors = EmbeddingStatus(provider="voyage", model="v-1", address="", embedded=1500, spent=30, problem="Stale.")
    status = status.model_copy(update={"embedding": vectors, "figures": figures})
    seen = {**around, "status": status, **views._models(status), "project": None}
    page = Look(templates.page("health.html", seen).decode())

    assert page.bad == []
    assert "2,200 of 9,000 tokens" in page.text
    for words in ("2 MB on the disk: wiki 2 MB", "25% of 4 pages", "0 of 0 accepted events are lost", "search 2.5 s"):
        assert words in page.text
    assert "v-1 of voyage has embedded 1,500 passages and observations" in page.text
    assert "Stale." in page.text
    assert re.search(r"2026-11-25\s+2,200 3 calls, 1 failed\s*3\s*2,200", page.text)


def zoo_status() -> Status:
    return Status.model_validate(
        {"home": "", "project": None, "counts": {}, "spool": {"pending": 0, "set_aside": 0}, "capture": {}}
    )


def test_an_empty_memory_says_what_to_do(url: str) -> None:
    assert "ai-memory-mcp setup" in get(url, "/web").text
    get(url, "/web/search?q=x")
    get(url, "/web/health")


def test_what_is_not_there_is_told_as_a_page(url: str, zoo: LocalMemory) -> None:
    (project,) = [one for one in zoo.projects() if one.name == "okapi"]
    for path in (
        "/web/nothing",
        "/web/p/nothing",
        places.page(project.id, "notes/none.md"),
        places.page(project.id, "../../../../etc/passwd"),
        places.session(project.id, "none"),
        places.history(project.id, "none.md"),
        places.page(project.id, "notes/water.md", at="1999-01-01"),
        "/web/static/../routes.py",
        "/web/static/%2e%2e/routes.py",
    ):
        assert "All projects" in get(url, path, 404).text
    get(url, places.page(project.id, "notes/water.md", at="yesterday?"), 400)


# --- nothing stored runs or calls anybody


def test_hostile_texts_are_shown_and_do_nothing_on_any_page(url: str, server: Path) -> None:
    memory, folder = local(server), repository(server.parent / "okapi")
    scope = Scope(cwd=str(folder))
    write(memory, folder, "Good", "x")
    (project,) = [one for one in memory.projects() if one.name == "okapi"]
    for number, body in enumerate(MARKDOWN):
        write(memory, folder, f"Page {number}", f"{body}\n\nbefore {body} after [[Good]]", summary=body[:200])
    for number, title in enumerate(TITLES):
        write(
            memory, folder, title, title, path=f"notes/t{number}.md", tags=(title,), agent=title, supersedes=("Good",)
        )
    wiki = memory.res.wiki(project).folder
    fields = "".join(f"{json.dumps(title)}: {json.dumps(title)}\n" for title in TITLES)
    (wiki / "notes" / "hand.md").write_text(
        f"---\nstatus: superseded\nsuperseded_by: {TITLES[0]!r}\n{fields}---\n{MARKDOWN[0]}"
    )
    memory.feedback(scope, "Good", "stale", note=TITLES[1])
    memory.leave_handoff(
        scope, HandoffDraft(summary=MARKDOWN[3], next_steps=tuple(MARKDOWN), files_touched=tuple(TITLES))
    )
    player = Player(server, folder, "one", ago=900).start().prompt(" ".join(MARKDOWN))
    player.fails(MARKDOWN[1], MARKDOWN[2]).plans(**{MARKDOWN[0]: "pending"}).says("\n\n".join(MARKDOWN)).ends()
    memory.ingest()
    written = [*(f"page-{number}" for number in range(len(MARKDOWN))), *(f"t{number}" for number in range(len(TITLES)))]
    addresses = [places.page(project.id, f"notes/{name}.md") for name in (*written, "hand")]
    pages = all_pages(url) | {address: get(url, address) for address in addresses}
    pages |= {path: get(url, path) for path in (places.history(project.id) + "?diff=1&limit=90", "/web/handoffs")}
    question = urlencode({"q": f"alert {TITLES[0]}", "agent": TITLES[0], "path": TITLES[1], "in": TITLES[2]})
    pages["search"] = get(url, f"/web/search?{question}")
    pages["hits"] = get(url, "/web/search?q=alert+script")
    pages["error"] = get(url, "/web/p/" + "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E", 404)

    assert len(pages) > 70
    assert "<script>alert(1)</script>" in pages[places.page(project.id, "notes/page-0.md")].text
    template = next(number for number, body in enumerate(MARKDOWN) if "7 * 7" in body)
    assert "{{ 7 * 7 }}" in pages[places.page(project.id, f"notes/page-{template}.md")].text
    for path, page in pages.items():
        assert not [char for char in page.text if char in "\u202e\u202c\x00"], path
        assert not [link for link in page.links if ELSEWHERE in link and not link.startswith("/web")], path


@pytest.mark.parametrize("text", [*MARKDOWN, *(text for _, _, text in CASES)])
def test_hostile_markdown_becomes_nothing_but_text(text: str) -> None:
    look = Look(str(markup.render(text, lambda target: None)))

    assert look.bad == []
    assert not look.tags & {"script", "img", "svg", "form", "input", "style", "link", "meta", "button"}
    assert all(link.startswith(("https://ok.example", "https://evil.invalid/m?", "#")) for link in look.links)


@given(
    st.lists(
        st.sampled_from([*MARKDOWN, "[[", "]]", "](", "`", "\n\n", "- [ ] ", "| a |\n|---|\n", "<", '"', "\\", "#"]),
        max_size=8,
    )
)
@settings(max_examples=60, deadline=None)
def test_no_mixture_of_hostile_pieces_breaks_out(pieces: list[str]) -> None:
    look = Look(str(markup.render("".join(pieces), lambda target: "/web/p/1/page/x.md")))

    assert look.bad == []
    assert not look.tags & {"script", "img", "svg", "form", "input", "style", "link", "meta", "button"}


@pytest.mark.parametrize("piece", ["[", "[[a|", "![", "> ", "*a **b", "`a", "|a", "_a", "a\n", "<", "- [ ] x\n"])
def test_a_page_made_to_take_minutes_is_shown(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    look = Look(str(markup.render(text, lambda target: None)))

    assert look.bad == []
    assert look.tags


def test_markdown_that_means_well_is_kept() -> None:
    text = (
        "# T\n\n## Über uns\n\n- [x] done\n\n|a|b|\n|:-:|--:|\n|1|2|\n\n~~x~~ [m](mailto:a@b.example) [r](other.md#top)"
    )
    html = str(markup.render(text, {"other.md": "/web/p/1/page/other.md"}.get, "T"))

    assert '<h3 id="h-über-uns">Über uns</h3>' in html
    assert "☑ done" in html
    assert '<td class="center">1</td>' in html
    assert '<td class="right">2</td>' in html
    assert "<s>x</s>" in html
    assert 'href="mailto:a@b.example"' in html
    assert 'href="/web/p/1/page/other.md#h-top"' in html
    assert html.count("<h2") == 0


def test_every_answer_tells_browsers_to_load_nothing(url: str) -> None:
    for method, path in (("GET", "/healthz"), ("POST", "/api/v1/projects"), ("GET", "/nothing"), ("GET", "/mcp")):
        _, headers, _ = ask(url, path, {} if method == "POST" else None, method)
        assert headers["content-security-policy"].startswith("default-src 'none'"), path
        assert headers["x-content-type-options"] == "nosniff"
    assert ask(url, "/web", None, "GET", Host="evil.example")[1]["content-security-policy"].startswith(
        "default-src 'none'"
    )


# --- for whom


def test_a_browser_without_a_session_is_asked_to_log_in_and_told_nothing_else(
    server: Path, url: str, zoo: LocalMemory
) -> None:
    token(server)
    for path, _, _ in routes.PAGES:
        path = "/web" + path
        for headers in ({}, {"Cookie": f"ai-memory-{urlsplit(url).port}=wrong"}):
            status, told, body = ask(url, path, None, "GET", **BROWSER, **headers)
            assert (status, body) == (303, "")
            assert told["location"].startswith("/web/login?to=%2Fweb")
        assert ask(url, path, None, "GET")[0] in (401, 429)
    for path in OPEN:
        _, _, body = ask(url, path, None, "GET", **BROWSER)
        assert "okapi" not in str(body)
    assert "token" in get(url, "/web/login?to=/web/health").text


def test_a_session_opens_pages_and_nothing_else_until_it_is_ended(server: Path, url: str, zoo: LocalMemory) -> None:
    secret = token(server, "laptop")
    cookie = log_in(url, secret)
    assert secret not in cookie["Cookie"]
    assert "okapi" in get(url, "/web", **cookie).text
    assert "laptop" in get(url, "/web", **cookie).text
    for path in ("/api/v1/projects", "/hook", "/mcp", "/upload"):
        assert ask(url, path, {}, **cookie)[0] in (401, 429)
    for file in server.rglob("*"):
        assert not file.is_file() or cookie["Cookie"].partition("=")[2].encode() not in file.read_bytes()
    status, headers, _ = form(url, "/web/logout", {}, **cookie)
    assert (status, headers["location"]) == (303, "/web/login")
    assert ask(url, "/web", None, "GET", **BROWSER, **cookie)[0] == 303


def test_a_token_that_is_revoked_ends_its_sessions(server: Path, url: str) -> None:
    cookie = log_in(url, token(server, "laptop"))
    token(server, "other")
    Tokens(server).revoke("laptop")

    assert ask(url, "/web", None, "GET", **BROWSER, **cookie)[0] == 303


def test_a_session_is_over_after_a_while(server: Path) -> None:
    now = [0.0]
    logins = Logins(Tokens(server), clock=lambda: now[0])
    secret = token(server)
    assert logins.begin("aimem_wrong") == ""
    first = logins.begin(secret)
    assert logins.find(first)
    now[0] += IDLE - 1
    assert logins.find(first)
    now[0] += IDLE + 1
    assert logins.find(first) is None
    second = logins.begin(secret)
    while now[0] <= IDLE * 2 + LONGEST:
        now[0] += IDLE / 2
        found = logins.find(second)
    assert found is None


def test_a_wrong_token_is_refused_and_guessing_slowed_down(server: Path, url: str) -> None:
    token(server)
    told = [form(url, "/web/login", {"token": f"aimem_{number}"}) for number in range(25)]

    assert {status for status, _, _ in told} == {401, 429}
    assert not [headers for _, headers, _ in told if "set-cookie" in headers]


def test_forms_of_other_sites_are_refused(server: Path, url: str) -> None:
    secret = token(server)
    cookie = log_in(url, secret)
    for path, fields in (("/web/login", {"token": secret}), ("/web/logout", {}), ("/web/theme", {"theme": "dark"})):
        assert form(url, path, fields, Origin="https://evil.example", **cookie)[0] == 403
        assert form(url, path, fields, Origin="null", **cookie)[0] == 403
        body = urlencode(fields).encode()
        status, headers, _ = ask(url, path, body, "POST", **cookie)
        assert (status, "set-cookie" in headers) == (403, False)
    assert "Projects" in get(url, "/web", **cookie).text


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/web//evil.example",
        "/\\evil.example",
        "/webx",
        "/web/\\x",
        "",
        "/web\r\nX: y",
    ],
)
def test_nobody_is_sent_elsewhere_after_logging_in(target: str) -> None:
    assert places.within(target) == "/web"
    assert places.within("/web/p/1/page/a.md?at=2026-11-01") == "/web/p/1/page/a.md?at=2026-11-01"


def test_a_bound_token_sees_nothing_of_other_workspaces_on_any_page(server: Path, url: str) -> None:
    memory = local(server)
    for workspace, name in (("zoo", "okapi"), ("own", "diary")):
        folder = repository(server.parent / name)
        (folder / ".ai-memory.toml").write_text(f'workspace = "{workspace}"\nproject = "{name}"\n')
        write(memory, folder, f"Secret of {name}", "quokka")
        Player(server, folder, f"session-{name}", ago=900).start().works(f"the quokka of {name}").ends()
    memory.ingest()
    diary = next(one for one in memory.projects() if one.name == "diary")
    theirs = Scope(project=diary.id)
    session, handoff = memory.sessions(theirs)[0], memory.handoffs(theirs)[0]
    for bound in (["zoo"], ["zoo", "farm"]):
        cookie = log_in(url, token(server, "-".join(bound), workspaces=bound))
        for path, page in all_pages(url, **cookie).items():
            assert "diary" not in page.text, path
            assert str(server) not in page.text, path
        for path, _, _ in routes.PAGES:
            for part, ref in (("{path:path}", "notes/secret-of-diary.md"), ("{session}", session.id)):
                path = path.replace(part, ref)
            if "{project}" in path:
                assert "quokka" not in get(url, "/web" + path.replace("{project}", diary.id), 404, **cookie).text
        for ref in (session.id, handoff.id, "Secret of diary"):
            get(url, f"/web/find?{urlencode({'ref': ref, 'name': 'diary'})}", 404, **cookie)
        for place in ("", f"p:{diary.id}", "w:own", "p:diary", "p:own/diary"):
            page = get(url, f"/web/search?{urlencode({'q': 'quokka', 'in': place})}", **cookie)
            assert "of diary" not in page.text, place
        assert "of okapi" in get(url, "/web/search?q=quokka", **cookie).text


def test_pages_change_nothing(server: Path, url: str, zoo: LocalMemory) -> None:
    before = {file: file.read_bytes() for file in (server / "wiki").rglob("*.md")}
    for path in all_pages(url):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert ask(url, path, {}, method)[0] in (405, 429), (method, path)

    assert {file: file.read_bytes() for file in (server / "wiki").rglob("*.md")} == before


# --- again, quickly; light and dark


def test_a_page_is_told_again_only_when_something_has_changed(server: Path, url: str, zoo: LocalMemory) -> None:
    status, headers, _ = ask(url, "/web", None, "GET")
    tag = headers["etag"]
    status, again, body = ask(url, "/web", None, "GET", If_None_Match=tag)
    assert (status, again["etag"], body) == (304, tag, "")
    assert ask(url, "/web", None, "GET", If_None_Match=tag, Cookie="ai-memory-theme=dark")[0] == 200
    write(zoo, server.parent / "okapi", "Brand new", "text")
    status, _, body = ask(url, "/web", None, "GET", If_None_Match=tag)

    assert status == 200
    assert "Brand new" in body


def test_light_or_dark_is_the_readers_choice_without_any_script(url: str) -> None:
    status, headers, _ = form(url, "/web/theme", {"theme": "dark", "back": "/web/health"})
    assert (status, headers["location"]) == (303, "/web/health")
    _, _, page = ask(url, "/web/health", None, "GET", Cookie=headers["set-cookie"].partition(";")[0])
    _, _, other = ask(url, "/web/health", None, "GET", Cookie="ai-memory-theme=<script>")

    assert 'data-theme="dark"' in page
    assert 'data-theme="system"' in other
    assert "set-cookie" not in form(url, "/web/theme", {"theme": "<b>", "back": "//evil"})[1]


# --- serve-web


class Opened:
    """`serve-web` of a machine in a process of its own."""

    def __init__(self, machine: Machine, *words: str) -> None:
        command = [*PROGRAM, "serve-web", "--json", *words]
        self.process = subprocess.Popen(command, env=machine.env, cwd=machine.user, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        told = "".join(iter(self.process.stdout.readline, "}\n")) + "}"
        self.url, _, self.path = json.loads(told)["url"].partition("/web")
        self.path = f"/web{self.path}"

    def enter(self) -> dict[str, str]:
        """Exchange the key for a cookie, as a browser does that waits until the server answers."""
        status, headers, _ = ask(self.url, self.path, None, "GET", **BROWSER)
        assert (status, headers["location"]) == (303, "/web")
        return {"Cookie": headers["set-cookie"].partition(";")[0]}

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout
        with self.process.stdout:
            return self.process.wait(20)


def test_serve_web_opens_for_who_has_the_address_once_and_leaves_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "desk")
    machine.run("write", "Okapi", "--body", "Leaves.", "--project", "general")
    before = {path for path in machine.user.rglob("*") if "locks" not in path.parts}
    shown, browser = tmp_path / "shown", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {shown}\n')
    browser.chmod(0o755)
    machine.env["BROWSER"] = f"{browser} %s"
    opened = Opened(machine)
    try:
        assert ask(opened.url, "/web", None, "GET")[0] == 401
        assert ask(opened.url, "/web", None, "GET", **BROWSER)[0] == 303
        assert ask(opened.url, "/web/enter?key=wrong", None, "GET")[0] == 403
        cookie = opened.enter()
        assert shown.read_text() == opened.url + opened.path
        assert ask(opened.url, opened.path, None, "GET")[0] == 403
        assert "Log out" not in get(opened.url, "/web/nothing", 404, **cookie).text
        assert "general" in get(opened.url, "/web", **cookie).text
        assert form(opened.url, "/web/login", {"token": "x"})[0] == 401
        assert ask(opened.url, "/api/v1/projects", {}, **cookie)[0] in (401, 404)
        assert form(opened.url, "/web/beat", {}, **cookie)[0] == 204
    finally:
        assert opened.end() == 0
    with pytest.raises(ConnectionRefusedError):
        HTTPConnection(opened.url.removeprefix("http://"), timeout=2).connect()

    assert {path for path in machine.user.rglob("*") if "locks" not in path.parts} - before <= {
        machine.home / "journal"
    }


def test_serve_web_stays_while_it_is_looked_at() -> None:
    now = [0.0]
    visit = Visit(900.0, lambda: now[0])
    for _ in range(10):
        now[0] += 899
        assert not visit.over()
        visit.seen()
    visit.shown("a", True)
    visit.shown("a", False)
    now[0] += LEFT - 1
    assert not visit.over()
    visit.seen()  # the page after it
    now[0] += LEFT + 1
    assert not visit.over()
    visit.shown("b", True)
    visit.shown("c", True)
    visit.shown("b", False)  # c is open, in a tab that is not looked at
    now[0] += LEFT + 1
    assert not visit.over()
    visit.shown("c", False)
    assert visit.over()
    visit.seen()
    now[0] += 901
    assert visit.over()


def test_serve_web_of_a_client_shows_the_servers_memory(tmp_path: Path) -> None:
    desk = Machine(tmp_path, "desk")
    desk.run("write", "Okapi", "--body", "Leaves.", "--project", "general")
    secret = desk.run("token", "create", "laptop", "--read-only").stdout.strip()
    server = HttpServer(desk).start()
    opened = Opened(Machine(tmp_path, "laptop", server.url, secret), "--no-open")
    try:
        cookie = opened.enter()
        pages = all_pages(opened.url, **cookie)
        assert any("Leaves." in page.text for page in pages.values())
    finally:
        assert opened.end() == 0
        server.stop()
