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
from clients import AGENTS, RUNNER, Place, helper_turns, here, search_turns, shell_turn, write_turn
from gateway import Gateway

pytestmark = [
    pytest.mark.realclients,
    pytest.mark.skipif(not RUNNER, reason="REALCLIENTS does not name a folder with run.sh"),
]
CLIENTS = [client for client in AGENTS if here(client)]
WORK = ("session-start", "user-prompt", "stop", "session-end")
NO_END = ("qwen",)  # they end a session of one turn without a word; their server's end tells of it

# how a model has each client start a subagent; Pi has none, and OpenClaw's single turn neither
_TASK = {"description": "help", "prompt": "Say hi"}
_AWAITED = {**_TASK, "subagent_type": "general-purpose", "run_in_background": False}
SPAWNS = {
    "claude": {"tool": "Agent", "args": _AWAITED},
    "codex": {"tool_re": "spawn_agent", "args": {"message": "Say hi"}},
    "gemini": {"tool": "invoke_agent", "args": {"agent_name": "generalist", "prompt": "Say hi"}},
    "opencode": {"tool": "task", "args": {**_TASK, "subagent_type": "general"}},
    "omp": {"tool": "task", "args": {"context": "none", "tasks": [{"name": "One", "task": "Say hi"}]}},
    "qwen": {"tool": "agent", "args": _AWAITED},
    "copilot": {"tool": "task", "args": {**_TASK, "name": "one", "agent_type": "general-purpose"}},
}
BESIDE = ("claude", "codex")  # tools are told beside their work: a kill may come before the last one has begun to be
UNTOLD = ("gemini",)  # they do not tell which calls are a subagent's, nor when it has ended


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
    assert [kinds[kind] for kind in WORK] == [1, 1, 1, client not in NO_END], kinds
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
    assert set(known) - set(seen) <= ({known[-1]} if client in BESIDE else set())
    assert len(set(seen)) == len(seen)
    assert session["state"] == "closed"
    assert not [one for one in run.left_running if re.search("ai.memory", one)]  # its own take their time


@pytest.mark.parametrize("client", [client for client in CLIENTS if client in SPAWNS])
def test_a_subagent_is_part_of_the_session_and_takes_no_handoff(place, client):
    place.setup(client)
    leave = shell_turn(place.shell("handoff", "leave", "--summary", "For whoever comes next"))
    helper = helper_turns(SPAWNS[client], "okapi")

    run = place.run(client, [leave, *helper], "Please do the okapi task")

    assert (run.status, run.left_running) == (0, [])
    (session,) = place.sessions()
    seen = place.observations(session)
    inside = [one for one in seen if one.get("subagent")]
    assert [one["text"] for one in seen if one["kind"] == "post-tool" and one["text"] == "echo in-sub"] == [
        "echo in-sub"
    ]
    assert [one["text"] for one in seen if one["kind"] == "subagent-stop"] == ["HELPED"] * (client not in UNTOLD)
    assert ("echo in-sub" in [one["text"] for one in inside]) == (client not in UNTOLD)
    assert len({one["subagent"] for one in inside}) == (client not in UNTOLD)
    assert [one["text"] for one in seen if one["kind"] == "stop"] == ["HELPED"]
    assert [one["family"] for one in seen if one["kind"] == "post-tool"].count("agent") >= 1
    assert [one["text"] for one in seen if one["kind"] == "user-prompt" and one not in inside] == [
        "Please do the okapi task"
    ]
    left = [one for one in place.command("handoff", "list")["handoffs"] if one["summary"] == "For whoever comes next"]
    assert [(one["state"], one["accepted_by"]) for one in left] == [("open", "")]


def small(place: Place, client: str) -> tuple[list[str], dict[str, str]]:
    """Have a client find its context full at every request; returns words and settings for its runs."""
    home, project = place.home, place.project
    if client == "claude":
        limits = {"CLAUDE_CODE_AUTO_COMPACT_WINDOW": "100000", "CLAUDE_AUTOCOMPACT_PCT_OVERRIDE": "1"}
        return [], {"KEEP_ENV": " ".join(limits), **limits}
    if client == "codex":
        return ["-c", "model_auto_compact_token_limit=500"], {}
    if client == "opencode":
        limit = {"context": 200000, "output": 8000, "input": 2000}
        models = {"fake": {"models": {"fake-model": {"limit": limit}}}}
        place.merge(project / "opencode.json", {"compaction": {"reserved": 1500}, "provider": models})
        # it would go on, and compact, for ever
        stop = '({ "experimental.compaction.autocontinue": async (_, told) => { told.enabled = false } })'
        (project / ".opencode" / "plugins").mkdir(parents=True)
        (project / ".opencode" / "plugins" / "stop.js").write_text(f"export const Stop = async () => {stop}")
    if client == "pi-mcp":
        place.merge(home / ".pi/agent/settings.json", {"compaction": {"reserveTokens": 199500, "keepRecentTokens": 1}})
    if client == "omp":
        place.merge(home / ".omp/agent/config.yml", {"compaction": {"thresholdTokens": 500, "keepRecentTokens": 1}})
    if client == "openclaw":
        limits = {"mode": "default", "keepRecentTokens": 1, "maxActiveTranscriptBytes": 500}
        compaction = {**limits, "memoryFlush": {"enabled": False}}
        place.merge(home / ".openclaw/openclaw.json", {"agents": {"defaults": {"compaction": compaction}}})
    return [], {}


