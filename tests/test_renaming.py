"""A project under another name, in another workspace, or part of another: old names and folders lead to it."""

from __future__ import annotations

import multiprocessing
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest
from children import child, merged, opened
from invariants import events, git_problems, wikis
from playing import DEAD, Player, repository
from remotes import Machine, remote, serving, token

from ai_memory_mcp import renaming
from ai_memory_mcp.config import Config, SyncConfig
from ai_memory_mcp.errors import AccessError, BusyError, ConflictError, InputError, ProjectError, StorageError
from ai_memory_mcp.files import locked
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, HandoffDraft, Project, Query, Scope
from ai_memory_mcp.resources import Resources


@pytest.fixture
def other(own_home: Path) -> Path:
    return repository(own_home / "other", remote="git@example.com:me/other.git")


def marked(folder: Path, text: str) -> Scope:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".ai-memory.toml").write_text(text)
    return Scope(cwd=str(folder))


def project(memory: LocalMemory, scope: Scope) -> Project:
    found = memory.resolve(scope).project
    assert found
    return found


def sound(memory: LocalMemory, home: Path) -> None:
    """Assert that git is content, no event is there twice, and a rebuilt index tells the same of every project."""
    memory.ingest()
    memory.close()
    assert {git_problems(wiki) for wiki in wikis(home)} == {""}
    assert set(events(home).values()) <= {1}
    before = [
        (one, memory.sessions(Scope(project=one.id)), memory.recent(Scope(project=one.id))) for one in memory.projects()
    ]
    memory.reindex()
    after = [
        (one, memory.sessions(Scope(project=one.id)), memory.recent(Scope(project=one.id))) for one in memory.projects()
    ]
    assert sorted(map(repr, after)) == sorted(map(repr, before))


def test_a_renamed_project_is_found_by_both_names_and_from_its_folder(
    memory: LocalMemory, home: Path, here: Scope
) -> None:
    page = memory.write(here, Draft(title="One", body="okapi"))
    memory.leave_handoff(here, HandoffDraft(summary="go on"))
    told = memory.rename_project(Scope(project="work"), "zoo")

    assert (told.name, told.id) == ("zoo", page.project)
    for scope in (
        here,
        Scope(project="zoo"),
        Scope(project="work"),
        Scope(project="default/work"),
        Scope(project=told.id),
    ):
        assert memory.search(scope, Query(text="okapi")).project == "zoo"
        assert [one.summary for one in memory.handoffs(scope)] == ["go on"]
    assert 'project="zoo"' in memory.brief(here).text
    assert "zoo" in (home / "brief" / f"{told.id}.json").read_text()
    sound(memory, home)
    assert project(memory, Scope(project="work")) == told
    assert memory.rename_project(Scope(project="zoo"), "work").earlier_names == ("default/zoo",)


def test_events_that_waited_and_that_come_later_are_of_the_renamed_project(
    memory: LocalMemory, home: Path, work: Path, here: Scope
) -> None:
    memory.write(here, Draft(title="One", body="x"))
    Player(home, work, "before", ago=900, pid=DEAD).start().works().ends()
    memory.rename_project(here, "zoo")
    Player(home, work, "after", pid=DEAD).start().works("the lexer").ends()

    assert {one.native_id for one in memory.sessions(Scope(project="zoo"))} == {"before", "after"}
    assert len(memory.projects()) == 1


def test_a_name_in_a_marker_stays_good(memory: LocalMemory, own_home: Path) -> None:
    old = marked(own_home / "a", 'project = "okapi"')
    page = memory.write(old, Draft(title="One", body="x"))
    memory.rename_project(Scope(project="okapi"), "giraffe")
    new = marked(own_home / "b", 'project = "giraffe"')

    assert {memory.write(scope, Draft(title="Two", body="y")).project for scope in (old, new)} == {page.project}
    assert [one.name for one in memory.projects()] == ["giraffe"]


def test_an_old_name_is_good_in_a_marker_too_and_no_new_folder_gets_it(
    memory: LocalMemory, own_home: Path, here: Scope
) -> None:
    page = memory.write(here, Draft(title="One", body="x"))
    memory.rename_project(Scope(project="work"), "zoo")
    new = memory.write(Scope(cwd=str(repository(own_home / "else" / "work"))), Draft(title="Two", body="y"))

    assert (
        memory.write(marked(own_home / "b", 'project = "work"'), Draft(title="Two", body="y")).project == page.project
    )
    assert new.project != page.project
    assert project(memory, Scope(project=new.project)).name.startswith("work-")


