"""What is erased for good on one machine leaves the remote and the others with the next sync, and stays away."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from searching import traces
from syncing import Machine, git

from ai_memory_mcp.model import Draft, Scope
from ai_memory_mcp.tombstones import Erasure, Tombstone, erasures, path_mark

CANARY = "qzokapi7731"


def both_have(a: Machine, b: Machine, *titles: str) -> None:
    """Have pages of these titles on both machines, and a later version of each."""
    for title in titles:
        a.write(title, f"first {CANARY}\n\n- one\n- two\n")
        a.write(title, f"key {CANARY}\n\n- one\n- two\n")
    a.write("Other", "okapi")
    a.sync()
    b.sync()


def branch_holds(remote: Path, word: str = CANARY) -> bool:
    """Tell whether anything that the remote's branches lead to has a word in it."""
    listed = git(remote, "rev-list", "--objects", "--all").splitlines()
    objects = "\n".join(line.split(" ")[0] for line in listed)
    command = ["git", "-C", str(remote), "cat-file", "--batch"]
    told = subprocess.run(command, input=objects.encode(), capture_output=True, check=True).stdout
    return word.encode() in told or any(word in line for line in listed)


def erase(machine: Machine, ref: str) -> None:
    machine.memory.forget(machine.scope, ref, for_good=True)
    machine.memory.close()


def test_the_remote_and_the_other_machine_lose_it(a: Machine, b: Machine, remote: Path) -> None:
    both_have(a, b, CANARY)
    b.write("Mine", "by b")  # not synced yet
    before = git(a.wiki, "rev-list", "--count", "HEAD")
    erase(a, f"notes/{CANARY}.md")
    assert branch_holds(remote)
    assert a.sync().sent
    assert not branch_holds(remote)
    done = b.sync()

    assert done.removed == (f"notes/{CANARY}.md",)
    assert traces(a.res.home) == []
    assert traces(b.res.home) == []
    assert "notes/mine.md" in b.texts()
    assert a.sync().received == ("notes/mine.md",)
    assert b.sync().state == a.sync().state == "unchanged"
    assert a.texts() == b.texts()
    assert not branch_holds(remote)
    assert int(git(b.wiki, "rev-list", "--count", "HEAD")) >= int(before) - 2  # the rest of the history is as it was
    assert a.healthy()
    assert b.healthy()


def test_what_others_did_meanwhile_stays_and_what_is_gone_does_not_come_back(
    a: Machine, b: Machine, remote: Path
) -> None:
    both_have(a, b, CANARY)
    b.write(CANARY, f"changed by b {CANARY}")
    b.write("Other", "okapi of b")
    b.write("Mine", "by b")
    b.sync()
    erase(a, f"notes/{CANARY}.md")
    a.write("Also", "by a")
    assert "notes/mine.md" in a.sync(dry_run=True).received
    assert traces(a.res.home) == []
    done = a.sync()

    assert set(done.received) == {"notes/mine.md", "notes/other.md", "project.md"}
    assert f"notes/{CANARY}.md" in done.left_out
    assert traces(a.res.home) == []
    assert not branch_holds(remote)
    b.write("Late", "by b")
    b.sync()
    assert traces(b.res.home) == []
    a.sync()
    assert a.texts() == b.texts()
    assert {"notes/mine.md", "notes/late.md", "notes/also.md"} <= set(a.texts())
    assert "okapi of b" in a.texts()["notes/other.md"]
    assert a.healthy()
    assert b.healthy()


def test_a_text_that_was_scrubbed_leaves_the_others_without_being_told_to_them(
    a: Machine, b: Machine, remote: Path
) -> None:
    both_have(a, b, "Keys", CANARY)
    b.save({"notes/keys.md": b.texts()["notes/keys.md"].replace("- two", "- two of b")})
    a.memory.scrub(CANARY)
    assert a.sync().sent
    assert not branch_holds(remote)
    b.sync()
    a.sync()

    assert traces(a.res.home) == []
    assert traces(b.res.home) == []
    assert not branch_holds(remote)
    assert a.texts() == b.texts()
    assert "key scrubbed-secret" in a.texts()["notes/keys.md"]
    assert "- two of b" in a.texts()["notes/keys.md"]
    assert set(a.texts()) == {"project.md", "notes/keys.md", "notes/other.md", "notes/scrubbed-secret.md"}


