"""The wiki against real git, real processes and real crashes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_memory_mcp import wiki_git
from ai_memory_mcp.errors import InputError, NotFoundError, StorageError
from ai_memory_mcp.gitlog import tree_entries
from ai_memory_mcp.wiki import ProjectWiki
from ai_memory_mcp.wiki_git import patch_entries

NOW = datetime(2026, 11, 22, 17, 0, tzinfo=timezone.utc)
GIT_ENV = {
    **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "user",
    "GIT_AUTHOR_EMAIL": "user@example.org",
    "GIT_COMMITTER_NAME": "user",
    "GIT_COMMITTER_EMAIL": "user@example.org",
}
PYTHON_ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
CHILD = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from ai_memory_mcp.wiki import ProjectWiki
wiki = ProjectWiki(Path(sys.argv[1]), Path(sys.argv[2]))
who, count = sys.argv[3], int(sys.argv[4])
for n in range(count):
    wiki.commit({f"notes/{who}-{n}.md": b"text " * 50 + str(n).encode(), "index.md": f"{who} {n}".encode()},
                f"{who} {n}", author=who, when=datetime.now(timezone.utc))
    print(n, flush=True)
    if n % 7 == 6:
        wiki.refresh_git_index()
"""


def git(wiki: ProjectWiki, *arguments: str, check: bool = True) -> str:
    done = subprocess.run(["git", *arguments], cwd=wiki.folder, env=GIT_ENV, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


def fsck(wiki: ProjectWiki) -> None:
    command = ["git", "fsck", "--full", "--strict", "--no-dangling"]
    done = subprocess.run(command, cwd=wiki.folder, env=GIT_ENV, capture_output=True)
    assert done.returncode == 0, done.stderr


def write(wiki: ProjectWiki, changes: dict[str, bytes | None], message: str = "change") -> str | None:
    return wiki.commit(changes, message, author="claude-code", when=NOW)


def child(wiki: ProjectWiki, who: str, count: int) -> subprocess.Popen[str]:
    locks = str(wiki.folder.parent / "locks")
    command = [sys.executable, "-c", CHILD, str(wiki.folder), locks, who, str(count)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=PYTHON_ENV)


@pytest.fixture
def wiki(tmp_path: Path) -> ProjectWiki:
    return ProjectWiki(tmp_path / "project", tmp_path / "locks")


def test_commit_puts_pages_on_disk_and_into_history(wiki: ProjectWiki) -> None:
    commit = write(wiki, {"notes/a.md": b"A\r\n", "decisions/2026/b.md": "Ü".encode()}, "Two pages")
    assert wiki.read("notes/a.md") == b"A\r\n"
    assert sorted(wiki.paths()) == ["decisions/2026/b.md", "notes/a.md"]
    assert git(wiki, "rev-parse", "main") == commit
    assert git(wiki, "log", "-1", "--format=%an|%cn|%ce|%aI|%s") == (
        "claude-code|ai-memory|ai-memory@localhost|2026-11-22T17:00:00+00:00|Two pages"
    )
    assert git(wiki, "show", "HEAD:decisions/2026/b.md") == "Ü"
    fsck(wiki)


def test_commit_without_a_change_makes_no_commit(wiki: ProjectWiki) -> None:
    first = write(wiki, {"a.md": b"A"})
    assert write(wiki, {"a.md": b"A", "gone.md": None}) is None
    assert git(wiki, "rev-parse", "HEAD") == first


def test_removing_a_page_prunes_its_empty_folders(wiki: ProjectWiki) -> None:
    write(wiki, {"notes/deep/down/a.md": b"A", "notes/b.md": b"B"})
    write(wiki, {"notes/deep/down/a.md": None})
    assert os.listdir(wiki.folder / "notes") == ["b.md"]
    assert git(wiki, "ls-tree", "-r", "--name-only", "HEAD") == "notes/b.md"
    write(wiki, {"notes/b.md": None})
    assert git(wiki, "ls-tree", "-r", "--name-only", "HEAD") == ""
    assert wiki.folder.is_dir()
    fsck(wiki)


def test_only_the_owner_may_look_into_the_wiki(wiki: ProjectWiki) -> None:
    write(wiki, {"notes/a.md": b"A"})
    for folder in (wiki.folder, wiki.folder / ".git", wiki.folder / "notes"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((wiki.folder / "notes/a.md").stat().st_mode) == 0o600


@pytest.mark.parametrize("path", ["../out.md", "/etc/x.md", ".git/x.md", "a/../../b.md", "C:\\x.md", "con.md"])
def test_a_path_that_leads_out_of_the_wiki_is_refused_before_anything_is_written(wiki: ProjectWiki, path: str) -> None:
    with pytest.raises(InputError):
        write(wiki, {"fine.md": b"A", path: b"B"})
    assert not wiki.folder.exists()


def test_symbolic_links_are_not_followed(wiki: ProjectWiki, tmp_path: Path) -> None:
    write(wiki, {"a.md": b"A"})
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.md").write_bytes(b"secret")
    (wiki.folder / "notes").symlink_to(outside)
    (wiki.folder / "link.md").symlink_to(outside / "secret.md")
    assert list(wiki.paths()) == ["a.md"]
    for path in ("notes/secret.md", "link.md"):
        with pytest.raises(InputError, match="symbolic link"):
            wiki.read(path)
        with pytest.raises(InputError, match="symbolic link"):
            write(wiki, {path: b"overwritten"})
    assert (outside / "secret.md").read_bytes() == b"secret"
    assert wiki.uncommitted(["notes/secret.md", "link.md"]) == {}


def test_reading_a_missing_page_says_so(wiki: ProjectWiki) -> None:
    with pytest.raises(NotFoundError, match=r"nowhere\.md"):
        wiki.read("nowhere.md")
    assert list(wiki.paths()) == []
    assert wiki.log() == []


def test_reading_pages_does_not_load_dulwich(wiki: ProjectWiki) -> None:
    write(wiki, {"a.md": b"A"})
    code = (
        "import sys; from pathlib import Path; from ai_memory_mcp.wiki import ProjectWiki\n"
        f"w = ProjectWiki(Path({str(wiki.folder)!r}), Path('/nowhere'))\n"
        "assert w.read('a.md') == b'A' and list(w.paths()) == ['a.md'] and w.scan({}).added\n"
        "assert not {'dulwich', 'filelock', 'asyncio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=PYTHON_ENV)


def test_scan_finds_added_changed_and_vanished_pages(wiki: ProjectWiki) -> None:
    write(wiki, {"a.md": b"A", "b.md": b"B", "notes/c.md": b"C"})
    (wiki.folder / ".obsidian").mkdir()
    (wiki.folder / ".obsidian/x.md").write_bytes(b"hidden")
    (wiki.folder / "picture.png").write_bytes(b"png")
    known = wiki.scan({}).added
    assert sorted(known) == ["a.md", "b.md", "notes/c.md"]
    assert not any(wiki.scan(known))
    (wiki.folder / "a.md").write_bytes(b"changed")
    (wiki.folder / "b.md").unlink()
    (wiki.folder / "notes/d.md").write_bytes(b"D")
    found = wiki.scan(known)
    assert (list(found.added), list(found.changed), found.vanished) == (["notes/d.md"], ["a.md"], {"b.md"})


def test_names_with_spaces_and_joiners_of_other_scripts_are_pages(wiki: ProjectWiki) -> None:
    names = {"notes/日本\u3000語.md", "notes/می\u200cخواهم.md", "notes/a\u00a0b.md"}
    wiki.commit(dict.fromkeys(names, b"text"), "Add", author="user", when=NOW)
    (wiki.folder / "notes" / "bell\x07.md").write_bytes(b"no page")
    assert set(wiki.paths()) == names


def test_hand_edits_are_found_and_committed_as_such(wiki: ProjectWiki) -> None:
    write(wiki, {"a.md": b"A", "b.md": b"B"})
    (wiki.folder / "a.md").write_bytes(b"A, better")
    (wiki.folder / "new.md").write_bytes(b"N")
    (wiki.folder / "b.md").unlink()
    edits = {"a.md": b"A, better", "new.md": b"N"}
    assert wiki.uncommitted(["a.md", "b.md", "new.md"]) == edits
    commit, kept = wiki.keep_edits(["a.md", "b.md", "new.md"], when=NOW)
    assert kept == edits
    assert git(wiki, "log", "-1", "--format=%H %an: %s") == f"{commit} by hand: Edited by hand: a.md, new.md"
    assert git(wiki, "show", "HEAD:b.md") == "B"
    assert wiki.keep_edits(["a.md", "b.md", "new.md"], when=NOW) == (None, {})


def test_a_hand_edit_that_we_overwrite_stays_in_history(wiki: ProjectWiki) -> None:
    write(wiki, {"a.md": b"A"})
    (wiki.folder / "a.md").write_bytes(b"typed for an hour")
    write(wiki, {"a.md": b"by the agent"}, "agent")
    assert wiki.read("a.md") == b"by the agent"
    assert git(wiki, "show", "HEAD~1:a.md") == "typed for an hour"
    (wiki.folder / "a.md").write_bytes(b"typed again")
    write(wiki, {"a.md": None}, "agent removes")
    assert git(wiki, "show", "HEAD~1:a.md") == "typed again"


def test_vanished_pages_are_never_committed_as_deletions(wiki: ProjectWiki) -> None:
    write(wiki, {f"notes/{n}.md": b"text" for n in range(20)})
    shutil.rmtree(wiki.folder / "notes")
    write(wiki, {"other.md": b"O"})
    assert len(git(wiki, "ls-tree", "-r", "--name-only", "HEAD").splitlines()) == 21
    git(wiki, "sparse-checkout", "set", "--no-cone", "other.md")
    write(wiki, {"third.md": b"T"})
    assert len(git(wiki, "ls-tree", "-r", "--name-only", "HEAD").splitlines()) == 22


def test_a_vanished_page_written_anew_with_the_same_text_is_back_on_disk(wiki: ProjectWiki) -> None:
    write(wiki, {"a.md": b"A"})
    (wiki.folder / "a.md").unlink()
    assert write(wiki, {"a.md": b"A"}) is None
    assert wiki.read("a.md") == b"A"


def test_we_go_on_from_commits_made_with_git(wiki: ProjectWiki) -> None:
    write(wiki, {"a.md": b"A"})
    wiki.refresh_git_index()
    (wiki.folder / "mine.md").write_bytes(b"M")
    git(wiki, "add", "mine.md")
    git(wiki, "commit", "-m", "mine")
    write(wiki, {"b.md": b"B"})
    assert git(wiki, "ls-tree", "-r", "--name-only", "HEAD").split() == ["a.md", "b.md", "mine.md"]
    git(wiki, "gc", "-q", "--prune=now")
    write(wiki, {"c.md": b"C"})
    assert [change.message for change in wiki.log()] == ["change", "change", "mine", "change"]
    fsck(wiki)


def test_we_commit_onto_the_branch_that_is_checked_out(wiki: ProjectWiki) -> None:
    write(wiki, {"a.md": b"A"})
    wiki.refresh_git_index()
    git(wiki, "checkout", "-q", "-b", "try/this")
    tip = write(wiki, {"b.md": b"B"})
    assert git(wiki, "rev-parse", "try/this") == tip
    assert git(wiki, "rev-parse", "main") == git(wiki, "rev-parse", "try/this~1")


def test_on_a_detached_head_nothing_is_written(wiki: ProjectWiki) -> None:
    write(wiki, {"a.md": b"A"})
    wiki.refresh_git_index()
    git(wiki, "checkout", "-q", "--detach")
    with pytest.raises(StorageError, match="git checkout main"):
        write(wiki, {"b.md": b"B"})
    assert list(wiki.paths()) == ["a.md"]


def test_in_an_unfinished_merge_nothing_is_written(wiki: ProjectWiki) -> None:
    write(wiki, {"a.md": b"A"})
    wiki.refresh_git_index()
    git(wiki, "checkout", "-q", "-b", "other")
    write(wiki, {"a.md": b"other"})
    wiki.refresh_git_index()
    git(wiki, "checkout", "-q", "main")
    write(wiki, {"a.md": b"main"})
    wiki.refresh_git_index()
    git(wiki, "merge", "other", check=False)
    with pytest.raises(StorageError, match="merge is unfinished"):
        write(wiki, {"b.md": b"B"})
    git(wiki, "merge", "--abort")
    assert write(wiki, {"b.md": b"B"})


def test_of_pages_that_belong_together_none_is_written_when_one_cannot_be(wiki: ProjectWiki) -> None:
    write(wiki, {"old.md": b"as it was"})
    (wiki.folder / "two").write_text("no folder")
    with pytest.raises(StorageError):
        write(wiki, {"old.md": b"superseded", "new.md": b"new", "two/three.md": b"refused"})

    assert sorted(wiki.paths()) == ["old.md"]
    assert wiki.read("old.md") == b"as it was"
    (wiki.folder / "two").unlink()
    write(wiki, {"old.md": b"superseded", "new.md": b"new", "two/three.md": b"taken"})
    assert sorted(wiki.paths()) == ["new.md", "old.md", "two/three.md"]
    assert not list((wiki.folder / ".git").glob("ai-memory-writing"))


@pytest.mark.parametrize("note", ["whole", "torn"])
def test_what_a_killed_writer_has_begun_is_undone_but_not_what_was_edited_since(wiki: ProjectWiki, note: str) -> None:
    write(wiki, {"a.md": b"a", "b.md": b"b"})
    written = {path: hashlib.sha1(b"blob 3\0new").hexdigest() for path in ("a.md", "b.md", "c.md", "d.md")}
    text = json.dumps(written)
    (wiki.folder / ".git" / "ai-memory-writing").write_text(text if note == "whole" else text[:50])
    (wiki.folder / "a.md").write_bytes(b"new")
    (wiki.folder / "b.md").write_bytes(b"new, and edited")
    (wiki.folder / "c.md").write_bytes(b"new")
    if note == "whole":  # who only reads is not told what is undone later
        assert wiki.read("a.md") == b"a"
    wiki.keep_edits(["a.md", "b.md", "c.md"], when=NOW)

    kept = {path: wiki.read(path) for path in wiki.paths()}
    undone = {"a.md": b"a", "b.md": b"new, and edited"}
    assert kept == (undone if note == "whole" else {"a.md": b"new", "b.md": b"new, and edited", "c.md": b"new"})
    write(wiki, {"c.md": b"as meant"})
    fsck(wiki)


def test_a_missing_repository_begins_anew_with_the_pages_on_disk(wiki: ProjectWiki) -> None:
    write(wiki, {"a.md": b"A", "notes/b.md": b"B"})
    shutil.rmtree(wiki.folder / ".git")
    assert wiki.uncommitted(["a.md"]) == {"a.md": b"A"}
    write(wiki, {"c.md": b"C"})
    assert git(wiki, "log", "--format=%s").splitlines() == [
        "change",
        "Begin the history with 2 pages found here",
    ]
    assert git(wiki, "ls-tree", "-r", "--name-only", "HEAD~1").split() == ["a.md", "notes/b.md"]


@pytest.mark.parametrize("damage", ["HEAD", "objects", "branch"])
def test_a_damaged_repository_is_reported_and_left_alone(wiki: ProjectWiki, damage: str) -> None:
    write(wiki, {"a.md": b"A"})
    if damage == "objects":
        shutil.rmtree(wiki.folder / ".git/objects")
    elif damage == "HEAD":
        (wiki.folder / ".git/HEAD").write_bytes(b"\0\1garbage")
    else:
        (wiki.folder / ".git/refs/heads/main").write_bytes(b"garbage\n")
    with pytest.raises(StorageError, match=r"\.git"):
        write(wiki, {"b.md": b"B"})
    assert wiki.read("a.md") == b"A"
    assert not (wiki.folder / "b.md").exists()


def test_git_status_is_clean_after_a_refresh(wiki: ProjectWiki) -> None:
    assert wiki.refresh_git_index() is False
    write(wiki, {f"notes/{n:03}.md": b"text" for n in range(100)})
    assert wiki.refresh_git_index() is True
    assert git(wiki, "status", "--porcelain") == ""
    write(wiki, {"notes/001.md": b"other", "notes/002.md": None, "notes.md": b"beside a folder of that name"})
    assert git(wiki, "status", "--porcelain") != ""
    assert wiki.refresh_git_index() is True
    assert git(wiki, "status", "--porcelain") == ""
    assert wiki.refresh_git_index() is False


def test_a_refresh_hides_no_hand_edit_and_keeps_what_the_user_staged(wiki: ProjectWiki) -> None:
    write(wiki, {"a.md": b"A", "b.md": b"B"})
    wiki.refresh_git_index()
    (wiki.folder / "staged.md").write_bytes(b"S")
    git(wiki, "add", "staged.md")
    write(wiki, {"a.md": b"AA"})
    (wiki.folder / "a.md").write_bytes(b"ab")
    assert wiki.refresh_git_index()
    assert git(wiki, "status", "--porcelain").splitlines() == [
        "M a.md",
        "A  staged.md",
    ]
    git(wiki, "commit", "-q", "-m", "only the staged one")
    assert git(wiki, "show", "--stat", "--format=", "--name-only", "HEAD") == "staged.md"


def test_a_refresh_waits_while_git_holds_its_index(wiki: ProjectWiki) -> None:
    write(wiki, {"a.md": b"A"})
    lock = wiki.folder / ".git/index.lock"
    lock.touch()
    assert wiki.refresh_git_index() is False
    assert lock.exists()
    lock.unlink()
    assert wiki.refresh_git_index() is True


def test_a_refresh_removes_our_own_lock_of_gits_index_that_a_disk_did_not_let_go(wiki: ProjectWiki) -> None:
    write(wiki, {"a.md": b"a"})
    (wiki.folder / ".git" / "index.lock").write_bytes(b"ai-memory\n")

    assert wiki.refresh_git_index()
    assert git(wiki, "status", "--porcelain") == ""


def test_many_loose_objects_become_a_pack(wiki: ProjectWiki) -> None:
    for n in range(20):
        write(wiki, {f"notes/{n}.md": b"text %d" % n})
    assert wiki.pack_if_many(limit=1000) == 0
    assert wiki.pack_if_many(limit=50) == 80
    assert "count: 0" in git(wiki, "count-objects", "-v")
    write(wiki, {"notes/3.md": b"changed"})
    assert wiki.read_at("notes/3.md", git(wiki, "rev-parse", "HEAD~1")) == b"text 3"
    fsck(wiki)


def test_more_than_fits_in_memory_is_packed_in_parts(wiki: ProjectWiki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiki_git, "_PACK_SIZE", 500)
    for n in range(10):
        write(wiki, {f"notes/{n}.md": b"text %d" % n})

    assert wiki.pack_if_many(limit=10) == 40
    assert "count: 0" in git(wiki, "count-objects", "-v")
    assert len(list(wiki.folder.glob(".git/objects/pack/*.pack"))) > 5
    fsck(wiki)


def test_history_of_a_page_and_its_old_versions_can_be_read(wiki: ProjectWiki) -> None:
    first = write(wiki, {"a.md": b"one"}, "first")
    wiki.commit({"b.md": b"B"}, "other", author="Jane <jane@example.org>", when=NOW + timedelta(hours=1))
    second = write(wiki, {"a.md": b"two"}, "second")
    assert first
    assert [change.id for change in wiki.log("a.md")] == [second, first]
    assert wiki.log(limit=3)[1][1:] == (NOW + timedelta(hours=1), "Jane", "other")
    assert len(wiki.log(limit=1)) == 1
    assert wiki.read_at("a.md", first) == b"one"
    for path, commit in (("b.md", first), ("a.md", "0" * 40), ("a.md", "main")):
        with pytest.raises(NotFoundError):
            wiki.read_at(path, commit)


def test_an_author_cannot_forge_lines_of_a_commit(wiki: ProjectWiki) -> None:
    wiki.commit({"a.md": b"A"}, "m", author="x> 0 +0000\ncommitter evil <e@e", when=NOW)
    assert git(wiki, "log", "--format=%cn") == "ai-memory"
    fsck(wiki)


@pytest.mark.slow
def test_commits_of_many_processes_are_all_in_history(wiki: ProjectWiki) -> None:
    running = [child(wiki, f"agent{n}", 25) for n in range(8)]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    subjects = git(wiki, "log", "--format=%s").splitlines()
    assert sorted(subjects) == sorted(f"agent{a} {n}" for a in range(8) for n in range(25))
    wiki.refresh_git_index()
    assert git(wiki, "status", "--porcelain") == ""
    fsck(wiki)


def test_threads_of_one_process_do_not_lose_commits(wiki: ProjectWiki) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda n: write(wiki, {f"{n}.md": b"%d" % n}), range(20)))
    assert set(git(wiki, "log", "--format=%H").split()) == set(done)


def test_git_committing_at_the_same_time_loses_nothing(wiki: ProjectWiki) -> None:
    write(wiki, {"a.md": b"A"})
    process = child(wiki, "agent", 30)
    made = 0
    while process.poll() is None:
        made += "mine" in git(wiki, "commit", "--allow-empty", "--only", "-m", "mine", check=False)
    assert process.wait() == 0
    process.communicate()
    subjects = git(wiki, "log", "--format=%s").splitlines()
    assert made > 0
    assert (subjects.count("mine"), sum(s.startswith("agent ") for s in subjects)) == (made, 30)


@pytest.mark.slow
def test_a_killed_process_leaves_a_sound_repository(wiki: ProjectWiki) -> None:
    chance = random.Random(7)
    reported = 0
    for round_ in range(15):
        process = child(wiki, f"r{round_}", 10_000)
        assert process.stdout
        process.stdout.readline()
        time.sleep(chance.random() * 0.06)
        process.kill()
        output, _ = process.communicate()
        reported += 1 + output.count("\n")
        fsck(wiki)
    assert write(wiki, {"after.md": b"fine"})
    wiki.keep_edits(list(wiki.paths()), when=NOW)
    subjects = git(wiki, "log", "--format=%s").splitlines()
    assert sum(subject.startswith("r") for subject in subjects) >= reported
    wiki.refresh_git_index()
    assert git(wiki, "status", "--porcelain", "--ignored", "--", ":!*.md") == ""
    assert git(wiki, "status", "--porcelain") == ""
    assert not list((wiki.folder / ".git").rglob("*.lock"))


@pytest.mark.parametrize(
    "left", ["refs/heads/main.lock", "index.lock", "objects/{object}.lock", "../notes/.9-dead.tmp"]
)
def test_locks_and_temporaries_of_a_killed_process_do_not_block(wiki: ProjectWiki, left: str) -> None:
    write(wiki, {"notes/a.md": b"A"})
    blob = hashlib.sha1(b"blob 1\0B").hexdigest()
    path = wiki.folder / ".git" / left.format(object=f"{blob[:2]}/{blob[2:]}")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"ai-memory\n")
    holder = wiki.folder.parent / "locks" / "wiki-project.lock.holder"
    holder.write_text("99999999")
    assert write(wiki, {"notes/b.md": b"B"})
    assert not path.exists()
    assert wiki.refresh_git_index()


