"""A folder of Markdown becomes pages of a project: once, again, half-way, and whatever lies in it."""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

import pytest
from children import CONTEXT, child, import_killed, import_markdown
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invariants import git_problems
from playing import DEAD, Player, repository

from ai_memory_mcp import importing, markdown, pages, wiki_git
from ai_memory_mcp.errors import InputError, ProjectError
from ai_memory_mcp.files import holder_file
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, HandoffDraft, ImportReport, Page, Project, Query, Scope

HERE = Scope(project="general")
SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


@pytest.fixture
def docs(own_home: Path) -> Path:
    """The folder to import."""
    folder = own_home / "docs"
    folder.mkdir()
    return folder


def put(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)


def bring(memory: LocalMemory, folder: Path, scope: Scope = HERE, *, dry_run: bool = False) -> ImportReport:
    return memory.import_markdown(scope, folder, dry_run=dry_run)


def project(memory: LocalMemory, name: str = "general") -> Project:
    return next(one for one in memory.projects() if one.name == name)


def texts(memory: LocalMemory, name: str = "general") -> dict[str, str]:
    """The pages on disk, but the front page."""
    folder = memory.res.wiki(project(memory, name))
    return {path: folder.read(path).decode() for path in folder.paths() if path != "project.md"}


def page(memory: LocalMemory, path: str, name: str = "general") -> Page:
    found = memory.read(Scope(project=name), path).page
    assert found is not None
    return found


def commits(memory: LocalMemory, name: str = "general") -> list[str]:
    return [change.message for change in memory.res.wiki(project(memory, name)).log()]


# --- once, and again


def test_a_folder_becomes_pages_in_one_commit_that_search_finds(memory: LocalMemory, docs: Path) -> None:
    put(docs, {f"part {n}/page {n}.md": f"# The {n}. page\n\nabout zebras\n" for n in range(90)})
    report = bring(memory, docs)
    memory.close()

    assert (len(report.added), report.updated, report.skipped) == (90, {}, {})
    assert report.added["part 7/page 7.md"] == "notes/part 7/page 7.md"
    assert commits(memory) == ["Import 90 pages from docs", "Project general"]
    assert memory.status(HERE).counts.pages == 90
    hits = memory.search(HERE, Query(text="zebras of the 7. page", limit=5)).hits
    assert ("notes/part 7/page 7.md", "The 7. page", "note") in [(hit.path, hit.title, hit.kind) for hit in hits]
    assert git_problems(memory.res.wiki(project(memory)).folder) == ""


def test_a_second_run_changes_nothing_whatever_the_files_times_say(memory: LocalMemory, docs: Path) -> None:
    put(docs, {"a.md": "one", "b/c.md": "---\ntags: [x]\n---\ntwo", "decisions/d.md": "three"})
    bring(memory, docs)
    before, history = texts(memory), commits(memory)
    os.utime(docs / "a.md", (1, 1))
    report = bring(memory, docs)

    assert (report.added, report.updated, report.unchanged, report.kinds) == ({}, {}, 3, {})
    assert (texts(memory), commits(memory)) == (before, history)


def test_what_has_changed_or_come_is_brought_in_and_what_is_gone_stays(memory: LocalMemory, docs: Path) -> None:
    put(docs, {"a.md": "one", "b.md": "two", "c.md": "three"})
    bring(memory, docs)
    old = page(memory, "notes/a.md")
    put(docs, {"a.md": "one more", "d.md": "four"})
    os.utime(docs / "a.md", (2_000_000_000, 2_000_000_000))
    (docs / "c.md").unlink()
    report = bring(memory, docs)

    assert (report.updated, report.added, report.unchanged) == ({"a.md": "notes/a.md"}, {"d.md": "notes/d.md"}, 1)
    new = page(memory, "notes/a.md")
    assert (new.id, new.created, new.body) == (old.id, old.created, "one more")
    assert new.updated == datetime.fromtimestamp(2_000_000_000, timezone.utc)
    assert page(memory, "notes/c.md").body == "three"
    assert commits(memory)[0] == "Import 2 pages from docs"