@pytest.mark.parametrize("pushed", [False, True])
def test_a_page_with_the_text_in_its_name_keeps_what_others_did_to_it(
    a: Machine, b: Machine, remote: Path, pushed: bool
) -> None:
    both_have(a, b, CANARY)
    path = f"notes/{CANARY}.md"
    b.save({path: b.texts()[path].replace("- two", "- two of b")})
    if pushed:
        b.sync()
    a.memory.scrub(CANARY)
    for machine in (a, b, a):
        machine.sync()
        machine.memory.close()

    for machine in (a, b):
        assert set(machine.texts()) == {"project.md", "notes/other.md", "notes/scrubbed-secret.md"}
        assert "key scrubbed-secret\n\n- one\n- two of b\n" in machine.texts()["notes/scrubbed-secret.md"]
        assert traces(machine.res.home) == []
        assert machine.healthy()
    assert not branch_holds(remote)


def test_two_that_erase_at_once_are_both_rid_of_both(a: Machine, b: Machine, remote: Path) -> None:
    both_have(a, b, CANARY, "Other of b")
    b.write("Mine", "by b")
    erase(a, f"notes/{CANARY}.md")
    erase(b, "notes/other-of-b.md")
    for machine in (a, b, a, b):
        machine.sync()

    assert a.texts() == b.texts()
    assert {"notes/mine.md", "notes/other.md"} <= set(a.texts())
    for machine in (a, b):
        assert traces(machine.res.home) == []
        assert machine.healthy()
    assert not branch_holds(remote)
    assert b.sync().state == a.sync().state == "unchanged"


def test_a_page_written_anew_at_the_same_place_is_welcome_everywhere(a: Machine, b: Machine, remote: Path) -> None:
    both_have(a, b, "Keys")
    erase(a, "notes/keys.md")
    a.write("Keys", "anew")
    a.sync()
    b.sync()

    assert b.texts()["notes/keys.md"].endswith("anew\n")
    assert a.texts() == b.texts()
    assert traces(b.res.home) == []
    b.write("Keys", "and again")
    b.sync()
    a.sync()
    assert a.texts()["notes/keys.md"].endswith("and again\n")


def test_a_project_that_was_erased_leaves_the_remote_and_no_clone_brings_it_back(
    a: Machine, b: Machine, remote: Path
) -> None:
    both_have(a, b, CANARY)
    a.memory.purge_project(Scope(project="app"))
    a.memory.close()
    assert traces(a.res.home) == []
    assert not (a.res.home / "sync" / f"{b.project.id}.json").exists()
    assert b"app" not in b"".join(path.read_bytes() for path in (a.res.home / "sync").rglob("*.json"))
    told = a.memory.sync(Scope(), every=True).projects
    assert [(one.project, one.state) for one in told] == [("(erased)", "synced")]
    assert not branch_holds(remote)
    note = b.fails()

    assert "purge-project app" in note
    assert not branch_holds(remote)
    assert a.memory.sync(Scope(), every=True).projects == ()
    git(remote, "branch", "-D", "default/app")  # the other one is to be kept, after all
    assert b.sync().sent
    told = a.memory.sync(Scope(), every=True).projects
    assert [(one.state, "erased for good here" in one.note) for one in told] == [("skipped", True)]
    assert a.memory.projects() == ()
    assert traces(a.res.home) == []


def test_a_project_that_is_begun_anew_has_a_branch_of_its_own(a: Machine, b: Machine, remote: Path) -> None:
    both_have(a, b, CANARY)
    a.memory.purge_project(Scope(project="app"))
    a.write("New", "life")
    first = a.sync()
    b.fails()
    b.memory.purge_project(Scope(project="app"))
    b.write("New of b", "life")
    second = b.sync()
    a.sync()

    assert first.branch == second.branch != "default/app"
    assert {"notes/new.md", "notes/new-of-b.md"} <= set(a.texts())
    assert not branch_holds(remote)


def test_what_was_forgotten_does_not_come_from_a_history_that_knows_nothing_of_it(
    a: Machine, b: Machine, remote: Path
) -> None:
    both_have(a, b, "Keys")
    a.memory.forget(a.scope, "notes/keys.md")
    git(remote, "update-ref", "-d", "refs/heads/default/app")
    old = git(b.wiki, "commit-tree", "-m", "anew", "HEAD^{tree}")
    git(b.wiki, "update-ref", "refs/heads/main", old)
    git(b.wiki, "push", "-q", str(remote), "main:default/app")
    done = a.sync()

    assert "notes/keys.md" in done.left_out
    assert "notes/keys.md" not in a.texts()
    assert "notes/keys.md" in b.sync().removed


def test_a_remote_that_takes_no_forced_push_is_told_with_what_to_do(a: Machine, b: Machine, remote: Path) -> None:
    both_have(a, b, CANARY)
    git(remote, "config", "receive.denyNonFastForwards", "true")
    erase(a, f"notes/{CANARY}.md")
    note = a.fails()

    assert "allow forced pushes there, or remove the branch" in note
    git(remote, "update-ref", "-d", "refs/heads/default/app")
    assert a.sync().sent
    assert not branch_holds(remote)
    b.sync()
    assert traces(b.res.home) == []


