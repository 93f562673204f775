"""Who changed which page when, and pages as they were: real git, moves, merges, rewritten and packed history."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from playing import Player, repository

from ai_memory_mcp import pages
from ai_memory_mcp.errors import InputError, NotFoundError, StorageError
from ai_memory_mcp.gitlog import Touch, header, is_page
from ai_memory_mcp.index import past
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Project, Revision, Scope
from ai_memory_mcp.wiki import ProjectWiki

DAY = datetime(2026, 11, 1, 12, 0, tzinfo=timezone.utc)
GIT = {
    **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
}


@pytest.fixture
def scope(own_home: Path, memory: LocalMemory) -> Scope:
    """The scope of a project that has only its front page."""
    found = Scope(cwd=str(repository(own_home / "work")))
    memory.write(found, Draft(title="First", body="here", path="notes/first.md"))
    return found


def project_of(memory: LocalMemory) -> Project:
    return next(one for one in memory.projects() if one.name == "work")


def folder(memory: LocalMemory) -> Path:
    return memory.res.wiki(project_of(memory)).folder


def git(memory: LocalMemory, *words: str, day: int | None = None) -> str:
    when = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), f"2026-11-{day:02}T12:00:00Z") if day else {}
    done = subprocess.run(
        ["git", *words], cwd=folder(memory), env=GIT | when, capture_output=True, text=True, check=True
    )
    return done.stdout


def tidy(memory: LocalMemory) -> None:
    """Bring git's own index up to date, for git commands that look at it."""
    memory.res.wiki(project_of(memory)).refresh_git_index()


def save(memory: LocalMemory, path: str, text: str | None, day: int, author: str = "codex") -> None:
    """Commit a page on a day of November."""
    when = DAY + timedelta(days=day - 1)
    pages.save(memory.res, project_of(memory), {path: text}, f"day {day}", when=when, author=author)


def told(revisions: tuple[Revision, ...]) -> list[tuple[str, str]]:
    return [(one.message, f"{page.change} {page.path}") for one in revisions for page in one.pages]


def recorded(memory: LocalMemory) -> list[tuple[object, ...]]:
    """The rows of the project's history, but for their numbers."""
    with memory.res.index.read() as db:
        found = db.execute(
            "SELECT c.project, c.id, c.at, c.depth, c.author, c.subject, r.path, r.how, r.blob, r.depth"
            " FROM commits c LEFT JOIN revisions r ON r.number = c.number ORDER BY c.id, r.path"
        )
        return [tuple(row) for row in found]


def git_says(memory: LocalMemory) -> list[str]:
    """Git's own words for what each commit did to which page."""
    words = {"A": "added", "M": "changed", "D": "removed"}
    lines = git(memory, "log", "--format=%H", "--name-status", "--no-renames").split("\n")
    found, commit = [], ""
    for line in lines:
        state, _, path = line.partition("\t")
        commit = commit if path else line or commit
        found += [f"{commit} {words[state]} {path}"] if path.endswith(".md") else []
    return sorted(found)


def we_say(memory: LocalMemory, *, merges: bool = False) -> list[str]:
    rows = recorded(memory)
    return sorted(f"{row[1]} {row[7]} {row[6]}" for row in rows if row[6] and (merges or row[7] != "merged"))


# --- what is told


def test_a_page_has_its_revisions_newest_first_with_author_and_message(memory: LocalMemory, scope: Scope) -> None:
    save(memory, "notes/a.md", "one\n", 1)
    save(memory, "notes/a.md", "two\n", 2, author="claude-code")
    save(memory, "notes/b.md", "other\n", 3)
    save(memory, "notes/a.md", None, 4)

    found = memory.history(scope, "notes/a.md")
    assert [(one.author, one.message, one.pages[0].change) for one in found] == [
        ("codex", "day 4", "removed"),
        ("claude-code", "day 2", "changed"),
        ("codex", "day 1", "added"),
    ]
    assert found[1].at == DAY + timedelta(days=1)
    assert git(memory, "rev-parse", "HEAD").strip() == found[0].commit
    assert memory.history(scope, "a", limit=2) == found[:2]