def test_what_was_made_of_a_page_stays_until_its_file_changes(memory: LocalMemory, docs: Path) -> None:
    put(docs, {"a.md": "# A\n\none"})
    bring(memory, docs)
    memory.write(HERE, Draft(title="A", body="better", path="notes/a.md"))
    bring(memory, docs)
    assert page(memory, "notes/a.md").body == "better\n"

    put(docs, {"a.md": "# A\n\ntwo"})
    bring(memory, docs)
    assert page(memory, "notes/a.md").body == "# A\n\ntwo"
    changes = memory.res.wiki(project(memory)).log("notes/a.md")
    assert b"better" in memory.res.wiki(project(memory)).read_at("notes/a.md", changes[1].id)


def test_a_superseded_page_stays_superseded_when_its_file_changes(memory: LocalMemory, docs: Path) -> None:
    put(docs, {"a.md": "one"})
    bring(memory, docs)
    memory.write(HERE, Draft(title="B", body="newer", supersedes=("notes/a.md",)))
    put(docs, {"a.md": "one, corrected"})
    bring(memory, docs)

    found = page(memory, "notes/a.md")
    assert (found.status, found.superseded_by, found.body) == ("superseded", "notes/b.md", "one, corrected")


def test_a_page_that_was_moved_within_the_wiki_is_found_again(memory: LocalMemory, docs: Path) -> None:
    put(docs, {"a.md": "one", "b.md": "---\nid: my-own\n---\ntwo"})
    bring(memory, docs)
    folder = memory.res.wiki(project(memory)).folder
    (folder / "concepts").mkdir()
    for name in ("a.md", "b.md"):
        (folder / "notes" / name).rename(folder / "concepts" / name)
    put(docs, {"a.md": "one more"})
    report = bring(memory, docs)

    assert (report.updated, report.unchanged) == ({"a.md": "concepts/a.md"}, 1)
    assert sorted(texts(memory)) == ["concepts/a.md", "concepts/b.md"]


def test_a_folder_that_has_moved_is_still_the_same(memory: LocalMemory, docs: Path, own_home: Path) -> None:
    put(docs, {"a.md": "one", "sub/b.md": "two"})
    bring(memory, docs)
    docs.rename(own_home / "elsewhere")
    put(own_home / "elsewhere", {"a.md": "one more"})
    report = bring(memory, own_home / "elsewhere")

    assert (report.updated, report.unchanged) == ({"a.md": "notes/a.md"}, 1)


def test_two_folders_with_the_same_names_do_not_overwrite_each_other(
    memory: LocalMemory, docs: Path, own_home: Path
) -> None:
    put(docs, {"README.md": "one"})
    put(own_home / "other" / "docs", {"README.md": "two"})
    memory.write(HERE, Draft(title="Plan", body="an agent's", path="notes/plan.md"))
    put(docs, {"plan.md": "a person's"})
    for _ in range(2):
        bring(memory, docs)
        report = bring(memory, own_home / "other" / "docs")

    assert report.unchanged == 1
    assert sorted(markdown.parse(text)[1].strip() for text in texts(memory).values()) == [
        "a person's",
        "an agent's",
        "one",
        "two",
    ]


def test_a_dry_run_tells_the_same_and_writes_nothing(memory: LocalMemory, own_home: Path, docs: Path) -> None:
    work = repository(own_home / "work")
    put(docs, {"a.md": "one", "bad.md": b"\xff", "rules/b.md": SECRET})
    scope = Scope(cwd=str(work))
    before = sorted(own_home.rglob("*"))
    told = bring(memory, docs, scope, dry_run=True)
    assert [path for path in sorted(own_home.rglob("*")) if path not in before and "memory" not in path.parts] == []
    assert (memory.projects(), list((own_home / "memory").glob("wiki/*/*"))) == ((), [])

    done = bring(memory, docs, scope)
    assert told == done.model_copy(update={"dry_run": True})
    assert (done.kinds, done.redacted, list(done.skipped)) == ({"note": 1, "rule": 1}, 1, ["bad.md"])


