"""What memory answers where no project resolves, where a named one does not exist, and where nothing is stored yet."""

from __future__ import annotations

import os
import subprocess
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest
from playing import Player, repository

from ai_memory_mcp import ingest, pages, wiki
from ai_memory_mcp.errors import NotFoundError, ProjectError
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, HandoffDraft, Query, Scope


def scope(cwd: Path) -> Scope:
    return Scope(cwd=str(cwd))


def test_where_nothing_resolves_reads_cover_the_workspace(
    home: Path, own_home: Path, memory: LocalMemory, work: Path
) -> None:
    Player(home, work, "one", ago=900).start().works().ends()
    nowhere = scope(own_home)
    assert memory.resolve(nowhere).by == "none"

    assert memory.search(nowhere, Query(text="parser")).hits
    assert len(memory.sessions(nowhere)) == len(memory.handoffs(nowhere)) == 1
    assert memory.recent(nowhere)
    assert "parser" in memory.read(nowhere, "one").text
    assert memory.status(nowhere).counts.sessions == 1


def test_where_nothing_resolves_writing_goes_to_general(own_home: Path, memory: LocalMemory) -> None:
    page = memory.write(scope(own_home), Draft(title="A note", body="For everyone."))
    handoff = memory.leave_handoff(scope(own_home), HandoffDraft(summary="Go on"))

    assert [project.name for project in memory.projects()] == ["general"]
    assert page.project == handoff.project == memory.projects()[0].id
    assert memory.accept_handoff(scope(own_home)).state == "accepted"


def test_a_named_project_that_does_not_exist_is_an_error(memory: LocalMemory, work: Path) -> None:
    memory.write(scope(work), Draft(title="A note", body="text"))
    wrong = Scope(cwd=str(work), project="wrok")
    for ask in (
        lambda: memory.search(wrong, Query(text="x")),
        lambda: memory.status(wrong),
        lambda: memory.write(wrong, Draft(title="t", body="b")),
        lambda: memory.leave_handoff(wrong, HandoffDraft(summary="s")),
        lambda: memory.brief(wrong),
    ):
        with pytest.raises(ProjectError, match="did you mean work"):
            ask()
    assert len(memory.projects()) == 1


def test_a_named_project_wins_over_the_folder(memory: LocalMemory, work: Path, own_home: Path) -> None:
    other = repository(own_home / "other")
    page = memory.write(scope(other), Draft(title="Elsewhere", body="okapi"))
    named = Scope(cwd=str(work), project="other")
    assert memory.search(named, Query(text="okapi")).project == "other"
    memory.write(named, Draft(title="More", body="quokka"))
    assert [project.name for project in memory.projects()] == ["other"]
    memory.write(scope(work), Draft(title="Here", body="numbat"))
    with pytest.raises(NotFoundError):
        memory.read(named, "Here")
    assert memory.read(scope(work), page.id).title == "Elsewhere"
    with pytest.raises(NotFoundError):
        memory.read(scope(work), "Elsewhere")  # another project's page never stands in for one of this


def test_an_unknown_project_answers_and_stores_nothing(home: Path, memory: LocalMemory, work: Path) -> None:
    resolved = memory.resolve(scope(work))
    assert resolved.project
    assert resolved.project.name == "work"
    assert memory.search(scope(work), Query(text="x")).hits == ()
    assert memory.handoffs(scope(work)) == memory.sessions(scope(work)) == memory.recent(scope(work)) == ()
    assert memory.brief(scope(work)).text == ""
    assert memory.status(scope(work)).counts.pages == 0
    with pytest.raises(NotFoundError):
        memory.read(scope(work), "anything")

    assert memory.projects() == ()
    assert not (home / "wiki").exists()
    assert not (work / ".git/ai-memory-project").exists()


