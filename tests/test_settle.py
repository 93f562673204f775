"""A wiki that refuses, a full disk or a read-only home loses nothing, blocks no other project, and is told."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from children import CONTEXT, child, opened
from playing import DEAD, Player, repository

from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Query, Scope


@pytest.fixture
def work(own_home: Path) -> Path:
    return repository(own_home / "work", remote="git@example.com:me/work.git")


def scope(cwd: Path) -> Scope:
    return Scope(cwd=str(cwd))


def wiki_of(memory: LocalMemory, work: Path) -> Path:
    project = memory.resolve(scope(work)).project
    assert project
    return memory.res.wiki(project).folder


@pytest.mark.parametrize("broken", ["merge", "detached", "damaged"])
def test_a_wiki_that_refuses_blocks_no_other_project(
    home: Path, memory: LocalMemory, work: Path, own_home: Path, broken: str
) -> None:
    other = repository(own_home / "other", remote="git@example.com:me/other.git")
    Player(home, work, "first", ago=3000).start().works().ends()
    memory.ingest()
    git = wiki_of(memory, work) / ".git"
    head = (git / "HEAD").read_bytes()
    tip = (git / "refs/heads/main").read_bytes()
    if broken == "merge":
        (git / "MERGE_HEAD").write_bytes(tip)
    elif broken == "detached":
        (git / "HEAD").write_bytes(tip)
    else:
        (git / "refs/heads/main").write_text("rubbish\n")
    Player(home, work, "second", ago=2000).start().works("the lexer").ends()
    Player(home, other, "third", ago=1000).start().works().ends()
    report = memory.ingest()

    assert (report.ingested, report.sessions_closed) == (16, 1)
    assert memory.status(scope(other)).counts.handoffs == 1
    status = memory.status(scope(work))
    assert status.counts.observations == 16
    assert any(str(git.parent) in problem for problem in status.problems), status.problems
    assert memory.sessions(scope(work))[0].state == "open"
    assert memory.search(scope(work), Query(text="parser")).hits

    (git / "MERGE_HEAD").unlink(missing_ok=True)
    (git / "HEAD").write_bytes(head)
    (git / "refs/heads/main").write_bytes(tip)
    assert memory.ingest().sessions_closed == 1
    assert memory.status(scope(work)).problems == ()
    assert "lexer" in memory.handoffs(scope(work))[0].summary


def test_events_can_be_taken_in_first_and_what_follows_be_settled_project_by_project(
    home: Path, memory: LocalMemory, work: Path, own_home: Path
) -> None:
    other = repository(own_home / "other", remote="git@example.com:me/other.git")
    Player(home, work, "first", ago=3000).start().works("the parser").ends()
    Player(home, other, "second", ago=2000).start().works("the lexer").ends()
    memory.take_in()
    ids = {folder: memory.resolve(scope(folder)).project.id for folder in (work, other)}
    memory.read_wait = None  # nothing is settled by looking

    assert sorted(memory.unsettled(idle=False)) == sorted(ids.values())
    assert memory.brief_parts(scope(work), settled=False) == ids[work]
    assert memory.brief_parts(scope(work))["handoffs"] == []
    memory.settle([ids[work]])
    assert memory.unsettled(idle=False) == [ids[other]]
    assert "parser" in str(memory.brief_parts(scope(work), settled=False)["handoffs"])
    assert memory.brief_parts(scope(other), settled=False) == ids[other]
    memory.settle([ids[other]])
    assert memory.unsettled(idle=True) == []


def test_a_session_that_goes_on_keeps_no_brief_waiting(home: Path, memory: LocalMemory, work: Path) -> None:
    player = Player(home, work, "first", ago=30).start()
    memory.ingest()
    player.prompt("and on it goes")
    memory.take_in()
    memory.read_wait = None

    assert isinstance(memory.brief_parts(scope(work), settled=False), dict)
    project = memory.resolve(scope(work)).project.id
    assert memory.unsettled(idle=False) == [project]
    memory.settle([project])
    assert (memory.unsettled(idle=False), memory.unsettled(idle=True)) == ([], [project])


def limited(home: str, size: int, results: object) -> None:
    """Ingest in a process that may not write files longer than `size` bytes: the nearest to a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        opened(home).ingest()
        results.put("done")  # type: ignore[attr-defined]
    except StorageError as error:
        results.put(f"refused: {error}")  # type: ignore[attr-defined]
    except BaseException as error:
        results.put(repr(error))  # type: ignore[attr-defined]