def test_a_named_project_has_to_exist(memory: LocalMemory, docs: Path) -> None:
    with pytest.raises(ProjectError):
        bring(memory, docs, Scope(project="nowhere"))


def test_only_a_folder_other_than_the_projects_own_wiki_can_be_imported(memory: LocalMemory, docs: Path) -> None:
    put(docs, {"a.md": "one"})
    bring(memory, docs)
    own = memory.res.wiki(project(memory)).folder
    for wrong in (docs / "a.md", docs / "missing", own, own / "notes"):
        with pytest.raises(InputError):
            bring(memory, wrong)
    with pytest.raises(InputError):
        bring(memory, docs / "missing", Scope(cwd=str(repository(docs.parent / "work"))))
    assert [one.name for one in memory.projects()] == ["general"]


# --- what a page is


def test_front_matter_is_kept_and_ours_is_taken(memory: LocalMemory, docs: Path) -> None:
    head = (
        "# a comment\ntitle: 'The title'\ntags: [one, two]\npinned: true\nstatus: superseded\nsuperseded_by: new.md\n"
        "summary: In short\naliases: [x, {y: 1}]\nsource: https://example.org/a\ncssclass:   wide # why\n"
    )
    put(docs, {"a.md": f"---\n{head}---\r\n# Not the title\r\n", "new.md": "new"})
    bring(memory, docs)

    found = page(memory, "notes/a.md")
    assert (found.title, found.tags, found.pinned, found.summary) == ("The title", ("one", "two"), True, "In short")
    assert (found.status, found.superseded_by, found.agent) == ("superseded", "notes/new.md", "")
    text = texts(memory)["notes/a.md"]
    assert text.startswith("---\n" + head.replace("new.md", "notes/new.md"))
    assert text.endswith("---\r\n# Not the title\r\n")


@pytest.mark.parametrize(
    ("name", "text", "path", "title", "kind"),
    [
        ("a.md", "---\ntitle: Told\n---\n# Heading\n", "notes/a.md", "Told", "note"),
        ("a.md", "words\n\n# The  Heading #\n", "notes/a.md", "The Heading", "note"),
        ("Some name.markdown", "words", "notes/Some name.md", "Some name", "note"),
        ("What is it?.MD", "words", "notes/What is it-.md", "What is it?", "note"),
        ("decisions/a.md", "words", "decisions/a.md", "a", "decision"),
        ("Gotchas/deep/a.md", "words", "gotchas/deep/a.md", "a", "gotcha"),
        ("notes/a.md", "words", "notes/a.md", "a", "note"),
        ("x/rules/a.md", "words", "notes/x/rules/a.md", "a", "note"),
        ("x/a.md", "---\nkind: procedure\n---\nwords", "notes/x/a.md", "a", "procedure"),
        ("decisions/a.md", "---\nkind: blog post\n---\nwords", "decisions/a.md", "a", "decision"),
        ("a.md", "---\nkind: project\n---\nwords", "notes/a.md", "a", "note"),
        ("handoffs/a.md", "words", "notes/handoffs/a.md", "a", "note"),
        ("project.md", "# Mine\n", "notes/project.md", "Mine", "note"),
        ("index.md", "# Start\n", "notes/index.md", "Start", "note"),
        ("a.md", "---\ntitle: [broken\n---\nwords", "notes/a.md", "a", "note"),
        ("a.md", "---\nNot front matter\n---\nwords", "notes/a.md", "a", "note"),
        ("a.md", "\ufeff---\ntitle: Told\n---\nwords", "notes/a.md", "Told", "note"),
    ],
)
def test_path_title_and_kind_follow_from_file_and_front_matter(
    memory: LocalMemory, docs: Path, name: str, text: str, path: str, title: str, kind: str
) -> None:
    put(docs, {name: text})
    report = bring(memory, docs)

    assert (report.added, report.kinds) == ({name: path}, {kind: 1})
    found = page(memory, path)
    assert (found.title, found.kind) == (title, kind)
    assert memory.handoffs(HERE, every=True) == ()


