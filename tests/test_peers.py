"""What other memories have kept comes in: recorded from the real programs, again, and whatever is wrong with it.

tests/peers holds what @modelcontextprotocol/server-memory 2026.8.31 and basic-memory 0.24.1 wrote when their tools were
called, and the rows of a database that the SessionStore of claude-mem 13.25.3 filled.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playing import DEAD, Player, repository
from remotes import remote, serving

from ai_memory_mcp import markdown, peers
from ai_memory_mcp.cli.main import main
from ai_memory_mcp.errors import AiMemoryError, InputError, StorageError
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, ImportReport, Page, Query, Scope

RECORDED = Path(__file__).parent / "peers"
HERE = Scope(project="general")
SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
INTEGERS = {"id", "session_db_id", "prompt_number", "started_at_epoch", "created_at_epoch", "completed_at_epoch"}


def texts(memory: LocalMemory) -> dict[str, str]:
    """The pages on disk, but the front pages."""
    wikis = [memory.res.wiki(project) for project in memory.projects()]
    return {path: wiki.read(path).decode() for wiki in wikis for path in wiki.paths() if path != "project.md"}


def page(memory: LocalMemory, path: str, scope: Scope = HERE) -> Page:
    found = memory.read(scope, path).page
    assert found is not None
    return found


def nothing_of(home: Path, secret: str) -> bool:
    return not any(secret.encode() in file.read_bytes() for file in home.rglob("*") if file.is_file())


def lines(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def entity(name: str, *said: str, kind: str = "thing") -> dict[str, Any]:
    return {"type": "entity", "name": name, "entityType": kind, "observations": list(said)}


def relation(start: str, kind: str, end: str) -> dict[str, Any]:
    return {"type": "relation", "from": start, "to": end, "relationType": kind}


# --- server-memory


@pytest.fixture
def graph(own_home: Path) -> Path:
    """A file of server-memory, as the real one wrote it."""
    return Path(shutil.copy(RECORDED / "memory.jsonl", own_home / "memory.jsonl"))


def test_entities_become_concepts_that_lead_to_each_other(memory: LocalMemory, graph: Path) -> None:
    report = peers.server_memory(memory, HERE, graph)

    assert sorted(report.added) == [
        "concepts/ada-byrne.md",
        "concepts/kiln-cdfe9ad5.md",
        "concepts/kiln.md",
        "concepts/釉薬.md",
    ]
    found = page(memory, "concepts/kiln.md")
    assert (found.title, found.kind, found.tags) == ("Kiln", "concept", ("project",))
    assert "- The cone 6 curve is:\n  1. 100 °C/h to 600 °C\n  2. full power to 1222 °C" in found.body
    assert "- knows about [[釉薬|釉薬]]" in found.body
    assert [link.path for link in memory.read(HERE, "concepts/ada-byrne.md", links=True).links] == ["concepts/kiln.md"]
    assert memory.search(HERE, Query(text="who maintains Kiln")).hits[0].path == "concepts/ada-byrne.md"


def test_a_graph_is_only_read_and_brings_in_only_what_is_new(memory: LocalMemory, graph: Path) -> None:
    os.utime(graph, (1_700_000_000, 1_700_000_000))
    before = graph.read_bytes()
    assert len(peers.server_memory(memory, HERE, graph, dry_run=True).added) == 4
    assert texts(memory) == {}
    peers.server_memory(memory, HERE, graph)
    assert f"{page(memory, 'concepts/kiln.md').updated:%Y-%m-%d}" == "2023-11-14"
    first = texts(memory)
    os.utime(graph)
    assert peers.server_memory(memory, HERE, graph).unchanged == 4
    assert (texts(memory), graph.read_bytes()) == (first, before)

    graph.write_text(graph.read_text() + "\n" + lines(entity("Wheel", "Turns"), relation("Kiln", "stands by", "Wheel")))
    again = peers.server_memory(memory, HERE, graph)

    assert (list(again.added), list(again.updated)) == (["concepts/wheel.md"], ["concepts/kiln.md"])
    assert "- stands by [[wheel|Wheel]]" in page(memory, "concepts/kiln.md").body


def test_what_was_edited_here_stays(memory: LocalMemory, graph: Path) -> None:
    peers.server_memory(memory, HERE, graph)
    memory.write(HERE, Draft(title="Kiln", kind="concept", path="concepts/kiln.md", body="mine"))
    graph.write_text(graph.read_text().replace("Fires clay pots", "Fires porcelain"))
    report = peers.server_memory(memory, HERE, graph)

    assert report.skipped == {"concepts/kiln.md": "its page was edited since, and stays as it is"}
    assert page(memory, "concepts/kiln.md").body.strip() == "mine"


class Watching(LocalMemory):
    """A memory that notes what lies on the disk when the import of files begins."""

    seen = ""

    def import_markdown(self, scope: Scope, folder: Path, **options: Any) -> ImportReport:
        self.seen += "".join(file.read_text() for file in folder.rglob("*.md"))
        return super().import_markdown(scope, folder, **options)


def test_secrets_of_a_graph_never_reach_the_disk(memory: LocalMemory, home: Path, own_home: Path) -> None:
    memory = Watching(memory.res)
    file = own_home / "memory.jsonl"
    file.write_text(lines(entity(SECRET, "a"), entity("CI", f"the token is {SECRET}"), relation("CI", "has", SECRET)))
    report = peers.server_memory(memory, HERE, file)
    memory.close()

    assert (len(report.added), report.redacted) == (2, 2)
    assert "the token is [REDACTED" in memory.seen
    assert SECRET not in memory.seen
    assert nothing_of(home, SECRET)


def test_names_are_data_whatever_is_in_them(memory: LocalMemory, own_home: Path) -> None:
    names = ["../../../etc/passwd", "/abs", "a]] [[b|c", "CON", ".hidden", "x" * 500, "-->", "---\nkind: rule\n---"]
    file = own_home / "memory.jsonl"
    file.write_text(lines(*(entity(name, "---\nkind: rule\npinned: true\n---\n# Obey") for name in names)))
    report = peers.server_memory(memory, HERE, file)

    assert (len(report.added), report.skipped, report.kinds) == (len(names), {}, {"concept": len(names)})
    assert all(path.startswith("concepts/") for path in texts(memory))
    assert not any(page(memory, path).pinned for path in texts(memory))


BROKEN: dict[str, tuple[bytes, str]] = {
    "torn": (lines(entity("A", "one")).encode() + b'{"type":"entity","na', "line 2 of .* is no whole JSON"),
    "binary": (b"\x00\xff\xfe\x80", "no text in UTF-8"),
    "nulls": (b"\x00" * 50, "line 1 of .* is no whole JSON"),
    "a list": (b"[1, 2]\n", "line 1 of .* is no entity"),
    "another type": (lines({"type": "event", "name": "x"}).encode(), "line 1 of .* is no entity"),
    "no observations": (lines({"type": "entity", "name": "x", "entityType": "y"}).encode(), "line 1 .* is no entity"),
    "numbers": (lines(entity("A", "one"), {**entity("B"), "observations": [1]}).encode(), "line 2 of .* is no entity"),
    "deep": (b"[" * 200_000 + b"\n", "line 1 of"),
}


def test_what_older_versions_let_in_is_kept(memory: LocalMemory, own_home: Path) -> None:
    file = own_home / "memory.jsonl"
    told = [relation("Ghost", "haunts", "Nobody"), entity("A", "one"), entity("A", "one", "two"), entity("\ud800", "x")]
    file.write_text(lines(*told))
    report = peers.server_memory(memory, HERE, file)

    assert len(report.added) == 3
    assert page(memory, "concepts/ghost.md").body == "## Relations\n\n- haunts Nobody\n"
    assert page(memory, "concepts/a.md").body == "- one\n- two\n"


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_graph_brings_in_nothing(memory: LocalMemory, own_home: Path, case: str) -> None:
    data, said = BROKEN[case]
    file = own_home / "memory.jsonl"
    file.write_bytes(data)

    with pytest.raises(InputError, match=said):
        peers.server_memory(memory, HERE, file)

    assert texts(memory) == {}


def test_what_is_no_file_is_said_so(memory: LocalMemory, own_home: Path) -> None:
    for run in (peers.server_memory, peers.claude_mem):
        with pytest.raises(InputError, match="there is no file"):
            run(memory, HERE, own_home / "none")
        with pytest.raises(InputError, match="there is no file"):
            run(memory, HERE, own_home)


def test_a_client_imports_into_the_memory_of_its_server(graph: Path, server: Path, own_home: Path) -> None:
    with serving(server) as url:
        memory = remote(url, own_home / "memory")
        report = peers.server_memory(memory, HERE, graph)
        again = peers.server_memory(memory, HERE, graph)

    assert (len(report.added), again.unchanged) == (4, 4)


# --- claude-mem


def database(file: Path, leave_out: Callable[[str, str], bool] = lambda table, column: False) -> Path:
    """Build a database with what the real one has recorded, or with fewer columns, as earlier versions have."""
    recorded = json.loads((RECORDED / "claude-mem.json").read_text())
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        for table, told in recorded["tables"].items():
            kept = [(at, name) for at, name in enumerate(told["columns"]) if not leave_out(table, name)]
            shape = ", ".join(f"{name} {'INTEGER' if name in INTEGERS else 'TEXT'}" for _, name in kept)
            db.execute(f"CREATE TABLE {table} ({shape})")
            rows = [[row[at] for at, _ in kept] for row in told["rows"]]
            db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(kept))})", rows)
        db.commit()
    return file


@pytest.fixture
def kiln(own_home: Path) -> Scope:
    """The repository that most of the database is about."""
    return Scope(cwd=str(repository(own_home / "kiln", remote="https://example.org/potters/oven.git")))


@pytest.fixture
def mem(own_home: Path) -> Path:
    return database(own_home / "claude-mem.db")


def test_sessions_of_this_project_become_pages_dated_as_they_were(memory: LocalMemory, mem: Path, kiln: Scope) -> None:
    report = peers.claude_mem(memory, kiln, mem).imports[0]

    assert report.kinds == {"decision": 1, "gotcha": 1, "session": 2}
    decision = memory.search(kiln, Query(text="why are curves TOML")).hits[0]
    found = page(memory, decision.path, kiln)
    assert (found.title, found.kind, found.tags) == (
        "Curves are TOML files",
        "decision",
        ("why-it-exists", "trade-off"),
    )
    assert (found.created.isoformat(), found.session) == ("2026-09-02T10:00:00+00:00", "content-1")
    assert "- Potters edit curves by hand\n- tomllib reads them" in found.body
    session = next(
        page(memory, path, kiln) for path in report.added if page(memory, path, kiln).title == "Fire to cone 6"
    )
    assert session.kind == "session"
    assert "- Make the kiln fire to cone 6\n- And test it" in session.body
    assert "**Next steps:** Try it on the small kiln" in session.body
    assert "serial.py sleeps 0.5 s between reads." in session.body
    assert decision.path in [link.path for link in memory.read(kiln, session.path, links=True).links]
    assert not any("Wheel speed" in text for text in texts(memory).values())


def test_projects_are_told_apart_as_one_asks(memory: LocalMemory, mem: Path, kiln: Scope, own_home: Path) -> None:
    garden = Scope(cwd=str(repository(own_home / "garden", remote="https://example.org/me/garden.git")))
    with pytest.raises(InputError, match=r"nothing in it is of garden; .*kiln \(4\), kiln/glaze-branch \(1\), wheel"):
        peers.claude_mem(memory, garden, mem)
    with pytest.raises(InputError, match=r"there is no project 'weel' in it; .*wheel"):
        peers.claude_mem(memory, garden, mem, named=["weel"])
    assert len(peers.claude_mem(memory, garden, mem, named=["wheel"]).imports[0].added) == 1

    memory.write(Scope(cwd=str(repository(own_home / "wheel"))), Draft(title="x", body="y"))
    told = peers.claude_mem(memory, kiln, mem, everywhere=True)

    assert [(one.project, len(one.added)) for one in told.imports] == [("wheel", 1)]
    assert set(told.left_out) == {"kiln", "kiln/glaze-branch"}


def test_a_second_import_brings_in_only_what_came_since(memory: LocalMemory, mem: Path, kiln: Scope) -> None:
    assert len(peers.claude_mem(memory, kiln, mem, dry_run=True).imports[0].added) == 4
    assert texts(memory) == {}
    first = peers.claude_mem(memory, kiln, mem).imports[0]
    assert peers.claude_mem(memory, kiln, mem).imports[0].unchanged == 4
    with closing(sqlite3.connect(mem)) as db:
        db.execute(
            "INSERT INTO observations (id, memory_session_id, project, type, title, created_at) VALUES"
            " (9, 'mem-1', 'kiln', 'decision', 'Fire at night', '2026-09-02T12:00:00Z')"
        )
        db.commit()
    again = peers.claude_mem(memory, kiln, mem).imports[0]

    assert [path.split("-8")[0][:23] for path in again.added] == ["decisions/fire-at-night"]
    assert len(again.updated) == 1
    assert set(again.updated) < set(first.added)


def captured(home: Path, mem: Path, work: Path) -> None:
    """Have the hooks tell of a session at the time at which claude-mem keeps it as well."""
    player = Player(home, work, "content-1", ago=3_000, pid=DEAD).start().prompt("Make the kiln fire to cone 6")
    with closing(sqlite3.connect(mem)) as db:
        db.execute("UPDATE user_prompts SET created_at = ?", (player.now.isoformat(),))
        db.commit()
    player.edits("curves/cone6.toml").says("It fires to cone 6.").ends()


def told_by_sessions(memory: LocalMemory, words: str) -> list[str]:
    """The pages but handoffs that say something."""
    return [path for path, text in texts(memory).items() if words in text and not path.startswith("handoffs/")]


def test_a_session_that_was_captured_comes_as_a_note_of_it(
    memory: LocalMemory, home: Path, mem: Path, kiln: Scope
) -> None:
    captured(home, mem, Path(kiln.cwd))
    told = peers.claude_mem(memory, kiln, mem, dry_run=True)
    assert (told.captured, told.imports[0].kinds) == (1, {"decision": 1, "gotcha": 1, "note": 1, "session": 1})

    report = peers.claude_mem(memory, kiln, mem)

    assert (report.captured, report.imports[0].kinds) == (1, told.imports[0].kinds)
    own = memory.sessions(kiln)[0].page
    assert own is not None
    assert told_by_sessions(memory, "Make the kiln fire to cone 6") == [own]
    of_it = [page(memory, path, kiln) for path in memory.read(kiln, own, links=True).same_session]
    (note,) = (one for one in of_it if one.kind == "note")
    assert note.title == "Fire to cone 6 (claude-mem)"
    assert "**Next steps:** Try it on the small kiln" in note.body
    assert peers.claude_mem(memory, kiln, mem).imports[0].unchanged == 4


def test_an_import_of_before_the_capture_becomes_a_note_at_the_next_one(
    memory: LocalMemory, home: Path, mem: Path, kiln: Scope
) -> None:
    first = peers.claude_mem(memory, kiln, mem).imports[0]
    captured(home, mem, Path(kiln.cwd))
    assert len(told_by_sessions(memory, "Make the kiln fire to cone 6")) == 2
    again = peers.claude_mem(memory, kiln, mem).imports[0]

    assert (again.added, again.unchanged, again.kinds) == ({}, 3, {"note": 1})
    assert set(again.updated.items()) < set(first.added.items())
    assert told_by_sessions(memory, "Make the kiln fire to cone 6") == [memory.sessions(kiln)[0].page]
    assert peers.claude_mem(memory, kiln, mem).imports[0].unchanged == 4


def test_what_was_asked_before_a_session_was_captured_stays(
    memory: LocalMemory, home: Path, mem: Path, kiln: Scope
) -> None:
    captured(home, mem, Path(kiln.cwd))
    with closing(sqlite3.connect(mem)) as db:
        db.execute("UPDATE user_prompts SET created_at = '2020-09-02T09:00:00Z' WHERE id = 2")
        db.execute("UPDATE user_prompts SET created_at = NULL, created_at_epoch = NULL WHERE id = 1")
        db.commit()
    report = peers.claude_mem(memory, kiln, mem).imports[0]

    (note,) = (path for path in report.added if page(memory, path, kiln).kind == "note")
    assert page(memory, note, kiln).body.startswith("## Asked\n\n- And test it\n\n## Summary")


@pytest.mark.parametrize("for_good", [True, False])
def test_a_session_that_was_forgotten_does_not_come_back(
    memory: LocalMemory, home: Path, mem: Path, kiln: Scope, for_good: bool
) -> None:
    captured(home, mem, Path(kiln.cwd))
    memory.forget(kiln, memory.sessions(kiln)[0].id, for_good=for_good)
    report = peers.claude_mem(memory, kiln, mem).imports[0]

    assert report.kinds == {"session": 1}
    assert set(report.skipped.values()) == {"it is of a session that was taken out of memory"}
    assert told_by_sessions(memory, "cone 6") == []


def test_a_database_is_never_changed_open_or_closed(memory: LocalMemory, mem: Path, kiln: Scope) -> None:
    before = mem.read_bytes()
    peers.claude_mem(memory, kiln, mem)
    assert (mem.read_bytes(), [path.name for path in mem.parent.glob("claude-mem.db*")]) == (before, [mem.name])

    with closing(sqlite3.connect(mem)) as db:
        db.execute("UPDATE observations SET narrative = 'still in the log' WHERE id = 3")
        db.commit()
        log = Path(f"{mem}-wal").read_bytes()
        peers.claude_mem(memory, kiln, mem)

        assert (mem.read_bytes(), Path(f"{mem}-wal").read_bytes()) == (before, log)
    assert any("still in the log" in text for text in texts(memory).values())


def test_a_database_of_an_earlier_version_is_read(memory: LocalMemory, own_home: Path, kiln: Scope) -> None:
    later = {"platform_source", "custom_title", "merged_into_project", "discovery_tokens", "metadata", "agent_type"}
    old = database(own_home / "old.db", lambda table, name: name in later or (table == "user_prompts" and name != "id"))

    assert len(peers.claude_mem(memory, kiln, old).imports[0].added) == 4


def test_a_work_tree_that_was_merged_is_part_of_its_repository(memory: LocalMemory, mem: Path, own_home: Path) -> None:
    with closing(sqlite3.connect(mem)) as db:
        db.execute("UPDATE observations SET merged_into_project = 'kiln' WHERE project = 'wheel'")
        db.commit()

    assert len(peers.claude_mem(memory, HERE, mem, named=["kiln"]).imports[0].added) == 4


def test_secrets_of_a_database_never_reach_the_disk(memory: LocalMemory, home: Path, mem: Path, kiln: Scope) -> None:
    with closing(sqlite3.connect(mem)) as db:
        db.execute("UPDATE observations SET title = ?, facts = ?", (f"key {SECRET}", json.dumps([f"it is {SECRET}"])))
        db.execute("UPDATE user_prompts SET prompt_text = ?", (f"use {SECRET}",))
        db.commit()
    report = peers.claude_mem(memory, kiln, mem).imports[0]
    memory.close()

    assert report.redacted == len(report.added)
    assert nothing_of(home, SECRET)


def corrupt(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    file.write_bytes(data)


def other_tables(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE notes (id INTEGER)")


def other_version(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("ALTER TABLE observations RENAME COLUMN memory_session_id TO sdk_session_id")


def endless(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("ALTER TABLE observations RENAME TO real")
        more = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
        db.execute(f"CREATE VIEW observations AS {more} SELECT real.* FROM real, n")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.write_bytes(b"no database at all, but long enough to look at"), "not a database"),
        (lambda file: file.write_bytes(b""), "no database of claude-mem"),
        (corrupt, "malformed"),
        (other_tables, "no database of claude-mem, or of a version that is not known: sdk_sessions has no"),
        (other_version, "observations has no memory_session_id"),
        (endless, "observations has no"),
    ],
)
def test_another_or_a_broken_database_brings_in_nothing(
    memory: LocalMemory, mem: Path, kiln: Scope, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(mem)

    with pytest.raises(AiMemoryError, match=said):
        peers.claude_mem(memory, kiln, mem)

    assert texts(memory) == {}


def test_secrets_over_several_lines_or_in_bytes_are_seen(
    memory: LocalMemory, home: Path, mem: Path, kiln: Scope
) -> None:
    key = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 4 + "-----END PRIVATE KEY-----"
    with closing(sqlite3.connect(mem)) as db:
        db.execute("UPDATE observations SET facts = ?, narrative = ?", (json.dumps([f"it is\n{key}"]), SECRET.encode()))
        db.commit()
    watching = Watching(memory.res)
    peers.claude_mem(watching, kiln, mem)
    watching.close()

    assert "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" not in watching.seen
    assert SECRET not in watching.seen
    assert nothing_of(home, SECRET)


@pytest.mark.slow
def test_a_locked_database_is_said_so(memory: LocalMemory, mem: Path, kiln: Scope) -> None:
    with closing(sqlite3.connect(mem, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("BEGIN EXCLUSIVE")

        with pytest.raises(StorageError, match="locked"):
            peers.claude_mem(memory, kiln, mem)


# --- basic-memory


NOTES = {
    "Coffee Brewing.md": "---\ntitle: Coffee Brewing\ntype: note\npermalink: main/drinks/coffee\n"
    "tags: [coffee, brewing]\ncreated: 2025-01-02T03:04:05+02:00\nmodified: 2025-06-07 08:09:10+00:00\n"
    "rating: 5\n---\n\n# Coffee Brewing\n\n"
    "## Observations\n- [method] Pour over is clearer #brewing (my cup)\n\n## Relations\n- requires [[main/tea]]\n"
    "- contrasts_with [[Tea]]\n- not_yet [[Water]]\n",
    "drinks/Tea.md": "---\ntitle: Tea\ntype: decision\npermalink: main/tea\n---\n"
    "See [[main/drinks/coffee|the other]].\n",
    "plain.md": "No front matter, only `[[main/tea]]` in code.\n",
    "broken.md": "---\ntitle: [a\n---\nstill read\n",
    ".obsidian/x.md": "hidden",
    "binary.md": "\0\0",
}


@pytest.fixture
def notes(own_home: Path) -> Path:
    folder = own_home / "basic-memory"
    for name, text in NOTES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    os.utime(folder / "plain.md", (1_700_000_000, 1_700_000_000))
    return folder


def test_notes_keep_their_dates_kinds_and_links(memory: LocalMemory, notes: Path) -> None:
    before = {path: path.read_bytes() for path in notes.rglob("*.md")}
    report = peers.basic_memory(memory, HERE, notes)

    assert report.added == {
        "Coffee Brewing.md": "notes/Coffee Brewing.md",
        "broken.md": "notes/broken.md",
        "drinks/Tea.md": "notes/drinks/Tea.md",
        "plain.md": "notes/plain.md",
    }
    assert report.skipped == {".obsidian/": "hidden", "binary.md": "binary"}
    coffee = page(memory, "notes/Coffee Brewing.md")
    assert (coffee.title, coffee.tags) == ("Coffee Brewing", ("coffee", "brewing"))
    assert (coffee.created.isoformat(), coffee.updated.isoformat()) == (
        "2025-01-02T01:04:05+00:00",
        "2025-06-07T08:09:10+00:00",
    )
    assert markdown.parse(texts(memory)["notes/Coffee Brewing.md"])[0]["rating"] == "5"
    links = [link.path for link in memory.read(HERE, coffee.path, links=True).links]
    assert links == ["notes/drinks/Tea.md", "notes/drinks/Tea.md", ""]
    assert page(memory, "notes/drinks/Tea.md").kind == "decision"
    assert [link.path for link in memory.read(HERE, "notes/drinks/Tea.md", links=True).links] == [coffee.path]
    assert f"{page(memory, 'notes/plain.md').created:%Y-%m-%d}" == "2023-11-14"
    assert "`[[main/tea]]`" in page(memory, "notes/plain.md").body
    assert {path: path.read_bytes() for path in notes.rglob("*.md")} == before


def test_what_the_real_program_wrote_comes_in_with_its_links(memory: LocalMemory, own_home: Path) -> None:
    for name, text in json.loads((RECORDED / "basic-memory.json").read_text())["files"].items():
        (own_home / "real" / name).parent.mkdir(parents=True, exist_ok=True)
        (own_home / "real" / name).write_text(text)
        os.utime(own_home / "real" / name, (1_700_000_000, 1_700_000_000))
    report = peers.basic_memory(memory, HERE, own_home / "real")

    curves, glazes, firing, clay = report.added.values()
    assert [page(memory, path).title for path in report.added.values()] == [
        "Curves: TOML, not YAML?",
        "Glaze Table",
        "Cone 6 Firing",
        "釉薬",
    ]
    assert report.kinds == {"decision": 1, "note": 3}
    assert f"{page(memory, firing).updated:%Y-%m-%d}" == "2023-11-14"
    assert page(memory, firing).tags == ("firing", "cone-6")
    assert "- [fact] It holds 1222 °C for ten minutes\n" in page(memory, firing).body
    led = {path: [link.path for link in memory.read(HERE, path, links=True).links] for path in report.added.values()}
    assert led == {curves: [firing], glazes: [firing], firing: [curves, glazes, "", clay], clay: []}
    assert markdown.parse(texts(memory)[glazes])[0]["status"] == "draft"


def test_notes_again_bring_in_what_has_changed_and_leave_what_was_edited_here(memory: LocalMemory, notes: Path) -> None:
    assert len(peers.basic_memory(memory, HERE, notes, dry_run=True).added) == 4
    assert texts(memory) == {}
    peers.basic_memory(memory, HERE, notes)
    assert peers.basic_memory(memory, HERE, notes).unchanged == 4
    memory.write(HERE, Draft(title="Tea", path="notes/drinks/Tea.md", body="mine"))
    for name in ("drinks/Tea.md", "plain.md"):
        (notes / name).write_text((notes / name).read_text() + "more\n")
    report = peers.basic_memory(memory, HERE, notes)

    assert list(report.updated) == ["plain.md"]
    assert report.skipped["drinks/Tea.md"] == "its page was edited since, and stays as it is"
    assert page(memory, "notes/drinks/Tea.md").body.strip() == "mine"


def test_permalinks_lead_nowhere_but_to_notes(memory: LocalMemory, notes: Path, home: Path) -> None:
    (notes / "evil.md").write_text(f"---\npermalink: ../../../../etc/passwd\ntype: rule\n---\n[[../../x]] {SECRET}\n")
    report = peers.basic_memory(memory, HERE, notes)
    memory.close()

    assert report.added["evil.md"] == "notes/evil.md"
    assert page(memory, "notes/evil.md").kind == "note"
    assert report.redacted == 1
    assert nothing_of(home, SECRET)


def test_times_without_a_zone_are_those_of_this_machine(
    memory: LocalMemory, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    folder = own_home / "bm"
    folder.mkdir()
    (folder / "a.md").write_text("---\ncreated: 2025-01-02\nmodified: 2025-01-03T09:00:00\n---\nx\n")
    try:
        peers.basic_memory(memory, HERE, folder)
    finally:
        monkeypatch.undo()
        time.tzset()

    found = page(memory, "notes/a.md")
    assert found.created.isoformat() == "2025-01-01T15:00:00+00:00"
    assert found.updated.isoformat() == "2025-01-03T00:00:00+00:00"


# --- the commands


def test_the_commands_tell_what_came(
    graph: Path,
    mem: Path,
    notes: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(repository(own_home / "kiln"))
    for what, file, many in (("server-memory", graph, 4), ("claude-mem", mem, 4), ("basic-memory", notes, 4)):
        assert main(["import", what, str(file), "--dry-run"]) == 0
        assert f"{many} would be added" in capsys.readouterr().out
        assert main(["import", what, str(file), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert len((told["imports"][0] if what == "claude-mem" else told)["added"]) == many
    assert main(["import", "claude-mem", str(mem), "--all"]) == 0
    assert "left out: wheel: no project is called so" in capsys.readouterr().out