def test_a_project_has_its_newest_commits_with_what_they_did(memory: LocalMemory, scope: Scope) -> None:
    for number in range(25):
        (folder(memory) / f"notes/{number:02}.md").write_text(f"page {number}\n")
    memory.recent(scope)
    first, *rest = memory.history(scope)

    assert (first.author, first.total, len(first.pages)) == ("by hand", 25, past.PAGES)
    assert ("Add note: First", "added notes/first.md") in told(tuple(rest))
    assert memory.history(scope, limit=1) == (first,)


def test_where_no_project_resolves_the_whole_workspace_is_told(
    memory: LocalMemory, scope: Scope, own_home: Path
) -> None:
    other = Scope(cwd=str(repository(own_home / "other")))
    memory.write(other, Draft(title="Elsewhere", body="text"))

    found = memory.history(Scope(cwd=str(own_home)))
    assert {one.project for one in found} == {"work", "other"}
    assert found == tuple(sorted(found, key=lambda one: one.at, reverse=True))


def test_a_diff_says_what_changed(memory: LocalMemory, scope: Scope) -> None:
    save(memory, "notes/a.md", "kept\nold\n", 1)
    save(memory, "notes/a.md", "kept\nnew\n", 2)
    save(memory, "notes/a.md", None, 3)

    removed, changed, added = (one.pages[0].diff for one in memory.history(scope, "notes/a.md", diff=True))
    assert changed == "--- a/notes/a.md\n+++ b/notes/a.md\n@@ -1,2 +1,2 @@\n kept\n-old\n+new"
    assert [line[0] for line in removed.splitlines()[3:]] == ["-", "-"]
    assert [line[0] for line in added.splitlines()[3:]] == ["+", "+"]
    save(memory, "notes/a.md", "line\n" * 6_000, 4)
    assert "too long to compare" in memory.history(scope, "notes/a.md", diff=True)[0].pages[0].diff


def test_what_names_nothing_has_no_history(memory: LocalMemory, scope: Scope) -> None:
    with pytest.raises(NotFoundError, match="no page or session 'nowhere'"):
        memory.history(scope, "nowhere")


def test_a_session_has_the_history_of_its_page(home: Path, memory: LocalMemory, scope: Scope) -> None:
    Player(home, Path(scope.cwd), "s-1", ago=900).start().works().ends()
    memory.ingest()

    assert "Session of claude-code" in memory.history(scope, "s-1")[0].message


# --- however it came into the history


def test_rows_are_recorded_as_git_tells_it(home: Path, memory: LocalMemory, scope: Scope) -> None:
    memory.write(scope, Draft(title="Second", body="x", supersedes=("notes/first.md",)))
    Player(home, Path(scope.cwd), "s-1", ago=900).start().works().ends()
    memory.ingest()
    (folder(memory) / "notes/by-hand.md").write_text("typed\n")
    memory.recent(scope)
    memory.write(scope, Draft(title="Third", body="x"))

    assert we_say(memory) == git_says(memory)
    with memory.res.index.read() as db:
        assert past.head(db, project_of(memory).id) == git(memory, "rev-parse", "HEAD").strip()


def test_what_was_edited_by_hand_and_overwritten_is_in_the_history(memory: LocalMemory, scope: Scope) -> None:
    (folder(memory) / "notes/first.md").write_text("a thought of mine\n")
    memory.write(scope, Draft(title="First", body="replaced"))

    assert [one.author for one in memory.history(scope, "first")] == ["ai-memory", "by hand", "ai-memory"]


def test_what_git_itself_committed_is_told(memory: LocalMemory, scope: Scope) -> None:
    tidy(memory)
    (folder(memory) / "notes/mine.md").write_text("M\n")
    (folder(memory) / "picture.png").write_bytes(b"png")
    git(memory, "add", "notes/mine.md", "picture.png")
    git(memory, "commit", "-m", "By me\n\nat length", day=5)

    (found,) = memory.history(scope, "mine")
    assert (found.author, found.message, found.at) == ("Ada", "By me", DAY + timedelta(days=4))
    assert we_say(memory) == git_says(memory)
    memory.write(scope, Draft(title="After", body="x"))
    assert we_say(memory) == git_says(memory)