def test_a_full_disk_keeps_the_events_in_the_spool(home: Path, memory: LocalMemory, work: Path) -> None:
    Player(home, work, "first", ago=3000).start().works().ends()
    memory.ingest()
    before = memory.status(scope(work)).model_dump(exclude={"spool"})
    player = Player(home, work, "second", ago=2000).start()
    for number in range(30):
        player.runs(f"make {number}", os.urandom(1500).hex())
    journal = {path: path.read_bytes() for path in (home / "journal").rglob("*.jsonl")}
    results = CONTEXT.Queue()
    process = child(limited, str(home), 60_000, results)
    told = results.get(timeout=30)
    process.join(30)

    assert told.startswith("refused: "), told
    assert memory.res.spool.pending() == 31
    assert {path: path.read_bytes() for path in (home / "journal").rglob("*.jsonl") if path.stat().st_size} == journal
    with memory.res.index.read() as db:
        assert db.execute("SELECT count(*) FROM observations").fetchone()[0] == before["counts"]["observations"]
    assert memory.status(scope(work)).counts.observations == before["counts"]["observations"] + 31


@pytest.fixture
def read_only_home(home: Path, memory: LocalMemory, work: Path) -> Path:
    """A memory on a file system that refuses writing (root would ignore modes)."""
    Player(home, work, "first", ago=3000, pid=DEAD).start().works().ends()
    memory.ingest()
    memory.close()
    binds = f"mount --bind {home} {home} && mount -o remount,bind,ro {home}"
    check = subprocess.run(["unshare", "-m", "sh", "-c", binds], capture_output=True, check=False)
    if check.returncode:
        pytest.skip("no private mounts here")
    return home


READ = """
import sys; sys.path[:0] = {path!r}
from children import opened
from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.model import Draft, Query, Scope
memory, scope = opened({home!r}), Scope(cwd={work!r})
for name, ask in {{
    "search": lambda: len(memory.search(scope, Query(text="parser")).hits) > 0,
    "read": lambda: "parser" in memory.read(scope, "first").text,
    "recent": lambda: len(memory.recent(scope)) > 0,
    "handoffs": lambda: len(memory.handoffs(scope)),
    "sessions": lambda: len(memory.sessions(scope)),
    "brief": lambda: "parser" in memory.brief(scope).text,
    "status": lambda: memory.status(scope).counts.observations,
    "write": lambda: memory.write(scope, Draft(title="a", body="b")),
    "accept": lambda: memory.accept_handoff(scope),
    "ingest": lambda: memory.ingest(),
    "close": lambda: memory.close(),
}}.items():
    try:
        print(name, ask())
    except StorageError as error:
        print(name, "refused", "read-only" in str(error))
"""


def test_a_read_only_home_can_be_read(read_only_home: Path, work: Path) -> None:
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    script = READ.format(path=paths, home=str(read_only_home), work=str(work))
    command = f'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec {sys.executable} -c "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, str(read_only_home), script], capture_output=True, text=True, check=False
    )

    assert done.stdout.splitlines() == [
        "search True",
        "read True",
        "recent True",
        "handoffs 1",
        "sessions 1",
        "brief True",
        "status 8",
        "write refused True",
        "accept refused True",
        "ingest refused True",
        "close None",
    ], done.stderr


def test_a_page_that_vanished_is_no_deletion(home: Path, memory: LocalMemory, work: Path) -> None:
    page = memory.write(scope(work), Draft(title="Keep me", body="quokka"))
    wiki = wiki_of(memory, work)
    (wiki / page.path).unlink()

    assert memory.search(scope(work), Query(text="quokka")).hits == ()
    tree = subprocess.run(["git", "-C", str(wiki), "ls-tree", "-r", "HEAD"], capture_output=True, check=True).stdout
    assert page.path.encode() in tree


def test_the_project_where_a_session_started_last_is_settled_first(
    home: Path, memory: LocalMemory, own_home: Path
) -> None:
    folders = [repository(own_home / name) for name in ("one", "two", "three")]
    for folder in folders:
        memory.write(scope(folder), Draft(title="A note", body="text"))
    for folder, ago in zip((*folders, folders[1]), (400, 300, 200, 100), strict=True):
        Player(home, folder, f"{folder.name}-{ago}", ago=ago).start()
    memory.ingest()

    briefs = {project.name: home / "brief" / f"{project.id}.json" for project in memory.projects()}
    assert sorted(briefs, key=lambda name: briefs[name].stat().st_mtime_ns) == ["two", "three", "one"]