def test_a_name_that_is_taken_or_none_is_refused(memory: LocalMemory, own_home: Path, other: Path, here: Scope) -> None:
    memory.write(here, Draft(title="One", body="x"))
    memory.write(Scope(cwd=str(other)), Draft(title="One", body="x"))
    memory.rename_project(Scope(project="other"), "new")
    for name in ("new", "other"):
        with pytest.raises(ConflictError, match="merge"):
            memory.rename_project(here, name)
    for name in ("", " ", "a/b", "a\\b", "general", "x" * 101, "a\nb"):
        with pytest.raises(InputError):
            memory.rename_project(here, name)
        with pytest.raises(InputError):
            memory.move_project(here, name)
    memory.write(Scope(cwd=str(own_home)), Draft(title="For all", body="x"))
    with pytest.raises(InputError, match="general"):
        memory.rename_project(Scope(project="general"), "mine")
    with pytest.raises(InputError, match="general"):
        memory.merge_projects(here, "general")
    with pytest.raises(ProjectError):
        memory.merge_projects(here, "nothing")
    with pytest.raises(InputError, match="same"):
        memory.merge_projects(here, "work")


def test_a_project_moves_to_another_workspace(memory: LocalMemory, home: Path, work: Path, here: Scope) -> None:
    Player(home, work, "one", ago=900, pid=DEAD).start().works().ends()
    page = memory.write(here, Draft(title="One", body="okapi"))
    told = memory.move_project(here, "zoo")

    assert (told.workspace, told.name, told.id) == ("zoo", "work", page.project)
    assert [wiki.parent.name for wiki in wikis(home)] == [told.workspace_id]
    for scope in (here, Scope(project="zoo/work"), Scope(project="work"), Scope(project="default/work")):
        assert project(memory, scope) == told
    Player(home, work, "two", pid=DEAD).start().works("the lexer").ends()
    assert {one.native_id for one in memory.sessions(here)} == {"one", "two"}
    assert memory.history(here, page.path)
    assert memory.move_project(here, "zoo") == told
    sound(memory, home)
    assert memory.move_project(here, "default").workspace == "default"
    assert memory.move_project(here, "zoo").earlier_names == ("default/work",)
    sound(memory, home)


def test_who_knew_the_old_place_is_told_and_writes_nothing_there(memory: LocalMemory, home: Path, here: Scope) -> None:
    memory.write(here, Draft(title="One", body="x"))
    before = project(memory, here)
    memory.move_project(here, "zoo")
    with pytest.raises(StorageError, match="zoo/work by now"):
        memory.res.wiki(before).commit({"a.md": b"x"}, "m", author="a", when=memory.history(here)[0].at)

    assert memory.res.wiki(before).folder.read_text() == "zoo/work"


def test_a_move_that_was_killed_in_the_new_place_is_ended(memory: LocalMemory, home: Path, here: Scope) -> None:
    memory.write(here, Draft(title="One", body="x"))
    before = project(memory, here)
    after = memory.move_project(here, "zoo")
    change = renaming.Change(what="move", before=before, after=after, at=datetime.now(timezone.utc))
    (home / "changing.json").write_text(change.model_dump_json())
    (home / "locks" / f"wiki-{after.id}.lock.holder").write_text(f"{DEAD}\n")
    left = memory.res.wiki(after).folder / ".1-2.tmp"
    left.touch()
    opened(str(home)).status(here)

    assert not left.exists()
    assert not (home / "changing.json").exists()
    assert project(memory, here) == after
    sound(memory, home)