names = st.text("abc-./0é", min_size=1, max_size=4).map(lambda s: s.replace("/", "_").encode())
kinds = st.sampled_from([b"100644", b"40000"])


@given(st.dictionaries(names, kinds), st.dictionaries(names, st.none() | kinds))
def test_a_patched_tree_is_the_tree_git_would_write(
    before: dict[bytes, bytes], changes: dict[bytes, bytes | None]
) -> None:
    def raw(tree: dict[bytes, bytes]) -> bytes:
        ordered = sorted(tree.items(), key=lambda item: item[0] + b"/" * (item[1] == b"40000"))
        return b"".join(mode + b" " + name + b"\0" + b"\0 1 \0" * 4 for name, mode in ordered)

    after = {name: mode for name, mode in {**before, **changes}.items() if mode}
    updates = {name: None if mode is None else (mode, b"\0 1 \0" * 4) for name, mode in changes.items()}
    assert b"".join(patch_entries(tree_entries(raw(before)), updates)) == raw(after)


@pytest.mark.parametrize("cut", [1, 20, 25])
def test_a_cut_tree_is_not_taken_for_a_tree(cut: int) -> None:
    raw = b"100644 a.md\0" + b"x" * 20 + b"100644 b.md\0" + b"y" * 20
    with pytest.raises(ValueError, match="malformed"):
        tree_entries(raw[:-cut])


def test_a_large_flat_folder_is_committed_right(wiki: ProjectWiki) -> None:
    write(wiki, {f"notes/page-{n}.md": b"%d" % n for n in range(3000)})
    write(wiki, {"notes/page-17.md": b"changed", "notes/page-18.md": None, "notes/page-0x.md": b"new"})
    assert len(git(wiki, "ls-tree", "-r", "--name-only", "HEAD").splitlines()) == 3000
    assert git(wiki, "diff", "--name-status", "HEAD~1", "HEAD").split() == (
        ["A", "notes/page-0x.md", "M", "notes/page-17.md", "D", "notes/page-18.md"]
    )
    fsck(wiki)


def test_a_file_can_take_the_place_of_a_folder_in_history(wiki: ProjectWiki) -> None:
    write(wiki, {"topic.md/a.md": b"A"})
    with pytest.raises(StorageError, match="a folder stands"):
        write(wiki, {"topic.md": b"T"})
    write(wiki, {"topic.md/a.md": None})
    assert write(wiki, {"topic.md": b"T"})
    with pytest.raises(StorageError, match="a file stands"):
        write(wiki, {"topic.md/a.md": b"A"})
    fsck(wiki)
