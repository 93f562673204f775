"""What is erased for good is nowhere under AI_MEMORY_HOME any more, and nothing brings it back."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from datetime import datetime, timezone
from pathlib import Path

import pytest
from playing import DEAD, Player, repository
from remotes import local, remote, serving, token
from searching import fsck, traces
from syncing import git

from ai_memory_mcp import erasing
from ai_memory_mcp.errors import AccessError, InputError, NotFoundError, ProjectError, StorageError
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Event, HandoffDraft, Query, Scope
from ai_memory_mcp.spool import Spool
from ai_memory_mcp.tombstones import ERASING, path_mark

CANARY = "qzokapi7731"
NAME = "Qzokapi7731"  # a title; its slug is the canary


def secret_in_two_versions(memory: LocalMemory, here: Scope) -> Path:
    """Write a page, twice; returns the folder of the wiki."""
    for word in ("first", "second"):
        memory.write(here, Draft(title="Key", body=f"{word} {CANARY}"))
    return memory.res.wiki(memory.projects()[0]).folder


def play(home: Path, work: Path, session: str, task: str, **how: float) -> Player:
    """One session that works on something and is done."""
    player = Player(home, work, session, pid=DEAD, **how).start()  # type: ignore[arg-type]
    player.prompt(f"fix {task} in the parser").edits("parser.py").says(f"{task} is fixed. Next step: test {task}.")
    return player.ends()


def test_a_page_is_removed_by_a_commit_and_comes_back(memory: LocalMemory, here: Scope) -> None:
    page = memory.write(here, Draft(title=NAME, body="text"))
    assert memory.forget(here, NAME, dry_run=True).pages == (page.path,)
    assert memory.read(here, page.path).page
    told = memory.forget(here, NAME)

    assert (told.what, told.pages, told.for_good) == ("page", (page.path,), False)
    with pytest.raises(NotFoundError, match="any more"):
        memory.read(here, page.path)
    assert memory.search(here, Query(text=CANARY)).hits == ()
    stone = memory.res.tombstones.has("page", page.id, page.project)
    assert stone
    assert stone.why == "forgotten"
    memory.revert(here, memory.history(here, limit=1)[0].commit)
    assert memory.read(here, page.path).page
    assert memory.res.tombstones.ids("path") == frozenset()
    memory.forget(here, page.path)
    assert memory.write(here, Draft(title=NAME, body="anew")).path == page.path
    assert memory.res.tombstones.ids("path") == frozenset()


def test_a_page_is_erased_for_good(memory: LocalMemory, home: Path, here: Scope) -> None:
    other = memory.write(here, Draft(title="Other", body=f"see [[notes/{CANARY}]] and [[notes/{CANARY}.md]]"))
    page = memory.write(here, Draft(title=NAME, body=f"first {CANARY}"))
    memory.write(here, Draft(title=NAME, body=f"second {CANARY}"))
    memory.read(here, page.path)
    memory.feedback(here, page.path, "wrong", note=f"no {CANARY}")
    (memory.res.wiki(memory.projects()[0]).folder / page.path).write_text(f"by hand {CANARY}")
    memory.search(here, Query(text=CANARY))
    memory.brief(here)
    for name in ("logs/errors.log", "cache/x", "llm/plans/1.json"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(CANARY)
    (home / "llm" / "judged.json").write_text(
        json.dumps({"pairs": {"a": {"page": page.path, "other": "b", "why": CANARY}, "b": None}})
    )
    plan = memory.forget(here, NAME, for_good=True, dry_run=True)
    assert (plan.what, plan.pages, plan.for_good, plan.dry_run) == ("page", (page.path,), True, True)
    assert traces(home)
    told = memory.forget(here, NAME, for_good=True)
    memory.close()

    assert traces(home) == []
    assert fsck(home) == ""
    assert told.pages == (page.path,)
    assert told.commits
    assert "see [[erased]]" in (memory.read(here, other.path).text or "")
    assert not (home / ERASING).exists()
    assert memory.status(here).problems == ()
    with pytest.raises(NotFoundError):
        memory.forget(here, page.path)
    stone = memory.res.tombstones.has("path", path_mark(page.project, page.path), page.project)
    assert stone
    assert stone.why == "erased"
    memory.reindex()
    assert traces(home) == []


def test_who_asks_to_forget_brings_no_secret_in(memory: LocalMemory, home: Path, here: Scope) -> None:
    memory.write(here, Draft(title="Old", body="text"))
    secret = "ghp_" + "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5"
    memory.forget(here, "Old", agent=secret)
    memory.close()

    (last, *_) = memory.history(here)
    assert last.message.startswith("Forget")
    assert secret not in last.author


def test_what_was_to_be_erased_is_in_no_backup(memory: LocalMemory, home: Path, here: Scope, tmp_path: Path) -> None:
    page = memory.write(here, Draft(title=NAME, body=f"first {CANARY}"))
    project = memory.projects()[0]
    with memory.res.index.read() as db:
        intent = erasing.plan_page(db, project, page.path, at=datetime.now(timezone.utc))
    (home / ERASING).write_text(intent.model_dump_json())  # and then the power went

    memory.backup(tmp_path / "b.zip")

    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        unpacked = tmp_path / "unpacked"
        archive.extractall(unpacked)
    assert traces(unpacked) == []
    assert not (home / ERASING).exists()


def test_a_session_is_erased_with_what_was_made_of_it(memory: LocalMemory, home: Path, work: Path, here: Scope) -> None:
    play(home, work, "keep", "the lexer", ago=3000)
    play(home, work, CANARY, NAME, ago=2000)
    memory.ingest()
    memory.write(here, Draft(title="A decision", body=f"{CANARY} it is", agent="claude-code", session=CANARY))
    (journal,) = [path for path in (home / "journal").rglob("*.jsonl") if CANARY in path.read_text()]
    (journal.parent / f"{journal.stem}.jsonl.gz").write_bytes(gzip.compress(CANARY.encode()))
    taken = memory.handoffs(here)[0]
    assert NAME in taken.summary
    heir = Player(home, work, "heir", pid=DEAD, ago=1000).start().offered(taken.id)
    heir.prompt("go on").says("nothing yet").ends()
    memory.ingest()
    assert any(CANARY in one.summary.lower() for one in memory.handoffs(here, every=True) if one.id != taken.id)
    plan = memory.forget(here, CANARY, for_good=True, dry_run=True)
    told = memory.forget(here, CANARY, for_good=True)
    memory.close()

    assert traces(home) == []
    assert fsck(home) == ""
    assert told.what == "session"
    assert plan.model_copy(update={"dry_run": False, "commits": told.commits}) == told
    assert len([path for path in told.pages if path.startswith("handoffs/")]) == 1
    assert {one.native_id for one in memory.sessions(here)} == {"keep", "heir"}
    assert "lexer" in memory.read(here, "keep").text


def test_late_events_do_not_bring_a_session_back(memory: LocalMemory, home: Path, work: Path, here: Scope) -> None:
    player = Player(home, work, CANARY, pid=DEAD, ago=2000).start().prompt(f"fix {CANARY}").edits("a.py")
    memory.ingest()
    memory.forget(here, CANARY, for_good=True)
    player.prompt(f"more of {CANARY}").edits("b.py").says(f"done {CANARY}").ends()
    player.cwd = home.parent
    player.prompt(f"and here {CANARY}")
    report = memory.ingest()
    memory.close()

    assert (report.ingested, report.filtered) == (0, 5)
    assert traces(home) == []
    assert memory.sessions(here) == ()
    assert [project.name for project in memory.projects()] == ["work"]
    Player(home, work, "another", pid=DEAD).start().prompt("go on").edits("c.py").ends()
    memory.ingest()
    assert [one.native_id for one in memory.sessions(here)] == ["another"]
    memory.reindex()
    assert memory.status(here).capture.filtered == 5


def test_a_session_goes_on_where_else_it_had_worked(
    memory: LocalMemory, home: Path, work: Path, own_home: Path, here: Scope
) -> None:
    other = repository(own_home / "other")
    player = Player(home, work, "both", pid=DEAD, ago=2000).start().prompt(f"fix {CANARY}").edits("a.py")
    player.cwd = other
    player.prompt("and the other one").edits("b.py")
    memory.ingest()
    memory.forget(here, "both", for_good=True)
    player.prompt("more there").ends()
    player.cwd = work
    player.prompt(f"and {CANARY} again")
    report = memory.ingest()
    memory.close()

    assert (report.ingested, report.filtered) == (2, 1)
    assert traces(home) == []
    (row,) = memory.sessions(Scope(cwd=str(other)))
    assert row.observations == 4


def test_a_forgotten_session_is_not_found_and_its_page_is_in_history(
    memory: LocalMemory, home: Path, work: Path, here: Scope
) -> None:
    player = play(home, work, "s", NAME)
    memory.ingest()
    (session,) = memory.sessions(here)
    assert session.page
    told = memory.forget(here, "s")
    player.prompt("more").ends()
    memory.ingest()

    assert session.page in told.pages
    assert memory.sessions(here) == ()
    assert memory.handoffs(here, every=True) == ()
    assert memory.search(here, Query(text=CANARY, kinds=("observation", "session"))).hits == ()
    assert NAME in memory.read(here, session.page, at=memory.history(here, session.page)[1].commit).text
    memory.reindex()
    assert memory.sessions(here) == ()


def test_a_project_is_erased(memory: LocalMemory, home: Path, own_home: Path, here: Scope, work: Path) -> None:
    secret = repository(own_home / CANARY)
    there = Scope(cwd=str(secret))
    memory.write(here, Draft(title="In work", body="okapi"))
    player = play(home, secret, "s", NAME, ago=2000)
    memory.ingest()
    memory.write(there, Draft(title=NAME, body="text", kind="rule"))
    memory.leave_handoff(there, HandoffDraft(summary=f"{NAME} goes on"))
    memory.brief(there)
    aside = home / "spool" / "set-aside"
    aside.mkdir()
    (aside / "1-x.json").write_text(json.dumps({"root": str(secret)}))
    (aside / "1-x.json.reason").write_text(f"{secret} is odd")
    (aside / "2-x.json").write_text(json.dumps({"root": f"{work}"}))
    (aside / "2-x.json.reason").write_text("odd")
    late = Player(home, secret, "unknown", pid=DEAD, ago=1500).start().prompt(f"of {CANARY}")
    unknown = [(path, path.read_bytes()) for path in (home / "spool").glob("*.json")]
    for path, _ in unknown:
        path.unlink()
    plan = memory.purge_project(Scope(project=CANARY), dry_run=True)
    told = memory.purge_project(Scope(project=CANARY))

    assert told.what == plan.what == "project"
    assert len(told.sessions) == 1
    assert traces(home) == []
    assert [project.name for project in memory.projects()] == ["work"]
    assert [path.name for path in aside.iterdir() if path.suffix == ".json"] == ["2-x.json"]
    player.prompt(f"late {CANARY}").ends()
    for path, data in unknown:  # delivered now by another machine that was away
        path.write_bytes(data)
    late.prompt(f"even later {CANARY}")
    report = memory.ingest()
    memory.close()
    assert (report.ingested, report.filtered) == (0, 5)
    assert traces(home) == []
    assert [project.name for project in memory.projects()] == ["work"]
    Player(home, secret, "new", pid=DEAD, ago=-5).start().prompt("begin again")
    memory.ingest()
    assert [one.native_id for one in memory.sessions(there)] == ["new"]


def test_what_is_no_project_or_page_is_not_erased(memory: LocalMemory, here: Scope) -> None:
    memory.write(here, Draft(title="In work", body="okapi"))
    with pytest.raises(ProjectError, match="did you mean work"):
        memory.purge_project(Scope(project="wrok"))
    with pytest.raises(NotFoundError):
        memory.forget(here, "nothing like it", for_good=True)
    with pytest.raises(InputError, match="purge-project"):
        memory.forget(here, "project.md", for_good=True)
    for text, regex in (("abc", False), ("(", True), (".*", True), ("    ", False)):
        with pytest.raises(InputError):
            memory.scrub(text, regex=regex)


def test_a_text_is_scrubbed_from_everything(memory: LocalMemory, home: Path, work: Path, here: Scope) -> None:
    secret = f'{CANARY}"\\é'
    player = play(home, work, "s", f"{CANARY} key {secret}", ago=2000)
    memory.ingest()
    memory.write(here, Draft(title=f"{NAME} page", body=f"key: {secret}\n"))
    (home / "logs").mkdir(exist_ok=True)
    (home / "logs" / "emit.log").write_text(f"bad {secret}\nother\n")
    (home / "config.toml").write_text(f'[redact]\npatterns = ["{CANARY}.*"]\n')
    player.prompt(f"again {secret}")
    plan = memory.scrub(CANARY, dry_run=True)
    told = memory.scrub(CANARY)
    memory.close()
    (home / "config.toml").unlink()

    assert told.left == ("config.toml",)
    assert plan.places > 4
    assert (told.what, told.dry_run) == ("text", False)
    assert told.places >= plan.places
    assert traces(home) == []
    assert fsck(home) == ""
    assert (home / "logs" / "emit.log").read_text() == 'bad scrubbed-secret"\\é\nother\n'
    (session,) = memory.sessions(here)
    assert session.observations == 6
    assert "scrubbed-secret" in memory.read(here, "s", observations=True).observations[1].text
    player.says("ends well").ends()  # a page that was scrubbed is still ours to compile anew
    memory.ingest()
    assert "ends well" in memory.read(here, "s").text


def own_references(wiki: Path) -> None:
    """Have a user use git in a wiki as in any repository."""
    (wiki / "notes" / "theirs.md").write_text("mine\n")
    for words in (
        ("tag", "-a", "v1", "-m", f"with {CANARY}"),
        ("tag", "light"),
        ("switch", "-c", f"fix-{CANARY}"),
        ("add", "."),
        ("commit", "-m", f"about {CANARY}"),
        ("notes", "add", "-m", f"see {CANARY}"),
        ("branch", f"fix-{CANARY.upper()}"),
        ("switch", "main"),
    ):
        git(wiki, *words)
    for number in range(2):
        (wiki / f"stashed{number}.md").write_text(f"{CANARY} {number}\nmine {number}\n")
        git(wiki, "add", ".")
        git(wiki, "stash", "push", "-m", f"{CANARY} {number}")
    git(wiki, "config", "remote.x.url", f"https://u:{CANARY}@example.org/x.git")
    git(wiki, "pack-refs", "--all")


def test_a_text_goes_from_branches_tags_and_stashes_of_the_users_own(
    memory: LocalMemory, home: Path, here: Scope
) -> None:
    wiki = secret_in_two_versions(memory, here)
    own_references(wiki)
    plan = memory.scrub(CANARY, dry_run=True)
    theirs = (f"branch fix-{CANARY.upper()}", f"branch fix-{CANARY}", "refs/notes/commits", "tag light", "tag v1")
    assert plan.git == tuple(f"{one} of work" for one in (*theirs, "2 stashes"))
    assert memory.scrub(CANARY).git == plan.git
    memory.close()

    assert traces(home) == []
    assert fsck(home) == ""
    assert git(wiki, "show", "fix-scrubbed-secret:notes/theirs.md") == "mine"
    assert git(wiki, "tag", "-l", "--format=%(refname:short) %(contents:subject)").splitlines() == [
        "light Update note: Key",
        "v1 with scrubbed-secret",
    ]
    assert git(wiki, "branch", "--format=%(refname:short)").splitlines() == [
        "fix-scrubbed-secret",
        "fix-scrubbed-secret-2",
        "main",
    ]
    git(wiki, "stash", "pop")
    git(wiki, "commit", "-m", "popped")
    git(wiki, "stash", "pop")
    assert [(wiki / f"stashed{one}.md").read_text() for one in (0, 1)] == [
        f"scrubbed-secret {one}\nmine {one}\n" for one in (0, 1)
    ]


def test_a_page_goes_from_branches_tags_and_stashes_of_the_users_own(
    memory: LocalMemory, home: Path, here: Scope
) -> None:
    path = memory.write(here, Draft(title=NAME, body=f"first {CANARY}")).path
    wiki = memory.res.wiki(memory.projects()[0]).folder
    git(wiki, "tag", "-a", "v1", "-m", "first version")
    git(wiki, "branch", "topic")
    memory.write(here, Draft(title=NAME, body=f"second {CANARY}", path=path))
    memory.write(here, Draft(title="Other", body="stays"))
    (wiki / path).write_text("only this is stashed\n")
    git(wiki, "add", ".")
    git(wiki, "stash")
    (wiki / "mine.md").write_text("mine\n")
    git(wiki, "add", ".")
    git(wiki, "stash")
    memory.forget(here, path, for_good=True)
    memory.close()

    assert traces(home) == []
    assert fsck(home) == ""
    assert git(wiki, "ls-tree", "-r", "--name-only", "topic") == "project.md"
    assert git(wiki, "tag") == "v1"
    git(wiki, "stash", "pop")
    assert (wiki / "mine.md").read_text() == "mine\n"
    git(wiki, "reset", "--hard")
    git(wiki, "stash", "pop")


def test_nothing_is_erased_while_another_work_tree_has_files_of_its_own(
    memory: LocalMemory, home: Path, here: Scope, tmp_path: Path
) -> None:
    wiki = secret_in_two_versions(memory, here)
    git(wiki, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    for dry_run in (True, False):
        with pytest.raises(StorageError, match=r"tree is another work tree of .* worktree remove"):
            memory.scrub(CANARY, dry_run=dry_run)
    assert not (home / ERASING).exists()
    assert CANARY in memory.read(here, "Key").text
    shutil.rmtree(tmp_path / "tree")
    memory.scrub(CANARY)
    memory.close()

    assert traces(home) == []
    assert git(wiki, "worktree", "list").count("\n") == 0


def test_a_secret_of_several_lines_is_scrubbed_in_every_way_it_is_written(
    memory: LocalMemory, home: Path, work: Path, here: Scope
) -> None:
    key = f"-----BEGIN {CANARY} KEY-----\nMIIabcdefghij{CANARY}\nzzzz9999{CANARY}==\n-----END {CANARY} KEY-----"
    Player(home, work, "s", pid=DEAD).start().prompt(f"use this\n{key}").edits("a.py").ends()
    memory.ingest()
    memory.write(here, Draft(title="Indented", body="\n".join(f"    > {line}" for line in key.splitlines())))
    memory.scrub(key)
    memory.close()

    assert traces(home) == []


def test_a_pattern_is_scrubbed(memory: LocalMemory, home: Path, here: Scope) -> None:
    page = memory.write(here, Draft(title="Keys", body="ok-1111 ok-2222 ok-x"))
    memory.scrub(r"ok-\d{4}", regex=True)

    assert memory.read(here, page.path).page.body.strip() == "scrubbed-secret scrubbed-secret ok-x"  # type: ignore[union-attr]
    assert traces(home, "ok-1111") == []


def test_another_machine_may_forget_with_a_token_that_may_write(home: Path, own_home: Path) -> None:
    server = own_home / "server" / "memory"
    work = repository(own_home / "work")
    here = Scope(cwd=str(work))
    reading, writing = token(server, "r", read_only=True), token(server, "w")
    with serving(server) as url:
        far = remote(url, home, writing)
        page = far.write(here, Draft(title=NAME, body=CANARY))
        for ask in (
            lambda memory: memory.forget(here, page.path, for_good=True),
            lambda memory: memory.purge_project(here),
            lambda memory: memory.scrub(CANARY),
        ):
            with pytest.raises(AccessError, match="may only read"):
                ask(remote(url, home, reading))
        assert far.forget(here, page.path, for_good=True).pages == (page.path,)
        assert traces(server) == []
        far.write(here, Draft(title="Again", body=CANARY))
        assert far.scrub(CANARY).places
        assert far.purge_project(here).what == "project"
    assert traces(server) == []


def test_events_of_another_machine_do_not_bring_a_session_back(home: Path, own_home: Path) -> None:
    work = repository(own_home / "work")
    Player(home, work, CANARY, pid=DEAD, ago=500).start().prompt(CANARY)
    server = own_home / "server" / "memory"
    with serving(server) as url:
        far = remote(url, home)
        far.ingest()
        far.forget(Scope(cwd=str(work)), CANARY, for_good=True)
        Player(home, work, CANARY, pid=DEAD, ago=100).prompt(f"late {CANARY}")
        far.ingest()
        assert far.status(Scope(cwd=str(work))).capture.filtered == 1
    assert traces(server) == []


def test_events_that_share_an_entry_are_refused_too(home: Path, memory: LocalMemory, here: Scope) -> None:
    page = memory.write(here, Draft(title="x", body="y"))
    Player(home, Path(here.cwd), CANARY, pid=DEAD, ago=900).start().prompt("one").ends()
    memory.ingest()
    memory.forget(here, CANARY, for_good=True)
    Player(home, Path(here.cwd), CANARY, pid=DEAD, ago=800).prompt(CANARY).prompt("two")
    events = [Event.model_validate_json(path.read_bytes()) for path in sorted((home / "spool").glob("*.json"))]
    for path in (home / "spool").glob("*.json"):
        path.unlink()
    Spool(home).add(events)

    assert local(home).ingest().filtered == 2
    assert page.project


def test_no_import_brings_a_page_back(memory: LocalMemory, here: Scope, own_home: Path) -> None:
    folder = own_home / "docs"
    folder.mkdir()
    (folder / f"{CANARY}.md").write_text(f"# {NAME}\n\n{CANARY}\n")
    (page,) = memory.import_markdown(here, folder).added.values()
    memory.forget(here, page, for_good=True)
    report = memory.import_markdown(here, folder)

    assert report.added == {}
    assert len(report.skipped) == 1
    assert traces(memory.res.home) == []
