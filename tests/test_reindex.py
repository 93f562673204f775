"""Delete index.db: everything is told as before, whatever happened until then."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from children import opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invariants import git_problems, rows_of, wikis
from playing import DEAD, LIVE, Player, put, repository

from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, HandoffDraft, Query, Scope


def told(memory: LocalMemory, scope: Scope) -> dict[str, Any]:
    """Return all that reads say."""
    every = {
        "sessions": memory.sessions(scope),
        "handoffs": memory.handoffs(scope, every=True),
        "recent": memory.recent(scope),
        "pages": memory.search(scope, Query(text="parser")).hits,
        "observations": memory.search(scope, Query(text="parser", kinds=("observation",))).hits,
        "projects": memory.projects(),
        "history": memory.history(scope, limit=100),
        "rule": [memory.read(scope, "rules/parser-rule.md", links=True)],
    }
    found = {name: [one.model_dump(mode="json") for one in values] for name, values in every.items()}
    return found | {
        "status": memory.status(scope, figures=False).model_dump(mode="json"),
        "brief": memory.brief(scope).text,
    }


@pytest.mark.parametrize("explicit", [True, False])
def test_without_its_index_memory_answers_as_before(
    home: Path, memory: LocalMemory, own_home: Path, explicit: bool
) -> None:
    work = repository(own_home / "work")
    scope = Scope(cwd=str(work))
    for number in range(3):
        Player(home, work, f"s{number}", ago=3000 - 600 * number, ids=bool(number)).start().works().ends()
        memory.ingest()
    player = Player(home, work, "open", ago=60).start().offered(memory.handoffs(scope)[0].id)
    player.prompt("go on with the parser").send("Stop", last_assistant_message="so far", times=2)
    memory.write(scope, Draft(title="Parser rule", body="Never parse twice.", kind="rule"))
    memory.leave_handoff(scope, HandoffDraft(summary="By hand, about the parser"))
    memory.feedback(scope, "Parser rule", "helpful", agent="codex")
    put(home, "00000000000000000001-1-aaaa-0123456789abcdef.json", b"{")
    memory.ingest()
    memory.close()
    before = told(memory, scope)
    (home / "index.db").unlink()
    if explicit:
        memory.reindex()

    assert told(memory, scope) == before
    assert before["status"]["capture"] == {"seen": 29, "stored": 27, "duplicates": 1, "filtered": 0, "set_aside": 1}
    assert [one["state"] for one in before["handoffs"]].count("accepted") == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(
            "start resume prompt slash edit elsewhere fail plan says ends ends-twice odd offered ingest broken".split()
        ),
    ),
    max_size=25,
)


def act(players: dict[str, Player], name: str, step: str, memory: LocalMemory, other: Path) -> None:
    player = players[name]
    simple = {
        "start": lambda: player.start(),
        "resume": lambda: player.start("resume"),
        "prompt": lambda: player.prompt("mend the parser"),
        "slash": lambda: player.prompt("/clear"),
        "edit": lambda: player.edits("a.py"),
        "fail": lambda: player.fails("make", "Exit code 2"),
        "plan": lambda: player.plans(one="pending"),
        "says": lambda: player.says("done", times=2),
        "ends": lambda: player.ends(),
        "ends-twice": lambda: player.ends(times=2),
        "odd": lambda: player.send("Unheard"),
        "ingest": lambda: memory.ingest(),
        "broken": lambda: put(player.home, f"{int(player.now.timestamp() * 1e9)}-1-{name}-00.json", b"{"),
    }
    if step == "elsewhere":
        home, player.cwd = player.cwd, other
        player.runs("make")
        player.cwd = home
    elif step == "offered":
        for one in memory.handoffs(Scope(cwd=str(player.cwd))):
            player.offered(one.id)
    else:
        simple[step]()


@given(STEPS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_rebuilt_index_is_the_same_index(steps: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder).resolve()
        home, work = base / "memory", repository(base / "work", remote="git@example.com:me/work.git")
        other = repository(base / "other", remote="git@example.com:me/other.git")
        pids = {"a": LIVE, "b": DEAD, "c": 1}
        players = {
            name: Player(home, work, name, ago=3000 - index, pid=pid) for index, (name, pid) in enumerate(pids.items())
        }
        memory = opened(str(home))
        for name, step in steps:
            act(players, name, step, memory, other)
        memory.ingest()
        grown = rows_of(home)
        status = memory.status(Scope(cwd=str(work)), figures=False)
        memory.reindex()

        assert rows_of(home) == grown
        assert memory.status(Scope(cwd=str(work)), figures=False) == status
        assert status.capture.seen == sum(status.capture.model_dump(exclude={"seen"}).values())
        memory.ingest()
        assert rows_of(home) == grown


def test_what_was_written_last_is_the_newest_for_search_after_a_reindex_too(
    home: Path, memory: LocalMemory, own_home: Path
) -> None:
    scope = Scope(cwd=str(repository(own_home / "work")))
    names = ["m", "z", "a", "q", "b", "y", "c", "x"]
    for name in names:
        memory.write(scope, Draft(title=name, body="parser", kind="note"))
    memory.reindex()

    with memory.res.index.read() as db:
        found = db.execute("SELECT title FROM pages WHERE kind = 'note' ORDER BY rowid").fetchall()
    assert [row["title"] for row in found] == names


def test_what_was_edited_by_hand_before_a_reindex_still_comes_into_history(
    memory: LocalMemory, home: Path, own_home: Path
) -> None:
    scope = Scope(cwd=str(repository(own_home / "work")))
    memory.write(scope, Draft(title="Old", body="Once."))
    (wiki,) = wikis(home)
    page = wiki / "notes" / "old.md"
    page.write_text(page.read_text() + "\nBy hand.\n")
    (wiki / "notes" / "new.md").write_text("# New\n\nTyped.\n")

    memory.reindex()
    memory.status(scope)
    memory.close()

    assert git_problems(wiki) == ""