@pytest.mark.parametrize("block", ["title: [broken", "just: a: thing", "\ttab: 1"])
def test_front_matter_that_nothing_can_read_is_text(memory: LocalMemory, docs: Path, block: str) -> None:
    text = f"---\n{block}\n---\n\nwords\n"
    put(docs, {"a.md": text})
    bring(memory, docs)

    assert page(memory, "notes/a.md").body == text
    assert bring(memory, docs).unchanged == 1


@pytest.mark.parametrize(
    ("told", "created", "updated"),
    [
        ("", "2020-05-06", "2020-05-06"),
        ("date: 2019-01-02", "2019-01-02", "2019-01-02"),
        ("created: 2019-01-02", "2019-01-02", "2020-05-06"),
        ("created: 2024-01-02", "2024-01-02", "2024-01-02"),
        ("updated: 2019-01-02", "2019-01-02", "2019-01-02"),
        ("created: 2018-01-01\nupdated: 2019-01-02\ndate: 2017-01-01", "2018-01-01", "2019-01-02"),
        ("created: once upon a time", "2020-05-06", "2020-05-06"),
    ],
)
def test_dates_come_from_front_matter_else_from_the_file(
    memory: LocalMemory, docs: Path, told: str, created: str, updated: str
) -> None:
    put(docs, {"a.md": f"---\n{told}\n---\nwords"})
    changed = datetime(2020, 5, 6, 23, 0, tzinfo=timezone.utc).timestamp()
    os.utime(docs / "a.md", (changed, changed))
    bring(memory, docs)

    found = page(memory, "notes/a.md")
    assert (str(found.created.date()), str(found.updated.date())) == (created, updated)


def test_ids_are_the_files_own_once_else_made_of_project_and_path(
    memory: LocalMemory, docs: Path, own_home: Path
) -> None:
    work = Scope(cwd=str(repository(own_home / "work")))
    taken = memory.write(work, Draft(title="Elsewhere", body="words")).id
    put(
        docs, {f"{name}.md": f"---\nid: {told}\n---\n" for name, told in (("a", "intro"), ("b", "intro"), ("c", taken))}
    )
    put(docs, {"d.md": "4"})
    bring(memory, docs)
    given = {name: page(memory, f"notes/{name}.md").id for name in "abcd"}

    assert given["a"] == "intro"
    own = {name: markdown.page_id(project(memory).id, f"notes/{name}.md") for name in "bcd"}
    assert {name: given[name] for name in "bcd"} == own
    put(docs, {"b.md": "---\nid: intro\n---\n2, changed"})
    bring(memory, docs)
    assert page(memory, "notes/b.md").id == own["b"]


def test_every_text_is_redacted_before_it_is_written(memory: LocalMemory, docs: Path, own_home: Path) -> None:
    put(docs, {f"{SECRET}.md": f"---\ntitle: {SECRET}\nkey: {SECRET}\n---\nwords {SECRET}\n"})
    report = bring(memory, docs)
    memory.close()

    assert report.redacted == 1
    for file in (own_home / "memory").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    shown = subprocess.run(
        ["git", "-C", memory.res.wiki(project(memory)).folder, "log", "-p"], capture_output=True, check=True
    )
    assert SECRET.encode() not in shown.stdout
    assert b"[REDACTED:github-token]" in shown.stdout


# --- links


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.md", "[x](sub/b.md) [[b]]", "[x](sub/b.md) [[b]]"),
        ("a.md", "[x](decisions/d.md#why) [[d|the decision]]", "[x](../decisions/d.md#why) [[d|the decision]]"),
        ("sub/c.md", "[x](../sub/b.md) [y](../decisions/d.md)", "[x](../sub/b.md) [y](../../decisions/d.md)"),
        ("decisions/e.md", "[x](../sub/b.md 'title')", "[x](../notes/sub/b.md 'title')"),
        ("sub/c.md", "[x](<b.md>) ![y](pic.png) [z](https://e.org/b.md)", None),
        ("a.md", "[[sub/b]] [[sub/b.md#part|label]]", "[[notes/sub/b]] [[notes/sub/b#part|label]]"),
        ("sub/c.md", "| [[sub/b\\|cell]] |", "| [[notes/sub/b\\|cell]] |"),
        ("a.md", "[x](what%20is%20it%3F.md) [[what is it?]]", "[x](what%20is%20it-.md) [[notes/what is it-]]"),
        ("a.md", "`[x](decisions/d.md)`\n~~~\n[[sub/b]]\n~~~\n", None),
        ("a.md", "[x](missing.md) [[sub/missing]] [[ ]] [[nothing]]", None),
        ("a.md", "[x](../outside.md) [y](/decisions/d.md)", None),
    ],
)
def test_links_between_imported_files_go_on_leading_to_them(
    memory: LocalMemory, docs: Path, name: str, text: str, expected: str | None
) -> None:
    put(docs, {"sub/b.md": "b", "decisions/d.md": "d", "what is it?.md": "?"})
    put(docs, {name: text})
    report = bring(memory, docs)

    assert page(memory, report.added[name]).body == (text if expected is None else expected)