def test_two_projects_become_one(memory: LocalMemory, home: Path, work: Path, other: Path, here: Scope) -> None:
    there = Scope(cwd=str(other))
    for folder, session in ((work, "in-work"), (other, "in-other")):
        Player(home, folder, session, ago=900, pid=DEAD).start().works().ends()
        memory.ingest()
    memory.write(here, Draft(title="Both", body="of work"))
    both = memory.write(there, Draft(title="Both", body="of other"))
    memory.write(there, Draft(title="Only there", body="see [[notes/both]] and [[Only there]]"))
    memory.write(there, Draft(title="Only there", body="again: see [[notes/both]] and [[Only there]]"))
    memory.leave_handoff(there, HandoffDraft(summary="go on with other"))
    memory.feedback(there, "Only there", "helpful")
    memory.read(there, "Only there")
    Player(home, other, "waits", ago=60, pid=DEAD).start().prompt("it is not taken in yet")
    counted = memory.status(there).capture
    told = memory.merge_projects(Scope(project="other"), "work")
    memory.close()

    assert [one.id for one in memory.projects()] == [told.id]
    assert (told.earlier_ids, told.earlier_names) == ((both.project,), ("default/other",))
    assert {one.native_id for one in memory.sessions(here)} == {"in-work", "in-other", "waits"}
    assert {one.project for one in memory.sessions(here)} == {told.id}
    assert "of work" in memory.read(here, "notes/both.md").text
    assert "of other" in memory.read(here, "notes/both-other.md").text
    assert "see [[notes/both-other]] and [[Only there]]" in memory.read(here, "notes/only-there.md").text
    assert len(memory.handoffs(here, every=True)) == 3
    assert "go on with other" in memory.brief(there).text
    assert [one.message for one in memory.history(here, "notes/only-there.md")][-1] == "Add note: Only there"
    assert "helpful" in str(memory.read(here, "notes/only-there.md"))
    assert memory.status(here).capture == counted
    assert not (home / "journal" / both.project).exists()
    for scope in (there, Scope(project="other"), Scope(project=both.project)):
        assert project(memory, scope) == told
    Player(home, other, "later", pid=DEAD).start().works("the lexer").ends()
    Player(home, other, "in-other", pid=DEAD).start("resume").works("the lexer").ends()
    sound(memory, home)
    assert {one.native_id for one in memory.sessions(here)} == {"in-work", "in-other", "waits", "later"}
    assert project(memory, there) == told
    assert len(memory.projects()) == 1


def test_a_project_that_others_were_merged_into_can_be_merged_itself(
    memory: LocalMemory, home: Path, own_home: Path, other: Path, here: Scope
) -> None:
    scopes = [here, Scope(cwd=str(other)), marked(own_home / "third", 'project = "third"')]
    for scope in scopes:
        memory.write(scope, Draft(title="One", body=f"of {scope.cwd}"))
    memory.merge_projects(scopes[0], "other")
    told = memory.merge_projects(scopes[1], "third")

    assert [project(memory, scope) for scope in scopes] == [told] * 3
    assert sorted(hit.path for hit in memory.recent(scopes[0], kinds=("note",))) == [
        *("notes/one-other.md", "notes/one-work.md", "notes/one.md")
    ]
    sound(memory, home)


def test_a_marker_that_names_a_merged_project_leads_to_the_other(
    memory: LocalMemory, own_home: Path, here: Scope
) -> None:
    memory.write(here, Draft(title="One", body="x"))
    old = marked(own_home / "a", 'project = "okapi"')
    memory.write(old, Draft(title="Two", body="x"))
    told = memory.merge_projects(old, "work")

    assert memory.write(old, Draft(title="Three", body="x")).project == told.id
    assert memory.write(marked(own_home / "b", 'project = "okapi"'), Draft(title="Four", body="x")).project == told.id


def test_other_machines_do_it_too_unless_their_token_is_bound(
    home: Path, work: Path, other: Path, server: Path
) -> None:
    free, bound = token(server, "f"), token(server, "b", workspaces=["default"])
    here, there = Scope(cwd=str(work)), Scope(cwd=str(other))
    with serving(server) as url:
        far, narrow = remote(url, home, free), remote(url, home, bound)
        for scope in (here, there):
            far.write(scope, Draft(title="One", body="x"))
        assert narrow.rename_project(here, "zoo").name == "zoo"
        for ask in (lambda: narrow.move_project(here, "x"), lambda: narrow.merge_projects(here, "other")):
            with pytest.raises(AccessError, match="bound"):
                ask()
        assert far.merge_projects(there, "zoo").name == "zoo"
        assert far.resolve(there).project == far.resolve(here).project
        assert far.move_project(here, "farm").workspace == "farm"


