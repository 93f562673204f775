"""After an erasure the repository is as if what is gone had never been there, to git and to the last byte."""

from __future__ import annotations

import subprocess
import zlib
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.wiki import ProjectWiki
from ai_memory_mcp.wiki_rewrite import Edit

NOW = datetime(2026, 11, 26, tzinfo=timezone.utc)
CANARY = b"okapi-7731"
PATH = "notes/okapi-7731.md"


@pytest.fixture
def wiki(tmp_path: Path) -> ProjectWiki:
    """A wiki with a page that is to go, in several versions, and two that stay."""
    wiki = ProjectWiki(tmp_path / "wiki", tmp_path / "locks")
    when = NOW
    for changes, message in (
        ({"project.md": b"# P\n"}, "Project"),
        ({PATH: b"first okapi-7731\n"}, "okapi-7731: first"),
        ({PATH: b"second okapi-7731\n", "notes/b.md": b"b\n"}, "okapi-7731: second"),
        ({"notes/b.md": b"b again\n"}, "b again"),
        ({PATH: None}, "okapi-7731 goes"),
        ({PATH: b"third okapi-7731\n", "c.md": b"c\n"}, "okapi-7731 comes back"),
    ):
        when += timedelta(hours=1)
        wiki.commit(changes, message, author="me", when=when)
    wiki.refresh_git_index()
    return wiki


