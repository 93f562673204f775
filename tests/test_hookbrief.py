"""What a session start is told: at once when the brief is fresh, within its bound when not, never a handoff taken."""

import json
import os
import subprocess
import sys
import time

import pytest
from hooking import ROOT, Hook

from ai_memory_mcp.briefparts import compose

HOLD = (
    "import sys, time; from pathlib import Path; sys.path.insert(0, {root!r}); from ai_memory_mcp.files import locked\n"
)


@pytest.fixture
def hook(tmp_path):
    hook = Hook(tmp_path)
    session(hook, "old", "Make the parser accept tabs")
    hook.ingest()
    return hook


def session(hook, name, prompt, agent="claude-code", end=True):
    """Play a short session; its events wait in the spool (without the worker that its end would wake)."""
    told = {"session_id": name, "cwd": str(hook.project)}
    hook.emit({**told, "prompt": prompt, "prompt_id": f"{name}-1"}, agent, "UserPromptSubmit")
    hook.emit({**told, "last_assistant_message": "Tabs work. Next: the docs.", "prompt_id": f"{name}-1"}, agent, "Stop")
    if end:
        store = (
            f"import json, sys; sys.path.insert(0, {str(ROOT)!r}); from ai_memory_mcp import emit;"
            " env = emit.environment(); payload = json.load(sys.stdin);"
            f" emit.store_event(env['AI_MEMORY_HOME'], env, {agent!r}, 'SessionEnd', payload, '')"
        )
        hook.emit({**told, "reason": "other"}, command=(sys.executable, "-c", store))


def start(hook, name="new", agent="claude-code", **more):
    """Start a session and return (the text that the agent got, seconds it took)."""
    payload = {"session_id": name, "cwd": str(hook.project), "source": "startup", **more}
    begun = time.monotonic()
    out = hook.emit(payload, agent, "SessionStart", quiet=False)
    took = time.monotonic() - begun
    return (json.loads(out)["hookSpecificOutput"]["additionalContext"] if out else ""), took


def drain(hook):
    for path in (hook.home / "spool").glob("*.json"):
        path.unlink()


def brief_file(hook):
    (path,) = [path for path in (hook.home / "brief").glob("*.json") if not path.name.startswith("root-")]
    return path


def place_file(hook):
    (path,) = (hook.home / "brief").glob("root-*.json")
    return path


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