def test_every_relative_link_leads_to_the_page_of_its_file_also_in_crowded_folders(
    memory: LocalMemory, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CROWD", 5)
    names = [*(f"big/{n} x.md" for n in range(9)), "few/a.md", "decisions/b.md", "rules/über.md"]
    everything = "".join(f"[{name}](<ROOT{name}>)\n" for name in names)
    put(docs, {name: everything.replace("ROOT", "../") for name in names})
    report = bring(memory, docs)

    for name in names:
        path = report.added[name]
        links = re.findall(r"\[(.*?)\]\(<(.*?)>\)", page(memory, path).body)
        assert len(links) == len(names)
        for target, link in links:
            plain = posixpath.normpath(posixpath.join(posixpath.dirname(path), link.replace("%20", " ")))
            assert plain == report.added[target]


# --- what lies there


def test_what_cannot_become_a_page_is_left_out_with_its_reason(memory: LocalMemory, docs: Path, own_home: Path) -> None:
    put(docs, {"good.md": "words", "picture.png": b"\0", "notes.txt": "text"})
    put(docs, {"binary.md": b"a\0b", "latin.md": "é".encode("latin-1"), "empty.md": " \n", "long.md": "x" * 1_000_001})
    put(docs, {".git/a.md": "x", ".obsidian/b.md": "x", "node_modules/p/readme.md": "x", ".hidden.md": "x"})
    put(own_home / "outside", {"secret.md": "x"})
    (docs / "out.md").symlink_to(own_home / "outside" / "secret.md")
    (docs / "away").symlink_to(own_home / "outside", target_is_directory=True)
    (docs / "again.md").symlink_to(docs / "good.md")
    (docs / "round").symlink_to(docs, target_is_directory=True)
    (docs / "folder.md").mkdir()
    os.mkfifo(docs / "pipe.md")
    report = bring(memory, docs)

    assert report.added == {"good.md": "notes/good.md"}
    assert report.other_files == 2
    assert report.skipped == {
        ".git/": "hidden",
        ".hidden.md": "hidden",
        ".obsidian/": "hidden",
        "again.md": "a symbolic link",
        "away/": "a symbolic link that leads out of the folder",
        "binary.md": "binary",
        "empty.md": "empty",
        "latin.md": "not UTF-8",
        "long.md": "longer than 1,000,000 characters",
        "node_modules/": "installed packages",
        "out.md": "a symbolic link that leads out of the folder",
        "pipe.md": "not a regular file",
        "round/": "a symbolic link",
    }


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_left_out(memory: LocalMemory, docs: Path) -> None:
    put(docs, {"good.md": "words", "closed.md": "x", "closed/a.md": "x"})
    (docs / "closed.md").chmod(0)
    (docs / "closed").chmod(0)
    report = bring(memory, docs)
    (docs / "closed").chmod(0o700)

    reason = "cannot be read: permission denied"
    assert (len(report.added), report.skipped) == (1, {"closed.md": reason, "closed/": reason})


def test_the_memorys_own_files_are_not_imported_into_itself(memory: LocalMemory, own_home: Path) -> None:
    memory.write(HERE, Draft(title="A", body="words"))
    put(own_home, {"vault/a.md": "words"})
    report = bring(memory, own_home)

    assert (list(report.added), report.skipped["memory/"]) == (["vault/a.md"], "ai-memory's own files")


def test_names_that_clash_are_told_apart_and_stay_so(memory: LocalMemory, docs: Path) -> None:
    put(
        docs,
        {"a.markdown": "1", "a.md": "2", "A.md": "3", "x?.md": "4", "x*.md": "5", "d.md/e.md": "6", "d.md.md": "7"},
    )
    first = bring(memory, docs).added
    assert first["a.md"] == "notes/a.md" or first["A.md"] == "notes/A.md"
    assert len({path.casefold() for path in first.values()}) == 7
    bodies = {path: markdown.parse(text)[1] for path, text in texts(memory).items()}
    assert bodies == {path: (docs / name).read_text() for name, path in first.items()}

    put(docs, {"A.markdown": "8"})
    for name in first:
        put(docs, {name: (docs / name).read_text() + "!"})
    again = bring(memory, docs)
    assert again.updated == first
    assert len(again.added) == 1


def test_a_file_does_not_take_over_the_page_of_one_that_is_gone(memory: LocalMemory, docs: Path) -> None:
    put(docs, {"a.md": "1", "a.markdown": "2"})
    first = bring(memory, docs).added
    (docs / "a.md").unlink()
    put(docs, {"a.markdown": "2, changed"})

    assert bring(memory, docs).updated == {"a.markdown": first["a.markdown"]}
    assert page(memory, first["a.md"]).body == "1"


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    names=st.lists(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
            lambda name: not name.startswith(".") and len(name.encode()) < 200
        )
        if os.name == "posix"
        else st.from_regex(r"[a-z]{1,9}", fullmatch=True),
        min_size=1,
        max_size=8,
        unique=True,
    )
)
def test_every_file_becomes_one_page_whatever_its_name(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    from children import opened

    base = tmp_path_factory.mktemp("names")
    memory = opened(str(base / "memory"))
    for number, name in enumerate(names):
        put(base / "docs", {f"{name}.md": f"text {number}"})
    report = bring(memory, base / "docs")

    assert sorted(markdown.parse(text)[1] for text in texts(memory).values()) == sorted(
        f"text {number}" for number in range(len(names))
    )
    assert all(markdown.safe_path(path) == path for path in report.added.values())
    assert bring(memory, base / "docs").unchanged == len(names)
    shutil.rmtree(base)


def test_a_crowded_folder_is_spread_and_its_pages_stay_where_they_are(
    memory: LocalMemory, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CROWD", 3)
    put(docs, {f"{n}.md": str(n) for n in range(3)} | {f"big/{n}.md": str(n) for n in range(4)})
    first = bring(memory, docs).added
    assert [first[f"{n}.md"] for n in range(3)] == [f"notes/{n}.md" for n in range(3)]
    assert all(re.fullmatch(r"notes/big/[0-9a-f]{2}/\d\.md", first[f"big/{n}.md"]) for n in range(4))

    put(docs, {"3.md": "3", "0.md": "0, changed"})
    (docs / "big" / "3.md").unlink()
    put(docs, {"big/0.md": "0, changed"})
    report = bring(memory, docs)
    assert report.updated == {name: first[name] for name in ("0.md", "big/0.md")}
    assert re.fullmatch(r"notes/[0-9a-f]{2}/3\.md", report.added["3.md"])


# --- our own wiki, exported


@pytest.fixture
def exported(memory: LocalMemory, own_home: Path, home: Path) -> Path:
    """A project with a session, handoffs and pages of every kind; its wiki copied elsewhere."""
    work = repository(own_home / "work")
    Player(home, work, "one", ago=900, pid=DEAD).start().works().ends()
    here = Scope(cwd=str(work))
    memory.ingest()
    memory.leave_handoff(here, HandoffDraft(summary="Go on with the lexer"))
    memory.write(here, Draft(title="Use tabs", body="Always.", kind="rule"))
    memory.write(here, Draft(title="Old", body="Was so."))
    memory.write(here, Draft(title="New", body="Is so. See [[old]].", kind="decision", supersedes=("notes/old.md",)))
    shutil.copytree(memory.res.wiki(project(memory, "work")).folder, own_home / "export")
    return own_home / "export"


def test_an_export_of_another_project_comes_as_its_pages_but_hands_nothing_over(
    memory: LocalMemory, own_home: Path, exported: Path
) -> None:
    original, waiting = texts(memory, "work"), memory.handoffs(Scope(project="work"), every=True)
    report = bring(memory, exported)

    assert report.skipped == {".git/": "hidden", "project.md": "the front page of another project"}
    assert report.kinds == {"decision": 1, "note": 1 + len(waiting), "rule": 1, "session": 1}
    assert set(report.added.values()) == {re.sub("^handoffs/", "notes/handoffs/", path) for path in original}
    assert memory.handoffs(HERE, every=True) == ()
    assert project(memory).name == "general"
    old = page(memory, "notes/old.md")
    assert (old.status, old.superseded_by) == ("superseded", "decisions/new.md")
    assert {page(memory, path).id for path in report.added.values()}.isdisjoint(
        page(memory, path, "work").id for path in original
    )
    assert bring(memory, exported).unchanged == len(report.added)
    assert (texts(memory, "work"), memory.handoffs(Scope(project="work"), every=True)) == (original, waiting)


def test_an_export_brought_back_restores_what_is_missing_and_doubles_nothing(
    memory: LocalMemory, own_home: Path, exported: Path
) -> None:
    here = Scope(project="work")
    memory.write(here, Draft(title="New", body="Changed since.", kind="decision"))
    folder = memory.res.wiki(project(memory, "work")).folder
    (folder / "rules" / "use-tabs.md").unlink()
    handoffs, names = memory.handoffs(here, every=True), sorted(texts(memory, "work"))
    report = bring(memory, exported, here)

    assert report.added == {"rules/use-tabs.md": "rules/use-tabs.md"}
    assert report.updated == {}
    assert page(memory, "decisions/new.md", "work").body == "Changed since.\n"
    assert sorted(texts(memory, "work")) == sorted([*names, "rules/use-tabs.md"])
    assert memory.handoffs(here, every=True) == handoffs

    text = markdown.set_keys((exported / "notes/old.md").read_text(), {"updated": datetime(2100, 1, 1)})
    (exported / "notes/old.md").write_text(text + "And more.\n")
    assert bring(memory, exported, here).updated == {"notes/old.md": "notes/old.md"}
    assert page(memory, "notes/old.md", "work").body == "Was so.\nAnd more.\n"


def test_an_export_of_imported_pages_brought_back_doubles_nothing(
    memory: LocalMemory, docs: Path, own_home: Path
) -> None:
    put(docs, {"a.md": "one", "b.md": "---\nid: intro\n---\ntwo"})
    bring(memory, docs)
    before = texts(memory)
    shutil.copytree(memory.res.wiki(project(memory)).folder, own_home / "export")

    assert bring(memory, own_home / "export").unchanged == 2
    assert texts(memory) == before
    assert bring(memory, docs).unchanged == 2


def test_a_renamed_file_that_says_its_id_keeps_its_page(memory: LocalMemory, docs: Path) -> None:
    put(docs, {"a.md": "---\nid: intro\n---\none"})
    bring(memory, docs)
    (docs / "a.md").rename(docs / "b.md")
    put(docs, {"b.md": "---\nid: intro\n---\none more"})

    assert bring(memory, docs).updated == {"b.md": "notes/a.md"}
    assert bring(memory, docs).unchanged == 1
    assert page(memory, "notes/a.md").body == "one more"


# --- much, at once, and half-way


def test_a_commit_of_more_than_a_pack_holds_is_one_commit(
    memory: LocalMemory, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiki_git, "_PACK_SIZE", 40_000)
    put(docs, {f"{n}.md": f"{n} " * 20 for n in range(400)})
    bring(memory, docs)
    memory.close()

    folder = memory.res.wiki(project(memory)).folder
    assert len(list((folder / ".git/objects/pack").glob("*.pack"))) > 2
    assert commits(memory) == ["Import 400 pages from docs", "Project general"]
    assert git_problems(folder) == ""
    assert page(memory, "notes/77.md").body == "77 " * 20


def test_imports_at_the_same_time_bring_everything_once(memory: LocalMemory, home: Path, docs: Path) -> None:
    put(docs, {f"{n}.md": f"text {n}" for n in range(150)})
    start, results = CONTEXT.Event(), CONTEXT.Queue()
    running = [child(import_markdown, str(home), str(docs), start, results) for _ in range(3)]
    start.set()
    assert [results.get(timeout=60) for _ in running] == [150, 150, 150]
    for process in running:
        process.join(60)
    memory.ingest()
    memory.close()

    assert len(texts(memory)) == memory.status(HERE).counts.pages == 150
    assert git_problems(memory.res.wiki(project(memory)).folder) == ""


def test_while_many_pages_are_saved_nobody_takes_them_for_edits(memory: LocalMemory, docs: Path) -> None:
    put(docs, {f"{n}.md": f"zebra {n}" for n in range(700)})
    seen: list[int] = []

    def look(step: str, done: int, total: int) -> None:
        if step == "indexing":
            seen.append(pages.notice_edits(memory.res, project(memory), now=datetime.now(timezone.utc)))
            assert memory.search(HERE, Query(text="zebra")).hits

    memory.import_markdown(HERE, docs, progress=look)
    assert seen == [0, 0]


def test_what_a_killed_import_left_is_noticed_by_whoever_looks_next(memory: LocalMemory, docs: Path) -> None:
    put(docs, {"a.md": "one"})
    bring(memory, docs)
    lock = memory.res.home / "locks" / f"pages-{project(memory).id}.lock"
    holder_file(lock).write_text(f"{DEAD}\n")
    put(memory.res.wiki(project(memory)).folder, {"notes/b.md": "a zebra\n"})

    assert memory.search(HERE, Query(text="zebra")).hits
    assert not holder_file(lock).exists()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], int]:
    """The pages of an import that nobody killed, and how many lines it took."""
    base = tmp_path_factory.mktemp("undisturbed")
    found = killed_at(base, 0)
    return found, int((base / "counted").read_text())