def test_a_merge_tells_both_sides_and_what_it_made_of_them(memory: LocalMemory, scope: Scope) -> None:
    save(memory, "notes/both.md", "base\n", 1)
    tidy(memory)
    git(memory, "checkout", "-q", "-b", "side")
    save(memory, "notes/both.md", "side\n", 2)
    save(memory, "notes/side.md", "side\n", 3)
    tidy(memory)
    git(memory, "checkout", "-q", "main")
    save(memory, "notes/both.md", "main\n", 4)
    save(memory, "notes/main.md", "main\n", 5)
    tidy(memory)
    subprocess.run(["git", "merge", "-q", "side"], cwd=folder(memory), env=GIT, capture_output=True)
    (folder(memory) / "notes/both.md").write_text("main and side\n")
    git(memory, "commit", "-aqm", "Merge them", day=6)

    assert told(memory.history(scope, "notes/both.md")) == [
        ("Merge them", "changed notes/both.md"),
        ("day 4", "changed notes/both.md"),
        ("day 2", "changed notes/both.md"),
        ("day 1", "added notes/both.md"),
    ]
    assert told(memory.history(scope, "notes/side.md")) == [("day 3", "added notes/side.md")]
    assert we_say(memory) == sorted(
        [*git_says(memory), f"{git(memory, 'rev-parse', 'HEAD').strip()} changed notes/both.md"]
    )
    before = recorded(memory)
    memory.reindex()
    assert recorded(memory) == before


def test_a_merge_that_takes_one_side_leaves_the_page_as_that_side_had_it(memory: LocalMemory, scope: Scope) -> None:
    save(memory, "notes/both.md", "base\n", 1)
    tidy(memory)
    git(memory, "checkout", "-q", "-b", "side")
    for day in (2, 3, 4):
        save(memory, "notes/both.md", f"side {day}\n", day)
    tidy(memory)
    git(memory, "checkout", "-q", "main")
    save(memory, "notes/both.md", "main\n", 5)
    tidy(memory)
    git(memory, "merge", "-q", "-s", "ours", "-m", "Keep ours", "side", day=6)

    assert memory.read(scope, "notes/both.md", at="2026-11-07").text == "main\n"
    assert "merged" not in {page.change for one in memory.history(scope) for page in one.pages}


@pytest.mark.parametrize("how", ["amend", "reset", "branch", "orphan"])
def test_rewritten_history_is_told_as_it_is_now(memory: LocalMemory, scope: Scope, how: str) -> None:
    for day in (1, 2, 3):
        save(memory, "notes/a.md", f"day {day}\n", day)
    tidy(memory)
    if how == "amend":
        git(memory, "commit", "--amend", "-qm", "otherwise", day=9)
    elif how == "reset":
        git(memory, "reset", "-q", "--hard", "HEAD~2")
    else:
        git(
            memory,
            *(["checkout", "-q", "-b", "b", "HEAD~1"] if how == "branch" else ["checkout", "-q", "--orphan", "o"]),
        )
        (folder(memory) / "notes/a.md").write_text(f"{how}\n")
        git(memory, "commit", "-qam", how, day=9)

    newest = {"amend": "otherwise", "reset": "day 1", "branch": "branch", "orphan": "orphan"}[how]
    assert memory.history(scope, "notes/a.md")[0].message == newest
    assert we_say(memory) == git_says(memory)


@pytest.mark.parametrize("packed", [False, True])
def test_a_rebuilt_index_has_the_same_history(memory: LocalMemory, scope: Scope, packed: bool) -> None:
    for day in range(1, 20):
        save(memory, f"notes/{day % 4}.md", f"day {day}\n" if day % 5 else None, day)
    before = recorded(memory)
    if packed:
        git(memory, "gc", "-q")
        git(memory, "pack-refs", "--all")
        assert memory.res.wiki(project_of(memory)).head() == git(memory, "rev-parse", "HEAD").strip()
    memory.reindex()

    assert recorded(memory) == before
    assert we_say(memory) == git_says(memory)