def test_a_named_workspace_means_all_of_it(memory: LocalMemory, work: Path, own_home: Path) -> None:
    team = repository(own_home / "team")
    (team / ".ai-memory.toml").write_text('workspace = "team"\nproject = "app"\n')
    memory.write(scope(team), Draft(title="Team note", body="okapi"))
    memory.write(scope(work), Draft(title="Own note", body="okapi"))

    def found(asked: Scope) -> list[str]:
        return [hit.title for hit in memory.search(asked, Query(text="okapi")).hits]

    assert found(scope(work)) == ["Own note"]
    assert found(Scope(cwd=str(work), workspace="team")) == ["Team note"]
    assert found(Scope(cwd=str(own_home), workspace="team")) == ["Team note"]
    page = memory.write(Scope(cwd=str(work), workspace="team"), Draft(title="General", body="for the team"))
    assert {p.id: f"{p.workspace}/{p.name}" for p in memory.projects()}[page.project] == "team/general"
    with pytest.raises(ProjectError, match="did you mean"):
        memory.search(Scope(workspace="taem"), Query(text="okapi"))


def test_plain_folders_are_projects_of_their_own(own_home: Path, memory: LocalMemory) -> None:
    for name in ("one", "two"):
        (own_home / name).mkdir()
        memory.write(scope(own_home / name), Draft(title=f"Note {name}", body="text"))

    assert [project.name for project in memory.projects()] == ["one", "two"]
    assert not Path("ai-memory-project").exists()


def wiki_folder(memory: LocalMemory) -> Path:
    (project,) = memory.projects()
    return memory.res.wiki(project).folder


def put(folder: Path, name: str, text: str) -> None:
    """What an editor does."""
    (folder / name).write_text(f"---\ntitle: {Path(name).stem}\n---\n{text}\n")


