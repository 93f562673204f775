"""Killed, torn or refused at any change of a file, an operation loses nothing and the next one goes on.

The ordinary run takes some points of each operation; FAULTS=all takes every one, FAULTS=write,import those of these.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from children import opened
from faults import ACTS, BROKEN, FULL, HOWS, KILL, TORN, Act, Forge, Stage, Trial, compiled, outcome, spread

from ai_memory_mcp.model import Scope

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not (shutil.which("cc") or shutil.which("gcc")),
    reason="changes of files are numbered by a library that only Linux preloads and that a C compiler makes",
)
EVERY = os.environ.get("FAULTS", "")
QUICK = ("emit", "ingest", "write", "scrub", "backup")  # acts
FOUND = {  # act -> how and at which operation it went wrong in a full sweep
    "write": (
        (TORN, "write .*/ai-memory-stale"),
        (KILL, "rename .*/decisions/old.md"),
        (FULL, "rename .*/decisions/old.md"),
    ),
    "handoff-leave": ((BROKEN, "unlink .*/ai-memory-index"), (BROKEN, "unlink .*/index.lock")),
    "purge-session": ((BROKEN, "link .*/index.lock"),),
    "sync-first": ((KILL, "rename .*/ai-memory-roots"),),
    "sync": ((KILL, "write .*/pack/tmp_pack"), (KILL, "rename .*/refs/ai-memory/fetched$")),
}
POINTS = {KILL: 2, TORN: 1, FULL: 1, BROKEN: 1}
MOST = 20  # points of one operation in one way that are told when they are wrong; there is no use in more
DEEP = 4  # of how many points one is looked at down to git and a rebuilt index


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def forge(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    folder = tmp_path_factory.mktemp("library")
    forge = Forge(stage.base, folder, compiled(folder))
    yield forge
    forge.close()


@pytest.fixture(scope="module")
def servers(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    folder = tmp_path_factory.mktemp("servers")
    forge = Forge(stage.base, folder, compiled(folder), "ai_memory_mcp.server.http")
    yield forge
    forge.close()


def as_parameter(act: Act) -> object:
    """Return an act as a parameter; but for some that stand for all they are among the slow tests."""
    marks = () if act.name in QUICK else (pytest.mark.slow,)
    return pytest.param(act, id=act.name, marks=marks)


@pytest.mark.parametrize("act", [as_parameter(act) for act in ACTS])
def test_whatever_goes_wrong_nothing_is_lost_and_the_next_one_goes_on(
    stage: Stage, forge: Forge, servers: Forge, act: Act
) -> None:
    trial = Trial(stage, forge, servers, act)
    every = EVERY == "all" or act.name in EVERY.split(",")
    wrong: list[str] = []
    for how in HOWS:
        found = trial.points(how)
        for number, point in enumerate(found if every else spread(found, POINTS[how])):
            try:
                trial.check(point, how, deep=number % DEEP == 0 and (every or how == KILL))
            except AssertionError as error:
                wrong.append(str(error))
                if len(wrong) >= MOST:
                    break
    assert wrong == [], "\n\n".join(wrong)


@pytest.mark.slow
def test_points_that_were_found_wrong_once_stay_right(stage: Stage, forge: Forge, servers: Forge) -> None:
    for name, points in FOUND.items():
        trial = Trial(stage, forge, servers, next(act for act in ACTS if act.name == name))
        for how, pattern in points:
            for point in trial.around(pattern):
                trial.check(point, how)


def test_the_undisturbed_ingest_does_everything(stage: Stage, forge: Forge) -> None:
    """The comparison is only worth something when there is something to compare."""
    stage.restore("spooled")
    done = forge.run("ingest")
    memory = opened(str(stage.home))
    work, other = (Scope(cwd=str(stage.base / name)) for name in ("work", "other"))

    assert len(done.passed) > 1000
    assert {"create", "write", "sync", "rename", "unlink", "mkdir", "truncate", "link"} <= {
        name for name, _ in done.passed
    }
    assert any(path.endswith("index.db-wal") for _, path in done.passed), "what SQLite writes is numbered as well"
    assert sorted(one.state for one in memory.handoffs(work, every=True)) == ["accepted", "open", "open"]
    assert {one.native_id: one.state for one in memory.sessions(work)} == dict.fromkeys(
        ("first", "killed", "second"), "closed"
    )
    assert len(memory.handoffs(other, every=True)) == 1
    status = memory.status(work)
    assert (status.capture.duplicates, status.spool) == (2, {"pending": 0, "set_aside": 1})


def test_what_a_disk_refused_is_told_with_what_to_do(stage: Stage, forge: Forge) -> None:
    stage.restore("quiet")
    done = forge.run("write Title --body Words", at=1, how=FULL)

    assert (done.code, done.out) == (1, "")
    assert "disk is full" in done.err


@pytest.mark.parametrize("how", [FULL, BROKEN])
def test_a_disk_that_refuses_the_branch_leaves_no_lock_behind(stage: Stage, forge: Forge, how: str) -> None:
    words = "write Title --body Words"
    stage.restore("quiet")
    passed = forge.run(words).passed
    at = next(n for n, (name, path) in enumerate(passed, 1) if name == "write" and path.endswith("heads/main.lock"))
    stage.restore("quiet")
    assert forge.run(words, at=at, how=how).code == 1

    done = forge.run(words)
    assert (done.code, done.err) == (0, "")


def test_an_index_that_the_disk_refuses_is_told_as_such(stage: Stage, forge: Forge) -> None:
    words = "write Title --body Words"
    stage.restore("quiet")
    passed = forge.run(words).passed
    at = next(number for number, (name, _) in enumerate(passed, 1) if name == "chmod")
    stage.restore("quiet")
    done = forge.run(words, at=at, how=BROKEN)

    assert done.code == 1
    assert "index.db: " in done.err  # SQLite's own files change a little from run to run: it may be they that fail


def test_a_rebuilt_index_tells_the_same(stage: Stage, forge: Forge) -> None:
    stage.restore("quiet")
    before = outcome(stage.home)
    Path(stage.home / "index.db").unlink()

    assert outcome(stage.home) == before