def test_a_shallow_clone_has_the_history_that_is_there(memory: LocalMemory, scope: Scope, tmp_path: Path) -> None:
    for day in range(1, 6):
        save(memory, "notes/a.md", f"day {day}\n", day)
    url = f"file://{folder(memory)}"
    subprocess.run(["git", "clone", "-q", "--depth", "2", url, "clone"], cwd=tmp_path, env=GIT, check=True)

    found = ProjectWiki(tmp_path / "clone", tmp_path / "locks").walk().commits
    assert [one.subject for one in found] == ["day 4", "day 5"]
    assert {page.how for page in found[0].pages} == {"added"}


def test_a_commit_that_a_crash_kept_from_the_index_is_told_all_the_same(memory: LocalMemory, scope: Scope) -> None:
    wiki = memory.res.wiki(project_of(memory))
    wiki.commit({"notes/lost.md": b"x\n"}, "not indexed", author="codex", when=DAY)

    assert memory.history(scope, limit=1)[0].message != ""
    assert told(memory.history(scope, "notes/lost.md")) == [("not indexed", "added notes/lost.md")]
    assert we_say(memory) == git_says(memory)


WRITER = """
import sys
from ai_memory_mcp.local import open_local
from ai_memory_mcp.model import Draft, Scope
memory = open_local()
for number in range(8):
    memory.write(Scope(cwd=sys.argv[1]), Draft(title=f"{sys.argv[2]} {number}", body="text"))
    memory.write(Scope(cwd=sys.argv[1]), Draft(title="Shared", body=f"{sys.argv[2]} {number}"))
"""


def test_writers_at_the_same_time_record_every_commit_once(memory: LocalMemory, scope: Scope) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    command = [sys.executable, "-c", WRITER, scope.cwd]
    writers = [subprocess.Popen([*command, f"w{number}"], env=env) for number in range(4)]
    assert [one.wait(60) for one in writers] == [0] * 4

    assert len(memory.history(scope, "notes/shared.md", limit=100)) == 32
    assert we_say(memory) == git_says(memory)


def test_a_damaged_repository_takes_its_history_with_it_and_nothing_else(memory: LocalMemory, scope: Scope) -> None:
    save(memory, "notes/a.md", "text\n", 1)
    head = git(memory, "rev-parse", "HEAD").strip()
    (folder(memory) / f".git/objects/{head[:2]}/{head[2:]}").unlink()
    memory.reindex()

    assert memory.read(scope, "notes/a.md", links=True).text == "text\n"
    with pytest.raises(StorageError, match="is damaged"):
        memory.history(scope)


# --- pages as they were


@pytest.mark.parametrize(
    ("at", "text"),
    [
        ("2026-11-01", "one"),
        ("2026-11-02", "two"),
        ("2026-11-02T11:59:59Z", "one"),
        ("2026-11-02 12:00", "two"),
        ("2026-11-02T13:30:00+02:00", "one"),
        ("2026-12-24", "three"),
    ],
)
def test_a_page_can_be_read_as_it_was_then(memory: LocalMemory, scope: Scope, at: str, text: str) -> None:
    for day, word in enumerate(("one", "two", "three"), 1):
        save(memory, "notes/a.md", f"---\ntitle: {word}\n---\n{word}\n", day)

    found = memory.read(scope, "notes/a.md", at=at)
    assert found.text.splitlines()[-1] == found.title == text
    assert found.revision
    assert found.revision.at <= DAY + timedelta(days=2)


def test_a_page_can_be_read_as_it_was_in_any_commit(memory: LocalMemory, scope: Scope) -> None:
    save(memory, "notes/a.md", "one\n", 1)
    save(memory, "notes/other.md", "beside\n", 2)
    save(memory, "notes/a.md", "two\n", 3)
    beside = memory.history(scope, "notes/other.md")[0]

    for commit in (beside.commit, beside.commit[:7], beside.commit[:7].upper()):
        found = memory.read(scope, "notes/a.md", at=commit)
        assert (found.text, found.revision and found.revision.commit) == ("one\n", beside.commit)
    with pytest.raises(NotFoundError, match="no commit 0123456"):
        memory.read(scope, "notes/a.md", at="0123456")
    with pytest.raises(NotFoundError, match=r"there was no page 'notes/first\.md' in"):
        memory.read(scope, "notes/first.md", at=git(memory, "rev-list", "--max-parents=0", "HEAD").strip())


