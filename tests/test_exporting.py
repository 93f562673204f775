"""A project as plain files: what is in it, whole or not at all, and the same pages made of it elsewhere."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest
from playing import DEAD, Player
from remotes import local

from ai_memory_mcp.cli.main import main
from ai_memory_mcp.errors import InputError, NotFoundError, StorageError
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, HandoffDraft, Page, Scope

SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


@pytest.fixture
def filled(memory: LocalMemory, here: Scope, home: Path, work: Path) -> LocalMemory:
    """A project with pages of every kind, and another one."""
    Player(home, work, "one", ago=900, pid=DEAD).start().works().ends()
    memory.ingest()
    memory.write(here, Draft(title="Old way", kind="decision", body="by hand"))
    memory.write(here, Draft(title="New way", kind="decision", body="see [[old-way]]", supersedes=("Old way",)))
    for kind in ("gotcha", "procedure", "concept", "note", "rule", "slot"):
        memory.write(here, Draft(title=f"A {kind}", kind=kind, body="about [it](../notes/a-note.md)", tags=("x", kind)))
    memory.write(here, Draft(title="Pinned [note] `x`", body="top", pinned=True, summary="first of all"))
    memory.write(Scope(project="general"), Draft(title="Elsewhere", body="of another project"))
    return memory


def pages(memory: LocalMemory, scope: Scope) -> dict[str, Page]:
    """Everything that a page says, by path."""
    project = memory.resolve(scope).project
    assert project is not None
    found = {}
    for path in memory.res.wiki(project).paths():
        one = memory.read(scope, path).page
        assert one is not None
        if one.kind not in ("project", "index", "handoff", "lint"):
            found[path] = one.model_copy(update={"project": ""})
    return found


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_what_is_exported_makes_the_same_pages_elsewhere(
    filled: LocalMemory, here: Scope, own_home: Path, tmp_path: Path
) -> None:
    told = filled.export(here, tmp_path / "out")
    there = local(own_home / "other" / "memory")
    report = there.import_markdown(Scope(project="general"), tmp_path / "out")

    before, after = pages(filled, here), pages(there, Scope(project="general"))
    notes_of_handoffs = {path: page for path, page in after.items() if path.startswith("notes/handoffs/")}
    assert {path: page for path, page in after.items() if path not in notes_of_handoffs} == before
    assert {page.kind for page in before.values()} == {
        "session", "decision", "gotcha", "procedure", "concept", "note", "rule", "slot",
    }  # fmt: skip
    assert before["decisions/old-way.md"].superseded_by == "decisions/new-way.md"
    assert told.pages == len(report.added) == len(before) + told.kinds.get("handoff", 0)
    assert report.skipped == {"index.md": "made anew by every project"}


def test_the_index_leads_to_every_page_and_nothing_else_is_there(
    filled: LocalMemory, here: Scope, work: Path, tmp_path: Path
) -> None:
    filled.export(here, tmp_path / "out")
    found = files(tmp_path / "out")
    index = found.pop("index.md")

    assert all(f"](<{path}>)" in index for path in found)
    assert "- [Pinned note x](<notes/pinned-note-x.md>): first of all" in index
    assert "- [Old way](<decisions/old-way.md>) (superseded)" in index
    assert not [path for path in found if path == "project.md" or path.startswith((".", "_"))]
    assert not any("of another project" in text or "workspace_id" in text for text in found.values())


def test_a_secret_that_slipped_in_does_not_leave(filled: LocalMemory, here: Scope, tmp_path: Path) -> None:
    project = filled.resolve(here).project
    assert project is not None
    (filled.res.wiki(project).folder / "notes" / "leak.md").write_text(
        f"---\ntitle: at {SECRET}\n---\nkey = {SECRET}\n"
    )
    told = filled.export(here, tmp_path / "out")

    assert told.redacted == 1
    assert not any(SECRET in text for text in files(tmp_path / "out").values())


def test_where_a_page_was_imported_from_stays_here(memory: LocalMemory, here: Scope, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("---\nmine: yes\n---\nx\n")
    memory.import_markdown(here, tmp_path / "docs")
    memory.export(here, tmp_path / "out")

    text = files(tmp_path / "out")["notes/a.md"]
    assert "mine: yes" in text
    assert "imported" not in text


@pytest.mark.parametrize("name", ["out.tar", "out.tar.gz", "out.tgz"])
def test_a_tar_holds_the_same_files_as_the_folder(filled: LocalMemory, here: Scope, tmp_path: Path, name: str) -> None:
    filled.export(here, tmp_path / "plain")
    filled.export(here, tmp_path / name)
    with tarfile.open(tmp_path / name) as tar:
        members = {entry.name: entry for entry in tar.getmembers()}
        read = {name: tar.extractfile(entry) for name, entry in members.items()}
        texts = {name.removeprefix("out/"): file.read().decode() for name, file in read.items() if file}

    plain = files(tmp_path / "plain")
    assert texts.keys() == plain.keys()
    assert all(texts[path] == plain[path] for path in plain if path != "index.md")
    assert {entry.mode for entry in members.values()} == {0o600}


def test_nothing_that_is_there_is_lost(filled: LocalMemory, here: Scope, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.md").write_text("# mine\n")
    (tmp_path / "mine.tar").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    os.symlink(tmp_path / "mine", tmp_path / "link")
    filled.export(here, tmp_path / "empty")
    before = files(tmp_path)
    for name, force, said in (
        ("mine", False, "is not empty; name another"),
        ("mine", True, "is not empty and no earlier export"),
        ("mine.tar", False, "exists already"),
        ("file", True, "is no folder"),
        ("link", True, "is no folder"),
        ("empty", False, "say --force"),
        ("none/below", False, "there is no folder"),
        ("out.zip", False, "no folder and no tar"),
    ):
        with pytest.raises(InputError, match=said):
            filled.export(here, tmp_path / name, force=force)
    assert files(tmp_path) == before

    told = filled.export(here, tmp_path / "empty", force=True)
    filled.export(here, tmp_path / "mine.tar", force=True)

    assert tarfile.is_tarfile(tmp_path / "mine.tar")
    assert (Path(told.aside) / "index.md").read_text() == before["empty/index.md"]
    asides = {told.aside, *(filled.export(here, tmp_path / "empty", force=True).aside for _ in range(3))}
    assert len([aside for aside in asides if Path(aside).is_dir()]) == 4  # within one second, too
    assert files(tmp_path / "mine") == {"index.md": "# mine\n"}


def test_neither_the_memory_nor_the_folder_one_is_in_is_taken(
    filled: LocalMemory, here: Scope, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    for target in (home / "out", home.parent, home):
        with pytest.raises(InputError, match="must not lie in each other"):
            filled.export(here, target, force=True)
    with pytest.raises(InputError, match="the folder you are in"):
        filled.export(here, tmp_path / "cwd")


def test_an_export_that_fails_leaves_nothing(filled: LocalMemory, here: Scope, tmp_path: Path) -> None:
    def broken(step: str, done: int, total: int) -> None:
        if done == 3:
            raise OSError(28, "No space left on device")

    for name in ("out", "out.tar.gz"):
        with pytest.raises(StorageError, match="Cannot write"):
            filled.export(here, tmp_path / name, progress=broken)

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_goes_with_the_next(filled: LocalMemory, here: Scope, tmp_path: Path) -> None:
    for name, age in ((".out.0badcafe.export.tmp", 100_000), (".out.0badbeef.export.tmp", 10)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.md").write_text("x")
        at = os.stat(tmp_path).st_mtime - age
        os.utime(tmp_path / name, (at, at))
    filled.export(here, tmp_path / "out")

    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.0badbeef.export.tmp", "out"]


def test_a_project_without_pages_is_said_so(memory: LocalMemory, here: Scope, tmp_path: Path) -> None:
    memory.write(here, Draft(title="x", body="y"))
    memory.forget(here, "x")

    with pytest.raises(NotFoundError, match="no pages yet"):
        memory.export(here, tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


def test_the_command_exports_the_project_here_and_not_from_a_client(
    memory: LocalMemory,
    here: Scope,
    work: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    memory.write(here, Draft(title="x", kind="decision", body="y"))
    memory.leave_handoff(here, HandoffDraft(summary="go on"))
    memory.close()
    monkeypatch.chdir(work)
    assert main(["export", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pages"], told["kinds"]) == (2, {"decision": 1, "handoff": 1})
    assert main(["export", str(tmp_path / "out")]) == 1
    assert main(["export", str(tmp_path / "out"), "--force"]) == 0
    assert "2 pages of work (decision 1, handoff 1)" in capsys.readouterr().out

    monkeypatch.setenv("AI_MEMORY_SERVER_URL", "http://127.0.0.1:9")
    assert main(["export", str(tmp_path / "more")]) == 1
    assert "run `ai-memory-mcp export` there" in capsys.readouterr().err