def git(wiki: ProjectWiki, *words: str, code: int = 0) -> str:
    command = ["git", "-C", str(wiki.folder), "-c", "user.name=u", "-c", "user.email=u@localhost", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def bytes_of(folder: Path) -> bytes:
    """Everything below a folder: names, files, and what git packed."""
    found = []
    for path in sorted(folder.rglob("*")):
        found.append(path.name.encode())
        if path.is_file():
            data = path.read_bytes()
            found.append(data)
            if len(path.name) == 38 and path.parent.parent.name == "objects":
                found.append(zlib.decompress(data))
    for pack in folder.rglob("*.idx"):
        shown = subprocess.run(["git", "show-index"], input=pack.read_bytes(), capture_output=True, check=True)
        for line in shown.stdout.decode().splitlines():
            command = ["git", "-C", str(pack.parents[3]), "cat-file", "--batch"]
            found.append(
                subprocess.run(command, input=line.split()[1].encode(), capture_output=True, check=True).stdout
            )
    return b"\n".join(found)


def without(path: str = PATH) -> Edit:
    return Edit(gone=lambda one: one == path)


def assert_clean(wiki: ProjectWiki) -> None:
    assert git(wiki, "fsck", "--strict", "--full") == ""
    assert git(wiki, "status", "--porcelain") == ""
    assert CANARY not in bytes_of(wiki.folder)


def test_a_page_was_never_there(wiki: ProjectWiki) -> None:
    assert CANARY in bytes_of(wiki.folder)
    assert wiki.erase(without()) == 5

    assert_clean(wiki)
    assert git(wiki, "log", "--format=%s|%an|%ct").splitlines() == [
        f"(erased)|me|{int(NOW.timestamp()) + 6 * 3600}",
        f"b again|me|{int(NOW.timestamp()) + 4 * 3600}",
        f"(erased)|me|{int(NOW.timestamp()) + 3 * 3600}",
        f"Project|me|{int(NOW.timestamp()) + 3600}",
    ]
    assert (wiki.folder / "notes" / "b.md").read_bytes() == b"b again\n"
    assert git(wiki, "show", "HEAD~2:notes/b.md") == "b\n"
    assert wiki.erase(without()) == 0
    wiki.commit({PATH: b"a new one\n"}, "again", author="me", when=NOW)
    assert (wiki.folder / PATH).exists()


def test_git_may_have_packed_and_moved_things_around(wiki: ProjectWiki) -> None:
    git(wiki, "tag", "-a", "v1", "-m", "okapi-7731 is in", "HEAD~1")
    git(wiki, "branch", "old", "HEAD~3")
    git(wiki, "update-ref", "refs/remotes/origin/main", "HEAD")
    git(wiki, "gc", "-q")
    git(wiki, "pack-refs", "--all")
    (wiki.folder / PATH).write_bytes(b"staged okapi-7731\n")
    git(wiki, "add", PATH)
    git(wiki, "stash")
    (wiki.folder / PATH).write_bytes(b"edited okapi-7731\n")
    wiki.commit({"d.md": b"d\n"}, "after it", author="me", when=NOW)
    wiki.erase(Edit(gone=lambda one: one == PATH, words=lambda told: told.replace(CANARY, b"x")))

    assert_clean(wiki)
    assert git(wiki, "show", "-s", "--format=%s", "old").strip() == "(erased)"
    assert git(wiki, "cat-file", "-t", "v1").strip() == "tag"
    assert git(wiki, "branch", "-r") == ""


def test_words_go_from_texts_names_and_messages(wiki: ProjectWiki) -> None:
    wiki.commit({"x/y.md": b"see [[okapi-7731]]\n"}, "link", author="okapi-7731 <okapi-7731@example.com>", when=NOW)
    wiki.refresh_git_index()
    (wiki.folder / ".hidden").write_bytes(b"okapi-7731")
    (wiki.folder / "okapi-7731").mkdir()
    (wiki.folder / "okapi-7731" / "z.md").write_bytes(b"z\n")

    def words(told: bytes) -> bytes:
        return told.replace(CANARY, b"zebra")

    wiki.erase(Edit(gone=lambda _: False, text=lambda _, data: words(data), words=words))

    assert CANARY not in bytes_of(wiki.folder)
    assert git(wiki, "fsck", "--strict", "--full") == ""
    assert (wiki.folder / "notes" / "zebra.md").read_bytes() == b"third zebra\n"
    assert (wiki.folder / "zebra" / "z.md").exists()
    assert git(wiki, "log", "-1", "--format=%s %an %ae").strip() == "link zebra zebra@example.com"
    assert git(wiki, "log", "--format=%s").splitlines()[1:3] == ["zebra comes back", "zebra goes"]


def test_merges_stay_merges(wiki: ProjectWiki) -> None:
    git(wiki, "checkout", "-q", "-b", "side", "HEAD~2")
    (wiki.folder / "side.md").write_bytes(b"side\n")
    git(wiki, "add", "side.md")
    git(wiki, "commit", "-q", "-m", "side")
    git(wiki, "checkout", "-q", "main")
    git(wiki, "merge", "-q", "--no-edit", "side")
    wiki.erase(without())

    assert_clean(wiki)
    assert len(git(wiki, "show", "-s", "--format=%p", "HEAD").split()) == 2
    assert git(wiki, "show", "HEAD:side.md") == "side\n"


def test_a_clone_that_is_cut_off_stays_so(wiki: ProjectWiki, tmp_path: Path) -> None:
    git(wiki, "clone", "-q", "--depth", "2", f"file://{wiki.folder}", str(tmp_path / "clone"))
    clone = ProjectWiki(tmp_path / "clone", tmp_path / "locks")
    git(clone, "remote", "remove", "origin")
    clone.erase(without())

    assert_clean(clone)


def test_in_the_middle_of_a_merge_nothing_is_touched(wiki: ProjectWiki) -> None:
    (wiki.folder / ".git" / "MERGE_HEAD").write_text("0" * 40)
    with pytest.raises(StorageError, match="unfinished"):
        wiki.erase(without())

    assert (wiki.folder / PATH).exists()


def test_a_whole_wiki_goes(wiki: ProjectWiki) -> None:
    wiki.remove_all()
    wiki.remove_all()

    assert list(wiki.folder.parent.glob("wiki*")) == []
    assert list(wiki.folder.parent.glob(".wiki*")) == []