@pytest.fixture
def busy(hook):
    """Another process holds the ingest lock, so that every worker hangs."""
    code = HOLD.format(root=str(ROOT)) + (
        f"with locked(Path({str(hook.home / 'locks' / 'ingest.lock')!r}), timeout=20):\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        hook.holder = holder
        yield hook
        holder.kill()


def hold_off(busy):
    """Let the ingest lock go."""
    busy.holder.kill()
    busy.holder.wait()


def test_a_fresh_brief_is_told_without_any_worker(hook):
    text, _ = start(hook)
    assert "Make the parser accept tabs" in text
    assert [entry["event"] for entry in hook.entries()] == ["SessionStart", "handoff-offered"]


def test_the_offer_is_noted_for_the_session_that_was_shown_it(hook):
    start(hook)
    offer = hook.entries()[1]
    handoffs = json.loads(brief_file(hook).read_text(encoding="utf-8"))["handoffs"]
    assert (offer["offered"], offer["payload"]["session_id"]) == (handoffs[0]["id"], "new")
    assert offer["root"] == str(hook.project)


def test_what_waits_is_compiled_first(hook):
    drain(hook)
    session(hook, "later", "Teach the lexer about form feeds", end=False)
    hook.emit({"session_id": "later", "cwd": str(hook.project), "reason": "other"}, "claude-code", "SessionEnd")
    told = [start(hook, name=f"new{number}")[0] for number in range(3)]  # three times its bound: machines differ
    assert "form feeds" in told[-1]


def test_a_hanging_worker_is_not_waited_for(busy):
    session(busy, "later", "x", end=False)
    text, took = start(busy)
    assert took < 2.5
    assert text.count("<") >= 1  # what is there is told all the same


def test_what_the_start_could_not_wait_for_is_told_with_the_first_prompt(busy):
    brief_file(busy).unlink()
    assert start(busy)[0] == ""
    hold_off(busy)
    prompt = {"session_id": "new", "cwd": str(busy.project), "prompt": "go on", "prompt_id": "new-1"}
    said = json.loads(busy.emit(prompt, "claude-code", "UserPromptSubmit", quiet=False))["hookSpecificOutput"]

    assert said["hookEventName"] == "UserPromptSubmit"
    assert "Make the parser accept tabs" in said["additionalContext"]
    busy.emit({**prompt, "prompt_id": "new-2"}, "claude-code", "UserPromptSubmit")  # in silence
    command = [*busy.module()[:-1], "handoff", "list", "--all", "--json"]
    listed = subprocess.run(command, env=busy.env, cwd=busy.project, check=True, capture_output=True, timeout=30)
    (handoff,) = json.loads(listed.stdout)["handoffs"]
    assert handoff["state"] == "accepted", "the prompt that it was told with went on from it"


def test_a_start_that_was_told_in_time_is_not_told_again(hook):
    start(hook)
    prompt = {"session_id": "new", "cwd": str(hook.project), "prompt": "go on"}
    hook.emit(prompt, "claude-code", "UserPromptSubmit")  # in silence


def test_a_handoff_that_somebody_may_have_taken_is_not_offered_again(busy):
    told = {"session_id": "taker", "cwd": str(busy.project)}
    busy.emit({**told, "prompt": "Go on", "prompt_id": "t1"}, "claude-code", "UserPromptSubmit")
    change(brief_file(busy), rest="## Standing rules\nUse tabs.\n")
    text, _ = start(busy)
    assert "Use tabs." in text
    assert "Handoff" not in text
    assert not [entry for entry in busy.entries() if entry["offered"]]


def test_a_prompt_of_the_own_session_does_not_take_the_handoff_away(busy):
    told = {"session_id": "new", "cwd": str(busy.project)}
    busy.emit({**told, "prompt": "/clear", "prompt_id": "t1"}, "claude-code", "UserPromptSubmit")
    assert "Make the parser accept tabs" in start(busy)[0]


@pytest.mark.parametrize(("event", "offers"), [("PostToolUse", False), ("Stop", False), ("PreInvocation", True)])
def test_of_an_agent_that_tells_of_no_prompts_work_may_have_taken_it(busy, event, offers):
    told = {"conversationId": "taker", "workspacePaths": [str(busy.project)], "invocationNum": 0}
    busy.emit(told, "antigravity", event, quiet=False)
    change(brief_file(busy), rest="## Standing rules\nUse tabs.\n")

    assert ("Handoff" in start(busy)[0]) is offers


def test_of_an_agent_that_tells_of_every_call_of_the_model_the_first_is_the_start(hook):
    told = {"conversationId": "a1", "workspacePaths": [str(hook.project)]}
    assert hook.emit({**told, "invocationNum": 1}, "antigravity", "PreInvocation", quiet=False) == ""
    assert hook.entries() == []

    said = json.loads(hook.emit({**told, "invocationNum": 0}, "antigravity", "PreInvocation", quiet=False))
    assert "Make the parser accept tabs" in said["injectSteps"][0]["ephemeralMessage"]
    assert [entry["event"] for entry in hook.entries()] == ["PreInvocation", "handoff-offered"]


def runs(hook, name, agent="cursor"):
    """Start another run of a session of an agent that tells of a start at each of them; returns what it is told."""
    payload = {"conversation_id": name, "workspace_roots": [str(hook.project)], "cursor_version": "1"}
    return json.loads(hook.emit(payload, agent, "sessionStart", quiet=False)).get("additional_context", "")


def test_an_agent_that_starts_a_session_at_each_run_is_told_once(hook):
    assert "Make the parser accept tabs" in runs(hook, "c1")
    assert [entry["event"] for entry in hook.entries()] == ["sessionStart", "handoff-offered"]

    assert runs(hook, "c1") == ""
    assert "Make the parser accept tabs" in runs(hook, "c2")


def test_it_is_told_again_when_there_is_another_handoff(hook):
    runs(hook, "c1")
    session(hook, "later", "Teach the lexer about form feeds")
    hook.ingest()

    assert "form feeds" in runs(hook, "c1")
    assert runs(hook, "c1") == ""
    told = [entry["offered"] for entry in hook.entries() if entry["offered"]]
    assert len(told) == len(set(told)) == 1


def test_other_agents_are_told_anew_when_they_resume_or_have_compacted(hook):
    first = start(hook)[0]
    hook.ingest()
    assert "Make the parser accept tabs" in first
    for source in ("resume", "compact"):
        assert "Make the parser accept tabs" in start(hook, source=source)[0]
        hook.ingest()


def test_a_place_that_may_have_changed_is_looked_at_anew(busy):
    change(place_file(busy), stamps={str(busy.project / ".git" / "config"): 12345})
    text, took = start(busy)
    assert text == ""
    assert took < 2.5


@pytest.mark.parametrize("data", [b"[1]", b'{"rest": "no head", "until": 9e99}'])
def test_a_broken_brief_counts_as_absent(busy, data):
    brief_file(busy).write_bytes(data)
    assert start(busy)[0] == ""
    assert busy.log() == ""


def test_a_broken_place_counts_as_absent(busy):
    place_file(busy).write_bytes(b"\xff{")
    assert start(busy)[0] == ""
    assert busy.log() == ""


def test_a_subagent_is_told_nothing(hook):
    assert start(hook, agent_id="sub-1")[0] == ""


def test_the_own_handoff_is_not_offered_on_resume(hook):
    text, _ = start(hook, name="old", source="resume")
    assert "Handoff" not in text
    assert not [entry for entry in hook.entries() if entry["offered"]]


def test_a_handoff_for_another_agent_is_not_offered(hook):
    parts = json.loads(brief_file(hook).read_text(encoding="utf-8"))
    change(brief_file(hook), handoffs=[{**parts["handoffs"][0], "to": "codex"}])
    assert "Handoff" not in start(hook)[0]
    drain(hook)
    assert "Handoff" in start(hook, agent="codex")[0]


@pytest.mark.parametrize("where", ["user", "project"])
def test_settings_turn_the_brief_off_or_shorten_it(hook, where):
    path = hook.home / "config.toml" if where == "user" else hook.project / ".ai-memory.toml"
    if where == "project":
        path.write_text("")
        start(hook)  # the place is another one now: it becomes known
        hook.ingest()
    change(brief_file(hook), rest="a line of rules\n" * 400)
    drain(hook)
    path.write_text("[brief]\nmax_chars = 1000\n")
    if where == "project":
        os.utime(path, ns=(1, 1))
        change(sorted((hook.home / "brief").glob("root-*.json"), key=lambda p: p.stat().st_mtime)[-1], stamps={})
    text, _ = start(hook)
    assert 500 < len(text) <= 1000
    drain(hook)
    path.write_text("[brief]\nenabled = false\n")
    assert start(hook)[0] == ""


def test_the_limit_holds_and_the_fence_is_closed(hook):
    parts = json.loads(brief_file(hook).read_text(encoding="utf-8"))
    change(brief_file(hook), rest="a line of rules with some words\n" * 4000)
    text, _ = start(hook)
    assert 8_900 < len(text) <= 9_000
    assert text.startswith(parts["head"])
    assert text.endswith(parts["tail"])


@pytest.mark.parametrize("body", ["line\n" * 200, "x" * 1000])
def test_no_limit_is_ever_exceeded(body):
    for limit in range(400):
        text = compose({"head": "<m>\n", "tail": "</m>\n", "rest": body}, None, limit)
        assert len(text) <= limit
        assert text == "" or (text.startswith("<m>\n") and text.endswith("</m>\n"))


def test_nothing_to_tell_is_silence(hook):
    change(brief_file(hook), rest="", handoffs=[])
    assert start(hook)[0] == ""