def test_a_sync_that_cannot_end_is_clean_after_the_next_one(a: Machine, b: Machine) -> None:
    """What it does last is to remove what no history leads to."""
    both_have(a, b, CANARY)
    erase(a, f"notes/{CANARY}.md")
    a.sync()
    held = b.wiki / ".git" / "index.lock"
    held.write_text("git is at it")
    assert "index.lock" in b.fails()
    assert traces(b.res.home)
    held.unlink()
    b.sync()

    assert traces(b.res.home) == []
    assert a.texts() == b.texts()


def test_what_a_commit_tells_of_an_erasure_is_read_back(a: Machine) -> None:
    page = a.memory.write(a.scope, Draft(title="Keys", body="x"))
    stones = tuple(
        Tombstone(kind=kind, id=one, project=page.project, why="erased", at=page.created)  # type: ignore[arg-type]
        for kind, one in (("page", page.id), ("path", path_mark(page.project, page.path)))
    )
    whole = Erasure("e1", page.created, stones)

    assert erasures(f"Edit\n\n{whole.message()}\nErased: page ../x y\n", page.project)["e1"].stones[:2] == stones
    assert erasures("Erasure: e2 yesterday\nErased: page x\nErased: session y\n", page.project) == {}


def own_references(machine: Machine) -> None:
    """Have a user use git in a wiki as in any repository, with pages of the old history in all of it."""
    machine.memory.close()  # git's index is as the pages are then
    git(machine.wiki, "tag", "-a", "v1", "-m", "first version")
    git(machine.wiki, "branch", "plain")
    git(machine.wiki, "switch", "-q", "-c", "topic")
    other = machine.wiki / "notes" / "other.md"
    other.write_text(other.read_text() + "more of topic\n")
    (machine.wiki / "notes" / "topic.md").write_text("topic\n")
    git(machine.wiki, "add", ".")
    git(machine.wiki, "commit", "-q", "-m", "topic")
    git(machine.wiki, "tag", "of-topic")
    git(machine.wiki, "switch", "-q", "main")
    (machine.wiki / "stashed.md").write_text("stashed\n")
    git(machine.wiki, "stash", "push", "-q", "-u")
    other.write_text(other.read_text() + "changed, and stashed\n")
    git(machine.wiki, "stash", "push", "-q")
    assert len(git(machine.wiki, "stash", "list").splitlines()) == 2


@pytest.mark.parametrize("how", ["page", "text", pytest.param("both", marks=pytest.mark.slow)])
def test_branches_tags_and_stashes_of_the_users_own_go_on_without_it(
    a: Machine, b: Machine, remote: Path, how: str
) -> None:
    both_have(a, b, CANARY, "Keys")
    own_references(b)
    if how == "text":
        a.memory.scrub(CANARY)
        a.memory.close()
    else:
        erase(a, f"notes/{CANARY}.md")
        erase(b if how == "both" else a, "notes/keys.md")
    a.sync()
    plan = b.sync(dry_run=True)
    assert "tag v1: removed" in plan.note
    assert git(b.wiki, "tag") == "of-topic\nv1"
    done = b.sync()

    assert done.note == plan.note
    assert traces(b.res.home) == []
    assert git(b.wiki, "tag") == "of-topic"
    for name in ("topic", "of-topic"):
        assert git(b.wiki, "show", f"{name}:notes/topic.md") == "topic"
        assert git(b.wiki, "show", f"{name}:notes/other.md").endswith("more of topic")
    branches = git(b.wiki, "branch", "--format=%(refname:short)").splitlines()
    assert branches == ["main", "plain", "stash-0", "stash-1-untracked", "topic"]
    assert git(b.wiki, "show", "stash-1-untracked:stashed.md") == "stashed"
    assert git(b.wiki, "show", "stash-0:notes/other.md").endswith("changed, and stashed")
    assert git(b.wiki, "stash", "list") == ""
    assert b.healthy()
    assert b.sync().state in ("unchanged", "synced")
    assert traces(b.res.home) == []


def test_an_erasure_is_not_taken_over_while_there_is_another_work_tree(a: Machine, b: Machine, tmp_path: Path) -> None:
    both_have(a, b, CANARY)
    git(b.wiki, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    erase(a, f"notes/{CANARY}.md")
    a.sync()

    assert "tree is another work tree" in b.fails()
    git(b.wiki, "worktree", "remove", str(tmp_path / "tree"))
    b.sync()
    assert traces(b.res.home) == []
