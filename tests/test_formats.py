"""Files of every version so far open, and tell what they told then; those of a version to come are left alone.

`tests/formats/<version>/` was made by the program of that version (`make_home.py`) and is never made anew.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from invariants import git_problems, wikis
from playing import repository
from remotes import Machine, local

from ai_memory_mcp import backup, formats
from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.formats import FORMAT
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Query, Scope
from ai_memory_mcp.tokens import Tokens

FORMATS = Path(__file__).parent / "formats"
ZOO = Scope(project="zoo")


def restored(version: int, home: Path) -> None:
    """Put the backup of that version into a home."""
    backup.restore(FORMATS / str(version) / "backup.zip", home, progress=lambda *_: None)


def unpacked(version: int, home: Path) -> None:
    """Lay the files of that version out as they were, without a word of this version's `restore`."""
    with zipfile.ZipFile(FORMATS / str(version) / "home.zip") as archive:
        archive.extractall(home)
    for wiki in home.glob("wiki/*/*/.git"):
        (wiki / "refs" / "tags").mkdir(exist_ok=True)


@pytest.mark.parametrize("lay_out", [restored, unpacked])
def test_a_home_of_version_1_tells_all_that_it_told_then(tmp_path: Path, lay_out: object) -> None:
    home = tmp_path / "user" / "memory"
    assert callable(lay_out)
    lay_out(1, home)
    memory = local(home)
    two, one = memory.sessions(ZOO)
    handoffs = memory.handoffs(ZOO, every=True)  # also of the session that waited, by now
    (later,) = (handoff for handoff in handoffs if not handoff.automatic)
    page = memory.read(ZOO, "decisions/feed-the-okapi.md", links=True)

    assert (one.agent, one.native_id, one.state, one.observations) == ("claude-code", "one", "closed", 5)
    assert (two.native_id, two.observations) == ("two", 1)  # it waited in the spool
    assert memory.read(ZOO, one.id, observations=True).observations[1].text == "Please mend the parser"
    assert (later.summary, later.next_steps, later.automatic) == ("The docs are to be written", ("write them",), False)
    assert one.id in {handoff.from_session for handoff in handoffs}
    assert [hit.path for hit in memory.search(ZOO, Query(text="okapi", kinds=("decision",))).hits] == [page.ref]
    assert [link.target for link in page.links] == ["The giraffe"]
    assert [one.message.split("\n")[0] for one in memory.history(ZOO, page.ref)] == [
        *("Update decision: Feed the okapi", "Add decision: Feed the okapi")
    ]
    assert "At noon." in memory.read(ZOO, page.ref, at=memory.history(ZOO, page.ref)[-1].commit).text
    assert "helpful" in str(memory.read(ZOO, "notes/the-giraffe.md"))
    assert "For elephants, too." in memory.brief(ZOO).text
    assert [(token.name, token.read_only) for token in Tokens(home).all()] == [("laptop", True)]
    status = memory.status(ZOO)
    assert status.spool == {"pending": 0, "set_aside": 1}
    assert (status.capture.seen, status.capture.stored) == (6, 6)
    assert status.sync
    assert (status.sync.branch, status.sync.error) == ("default/zoo", "")
    memory.write(ZOO, Draft(title="Goes on", body="x"))
    memory.ingest()
    memory.close()
    assert [git_problems(wiki) for wiki in wikis(home)] == ["", ""]
    assert (home / "format").read_text() == f"{FORMAT}\n"


def test_there_are_files_of_every_version() -> None:
    assert sorted(path.name for path in FORMATS.iterdir()) == [str(number) for number in range(1, FORMAT + 1)]


def test_a_new_home_and_one_without_a_number_are_numbered(memory: LocalMemory, home: Path) -> None:
    memory.status(Scope())
    assert (home / "format").read_text() == f"{FORMAT}\n"

    (home / "format").unlink()
    memory.status(Scope())
    assert (home / "format").read_text() == f"{FORMAT}\n"


def everything(home: Path) -> dict[str, tuple[bytes, int]]:
    found = {}
    for path in home.rglob("*"):
        found[str(path.relative_to(home))] = (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
    return found


@pytest.mark.parametrize(
    "words", ["status", "write T --body B", "ingest", "reindex", "backup b.zip", "search okapi", "doctor"]
)
def test_files_of_a_newer_version_are_left_alone(tmp_path: Path, words: str) -> None:
    machine = Machine(tmp_path, "m")
    unpacked(1, machine.home)
    (machine.home / "format").write_text(f"{FORMAT + 1}\n")
    before = everything(machine.home)
    work = repository(machine.user / "work")
    done = machine.run(*words.split(), cwd=work, code=1)

    assert everything(machine.home) == before
    assert "newer version" in done.stderr + done.stdout
    assert "ai-memory-mcp upgrade" in done.stderr + done.stdout
    assert not (work / ".git" / "ai-memory-project").exists()


def test_a_long_running_process_leaves_a_home_alone_that_was_brought_forward(memory: LocalMemory, home: Path) -> None:
    memory.write(Scope(project="general"), Draft(title="One", body="x"))
    (home / "format").write_text(f"{FORMAT + 1}\n")
    with pytest.raises(StorageError, match="newer version"):
        memory.write(Scope(project="general"), Draft(title="Two", body="x"))

    assert not list(home.rglob("two.md"))


def test_a_number_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "format").write_text("\n")
    with pytest.raises(StorageError, match="holds no number"):
        local(tmp_path)


def test_files_are_brought_forward_step_by_step_and_an_interrupted_one_goes_on(tmp_path: Path) -> None:
    done: list[str] = []

    def first(home: Path) -> None:
        done.append("first")

    def second(home: Path) -> None:
        done.append("second")
        if len(done) == 2:
            raise StorageError("the disk is full")

    with pytest.raises(StorageError):
        formats.bring_forward(tmp_path, (first, second))
    assert (tmp_path / "format").read_text() == "2\n"
    for _ in range(2):
        formats.bring_forward(tmp_path, (first, second))

    assert (tmp_path / "format").read_text() == "3\n"
    assert done == ["first", "second", "second"]