def git_status(folder: Path) -> str:
    return subprocess.run(
        ["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project of three pages counts as a large one."""
    monkeypatch.setattr(pages, "ORDINARY", 2)
    monkeypatch.setattr(pages, "SHARE", 1e9)
    monkeypatch.setattr(wiki, "_QUICK_INDEX", 10)


def test_a_page_edited_by_hand_is_found_by_the_next_search(memory: LocalMemory, work: Path) -> None:
    memory.write(scope(work), Draft(title="A note", body="okapi"))
    folder = wiki_folder(memory)
    for word in ("quokka", "numbat", "kakapo"):
        put(folder, "notes/by-hand.md", word)
        assert [hit.title for hit in memory.search(scope(work), Query(text=word)).hits] == ["by-hand"]


@pytest.mark.usefixtures("large")
def test_a_large_project_is_looked_through_now_and_then_and_by_ingest(memory: LocalMemory, work: Path) -> None:
    for title in ("One", "Two", "Three"):
        memory.write(scope(work), Draft(title=title, body="okapi"))
    folder = wiki_folder(memory)
    ask = Query(text="quokka")
    assert memory.search(scope(work), ask).hits == ()  # this one looked
    put(folder, "notes/by-hand.md", "quokka")
    assert memory.search(scope(work), ask).hits == ()

    Player(memory.res.home, work, "one").start()
    memory.ingest()
    assert [hit.title for hit in memory.search(scope(work), ask).hits] == ["by-hand"]


@pytest.mark.usefixtures("large")
def test_reading_and_superseding_see_what_was_put_there_just_now(memory: LocalMemory, work: Path) -> None:
    for title in ("One", "Two", "Three"):
        memory.write(scope(work), Draft(title=title, body="okapi"))
    folder = wiki_folder(memory)
    memory.recent(scope(work))

    put(folder, "notes/one.md", "changed")
    assert "changed" in memory.read(scope(work), "notes/one.md").text
    put(folder, "notes/new.md", "fresh")
    assert "fresh" in memory.read(scope(work), "notes/new.md").text
    put(folder, "notes/old.md", "old")
    memory.write(scope(work), Draft(title="Better", body="text", supersedes=("notes/old.md",)))
    assert "superseded_by: notes/better.md" in (folder / "notes/old.md").read_text()


@pytest.mark.usefixtures("large")
def test_what_was_edited_by_hand_is_kept_when_the_page_is_written(memory: LocalMemory, work: Path) -> None:
    for title in ("One", "Two", "Three"):
        memory.write(scope(work), Draft(title=title, body="okapi"))
    folder = wiki_folder(memory)
    put(folder, "notes/one.md", "a thought of mine")
    memory.write(scope(work), Draft(title="One", body="replaced"))
    project = memory.projects()[0]
    older = memory.res.wiki(project).log("notes/one.md")[1]
    assert b"a thought of mine" in memory.res.wiki(project).read_at("notes/one.md", older.id)


@pytest.mark.parametrize("is_large", [False, True])
def test_git_status_is_clean_after_a_write_or_after_the_next_ingest(
    memory: LocalMemory, work: Path, is_large: bool, request: pytest.FixtureRequest
) -> None:
    if is_large:
        request.getfixturevalue("large")
    memory.write(scope(work), Draft(title="A note", body="okapi"))
    memory.close()
    folder = wiki_folder(memory)
    assert bool(git_status(folder)) is is_large

    memory.ingest()
    memory.close()
    assert git_status(folder) == ""


def test_a_wrong_note_of_the_last_look_is_no_obstacle(
    memory: LocalMemory, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "ORDINARY", 0)
    memory.write(scope(work), Draft(title="A note", body="okapi"))
    folder = wiki_folder(memory)
    memory.recent(scope(work))
    (note,) = (memory.res.home / "brief").glob("scan-*.json")
    for text in ("", "[]", '{"at": 32503680000, "seconds": 1e6}'):  # from a clock that was ahead
        note.write_text(text)
        word = f"word{len(text)}"
        put(folder, "notes/by-hand.md", word)
        os.utime(folder / "notes/by-hand.md", (len(text), len(text)))
        assert memory.search(scope(work), Query(text=word)).hits


def test_a_search_waits_for_events_that_somebody_takes_in_but_not_for_what_he_does_then(
    home: Path, memory: LocalMemory, work: Path
) -> None:
    memory.status(scope(work))
    holds, taken_in, done = threading.Event(), threading.Event(), threading.Event()

    def ingester() -> None:
        with ingest.lock(memory.res, 1):
            holds.set()
            taken_in.wait(10)
            ingest.drain(memory.res, now=datetime.now(timezone.utc))
            done.wait(10)

    thread = threading.Thread(target=ingester)
    thread.start()
    try:
        assert holds.wait(10)
        Player(home, work, "one").start().prompt("Where is the needle kept?")
        threading.Timer(0.1, taken_in.set).start()
        found = memory.search(scope(work), Query(text="needle", kinds=("observation",)))
        assert thread.is_alive()
    finally:
        taken_in.set()
        done.set()
        thread.join()
    assert [hit.title for hit in found.hits] == ["Where is the needle kept?"]


def test_a_search_compiles_no_session_and_what_it_leaves_is_made_up_for(
    home: Path, memory: LocalMemory, work: Path
) -> None:
    """Who searches is not kept waiting for that: the next read, a tick of another process or the end makes it."""
    for number, afterwards in enumerate(
        (
            lambda: memory.sessions(scope(work)),
            lambda: LocalMemory(memory.res).tick(),
            lambda: memory.close(),
        )
    ):
        Player(home, work, f"run{number}", ago=900).start().works().ends()
        assert [hit.kind for hit in memory.search(scope(work), Query(text="parser", kinds=("observation",))).hits]
        assert len(_session_pages(memory, work)) == number
        afterwards()
        assert len(_session_pages(memory, work)) == number + 1


def _session_pages(memory: LocalMemory, work: Path) -> list[Path]:
    project = memory.resolve(scope(work)).project
    return sorted((memory.res.wiki(project).folder / "sessions").rglob("*.md")) if project else []
