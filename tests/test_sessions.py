"""When a session ends, and what its end leaves: a page and a handoff, once, never over an edit by hand."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from playing import DEAD, LIVE, Player, repository

from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Scope, Session


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return repository(tmp_path / "work")


def scope(cwd: Path) -> Scope:
    return Scope(cwd=str(cwd))


def session(memory: LocalMemory, work: Path, native: str) -> Session:
    return next(one for one in memory.sessions(scope(work)) if one.native_id == native)


def states(memory: LocalMemory, work: Path) -> dict[str, str]:
    return {one.native_id: one.state for one in memory.sessions(scope(work))}


def test_its_end_event_closes_it(home: Path, memory: LocalMemory, work: Path) -> None:
    Player(home, work, "one").start().works().ends()
    report = memory.ingest()

    assert (report.sessions_closed, report.handoffs) == (1, 1)
    one = session(memory, work, "one")
    assert one.state == "closed"
    assert one.page
    assert one.ended
    text = memory.read(scope(work), "one").text
    assert "Please mend the parser" in text
    assert "src/parser.py" in text


@pytest.mark.parametrize(
    ("pid", "ago", "newcomer", "closed"),
    [
        (DEAD, 60, LIVE, True),
        (LIVE, 60, LIVE, True),
        (1, 60, LIVE, False),
        (1, 660, LIVE, True),
    ],
    ids=["its agent is dead", "its agent runs another", "alive and active", "alive but idle"],
)
def test_a_killed_session_is_closed_when_the_next_one_starts(
    home: Path, memory: LocalMemory, work: Path, pid: int, ago: float, newcomer: int, closed: bool
) -> None:
    Player(home, work, "old", pid=pid, ago=ago).start().works()
    memory.ingest()
    assert states(memory, work) == {"old": "open"}
    Player(home, work, "new", pid=newcomer, ago=5).start()
    memory.ingest()

    assert states(memory, work) == {"old": "closed" if closed else "open", "new": "open"}
    assert len(memory.handoffs(scope(work))) == closed


def test_a_neighbour_at_work_does_not_close_it(home: Path, memory: LocalMemory, work: Path) -> None:
    busy = Player(home, work, "busy", pid=1, ago=1500).start()
    Player(home, work, "idle", pid=LIVE, ago=1400).start().works()
    memory.ingest()
    busy.now = busy.now.fromtimestamp(busy.now.timestamp() + 1490, busy.now.tzinfo)
    busy.prompt("still here")
    memory.ingest()

    assert states(memory, work) == {"busy": "open", "idle": "open"}


def test_a_start_in_another_project_closes_nothing(home: Path, memory: LocalMemory, work: Path, tmp_path: Path) -> None:
    Player(home, work, "old", pid=DEAD, ago=60).start().works()
    Player(home, repository(tmp_path / "other"), "new", ago=5).start()
    memory.ingest()
    assert states(memory, work) == {"old": "open"}


def test_it_is_abandoned_after_an_hour(home: Path, memory: LocalMemory, work: Path, tmp_path: Path) -> None:
    Player(home, work, "old", pid=1, ago=3700).start().works()
    memory.ingest()
    assert states(memory, work) == {"old": "closed"}


def test_a_late_answer_is_folded_into_the_page(home: Path, memory: LocalMemory, work: Path) -> None:
    player = Player(home, work, "one").start().prompt("mend the parser").edits("a.py").ends()
    memory.ingest()
    path = session(memory, work, "one").page
    player.says("It is all mended: quokka.")
    memory.ingest()

    one = session(memory, work, "one")
    assert (one.state, one.page) == ("closed", path)
    assert "quokka" in memory.read(scope(work), "one").text
    assert len(memory.handoffs(scope(work), every=True)) == 1


def test_a_session_may_begin_with_its_end(home: Path, memory: LocalMemory, work: Path) -> None:
    Player(home, work, "one").ends()
    memory.ingest()
    assert states(memory, work) == {"one": "closed"}
    assert memory.status(scope(work)).counts.model_dump() == {
        "pages": 0,
        "sessions": 1,
        "observations": 1,
        "handoffs": 0,
    }


def test_without_substance_it_leaves_nothing(home: Path, memory: LocalMemory, work: Path) -> None:
    Player(home, work, "one").start().send("UserPromptSubmit", prompt="/clear").ends("clear")
    memory.ingest()
    counts = memory.status(scope(work)).counts
    assert (counts.pages, counts.handoffs, counts.sessions) == (0, 0, 1)


def test_several_runs_of_one_session_make_one_page(home: Path, memory: LocalMemory, work: Path) -> None:
    for run in range(3):
        player = Player(home, work, "one", ago=3000 - 600 * run)
        player.turn = player.calls = run * 50
        player.start("resume" if run else "startup").prompt(f"question {run}").says(f"answer {run}").ends()
        memory.ingest()

    counts = memory.status(scope(work)).counts
    assert (counts.pages, counts.sessions, counts.handoffs) == (1, 1, 1)
    text = memory.read(scope(work), "one").text
    assert all(f"uestion {run}" in text for run in range(3)), text


def test_a_page_edited_by_hand_is_not_overwritten(home: Path, memory: LocalMemory, work: Path) -> None:
    Player(home, work, "one", ago=900).start().works().ends()
    memory.ingest()
    page = memory.res.wiki(memory.projects()[0]).folder / str(session(memory, work, "one").page)
    page.write_text(page.read_text() + "\nMy own remark about okapis.\n")
    again = Player(home, work, "one", ago=100)
    again.turn = again.calls = 50
    again.start("resume").works("the lexer").ends()
    memory.ingest()

    assert "okapis" in page.read_text()
    assert "lexer" not in page.read_text()
    assert "lexer" in memory.handoffs(scope(work))[0].summary


def test_work_in_two_repositories_is_a_session_in_each(
    home: Path, memory: LocalMemory, work: Path, tmp_path: Path
) -> None:
    other = repository(tmp_path / "other")
    player = Player(home, work, "one").start().prompt("mend both").runs("make here")
    player.cwd = other
    player.runs("make there").prompt("and this one too")
    player.cwd = work
    player.runs("make here again").ends()
    memory.ingest()

    here, there = session(memory, work, "one"), session(memory, other, "one")
    assert (here.observations, here.tools, here.prompts) == (5, 2, 1)
    assert (there.observations, there.tools, there.prompts) == (2, 1, 1)
    assert (here.state, there.state) == ("closed", "closed")
    assert len(memory.handoffs(scope(work))) == len(memory.handoffs(scope(other))) == 1


def test_work_in_a_folder_of_no_project_stays_with_the_session(
    home: Path, memory: LocalMemory, work: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "scratch"
    plain.mkdir()
    player = Player(home, work, "one").start().prompt("try it")
    player.cwd = plain
    player.runs("make try")
    player.ends()
    memory.ingest()

    assert session(memory, work, "one").observations == 4
    assert session(memory, work, "one").state == "closed"
    assert len(memory.sessions(Scope())) == 1


def test_a_resumed_session_is_known_by_its_new_process(home: Path, memory: LocalMemory, work: Path) -> None:
    Player(home, work, "one", pid=DEAD, ago=900).start().works().ends()
    memory.ingest()
    Player(home, work, "one", pid=LIVE, ago=100).start("resume").prompt("again")
    memory.ingest()
    assert session(memory, work, "one").pid == LIVE
    memory.reindex()
    assert session(memory, work, "one").pid == LIVE


@pytest.mark.parametrize("ingested", [True, False], ids=["closed already", "ended in the same breath"])
@pytest.mark.parametrize(("pid", "after"), [(1, 30), (DEAD, 1)], ids=["taken over", "its agent not quite dead"])
def test_a_hook_that_outlives_its_killed_agent_does_not_reopen_the_session(
    home: Path, memory: LocalMemory, work: Path, ingested: bool, pid: int, after: int
) -> None:
    player = Player(home, work, "one", pid=DEAD).start().works().send("agent-gone")
    if ingested:
        memory.ingest()
    player.pid = pid
    player.now += timedelta(seconds=after - 1)
    player.runs("make", "ok")
    memory.ingest()

    assert states(memory, work) == {"one": "closed"}
    assert session(memory, work, "one").pid == DEAD
    assert "make" in memory.read(scope(work), "one").text
    memory.reindex()
    assert states(memory, work) == {"one": "closed"}


def test_a_killed_agent_has_ended_although_a_hook_has_outlived_it(home: Path, memory: LocalMemory, work: Path) -> None:
    player = Player(home, work, "one", pid=DEAD).start().works()
    gone = player.now + timedelta(milliseconds=500)
    player.pid = LIVE  # who took the hook over
    player.runs("make", "ok")
    memory.ingest()
    player.now, player.pid, player.session = gone - timedelta(seconds=1), DEAD, ""
    player.send("agent-gone")
    memory.ingest()

    assert states(memory, work) == {"one": "closed"}


def test_an_agent_that_has_only_lost_its_server_goes_on_with_the_session(
    home: Path, memory: LocalMemory, work: Path
) -> None:
    player = Player(home, work, "one").start().works().send("agent-gone")
    player.now += timedelta(seconds=1)
    player.runs("make", "ok")
    memory.ingest()

    assert states(memory, work) == {"one": "open"}


def test_a_hook_that_outlives_its_agent_does_not_stand_for_it(home: Path, memory: LocalMemory, work: Path) -> None:
    player = Player(home, work, "one", pid=DEAD, ago=60).start().works()
    player.pid = 1
    player.runs("make", "ok")
    memory.ingest()
    Player(home, work, "two", pid=LIVE, ago=5).start()
    memory.ingest()

    assert states(memory, work) == {"one": "closed", "two": "open"}


def test_a_session_that_only_looked_around_leaves_no_handoff(home: Path, memory: LocalMemory, work: Path) -> None:
    Player(home, work, "one").start().works().ends()
    Player(home, work, "two", ago=100).start().runs("ls").ends()
    assert memory.ingest().sessions_closed == 2
    assert session(memory, work, "two").page
    assert [one.summary[:17] for one in memory.handoffs(scope(work), every=True)] == ["Please mend the p"]


def go_on(home: Path, memory: LocalMemory, work: Path, session: str) -> Player:
    """A session that is shown the waiting handoff and told no more than to continue."""
    waiting = memory.handoffs(scope(work))[0]
    return Player(home, work, session, ago=200).start().offered(waiting.id).prompt("Please continue")


def test_a_session_that_is_only_told_to_go_on_has_the_goal_of_what_it_went_on_with(
    home: Path, memory: LocalMemory, work: Path
) -> None:
    Player(home, work, "one").start().works().ends()
    memory.ingest()
    go_on(home, memory, work, "two").edits("docs/parser.md").says("The docs are written.").ends()
    memory.ingest()

    one, two = session(memory, work, "one"), session(memory, work, "two")
    assert two.title == f"{one.title} (continued)"
    text = memory.read(scope(work), "two").text
    assert "> Please mend the parser" in text
    assert "Continues [[handoffs/" in text
    (waiting,) = memory.handoffs(scope(work))
    assert waiting.summary.startswith("Please mend the parser")
    assert not any("docs" in step for step in waiting.next_steps), "it has worked: what was open before may be done"


def test_a_session_that_changed_nothing_hands_on_what_was_left_to_do(
    home: Path, memory: LocalMemory, work: Path
) -> None:
    Player(home, work, "one").start().works().ends()
    memory.ingest()
    step = memory.handoffs(scope(work))[0].next_steps[-1]
    go_on(home, memory, work, "two").call("Read", {"file_path": "x"}, "text").says("I looked around.").ends()
    memory.ingest()

    (waiting,) = memory.handoffs(scope(work))
    assert session(memory, work, "two").tools == 1
    assert step in waiting.next_steps
    assert "Still open from the handoff before" in waiting.summary


def test_work_that_goes_on_over_many_sessions_keeps_one_goal(home: Path, memory: LocalMemory, work: Path) -> None:
    Player(home, work, "one").start().works().ends()
    memory.ingest()
    for number in range(3):
        go_on(home, memory, work, f"more-{number}").edits(f"src/part_{number}.py").says("A part is done.").ends()
        memory.ingest()

    last = session(memory, work, "more-2")
    assert last.title.endswith("(continued)")
    assert last.title.count("(continued)") == 1
    assert memory.handoffs(scope(work))[0].summary.startswith("Please mend the parser")