def test_the_beginning_of_several_ids_is_refused(memory: LocalMemory, scope: Scope) -> None:
    with memory.res.index.write() as db:
        for end in "ab":
            db.execute(
                "INSERT INTO commits (project, id, at, depth, author, subject) VALUES (?, ?, 0, 1, '', '')",
                (project_of(memory).id, "beef" * 9 + f"000{end}"),
            )
    with pytest.raises(InputError, match="several commits begin with beef"):
        memory.read(scope, "notes/first.md", at="beef")


@pytest.mark.parametrize("at", ["yesterday", "2026-13-01", "abc", "99999-01-01", "2026-11-01T", " "])
def test_what_is_no_time_and_no_commit_is_refused_with_what_would_do(
    memory: LocalMemory, scope: Scope, at: str
) -> None:
    with pytest.raises(InputError, match=r"neither a date \(2026-11-01\)"):
        memory.read(scope, "notes/first.md", at=at)


def test_before_its_first_commit_there_was_no_page(memory: LocalMemory, scope: Scope) -> None:
    save(memory, "notes/a.md", "one\n", 2)
    with pytest.raises(NotFoundError, match="did not exist yet"):
        memory.read(scope, "notes/a.md", at="2026-11-01")


def test_a_removed_page_can_be_read_as_it_was(memory: LocalMemory, scope: Scope) -> None:
    save(memory, "notes/a.md", "one\n", 1)
    save(memory, "notes/a.md", None, 3)

    with pytest.raises(NotFoundError, match=r"no page 'notes/a\.md' any more"):
        memory.read(scope, "notes/a.md")
    assert memory.read(scope, "a", at="2026-11-02").text == "one\n"
    with pytest.raises(NotFoundError, match="was removed before that, 2026-11-03 12:00 UTC"):
        memory.read(scope, "notes/a.md", at="2026-11-04")


def test_a_page_that_vanished_from_disk_can_be_read_as_it_was(memory: LocalMemory, scope: Scope) -> None:
    save(memory, "notes/a.md", "one\n", 1)
    (folder(memory) / "notes/a.md").unlink()

    with pytest.raises(NotFoundError, match="any more"):
        memory.read(scope, "notes/a.md")
    assert memory.read(scope, "notes/a.md", at="2026-11-04").text == "one\n"
    assert told(memory.history(scope, "notes/a.md")) == [("day 1", "added notes/a.md")]


@pytest.mark.parametrize("with_git", [False, True])
def test_a_moved_page_keeps_its_history_under_both_names(memory: LocalMemory, scope: Scope, with_git: bool) -> None:
    save(memory, "notes/old.md", "one\n", 1)
    save(memory, "notes/old.md", "two\n", 2)
    tidy(memory)
    if with_git:
        git(memory, "mv", "notes/old.md", "notes/new.md")
        git(memory, "commit", "-qm", "Move it", day=3)
    else:
        (folder(memory) / "notes/old.md").rename(folder(memory) / "notes/new.md")
    memory.recent(scope)
    save(memory, "notes/new.md", "three\n", 9)

    new = memory.history(scope, "notes/new.md")
    assert [one.message for one in new[-2:]] == ["day 2", "day 1"]
    assert [one.pages[0].path for one in new] == ["notes/new.md"] * 2 + ["notes/old.md"] * 2
    assert memory.history(scope, "notes/old.md")[-1].message == "day 1"
    assert memory.read(scope, "notes/new.md", at="2026-11-01").text == "one\n"
    assert memory.read(scope, "notes/old.md", at="2026-11-01").text == "one\n"
    assert memory.read(scope, "notes/new.md", at=new[-1].commit).text == "one\n"


