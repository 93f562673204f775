"""A handoff is offered at the next start, accepted by the first real prompt, by exactly one session of any agent."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from children import CONTEXT, accept, child
from playing import DEAD, LIVE, Player, repository

from ai_memory_mcp.config import Config
from ai_memory_mcp.errors import ConflictError, InputError, NotFoundError
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Handoff, HandoffDraft, Scope
from ai_memory_mcp.resources import Resources


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return repository(tmp_path / "work")


def scope(cwd: Path) -> Scope:
    return Scope(cwd=str(cwd))


def left(home: Path, memory: LocalMemory, work: Path, session: str = "first", ago: float = 3000) -> Handoff:
    """Play a whole session and return the handoff it leaves."""
    Player(home, work, session, ago=ago, pid=DEAD).start().works().ends()
    memory.ingest()
    return memory.handoffs(scope(work))[0]


def state(memory: LocalMemory, work: Path, handoff: Handoff) -> str:
    return next(one.state for one in memory.handoffs(scope(work), every=True) if one.id == handoff.id)


@pytest.mark.parametrize("agent", ["claude-code", "codex"])
def test_the_first_real_prompt_accepts_what_the_start_offered(
    home: Path, memory: LocalMemory, work: Path, agent: str
) -> None:
    handoff = left(home, memory, work)
    assert handoff.next_steps
    assert handoff.automatic
    assert handoff.id in str(memory.brief(scope(work), agent=agent).handoff)
    second = Player(home, work, "second", agent=agent).start().offered(handoff.id)
    assert state(memory, work, handoff) == "offered"
    second.prompt("go on")
    memory.ingest()

    assert memory.handoffs(scope(work)) == ()
    taken = memory.handoffs(scope(work), every=True)[0]
    assert (taken.state, taken.summary) == ("accepted", handoff.summary)
    assert taken.accepted_by.startswith(agent + " ")
    assert memory.brief(scope(work), agent=agent).handoff == ""


@pytest.mark.parametrize(
    "prompt",
    [
        {"prompt": "/clear"},
        {"prompt": "/model opus"},
        {"prompt": "look at it", "agent_id": "sub-1"},
        {"prompt": "<command-name>/clear</command-name>"},
        {"prompt": "<system-reminder>be brief</system-reminder>"},
        {"prompt": "tick", "source": "loop_wakeup"},
    ],
    ids=lambda prompt: str(prompt)[:30],
)
def test_what_no_person_asked_accepts_nothing(
    home: Path, memory: LocalMemory, work: Path, prompt: dict[str, str]
) -> None:
    handoff = left(home, memory, work)
    second = Player(home, work, "second").start().offered(handoff.id).send("UserPromptSubmit", **prompt)
    second.ends()
    memory.ingest()
    assert state(memory, work, handoff) == "offered"
    Player(home, work, "third", ago=100).start().offered(handoff.id).prompt("now I ask")
    memory.ingest()
    assert state(memory, work, handoff) == "accepted"


def test_sessions_that_die_before_a_prompt_consume_nothing(home: Path, memory: LocalMemory, work: Path) -> None:
    handoff = left(home, memory, work)
    for number in range(3):
        Player(home, work, f"dead{number}", pid=DEAD, ago=200 - number).start().offered(handoff.id)
        memory.ingest()
    assert state(memory, work, handoff) == "offered"
    assert memory.brief(scope(work)).handoff == handoff.id


def test_a_prompt_before_the_offer_does_not_count(home: Path, memory: LocalMemory, work: Path) -> None:
    handoff = left(home, memory, work)
    Player(home, work, "second").start().prompt("before").start("compact").offered(handoff.id)
    memory.ingest()
    assert state(memory, work, handoff) == "offered"


def quiet(home: Path, work: Path, agent: str, session: str, pid: int = LIVE, ago: float = 300) -> Player:
    """A session of which no prompt is told: of an agent without an event for it, or without its words."""
    player = Player(home, work, session, agent=agent, pid=pid, ago=ago)
    if agent == "antigravity":
        return player.send("PreInvocation", conversationId=session, invocationNum=0)
    if agent == "kiro":
        return player.send("SessionStart").send("UserPromptSubmit", prompt="")
    return player.send("sessionStart")


WORK = {
    "cursor": ("postToolUse", {"tool_name": "Shell", "tool_input": {"command": "ls"}, "tool_use_id": "t1"}),
    "antigravity": ("PostToolUse", {"toolCall": {"name": "run_command", "args": {"CommandLine": "ls"}}, "stepIdx": 2}),
    "kiro": ("PostToolUse", {"tool_name": "execute_bash", "tool_input": {"command": "ls"}}),
}
ENDS = {
    "cursor": ("stop", {"status": "completed"}),
    "antigravity": ("Stop", {"terminationReason": "model_stop"}),
    "kiro": ("Stop", {"assistant_response": "Done."}),
}


@pytest.mark.parametrize("agent", WORK)
@pytest.mark.parametrize("signs", [WORK, ENDS], ids=["tool call", "end of turn"])
def test_where_no_prompt_is_told_of_it_is_accepted_by_what_only_a_prompt_leads_to(
    home: Path, memory: LocalMemory, work: Path, agent: str, signs: dict[str, tuple[str, dict[str, object]]]
) -> None:
    handoff = left(home, memory, work)
    second = quiet(home, work, agent, "second").offered(handoff.id)
    memory.ingest()
    assert state(memory, work, handoff) == "offered"

    name, fields = signs[agent]
    second.send(name, conversationId="second", **fields)
    memory.ingest()

    assert state(memory, work, handoff) == "accepted"


def test_a_session_without_prompts_that_dies_or_did_its_work_before_consumes_nothing(
    home: Path, memory: LocalMemory, work: Path
) -> None:
    handoff = left(home, memory, work)
    quiet(home, work, "cursor", "dead", pid=DEAD).offered(handoff.id).send("preCompact").send("sessionEnd")
    name, fields = WORK["cursor"]
    quiet(home, work, "cursor", "before", ago=200).send(name, **fields).send("sessionStart").offered(handoff.id)
    memory.ingest()
    assert state(memory, work, handoff) == "offered"


def test_where_prompts_are_told_of_work_alone_accepts_nothing(home: Path, memory: LocalMemory, work: Path) -> None:
    handoff = left(home, memory, work)
    Player(home, work, "second").start().offered(handoff.id).prompt("/clear").runs("ls").says("Cleared.")
    memory.ingest()
    assert state(memory, work, handoff) == "offered"


def test_another_project_does_not_consume_it(home: Path, memory: LocalMemory, work: Path, tmp_path: Path) -> None:
    handoff = left(home, memory, work)
    other = repository(tmp_path / "other")
    Player(home, other, "second").start().prompt("hello")
    memory.ingest()
    assert memory.brief(scope(other)).handoff == ""
    assert state(memory, work, handoff) == "open"


def test_subfolders_and_worktrees_are_offered_it(home: Path, memory: LocalMemory, work: Path) -> None:
    handoff = left(home, memory, work)
    (work / "deep/er").mkdir(parents=True)
    assert memory.brief(scope(work / "deep/er")).handoff == handoff.id
    Player(home, work / "deep/er", "second").start().offered(handoff.id).prompt("go")
    memory.ingest()
    assert state(memory, work, handoff) == "accepted"


def test_the_wrong_agent_is_not_offered_it_and_cannot_take_it(home: Path, memory: LocalMemory, work: Path) -> None:
    Player(home, work, "seed", pid=1).start()
    handoff = memory.leave_handoff(scope(work), HandoffDraft(summary="only for codex", to_agent="codex"))
    assert memory.brief(scope(work), agent="claude-code").handoff == ""
    Player(home, work, "second", ago=200).start().offered(handoff.id).prompt("go")
    memory.ingest()
    assert state(memory, work, handoff) == "offered"
    with pytest.raises(NotFoundError):
        memory.accept_handoff(scope(work), agent="claude-code")
    assert memory.accept_handoff(scope(work), agent="codex").state == "accepted"


def test_a_session_does_not_take_its_own(home: Path, memory: LocalMemory, work: Path) -> None:
    handoff = left(home, memory, work)
    Player(home, work, "first", ago=200).start("resume").offered(handoff.id).prompt("go on")
    memory.ingest()
    assert state(memory, work, handoff) == "offered"


def test_by_hand_goes_before_automatic_and_the_newest_first(home: Path, memory: LocalMemory, work: Path) -> None:
    automatic = left(home, memory, work)
    older = memory.leave_handoff(scope(work), HandoffDraft(summary="older by hand"))
    newer = memory.leave_handoff(scope(work), HandoffDraft(summary="newer by hand"))

    assert [one.id for one in memory.handoffs(scope(work))] == [newer.id, older.id, automatic.id]
    assert memory.brief(scope(work)).handoff == newer.id
    assert memory.accept_handoff(scope(work)).id == newer.id


def test_the_next_session_on_the_branch_replaces_the_waiting_one(home: Path, memory: LocalMemory, work: Path) -> None:
    first = left(home, memory, work)
    Player(home, work, "looked", ago=2500, pid=DEAD).start().offered(first.id).ends()
    second = left(home, memory, work, "second", ago=2000)

    assert [one.id for one in memory.handoffs(scope(work))] == [second.id]
    assert state(memory, work, first) == "superseded"


def test_a_handoff_that_nobody_was_shown_outlives_one_more_session(home: Path, memory: LocalMemory, work: Path) -> None:
    first = left(home, memory, work)
    second = left(home, memory, work, "second", ago=2000)
    assert [one.id for one in memory.handoffs(scope(work))] == [second.id, first.id]

    third = left(home, memory, work, "third", ago=1000)

    assert [one.id for one in memory.handoffs(scope(work))] == [third.id, second.id]
    assert state(memory, work, first) == "superseded"


def test_a_session_that_ran_at_the_same_time_replaces_nothing(home: Path, memory: LocalMemory, work: Path) -> None:
    one = Player(home, work, "one", ago=3000, pid=DEAD).start()
    two = Player(home, work, "two", ago=2999).start()
    one.works("the lexer").ends()
    memory.ingest()
    two.works("the parser").ends()
    memory.ingest()

    assert len(memory.handoffs(scope(work))) == 2


def test_another_branch_replaces_nothing(home: Path, memory: LocalMemory, work: Path) -> None:
    left(home, memory, work)
    (work / ".git/HEAD").write_text("ref: refs/heads/other\n")
    left(home, memory, work, "second", ago=2000)

    assert sorted(one.branch for one in memory.handoffs(scope(work))) == ["main", "other"]


def test_accepted_ones_stay_readable(home: Path, memory: LocalMemory, work: Path) -> None:
    handoff = left(home, memory, work)
    memory.accept_handoff(scope(work), handoff.id[:8], by="me")

    every = memory.handoffs(scope(work), every=True)
    assert [(one.state, one.next_steps) for one in every] == [("accepted", handoff.next_steps)]
    assert "state: accepted" in memory.read(scope(work), handoff.path).text
    with pytest.raises(ConflictError):
        memory.accept_handoff(scope(work), handoff.id)
    with pytest.raises(NotFoundError):
        memory.accept_handoff(scope(work))


def test_a_closed_one_is_offered_no_more(home: Path, memory: LocalMemory, work: Path) -> None:
    handoff = left(home, memory, work)
    assert memory.close_handoff(scope(work), handoff.id).state == "closed"
    assert memory.brief(scope(work)).handoff == ""


def test_it_expires(home: Path, memory: LocalMemory, work: Path) -> None:
    Player(home, work, "first", ago=15 * 86400, pid=DEAD).start().works().ends()
    memory.ingest()
    handoff = memory.handoffs(scope(work), every=True)[0]
    assert [one.state for one in memory.handoffs(scope(work), every=True)] == ["expired"]
    with pytest.raises(NotFoundError):
        memory.accept_handoff(scope(work))
    assert memory.brief(scope(work)).handoff == ""
    assert "state: expired" in memory.read(scope(work), handoff.path).text


def test_one_that_grows_old_while_nobody_works_is_not_offered(home: Path, own_home: Path, work: Path) -> None:
    memory = LocalMemory(Resources.at(home, str(own_home), Config.model_validate({"handoff": {"expires_days": 20}})))
    left(home, memory, work, ago=15 * 86400)
    later = LocalMemory(Resources.at(home, str(own_home), Config()))  # the same as waiting for some days

    assert later.handoffs(scope(work)) == ()
    assert later.brief(scope(work)).handoff == ""
    with pytest.raises(NotFoundError):
        later.accept_handoff(scope(work))


def test_a_session_of_words_alone_carries_open_items_over(home: Path, memory: LocalMemory, work: Path) -> None:
    first = left(home, memory, work)
    second = Player(home, work, "second", ago=1000).start().offered(first.id)
    second.prompt("What is the state?").says("The docs are still missing.").ends()
    memory.ingest()

    found = memory.handoffs(scope(work))
    assert len(found) == 1
    assert set(first.next_steps) <= set(found[0].next_steps)
    assert found[0].from_session != first.from_session


def test_a_resumed_session_rewrites_its_waiting_handoff(home: Path, memory: LocalMemory, work: Path) -> None:
    first = left(home, memory, work)
    again = Player(home, work, "first", ago=1000)
    again.turn, again.calls = 50, 50
    again.start("resume").works("the lexer").ends()
    memory.ingest()

    found = memory.handoffs(scope(work), every=True)
    assert [(one.id, one.path) for one in found] == [(first.id, first.path)]
    assert "lexer" in " ".join((found[0].summary, *found[0].files_touched))


def test_after_new_work_it_leaves_a_new_one_when_the_old_was_taken(home: Path, memory: LocalMemory, work: Path) -> None:
    first = left(home, memory, work)
    memory.accept_handoff(scope(work))
    again = Player(home, work, "first", ago=1000)
    again.turn, again.calls = 50, 50
    again.start("resume").works("the lexer").ends()
    memory.ingest()

    assert [one.id == first.id for one in memory.handoffs(scope(work))] == [False]
    assert len(memory.handoffs(scope(work), every=True)) == 2


def test_without_new_work_it_leaves_none(home: Path, memory: LocalMemory, work: Path) -> None:
    first = left(home, memory, work)
    memory.accept_handoff(scope(work))
    pages = memory.status(scope(work)).counts.pages
    commits = len(memory.res.wiki(memory.projects()[0]).log(limit=100))
    Player(home, work, "first", ago=1000).start("resume").ends()
    memory.ingest()

    assert [one.id for one in memory.handoffs(scope(work), every=True)] == [first.id]
    assert memory.status(scope(work)).counts.pages == pages
    assert len(memory.res.wiki(memory.projects()[0]).log(limit=100)) == commits


def test_one_left_by_hand_stands_for_its_session(home: Path, memory: LocalMemory, work: Path) -> None:
    player = Player(home, work, "first", ago=100, pid=LIVE).start().works()
    draft = HandoffDraft(summary="Told by the agent", from_agent="claude-code", from_session="first")
    by_hand = memory.leave_handoff(scope(work), draft)
    player.now = datetime.now(timezone.utc) + timedelta(seconds=1)
    player.says("Handoff left.").ends()
    memory.ingest()

    assert [one.id for one in memory.handoffs(scope(work), every=True)] == [by_hand.id]


def test_an_empty_handoff_is_refused(memory: LocalMemory, work: Path) -> None:
    with pytest.raises(InputError):
        memory.leave_handoff(scope(work), HandoffDraft(summary=" \n"))


def test_of_many_that_accept_at_once_exactly_one_succeeds(home: Path, memory: LocalMemory, work: Path) -> None:
    left(home, memory, work)
    start, results = CONTEXT.Event(), CONTEXT.Queue()
    others = [child(accept, str(home), str(work), start, results) for _ in range(6)]
    start.set()
    told = sorted(results.get(timeout=30) for _ in others)
    for one in others:
        one.join()

    assert told == ["late"] * 5 + ["taken"]


def test_the_close_of_a_session_never_undoes_an_acceptance(home: Path, memory: LocalMemory, work: Path) -> None:
    """The page is looked at again under the lock, also when a crash kept the index from knowing."""
    first = left(home, memory, work)
    page = memory.res.wiki(memory.projects()[0]).folder / first.path
    page.write_text(page.read_text().replace("state: open", "state: accepted\naccepted_by: codex x"))
    again = Player(home, work, "first", ago=1000)
    again.turn, again.calls = 50, 50
    again.start("resume").works("the lexer").ends()
    with_edits_unnoticed = memory.ingest()

    assert with_edits_unnoticed.handoffs == 1
    states = sorted(one.state for one in memory.handoffs(scope(work), every=True))
    assert states == ["accepted", "open"]
