"""The loop with the agents themselves: their hooks fire, their models are told, their sessions are handed on.

Opt-in, see `clients`: `REALCLIENTS=folder python -m pytest -m realclients`. Skipped for clients that are not installed.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from itertools import pairwise

import pytest
from clients import AGENTS, RUNNER, Place, here, search_turns, shell_turn, write_turn

pytestmark = [
    pytest.mark.realclients,
    pytest.mark.skipif(not RUNNER, reason="REALCLIENTS does not name a folder with run.sh"),
]
CLIENTS = [client for client in AGENTS if here(client)]
WORK = ("session-start", "user-prompt", "stop", "session-end")


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def work(mark: str) -> list[dict]:
    """What a model does in a session: a command, a file, a look into memory, a command that fails, an answer."""
    return [
        shell_turn(f"echo said-{mark}", text="I will run a command."),
        write_turn(f"{mark}.txt", f"content of {mark}"),
        *search_turns(mark),
        shell_turn(f"ls /nowhere-{mark}"),
        {"text": f"Half of {mark} is done. Next: write the tests of {mark}."},
    ]


@pytest.mark.parametrize("client", CLIENTS)
def test_every_event_becomes_one_observation_and_the_client_behaves_as_without_us(place, tmp_path, client):
    (tmp_path / "plain").mkdir()
    plain = Place(tmp_path / "plain").run(client, work("quokka"), "Please do the quokka task")
    place.setup(client)
    run = place.run(client, work("quokka"), "Please do the quokka task")

    assert (run.status, run.said, run.left_running) == (plain.status, plain.said, [])
    assert run.complaints() <= plain.complaints()
    (session,) = place.sessions()
    seen = place.observations(session)
    kinds = Counter(one["kind"] for one in seen)
    tools = [one for one in seen if one["kind"] in ("post-tool", "tool-failure")]
    assert session["agent"] == AGENTS[client]
    assert session["state"] == "closed"
    assert [kinds[kind] for kind in WORK] == [1, 1, 1, 1], kinds
    assert [one["text"] for one in seen if one["kind"] == "user-prompt"] == ["Please do the quokka task"]
    assert [one["text"] for one in seen if one["kind"] == "stop"] == [work("quokka")[-1]["text"]]
    shells = [one for one in tools if one["family"] == "shell"]
    assert [(one["text"], one["ok"] is False) for one in shells] == [
        ("echo said-quokka", False),
        ("ls /nowhere-quokka", True),
    ]
    assert "said-quokka" in shells[0]["output"]
    assert "nowhere-quokka" in shells[1]["output"]
    wrote = Counter(one["family"] for one in tools)["edit"]
    assert wrote == (place.project / "quokka.txt").exists()
    assert all(one["paths"] == ["quokka.txt"] for one in tools if one["family"] == "edit")
    assert len({one["key"] for one in tools}) == len(tools)
    assert "ai-memory-brief" not in json.dumps(seen)
    capture = place.command("status")["capture"]
    assert capture["seen"] == sum(capture[name] for name in ("stored", "duplicates", "filtered", "set_aside"))
    assert capture["set_aside"] == 0


@pytest.mark.parametrize("client", [client for client in CLIENTS if client != "pi"])
def test_memory_can_be_searched_by_the_model(place, client):
    place.command("write", "Axolotls", "--kind", "decision", "--body", "Axolotls are fed at noon by the zebra script.")
    place.setup(client)

    run = place.run(client, [*search_turns("axolotls fed"), {"text": "done"}], "When are axolotls fed?")

    assert run.told("at noon by the zebra script")
    assert not [one for one in place.observations(place.sessions()[0]) if "at noon" in one["output"]]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_session_that_goes_on_stays_one_session(place, client):
    place.setup(client)
    place.run(client, [shell_turn("echo one"), {"text": "first"}], "Begin with the numbat task")
    place.run(client, [shell_turn("echo two"), {"text": "second"}], "Go on with it", CONTINUE="1")

    (session,) = place.sessions()
    seen = place.observations(session)

    assert [one["text"] for one in seen if one["family"] == "shell" and one["kind"] == "post-tool"] == [
        "echo one",
        "echo two",
    ]
    assert [one["text"] for one in seen if one["kind"] == "stop"] == ["first", "second"]
    assert session["state"] == "closed"


@pytest.mark.parametrize("client", CLIENTS)
def test_a_killed_client_loses_nothing_of_what_it_knew_itself(place, client):
    place.setup(client)
    turns = [shell_turn(f"echo number-{number}") for number in range(40)]

    run = place.run_killed(client, [*turns, {"text": "done"}], "Count", requests=9)

    (session,) = place.sessions()
    seen = [one["text"] for one in place.observations(session) if one["kind"] == "post-tool"]
    asked = " ".join(
        json.dumps(request["body"]) for request in run.requests
    )  # a call is in it together with its result
    known = [f"echo number-{number}" for number in range(40) if re.search(rf"number-{number}\b", asked)]
    assert len(known) >= 5
    assert sorted(seen[: len(known)]) == sorted(known)
    assert (session["state"], run.left_running) == ("closed", [])


@pytest.mark.skipif("codex" not in CLIENTS, reason="codex is not installed")
def test_in_its_sandbox_codex_uses_all_our_tools_without_asking(place):
    place.setup("codex")
    calls = {
        "search": {"query": "x"},
        "write": {"title": "Emus", "body": "Emus run."},
        "handoff": {"action": "leave", "summary": "Feed the emus"},
        "read": {"ref": "notes/emus.md"},
        "brief": {},
        "status": {},
    }
    turns = [{"tool_re": f"memory[._-]{name}", "args": given} for name, given in calls.items()]

    run = place.run("codex", [*turns, {"text": "done"}], "Use them", SANDBOX="--sandbox=workspace-write")

    answers = [item for item in run.requests[-1]["body"]["input"] if item.get("type") == "function_call_output"]
    assert len(answers) == len(calls)
    assert "Emus run." in json.dumps(answers[3])
    assert not [answer for answer in answers if "rejected" in json.dumps(answer) or "approv" in json.dumps(answer)]


def hand_on(place: Place, order: list[str]) -> None:
    """Run clients one after the other; each must be told what the one before left, and take it over."""
    marks = [f"{client.replace('-', '')}{number}" for number, client in enumerate(order)]
    for number, client in enumerate(order):
        run = place.run(client, work(marks[number]), f"Please do the {marks[number]} task")
        assert run.status == 0, (client, run.said)
        assert run.left_running == [], client
        before = order[number - 1]
        if number:
            assert f"write the tests of {marks[number - 1]}" in run.first(), (before, client)
    handoffs = sorted(place.command("handoff", "list")["handoffs"], key=lambda one: one["created"])
    assert [one["from_agent"] for one in handoffs] == [AGENTS[client] for client in order]
    takers = [one["accepted_by"].split()[0] for one in handoffs[:-1]]
    assert takers == [AGENTS[client] for client in order[1:]]


def test_a_handoff_goes_round_all_clients(place):
    place.setup(*CLIENTS)

    hand_on(place, [*CLIENTS, CLIENTS[0]])


def test_handoffs_between_clients_in_any_order(place):
    place.setup(*CLIENTS)
    order = random.Random(3).sample(CLIENTS * 2, len(CLIENTS) * 2)

    hand_on(place, [first for first, then in pairwise([*order, ""]) if first != then])