@pytest.mark.parametrize("client", [client for client in CLIENTS if client not in ("gemini", "qwen", "copilot")])
def test_each_compaction_is_stored_once_before_and_after(place, client):
    place.setup(client)
    words, settings = small(place, client)
    turns = [shell_turn("echo one"), {"text": "A summary"}, shell_turn("echo two"), {"text": "Done so far."}]
    place.run(client, turns, "Please do the quoll task", *words, **settings)
    run = place.run(client, [{"text": "All done."}] * 2, "Go on with it", *words, **{**settings, "CONTINUE": "1"})

    assert (run.status, run.left_running) == (0, [])
    (session,) = place.sessions()
    kinds = " ".join(one["kind"] for one in place.observations(session) if "compact" in one["kind"])
    assert re.match(r"((pre-compact )+post-compact ?)+", kinds)
    assert "post-compact post-compact" not in kinds
    assert session["state"] == "closed"
    assert place.command("status")["capture"]["duplicates"] == 0


@pytest.mark.skipif("gemini" not in CLIENTS, reason="gemini is not installed")
def test_gemini_that_announces_a_compression_before_every_request_has_none_stored(place):
    place.setup("gemini")
    place.merge(place.home / ".gemini/settings.json", {"model": {"compressionThreshold": 0.0005}})

    place.run("gemini", [shell_turn("echo one"), {"text": "done"}], "Please do the quoll task")

    assert not [one for one in place.observations(place.sessions()[0]) if "compact" in one["kind"]]


@pytest.mark.parametrize(
    ("client", "prompt"),
    [case for case in (("claude", "/compact"), ("qwen", "/compress"), ("copilot", "/compact")) if case[0] in CLIENTS],
)
def test_a_compaction_that_a_person_asks_for_is_no_prompt(place, client, prompt):
    place.setup(client)
    place.run(client, [shell_turn("echo one"), {"text": "done"}], "Please do the quoll task")

    place.run(client, [{"text": "A summary"}] * 3, prompt, CONTINUE="1")

    (session,) = place.sessions()
    seen = place.observations(session)
    assert [one["detail"] for one in seen if one["kind"] == "pre-compact"] == ["manual"]
    assert [one["text"] for one in seen if one["kind"] == "user-prompt"] == ["Please do the quoll task"]
    assert not [one for one in seen if one["kind"] == "subagent-stop"]


@pytest.mark.skipif("openclaw" not in CLIENTS, reason="openclaw is not installed")
def test_the_gateway_of_openclaw_tells_of_subagents_and_compactions(place):
    place.setup("openclaw")
    place.run("openclaw", [{"text": "hello"}], "Hello")  # writes the rest of its settings
    compaction = {"mode": "default", "keepRecentTokens": 1}
    place.merge(place.home / ".openclaw/openclaw.json", {"agents": {"defaults": {"compaction": compaction}}})
    spawn = {"tool": "tool_call", "args": {"id": "sessions_spawn", "args": {"task": "Say hi"}}}
    leave = shell_turn(place.shell("handoff", "leave", "--summary", "For whoever comes next"))

    with Gateway(place, [leave, *helper_turns(spawn, "okapi")]) as gateway:
        gateway.say("Please do the okapi task")
        gateway.say("And the rest of the okapi task")
        gateway.compact()

    session = place.sessions()[-1]
    seen = place.observations(session)
    inside = [one for one in seen if one.get("subagent")]
    assert len(place.sessions()) == 2
    assert [one["text"] for one in inside] == ["echo in-sub", "HELPED"]
    assert [one["kind"] for one in inside] == ["post-tool", "subagent-stop"]
    assert [one["kind"] for one in seen if "compact" in one["kind"]] == ["pre-compact", "post-compact"]
    assert Counter(one["kind"] for one in seen)["session-end"] == 1
    left = [one for one in place.command("handoff", "list")["handoffs"] if one["summary"] == "For whoever comes next"]
    assert [(one["state"], one["accepted_by"]) for one in left] == [("open", "")]


@pytest.mark.skipif("claude" not in CLIENTS, reason="claude is not installed")
def test_a_turn_that_fails_is_stored_once_with_its_error(place):
    place.setup("claude")
    dead = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "CLAUDE_CODE_MAX_RETRIES": "0"}

    place.run("claude", [], "Please do the quoll task", KEEP_ENV=" ".join(dead), **dead)

    (stop,) = (one for one in place.observations(place.sessions()[0]) if one["kind"] == "stop")
    assert (stop["ok"], stop["output"]) == (False, "server_error")


@pytest.mark.parametrize("client", CLIENTS)
def test_calls_that_come_to_nothing_are_failures_or_were_at_least_asked_for(place, client):
    place.setup(client)
    missing = "{cwd}/missing.txt"
    read = {
        "tool": ["Read", "read_file", "read", "view", "view_image"],
        "args": {"path": missing, "filePath": missing},
        "args_by": {"Read": {"file_path": missing}, "read_file": {"file_path": missing}, "view": {"path": missing}},
    }

    place.run(client, [read, {"text": "done"}], "Please do the quoll task")

    (session,) = place.sessions()
    (call,) = (one for one in place.observations(session) if one["tool"])
    assert call["family"] == "read"
    assert call["ok"] is False or call["kind"] == "pre-tool"


@pytest.mark.skipif("opencode" not in CLIENTS, reason="opencode is not installed")
def test_a_call_that_opencode_refuses_is_a_failure(place):  # most others tell of none that was refused
    place.setup("opencode")
    place.merge(place.project / "opencode.json", {"permission": {"bash": {"forbidden*": "deny"}}})

    place.run("opencode", [shell_turn("forbidden thing"), {"text": "done"}], "Please do the quoll task")

    (call,) = (one for one in place.observations(place.sessions()[0]) if one["tool"])
    assert (call["kind"], call["text"], call["ok"]) == ("tool-failure", "forbidden thing", False)


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
