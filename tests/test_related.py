"""What belongs to a page: links that lead somewhere or nowhere, links to it, its session, its successors."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from children import opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playing import Player, repository

from ai_memory_mcp.errors import NotFoundError
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Document, Draft, HandoffDraft, Scope


@pytest.fixture
def scope(own_home: Path) -> Scope:
    return Scope(cwd=str(repository(own_home / "work")))


def write(memory: LocalMemory, scope: Scope, path: str, body: str = "text", **fields: object) -> str:
    draft = Draft.model_validate({"title": path.rsplit("/", 1)[-1], "body": body, "path": path, **fields})
    return memory.write(scope, draft).path


def read(memory: LocalMemory, scope: Scope, ref: str) -> Document:
    return memory.read(scope, ref, links=True)


def test_links_say_where_they_lead_or_that_they_lead_nowhere(memory: LocalMemory, scope: Scope) -> None:
    write(memory, scope, "decisions/wal.md", title="Use one WAL")
    write(memory, scope, "notes/beside.md")
    body = "[[wal]] [[Use ONE wal|so]] [[decisions/wal#why]] [b](beside.md) [up](../decisions/wal.md) [[Nowhere]]"
    write(memory, scope, "notes/from.md", body)

    assert [(one.target, one.path) for one in read(memory, scope, "from").links] == [
        ("wal", "decisions/wal.md"),
        ("Use ONE wal", "decisions/wal.md"),
        ("decisions/wal", "decisions/wal.md"),
        ("beside.md", "notes/beside.md"),
        ("../decisions/wal.md", "decisions/wal.md"),
        ("Nowhere", ""),
    ]
    assert read(memory, scope, "beside").backlinks == read(memory, scope, "wal").backlinks == ("notes/from.md",)


def test_a_broken_link_leads_somewhere_once_the_page_is_there(memory: LocalMemory, scope: Scope) -> None:
    write(memory, scope, "notes/from.md", "[[later]]")
    write(memory, scope, "notes/later.md")
    assert read(memory, scope, "from").links[0].path == "notes/later.md"
    assert read(memory, scope, "later").backlinks == ("notes/from.md",)

    write(memory, scope, "notes/from.md", "nothing")
    assert read(memory, scope, "later").backlinks == ()


def test_of_pages_with_one_name_the_nearest_is_meant(memory: LocalMemory, scope: Scope) -> None:
    for path in ("notes/wal.md", "decisions/wal.md"):
        write(memory, scope, path)
    write(memory, scope, "decisions/from.md", "[[wal]]")
    write(memory, scope, "notes/from.md", "[w](wal.md)")

    assert read(memory, scope, "decisions/wal.md").backlinks == ("decisions/from.md",)
    assert read(memory, scope, "notes/wal.md").backlinks == ("notes/from.md",)


def test_without_being_asked_for_nothing_is_told_of_it(memory: LocalMemory, scope: Scope) -> None:
    write(memory, scope, "notes/a.md", "[[a]]")
    found = memory.read(scope, "a")
    assert (found.links, found.history) == ((), ())
    assert read(memory, scope, "a").backlinks == ()  # not to itself


NAMES = ("a", "b", "One topic")
FOLDERS = ("notes/", "decisions/", "sessions/2026/", "")
TARGETS = (
    *(*NAMES, "a.md", "./b.md", "../notes/a.md", "notes/a", "2026/b", "sessions/2026/b.md"),
    *("one TOPIC", "A", "zzz", "../../a.md"),
)


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES)),
        st.lists(st.sampled_from(TARGETS), max_size=4),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_page_is_linked_from_where_a_link_leads_to_it(pages: dict[tuple[str, str], list[str]]) -> None:
    with tempfile.TemporaryDirectory() as base:
        memory = opened(str(Path(base).resolve() / "memory"))
        scope = Scope(cwd=str(repository(Path(base).resolve() / "work")))
        memory.write(scope, Draft(title="The first", body="x"))
        folder = memory.res.wiki(memory.projects()[0]).folder
        for (place, name), targets in pages.items():
            path = folder / place / f"{name.lower().replace(' ', '-')}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"---\ntitle: {name}\n---\n" + " ".join(f"[[{target}]]" for target in targets))
        paths = [hit.path for hit in memory.recent(scope, limit=50)]
        found = {path: read(memory, scope, path) for path in paths}

        led = {(source, one.path) for source, page in found.items() for one in page.links if one.path}
        back = {(source, path) for path, page in found.items() for source in page.backlinks}
        assert {(source, path) for source, path in led if source != path} == back


def test_pages_of_one_session_know_each_other(home: Path, memory: LocalMemory, scope: Scope) -> None:
    player = Player(home, Path(scope.cwd), "s-1", ago=900).start().works()
    memory.ingest()
    write(memory, scope, "notes/in-it.md", agent="claude-code", session="s-1")
    write(memory, scope, "notes/other.md", agent="claude-code", session="s-2")
    left = memory.leave_handoff(scope, HandoffDraft(summary="half", from_agent="claude-code", from_session="s-1"))
    player.ends()
    memory.ingest()
    (session,) = memory.sessions(scope)

    family = {"notes/in-it.md", left.path, session.page or ""}
    for path in family:
        assert set(read(memory, scope, path).same_session) == family - {path}
    assert read(memory, scope, "other").same_session == ()


def test_the_chain_of_successors_is_told_from_both_ends(memory: LocalMemory, scope: Scope) -> None:
    write(memory, scope, "notes/one.md")
    write(memory, scope, "notes/two.md", supersedes=("one",))
    write(memory, scope, "notes/three.md", supersedes=("notes/two.md",))
    (folder,) = (memory.res.wiki(one).folder for one in memory.projects())
    (folder / "notes/four.md").write_text("---\nsupersedes: notes/three.md\n---\nby hand\n")

    assert read(memory, scope, "one").superseded_by == ("notes/two.md", "notes/three.md", "notes/four.md")
    assert read(memory, scope, "four").supersedes == ("notes/three.md", "notes/two.md", "notes/one.md")
    assert read(memory, scope, "two").supersedes == ("notes/one.md",)


def test_pages_that_supersede_each_other_in_a_circle_are_told_once(memory: LocalMemory, scope: Scope) -> None:
    write(memory, scope, "notes/first.md")
    (folder,) = (memory.res.wiki(one).folder for one in memory.projects())
    for one, other in (("a", "b"), ("b", "a")):
        (folder / f"notes/{one}.md").write_text(f"---\nstatus: superseded\nsuperseded_by: {other}\n---\ntext\n")

    assert read(memory, scope, "a").superseded_by == ("notes/b.md",)


@pytest.mark.parametrize(
    ("ref", "path"),
    [
        ("notes/tcp-ip.md", "notes/tcp-ip.md"),
        ("notes/tcp-ip", "notes/tcp-ip.md"),
        ("TCP-IP", "notes/tcp-ip.md"),
        ("TCP/IP basics", "notes/tcp-ip.md"),
        ("s/tcp-ip", ""),
        ("es/tcp-ip.md", ""),
        ("11/plan", "sessions/2026/11/plan.md"),
        ("2026/11/plan.md", "sessions/2026/11/plan.md"),
        ("10/plan", ""),
        ("a_b", "notes/a_b.md"),
        ("a%b", ""),
        ("[[a_b]]", "notes/a_b.md"),
    ],
)
def test_a_page_is_found_by_path_its_end_name_and_title(memory: LocalMemory, scope: Scope, ref: str, path: str) -> None:
    write(memory, scope, "notes/tcp-ip.md", title="TCP/IP basics")
    write(memory, scope, "sessions/2026/11/plan.md")
    write(memory, scope, "notes/a_b.md")
    write(memory, scope, "notes/axb.md")

    if path:
        assert memory.read(scope, ref).ref == path
    else:
        with pytest.raises(NotFoundError, match="no page"):
            memory.read(scope, ref)