def test_two_merges_at_once_are_one_after_the_other(
    memory: LocalMemory, home: Path, own_home: Path, work: Path, other: Path
) -> None:
    for folder in (work, other):
        memory.write(Scope(cwd=str(folder)), Draft(title="One", body=f"of {folder.name}"))
    context = multiprocessing.get_context("forkserver")
    start, results = context.Barrier(2), context.Queue()
    pairs = (("work", "other"), ("other", "work"))
    processes = [child(merged, str(home), *pair, start, results) for pair in pairs]
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)

    assert len(memory.projects()) == 1
    assert sum("merged" in one for one in found) == 1, found
    assert len(memory.recent(Scope(cwd=str(work)), kinds=("note",))) == 2
    sound(memory, home)


def test_who_comes_while_it_is_done_waits_a_moment_and_is_told(memory: LocalMemory, home: Path, here: Scope) -> None:
    memory.write(here, Draft(title="One", body="x"))
    (home / "changing.json").write_text("{}")
    with locked(home / "locks" / "backup.lock", timeout=1), pytest.raises(BusyError):
        opened(str(home))
    opened(str(home)).status(here)

    assert not (home / "changing.json").exists()


def test_a_renamed_project_keeps_its_branch_and_tells_other_machines(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "r.git"], check=True)
    a, b = (synced(tmp_path / name, tmp_path / "r.git") for name in "ab")
    scopes = [Scope(cwd=str(repository(tmp_path / name / "app", remote="git@example.com:me/app.git"))) for name in "ab"]
    for memory, scope in ((a, scopes[0]), (b, scopes[1])):
        memory.write(scope, Draft(title=f"One {scope.cwd[-5]}", body="x"))
        assert [one.state for one in memory.sync(scope).projects] == ["synced"]
    a.rename_project(scopes[0], "zoo")
    assert [(one.branch, one.state) for one in a.sync(scopes[0]).projects] == [("default/app", "synced")]
    assert [(one.branch, one.state) for one in b.sync(scopes[1]).projects] == [("default/app", "synced")]

    assert project(b, scopes[1]).name == "zoo"
    assert project(b, Scope(project="app")) == project(b, scopes[1])
    fresh = synced(tmp_path / "c", tmp_path / "r.git")
    scope = Scope(cwd=str(repository(tmp_path / "c" / "app", remote="git@example.com:me/app.git")))
    fresh.write(scope, Draft(title="Three", body="x"))
    assert [(one.branch, one.state) for one in fresh.sync(scope).projects] == [("default/app", "synced")]
    assert project(fresh, scope).name == "zoo"

    a.move_project(scopes[0], "farm")
    assert [(one.branch, one.state) for one in a.sync(scopes[0]).projects] == [("farm/zoo", "synced")]
    told = {one.branch: one for one in b.sync(scopes[1], every=True).projects}
    assert told["default/app"].state in ("synced", "unchanged")
    assert told.keys() == {"default/app"} or "workspace" in told["farm/zoo"].note


def test_a_merged_project_does_not_come_again_from_the_remote(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "r.git"], check=True)
    memory = synced(tmp_path / "a", tmp_path / "r.git")
    for name in ("one", "two"):
        folder = repository(tmp_path / "a" / name, remote=f"git@example.com:me/{name}.git")
        memory.write(Scope(cwd=str(folder)), Draft(title="Page", body=f"of {name}"))
    memory.sync(Scope(project="one"), every=True)
    memory.merge_projects(Scope(project="two"), "one")
    told = {one.branch: one for one in memory.sync(Scope(project="one"), every=True).projects}

    assert {branch: one.state for branch, one in told.items()} == {"default/one": "synced", "default/two": "skipped"}
    assert "part of default/one" in told["default/two"].note
    assert [one.name for one in memory.projects()] == ["one"]


def synced(base: Path, url: Path) -> LocalMemory:
    base.mkdir()
    return LocalMemory(Resources.at(base / "memory", str(base), Config(sync=SyncConfig(remote=str(url)))))


def test_by_command(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "m")
    for name in ("one", "two"):
        machine.run("write", "Page", "--body", name, cwd=repository(machine.user / name))

    assert "one is default/zoo now" in machine.run("rename-project", "one", "zoo").stdout
    assert machine.json("move", "zoo", "farm")["project"]["workspace"] == "farm"
    assert machine.json("merge-projects", "two", "farm/zoo")["project"]["earlier_names"] == [
        *("default/one", "default/zoo", "default/two")
    ]