def killed_at(base: Path, line: int) -> dict[str, str]:
    """Import, be killed at a line, import again: the pages that are there then, by path."""
    from children import opened

    home, docs = base / "memory", base / "docs"
    put(docs, {f"{n}.md": f"# Page {n}\n\nSee [[{n + 1}]].\n" for n in range(80)})
    for number in range(80):
        os.utime(docs / f"{number}.md", (1_700_000_000, 1_700_000_000))
    memory = opened(str(home))
    memory.write(HERE, Draft(title="Before", body="words", path="rules/before.md"))
    process = child(import_killed, str(home), str(docs), line, str(base / "counted"))
    process.join(60)
    assert process.exitcode == (-9 if line else 0)
    report = bring(memory, docs)
    assert len(report.added) + report.unchanged == 80
    memory.close()
    assert git_problems(memory.res.wiki(project(memory)).folder) == ""
    assert memory.status(HERE).counts.pages == 81
    assert [path for path in (home / "cache").iterdir() if path.is_dir()] == []
    return {path: text.replace(str(base), "") for path, text in texts(memory).items() if path != "rules/before.md"}


@pytest.mark.parametrize("point", range(10))
def test_killed_at_any_line_the_next_import_makes_up_for_it(
    tmp_path: Path, undisturbed: tuple[dict[str, str], int], point: int
) -> None:
    expected, lines = undisturbed
    line = 1 + (2 * point + 1) * lines // 20
    assert killed_at(tmp_path, line) == expected, f"killed at line {line} of {lines}"


@pytest.mark.slow
@pytest.mark.parametrize("point", range(40))
def test_an_import_killed_at_many_more_lines(
    tmp_path: Path, undisturbed: tuple[dict[str, str], int], point: int
) -> None:
    expected, lines = undisturbed
    line = 1 + point * lines // 40
    assert killed_at(tmp_path, line) == expected, f"killed at line {line} of {lines}"