def test_a_page_that_was_moved_twice_is_found_under_its_first_name(memory: LocalMemory, scope: Scope) -> None:
    save(memory, "notes/a.md", "one\n", 1)
    first = memory.history(scope, "notes/a.md")[0].commit
    for old, new in (("a", "b"), ("b", "c")):
        (folder(memory) / f"notes/{old}.md").rename(folder(memory) / f"notes/{new}.md")
        memory.recent(scope)

    assert [one.pages[0].path for one in memory.history(scope, "c")] == ["notes/c.md", "notes/b.md", "notes/a.md"]
    for at in (first, "2026-11-01"):
        assert memory.read(scope, "notes/c.md", at=at).text == "one\n"


def test_a_copy_is_not_taken_for_a_move(memory: LocalMemory, scope: Scope) -> None:
    save(memory, "notes/a.md", "alike\n", 1)
    save(memory, "notes/b.md", "alike\n", 2)

    assert told(memory.history(scope, "notes/b.md")) == [("day 2", "added notes/b.md")]


# --- reading git objects


def test_an_odd_commit_is_read_as_far_as_it_goes() -> None:
    raw = (
        b"tree "
        + b"1" * 40
        + b"\nparent "
        + b"2" * 40
        + b"\nparent "
        + b"3" * 40
        + b"\nauthor \xff M\xc3\xbcller <m@x> 5 +0000"
        b"\ncommitter C <c@x> 99999999999 -0130\ngpgsig -----BEGIN\n tree not this\n -----END\n\n\nSubject \xff\n\nBody"
    )
    found = header(raw)
    assert found.parents == ("2" * 40, "3" * 40)
    assert (found.author, found.subject) == ("\ufffd Müller", "Subject \ufffd")
    assert datetime.fromtimestamp(found.at, timezone.utc).year <= 9999
    assert header(b"tree " + b"1" * 40 + b"\n\n").at == 0


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.md", True),
        ("sessions/2026/11/x.y.md", True),
        ("a.txt", False),
        (".a.md", False),
        ("notes/.trash/a.md", False),
        ("a\n.md", False),
        ("a\udcff.md", False),
    ],
)
def test_only_pages_have_a_history(path: str, expected: bool) -> None:
    assert is_page(path) is expected


def test_files_that_are_no_pages_leave_no_rows(memory: LocalMemory, scope: Scope) -> None:
    tidy(memory)
    base = folder(memory)
    (base / ".hidden").mkdir()
    (base / ".hidden/x.md").write_text("x\n")
    (base / "link.md").symlink_to("notes/first.md")
    (base / "notes.md").mkdir()
    (base / "notes.md/inner.md").write_text("x\n")
    git(memory, "add", "-f", ".hidden/x.md", "link.md", "notes.md/inner.md")
    git(memory, "commit", "-qm", "odd ones", day=5)
    git(memory, "rm", "-rqf", "notes.md")
    (base / "notes.md").write_text("a file where a folder was\n")
    git(memory, "add", "notes.md")
    git(memory, "commit", "-qm", "another", day=6)

    found = [one for one in memory.history(scope) if one.author == "Ada"]
    assert told(tuple(found)) == [
        ("another", "added notes.md"),
        ("another", "removed notes.md/inner.md"),
        ("odd ones", "added notes.md/inner.md"),
    ]


def test_what_a_wiki_committed_is_what_it_reads_back(tmp_path: Path) -> None:
    wiki = ProjectWiki(tmp_path / "project", tmp_path / "locks")
    wiki.commit({"b.md": b"B", "notes/deep/a.md": b"A"}, "Two\n\nbody", author="A <a@b>", when=DAY)
    wiki.commit({"b.md": b"B", "notes/deep/a.md": b"AA", "gone.md": None}, "", author="", when=DAY)
    (wiki.folder / "b.md").write_bytes(b"by hand")
    wiki.commit({"b.md": None}, "x" * 400, author="claude", when=DAY)

    assert wiki.made == wiki.walk().commits
    assert [len(one.pages) for one in wiki.made] == [2, 1, 1, 1]
    assert wiki.made[-1].pages == (Touch("b.md", "removed", b""),)
    assert wiki.walk(known={wiki.made[1].id}).commits == wiki.made[2:]
    assert ProjectWiki(tmp_path / "none", tmp_path / "locks").walk().commits == []
