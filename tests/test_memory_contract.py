"""What every `Memory` promises: the same tests for the one on this machine's files and for the one on a server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playing import Player, put, repository
from remotes import local, remote, serving

from ai_memory_mcp import endpoints
from ai_memory_mcp.errors import ConflictError, InputError, LlmError, NotFoundError, ProjectError
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.memory import Memory
from ai_memory_mcp.model import Draft, Excerpt, HandoffDraft, Query, Scope
from ai_memory_mcp.remote import RemoteMemory


class Rig(NamedTuple):
    """A machine and its memory: `home` is where its hooks spool, `work` a project of its own."""

    memory: Memory
    home: Path
    work: Path
    open: Callable[[], Memory]

    @property
    def here(self) -> Scope:
        return Scope(cwd=str(self.work))

    def folder(self, name: str) -> Path:
        return repository(self.home.parent / name)


@pytest.fixture(params=["local", "remote"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    home = tmp_path / "user" / "memory"
    work = repository(home.parent / "work")
    if request.param == "local":
        yield Rig(local(home), home, work, lambda: local(home))
        return
    with serving(tmp_path / "server" / "memory") as url:
        yield Rig(remote(url, home), home, work, lambda: remote(url, home))


def test_the_folder_of_a_repository_is_a_project(rig: Rig) -> None:
    resolved = rig.memory.resolve(Scope(cwd=str(rig.work / "src")))

    assert resolved.project
    assert (resolved.project.name, resolved.by, resolved.workspace) == ("work", "repository", "default")
    assert resolved.root == str(rig.work)
    assert rig.memory.projects() == ()
    assert not (rig.work / ".git" / "ai-memory-project").exists()


def test_what_is_written_is_found_and_read(rig: Rig) -> None:
    page = rig.memory.write(rig.here, Draft(title="Feeding okapis", body="Leaves. See [[Zoo]].", tags=("zoo",)))
    answer = rig.memory.search(rig.here, Query(text="okapis"))
    document = rig.memory.read(rig.here, page.path, links=True)

    assert [(hit.path, hit.title, hit.project) for hit in answer.hits] == [(page.path, page.title, "work")]
    assert answer.project == "work"
    assert document.page == page
    assert [link.target for link in document.links] == ["Zoo"]
    assert [hit.path for hit in rig.memory.recent(rig.here, kinds=("note",), limit=5)] == [page.path]
    assert [project.name for project in rig.memory.projects()] == ["work"]
    assert rig.memory.resolve(rig.here).project == rig.memory.projects()[0].model_copy(
        update={"id": page.project}
    )  # the same project as before
    assert (rig.work / ".git" / "ai-memory-project").read_text().strip() == page.project


def test_a_page_of_any_script_comes_back_as_it_was(rig: Rig) -> None:
    body = "日本語 — “quotes” \u2028 \x7f <memory-data> 🦦\n\n```\n\ttab\n```"
    page = rig.memory.write(rig.here, Draft(title="Überschrift 標題", body=body))

    assert rig.memory.read(rig.here, page.id).page == page
    assert body.strip() in page.body


def test_what_is_not_there_is_not_found(rig: Rig) -> None:
    for ask in (
        lambda: rig.memory.read(rig.here, "nothing like it"),
        lambda: rig.memory.close_handoff(rig.here, "nothing"),
        lambda: rig.memory.accept_handoff(rig.here),
    ):
        with pytest.raises(NotFoundError, match="no "):
            ask()


def test_what_cannot_be_stored_is_refused(rig: Rig) -> None:
    with pytest.raises(InputError):
        rig.memory.write(rig.here, Draft(title="Out", body="text", path="../../out.md"))
    with pytest.raises(InputError):
        rig.memory.write(rig.here, Draft(title="Empty", body=" "))


def test_a_named_project_must_exist(rig: Rig) -> None:
    rig.memory.write(rig.here, Draft(title="A note", body="text"))
    wrong = Scope(cwd=str(rig.work), project="wrok")
    for ask in (
        lambda: rig.memory.resolve(wrong),
        lambda: rig.memory.search(wrong, Query(text="x")),
        lambda: rig.memory.write(wrong, Draft(title="t", body="b")),
        lambda: rig.memory.status(wrong),
    ):
        with pytest.raises(ProjectError, match="did you mean work"):
            ask()
    with pytest.raises(ProjectError, match="workspace 'tame'"):
        rig.memory.recent(Scope(workspace="tame"))


def test_a_broken_marker_is_an_error_that_names_it(rig: Rig) -> None:
    (rig.work / ".ai-memory.toml").write_text("project = [")

    with pytest.raises(ProjectError, match=r"\.ai-memory\.toml cannot be read"):
        rig.memory.search(rig.here, Query(text="x"))


def test_a_marker_names_project_and_workspace(rig: Rig) -> None:
    (rig.work / ".ai-memory.toml").write_text('workspace = "zoo"\nproject = "okapi"\n')
    rig.memory.write(rig.here, Draft(title="Marked", body="hooves"))

    assert [(one.workspace, one.name) for one in rig.memory.projects()] == [("zoo", "okapi")]
    assert rig.memory.search(Scope(workspace="zoo"), Query(text="hooves")).hits
    assert not rig.memory.search(Scope(project="general"), Query(text="hooves")).hits


def test_where_nothing_resolves_the_workspace_is_meant_and_general_written_to(rig: Rig) -> None:
    nowhere = Scope(cwd=str(rig.home.parent))
    rig.memory.write(rig.here, Draft(title="In work", body="okapi"))
    page = rig.memory.write(nowhere, Draft(title="For all", body="okapi"))
    names = {project.id: project.name for project in rig.memory.projects()}

    assert rig.memory.resolve(nowhere).by == "none"
    assert names[page.project] == "general"
    assert len(rig.memory.search(nowhere, Query(text="okapi")).hits) == 2


def test_two_plain_folders_of_one_name_are_two_projects(rig: Rig) -> None:
    for above in ("one", "two"):
        folder = rig.home.parent / above / "app"
        folder.mkdir(parents=True)
        rig.memory.write(Scope(cwd=str(folder)), Draft(title=f"In {above}", body="text"))
    first = Scope(cwd=str(rig.home.parent / "one" / "app"))

    assert len({project.name for project in rig.memory.projects()}) == 2
    assert [hit.title for hit in rig.memory.recent(first)] == ["In one"]


def test_a_folder_that_becomes_a_repository_keeps_its_memory(rig: Rig) -> None:
    folder = rig.home.parent / "app"
    folder.mkdir()
    rig.memory.write(Scope(cwd=str(folder)), Draft(title="Early", body="text"))
    repository(folder)
    rig.memory.write(Scope(cwd=str(folder)), Draft(title="Later", body="text"))
    moved = folder.rename(rig.home.parent / "renamed")

    rig.memory.write(Scope(cwd=str(moved)), Draft(title="Moved", body="text"))
    assert {hit.title for hit in rig.memory.recent(Scope(cwd=str(moved)))} == {"Early", "Later", "Moved"}
    repository(rig.home.parent / "new" / "app")
    (rig.home.parent / "new" / "app").rename(folder)
    assert rig.memory.recent(Scope(cwd=str(folder))) == ()  # another repository in the place of the old one


def test_a_remote_that_is_added_later_is_an_alias(rig: Rig) -> None:
    page = rig.memory.write(rig.here, Draft(title="Before", body="text"))
    (rig.work / ".git" / "config").write_text('[remote "origin"]\n\turl = git@example.com:me/okapi.git\n')
    rig.memory.write(rig.here, Draft(title="After", body="text"))
    clone = repository(rig.home.parent / "elsewhere", remote="https://example.com/me/okapi")

    assert [one.id for one in rig.memory.projects()] == [page.project]
    assert [hit.title for hit in rig.memory.recent(Scope(cwd=str(clone)))] == ["After", "Before"]


def test_what_hooks_spooled_is_known_to_the_next_question(rig: Rig) -> None:
    Player(rig.home, rig.work, "one", ago=900).start().works("the okapi").ends()
    (session,) = rig.memory.sessions(rig.here)
    document = rig.memory.read(rig.here, "one", observations=True)

    assert (session.agent, session.native_id, session.state) == ("claude-code", "one", "closed")
    assert (session.branch, session.observations) == ("main", 8)
    assert document.session == session
    assert [seen.kind for seen in document.observations][:2] == ["session-start", "user-prompt"]
    assert rig.memory.status(rig.here).capture.stored == 8
    assert rig.memory.status(rig.here).spool == {"pending": 0, "set_aside": 0}
    assert "okapi" in rig.memory.brief(rig.here, agent="codex").text


def test_ingest_takes_everything_in_and_reindex_changes_nothing(rig: Rig) -> None:
    Player(rig.home, rig.work, "one", ago=900).start().works().ends()
    rig.memory.ingest()
    before = rig.memory.sessions(rig.here), rig.memory.handoffs(rig.here), rig.memory.recent(rig.here)
    assert not list((rig.home / "spool").glob("*.json"))
    rig.memory.reindex()

    assert (rig.memory.sessions(rig.here), rig.memory.handoffs(rig.here), rig.memory.recent(rig.here)) == before
    assert rig.memory.ingest(rig.here).ingested == 0


def test_an_event_counts_once_and_what_is_none_is_set_aside(rig: Rig) -> None:
    Player(rig.home, rig.work, "one", ago=900).start().prompt("hello").send("Stop", times=2, last_assistant_message="x")
    put(rig.home, "00000000000000000001-1-00000001-0.json", "not json")
    status = rig.memory.status(rig.here)

    assert (status.capture.stored, status.capture.duplicates) == (3, 1)
    assert status.spool == {"pending": 0, "set_aside": 1}
    assert any("set aside" in problem for problem in status.problems)


def test_a_session_hands_over_to_the_next_and_to_no_other(rig: Rig) -> None:
    Player(rig.home, rig.work, "one", ago=900).start().works().ends()
    (handoff,) = rig.memory.handoffs(rig.here)
    assert rig.memory.brief(rig.here, agent="codex").handoff == handoff.id
    second = Player(rig.home, rig.work, "two", agent="codex").start().offered(handoff.id)
    assert [one.state for one in rig.memory.handoffs(rig.here)] == ["offered"]
    second.prompt("go on")

    assert rig.memory.handoffs(rig.here) == ()
    (taken,) = rig.memory.handoffs(rig.here, every=True)
    assert (taken.state, taken.accepted_by.split()[0]) == ("accepted", "codex")
    with pytest.raises(ConflictError, match="already accepted by codex"):
        rig.memory.accept_handoff(rig.here, taken.id, agent="claude-code")


def test_a_handoff_left_by_hand_is_accepted_once_and_closed(rig: Rig) -> None:
    left = rig.memory.leave_handoff(rig.here, HandoffDraft(summary="Feed the okapi", next_steps=("leaves",)))
    assert rig.memory.handoffs(rig.here) == (left,)
    taken = rig.memory.accept_handoff(rig.here, agent="codex", by="s9")
    assert (taken.id, taken.state, taken.accepted_by) == (left.id, "accepted", "codex s9")
    with pytest.raises(NotFoundError, match="no handoff is waiting"):
        rig.open().accept_handoff(rig.here)
    other = rig.memory.leave_handoff(rig.here, HandoffDraft(summary="Feed the other okapi"))

    assert rig.memory.close_handoff(rig.here, other.id[:8]).state == "closed"
    assert rig.memory.handoffs(rig.here) == ()


def test_who_does_not_tell_its_session_leaves_a_handoff_of_the_one_in_its_process(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ai_memory_mcp.alive._agent", [4711])
    Player(rig.home, rig.work, "one", pid=4711).start().prompt("hello")
    Player(rig.home, rig.work, "two", pid=4712).start().prompt("hello")
    own = next(one.id for one in rig.memory.sessions(rig.here) if one.native_id == "one")

    left = rig.memory.leave_handoff(rig.here, HandoffDraft(summary="Go on", from_agent="claude-code"))
    assert left.from_session == own


def test_history_tells_what_became_of_a_page(rig: Rig) -> None:
    for body in ("first", "second"):
        page = rig.memory.write(rig.here, Draft(title="Feeding", body=body))
    newest, oldest = rig.memory.history(rig.here, page.path, diff=True)

    assert {"+second", "-first"} <= set(newest.pages[0].diff.splitlines())
    assert "first" in rig.memory.read(rig.here, page.path, at=oldest.commit[:8]).text
    assert len(rig.memory.history(rig.here, limit=1)) == 1
    with pytest.raises(NotFoundError):
        rig.memory.history(rig.here, "nothing like it")
    with pytest.raises(InputError):
        rig.memory.read(rig.here, page.path, at="no time at all")


def test_feedback_is_kept_with_who_gave_it(rig: Rig) -> None:
    page = rig.memory.write(rig.here, Draft(title="Feeding", body="text"))
    told = rig.memory.feedback(rig.here, page.path, "stale", note="since 2.0", agent="codex", session="s1")

    assert (told.target, told.verdict, told.agent, told.note) == (page.id, "stale", "codex", "since 2.0")
    with pytest.raises(NotFoundError):
        rig.memory.feedback(rig.here, "nothing like it", "wrong")


def test_a_folder_of_markdown_is_imported_and_again_what_has_changed(rig: Rig) -> None:
    folder = rig.home.parent / "docs"
    for name, text in (("a.md", "# Okapi\n[b](deep/b.md)"), ("deep/b.md", "# Leaves"), ("c.txt", "x"), (".d.md", "x")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    os.utime(folder / "a.md", (1e9, 1e9))
    (folder / "bad.md").write_bytes(b"\xff\xfe")
    steps: list[str] = []
    planned = rig.memory.import_markdown(rig.here, folder, dry_run=True)
    assert rig.memory.recent(rig.here) == ()
    done = rig.memory.import_markdown(rig.here, folder, progress=lambda what, *_: steps.append(what))

    assert planned.added == done.added == {"a.md": "notes/a.md", "deep/b.md": "notes/deep/b.md"}
    assert (done.folder, done.other_files, done.project) == (str(folder), 1, "work")
    assert done.skipped == {".d.md": "hidden", "bad.md": "not UTF-8"}
    assert steps
    page = rig.memory.read(rig.here, "notes/a.md").page
    assert page
    assert (page.title, page.updated.year) == ("Okapi", 2001)
    assert rig.memory.import_markdown(rig.here, folder).unchanged == 2
    (folder / "a.md").write_text("# Okapi\nnew")
    assert rig.memory.import_markdown(rig.here, folder).updated == {"a.md": "notes/a.md"}
    with pytest.raises(InputError, match="there is no folder"):
        rig.memory.import_markdown(rig.here, folder / "none")
    with pytest.raises(ProjectError):
        rig.memory.import_markdown(Scope(project="none"), folder)


def test_files_of_one_name_from_two_folders_are_two_pages(rig: Rig) -> None:
    for name in ("one", "two"):
        (rig.home.parent / name).mkdir()
        (rig.home.parent / name / "readme.md").write_text(f"# {name}")
        rig.memory.import_markdown(rig.here, rig.home.parent / name)

    assert {hit.title for hit in rig.memory.recent(rig.here)} == {"one", "two"}


def test_a_session_is_compiled_by_rule_before_it_ends(rig: Rig) -> None:
    Player(rig.home, rig.work, "first").start().works()
    told = rig.memory.consolidate(rig.here)

    assert [(one.state, one.agent) for one in told] == [("by-rule", "claude-code")]
    assert "Mend" in rig.memory.read(rig.here, told[0].page).text
    assert rig.memory.consolidate(rig.here, told[0].session, every=True, wait=False) == told
    assert rig.memory.handoffs(rig.here) == ()
    with pytest.raises(NotFoundError, match="no session 'none'"):
        rig.memory.consolidate(rig.here, "none")


def test_no_contradictions_are_known_where_no_model_was_asked(rig: Rig) -> None:
    rig.memory.write(rig.here, Draft(title="Okapis", body="Leaves."))
    assert rig.memory.contradictions(rig.here) == ()
    rig.memory.write(rig.here, Draft(title="Okapis, too", body="Okapis eat leaves."))
    with pytest.raises(LlmError, match="no language model is set up"):
        rig.memory.contradictions(rig.here, judge=True)
    with pytest.raises(ProjectError):
        rig.memory.contradictions(Scope(cwd="/"))


def test_nothing_is_made_of_a_repository_without_a_model(rig: Rig) -> None:
    said = (Excerpt(of="file", part="files", source="README.md", text="Okapis are fed at nine."),)
    told = rig.memory.enrich(rig.here, said, dry_run=True)
    assert (told.state, told.calls, told.pages) == ("planned", 1, ())
    assert rig.memory.enrich(rig.here, ()).state == "unchanged"
    with pytest.raises(LlmError, match="no language model is set up"):
        rig.memory.enrich(rig.here, said)


def test_pages_are_linted_and_mended(rig: Rig) -> None:
    old = rig.memory.write(rig.here, Draft(title="Feed at nine", body="Nine o'clock."))
    page = rig.memory.write(rig.here, Draft(title="Okapis", body="See [[Feed at nine]]."))
    rig.memory.write(rig.here, Draft(title="Feed at noon", body="Noon.", supersedes=(old.path,)))
    found = rig.memory.lint(rig.here, rules=("superseded-link", "secret"))
    done = rig.memory.lint(rig.here, fix=True, report=True)

    assert [(one.rule, one.page) for one in found.findings] == [("superseded-link", page.path)]
    assert [one.page for one in done.fixed] == [page.path]
    assert "[[notes/feed-at-noon]]" in rig.memory.read(rig.here, page.path).text
    assert rig.memory.read(rig.here, done.report).title == "What lint found"
    with pytest.raises(InputError, match="no rule 'none'"):
        rig.memory.lint(rig.here, rules=("none",))
    with pytest.raises(ProjectError):
        rig.memory.lint(Scope(cwd="/"))


def test_every_method_of_memory_is_asked_of_either(rig: Rig) -> None:
    asked = {name for name in endpoints.METHODS if callable(getattr(rig.memory, name, None))}

    assert asked == set(endpoints.METHODS)
    rig.memory.close()


def test_both_have_every_method_with_the_same_arguments() -> None:
    """A method that is new in `Memory` is one line in `RemoteMemory`, and an endpoint by itself."""
    for name in endpoints.METHODS:
        assert callable(getattr(LocalMemory, name, None)), name
        assert name in vars(RemoteMemory), name
        if name not in endpoints.OWN:
            assert endpoints.endpoint(name).name == name
    assert set(endpoints.METHODS) >= endpoints.READS | endpoints.OWN


def test_a_commit_can_be_taken_back(rig: Rig) -> None:
    page = rig.memory.write(rig.here, Draft(title="A note", body="first"))
    rig.memory.write(rig.here, Draft(title="A note", body="second"))
    newest = rig.memory.history(rig.here, page.path)[0]
    done = rig.memory.revert(rig.here, newest.commit)

    assert page.path in str(done)
    assert "first" in rig.memory.read(rig.here, page.path).text
    with pytest.raises(NotFoundError):
        rig.memory.revert(rig.here, "0123456789")


def test_a_session_that_is_not_there_cannot_be_compiled(rig: Rig) -> None:
    with pytest.raises(NotFoundError):
        rig.memory.consolidate(rig.here, "no-such-session")


def test_what_is_forgotten_is_gone_and_for_good_on_request(rig: Rig) -> None:
    for title in ("One", "Two"):
        rig.memory.write(rig.here, Draft(title=title, body="okapi"))
    told = rig.memory.forget(rig.here, "One")
    plan = rig.memory.forget(rig.here, "Two", for_good=True, dry_run=True)

    assert (told.pages, told.for_good) == (("notes/one.md",), False)
    assert (plan.pages, plan.for_good, plan.dry_run) == (("notes/two.md",), True, True)
    assert [hit.title for hit in rig.memory.recent(rig.here)] == ["Two"]
    rig.memory.forget(rig.here, "Two", for_good=True)
    assert rig.memory.recent(rig.here) == ()
    assert rig.memory.history(rig.here, "notes/one.md")[0].message == "Forget notes/one.md"
    with pytest.raises(NotFoundError):
        rig.memory.history(rig.here, "notes/two.md")


def test_a_text_and_a_project_are_erased(rig: Rig) -> None:
    page = rig.memory.write(rig.here, Draft(title="One", body="the word is okapi-okapi"))

    assert rig.memory.scrub("okapi-okapi").places
    assert "okapi" not in rig.memory.read(rig.here, page.path).text
    assert rig.memory.purge_project(rig.here).pages == (page.path, "project.md")
    assert rig.memory.projects() == ()
