"""The hook process: whatever comes in, the agent sees success and silence, and nothing is lost or leaked."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hooking import KEY, ROOT, Hook

from ai_memory_mcp.model import Event


@pytest.fixture
def hook(tmp_path):
    return Hook(tmp_path)


@pytest.mark.parametrize("way", ["launcher", "module"])
def test_an_event_is_stored_as_it_came(hook, way):
    payload = hook.payload(tool_name="Bash", tool_input={"command": "pytest -q", "n": 3, "x": None, "t": "żółw"})
    hook.emit(payload, command=hook.module() if way == "module" else ())
    entry = hook.entry()
    assert entry["payload"] == payload
    assert (entry["agent"], entry["event"], entry["cwd"]) == ("claude-code", "PostToolUse", str(hook.project))
    assert (entry["root"], entry["marker"], entry["problem"], entry["filtered"]) == (str(hook.project), "", "", "")
    assert Event.model_validate(entry).id == entry["id"]


def test_files_are_private(hook):
    hook.emit(hook.payload())
    for path in (hook.home, hook.home / "spool", *(hook.home / "spool").iterdir()):
        assert path.stat().st_mode & 0o077 == 0


def test_agent_and_event_may_be_named_by_options(hook):
    hook.emit(hook.payload(), "--agent", "codex", "--event=Stop")
    hook.emit(hook.payload(hook_event_name="Stop"), "--agent=codex")
    hook.emit(hook.payload(), "Stop", "--agent", "codex")
    assert {(entry["agent"], entry["event"]) for entry in hook.entries()} == {("codex", "Stop")}


def test_help_is_for_people(hook):
    usage = hook.emit(b"", "--help", command=hook.module(), quiet=False)
    assert usage.startswith("usage: ai-memory-mcp emit")
    assert "--project" not in usage, "options that mean nothing to it"
    assert not (hook.home / "spool").exists()


ODD = {
    "empty": b"",
    "not JSON": b"hello",
    "half": b'{"session_id": "s1", "cwd": "/x", "prompt": "cut of',
    "an array": b"[1, 2]",
    "two objects": b'{"session_id": "s1"}{"session_id": "s2"}',
    "a text": b'"x"',
    "zeros": b"\0\0\0",
    "deep": b'{"session_id": "s1", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("name", ODD)
def test_input_that_is_no_object_is_kept_with_its_problem(hook, name):
    hook.emit(ODD[name])
    entry = hook.entry()
    assert entry["problem"]
    assert Event.model_validate(entry)


FINE = {
    "NUL": (b'{"session_id": "s1", "prompt": "a\\u0000b"}', "prompt", "a\0b"),
    "raw NUL": (b'{"prompt": "a\0b"}', "prompt", "a\0b"),
    "invalid UTF-8": (b'{"prompt": "a\xff"}', "prompt", "a\ufffd"),
    "lone surrogate": (b'{"prompt": "a\\ud800b"}', "prompt", "a?b"),
    "huge number": (b'{"n": ' + b"9" * 6000 + b"}", "n", "9" * 6000),
    "large number": (b'{"n": ' + b"9" * 400 + b"}", "n", int("9" * 400)),
    "NaN": (b'{"n": NaN}', "n", "NaN"),
    "twice": (b'{"n": 1, "n": 2}', "n", 2),
    "BOM": (b'\xef\xbb\xbf{"n": 1}\r\n', "n", 1),
    "cwd of another kind": (b'{"cwd": {"a": 1}, "n": 1}', "n", 1),
    "cwd with NUL": (b'{"cwd": "/a\\u0000", "n": 1}', "n", 1),
}


@pytest.mark.parametrize("name", FINE)
def test_odd_objects_are_stored(hook, name):
    raw, key, value = FINE[name]
    hook.emit(raw)
    entry = hook.entry()
    assert (entry["problem"], entry["payload"][key]) == ("", value)
    line = next((hook.home / "spool").glob("*.json")).read_bytes()
    assert Event.model_validate_json(line).payload.keys() == entry["payload"].keys()


@pytest.mark.parametrize("depth", [150, 700])
def test_deep_nesting_becomes_text_that_the_reader_takes(hook, depth):
    value: object = "the core " + KEY
    for _ in range(depth):
        value = [value]
    hook.emit(hook.payload(deep=value))
    line = next((hook.home / "spool").glob("*.json")).read_bytes()
    assert Event.model_validate_json(line).problem == ""
    assert b"the core" in line
    assert KEY.encode() not in line


def test_unknown_agents_and_events_are_stored(hook):
    hook.emit({"n": 1}, "nobody", "Whatever")
    hook.emit({"n": 1}, "../../etc", "x/y")
    hook.emit({"n": 1}, "claude-code", "NewEvent")
    assert [entry["payload"] for entry in hook.entries()] == [{"n": 1}] * 3
    assert hook.log() == ""


@pytest.mark.parametrize(
    ("agent", "event", "told", "ours"),
    [
        ("claude-code", "SubagentStop", {"agent_id": "a1", "agent_type": "Explore"}, True),
        ("claude-code", "SubagentStop", {"agent_id": "a1", "agent_type": ""}, False),
        ("copilot", "Stop", {}, True),
        ("copilot", "Stop", {"agent_id": "a1", "parent_agent_id": "s1"}, False),
    ],
)
def test_an_event_is_ours_only_as_its_description_wants_it(hook, agent, event, told, ours):
    hook.emit(hook.payload(**told), agent, event)

    assert len(hook.entries()) == ours


@pytest.mark.parametrize("way", ["launcher", "module"])
def test_without_arguments_the_event_is_none_of_ours(hook, way):
    """So run agents that also run the hooks of others, but leave their arguments out."""
    command = [str(hook.launcher)] if way == "launcher" else [*hook.module()]
    told = json.dumps(hook.payload(hook_event_name="sessionStart", cursor_version="1")).encode()

    done = subprocess.run(command, input=told, env=hook.env, capture_output=True, timeout=20, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert hook.entries() == []
    assert hook.log() == ""


@pytest.mark.parametrize("event", ["sessionStart", "beforeSubmitPrompt", "postToolUse", "stop", "Unheard"])
def test_an_agent_that_needs_an_answer_gets_an_empty_one(hook, event):
    payload = {"conversation_id": "c1", "workspace_roots": [str(hook.project)], "cursor_version": "1"}
    assert hook.emit(payload, "cursor", event, quiet=False) == "{}\n"


@pytest.mark.parametrize("bundle", [True, False])
def test_an_alias_means_the_agent(hook, bundle):
    for path in [] if bundle else list(hook.launcher.parent.glob("emit-*.bin")):
        path.unlink()
    hook.emit(hook.payload(prompt="Mend the parser"), "claude", "UserPromptSubmit")
    assert hook.entry()["agent"] == "claude-code"


def test_a_long_event_is_taken_whole_and_its_texts_clipped(hook):
    text = "begin " + "word " * 4_000_000 + " end"
    begun = time.monotonic()
    hook.emit(hook.payload(tool_response=text, small="x"))
    assert time.monotonic() - begun < 10
    kept = hook.entry()["payload"]
    assert len(kept["tool_response"]) <= 16_384
    assert (kept["tool_response"][:6], kept["tool_response"][-4:], kept["small"]) == ("begin ", " end", "x")


def test_an_event_beyond_all_measure_keeps_both_ends(hook):
    raw = json.dumps(hook.payload(prompt="begin " + "x" * 40_000_000 + " end")).encode()
    limit = 600 * 2**20
    script = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit})); "
    command = hook.module()
    hook.emit(raw, command=(*command[:2], script + command[2], *command[3:]))
    entry = hook.entry()
    assert (entry["problem"], entry["payload"]["session_id"]) == ("", "s1")
    assert (entry["payload"]["prompt"][:6], entry["payload"]["prompt"][-4:]) == ("begin ", " end")
    assert len(entry["payload"]["prompt"]) <= 16_384


def test_a_working_directory_that_is_gone_is_no_trouble(hook, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    inside = f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); "
    command = hook.module()
    hook.emit({"session_id": "s1"}, command=(*command[:2], inside + command[2], *command[3:]))
    hook.emit({"session_id": "s1", "cwd": str(gone)})
    assert hook.entries()[1]["cwd"] == str(gone)


# --- secrets


def test_no_secret_reaches_the_disk(hook):
    hook.emit(hook.payload(**{KEY: 1}, a=f"x {KEY} y", b={"password": "hunter2"}, c="<private>street 5</private> z"))
    hook.emit(f"no JSON but {KEY}".encode())
    stored = b"".join(path.read_bytes() for path in hook.home.rglob("*") if path.is_file())
    for secret in (KEY, "hunter2", "street 5"):
        assert secret.encode() not in stored
    assert hook.entries()[0]["payload"]["a"] == "x [REDACTED:anthropic-key] y"


def test_secrets_are_redacted_before_a_text_is_clipped(hook):
    for at in (8_150, 8_170, 8_180, 16_360):
        hook.emit(hook.payload(tool_response="w " * (at // 2) + KEY + " w" * 20_000))
    stored = json.dumps(hook.entries())
    assert KEY[7:15] not in stored
    assert KEY[-8:] not in stored


def test_the_users_patterns_are_redacted(hook):
    (hook.home / "config.toml").write_text("[redact]\npatterns = ['ACME-\\d+']\nallow = []\n")
    hook.emit(hook.payload(prompt="see ACME-123"))
    assert hook.entry()["payload"]["prompt"] == "see [REDACTED:custom]"


def test_an_invalid_pattern_neither_loses_the_event_nor_the_other_rules(hook):
    (hook.home / "config.toml").write_text("[redact]\npatterns = ['(', 'ACME-\\d+']\n")
    hook.emit(hook.payload(prompt=f"ACME-1 {KEY} ordinary"))
    assert hook.entry()["payload"]["prompt"] == "[REDACTED:custom] [REDACTED:anthropic-key] ordinary"
    assert "not a regular expression" in hook.log()


# --- capture rules


def filtered(hook):
    return [entry["filtered"] for entry in hook.entries()]


@pytest.mark.parametrize(
    ("rule", "event", "reason"),
    [
        ("enabled = false", "Stop", "capture is off"),
        ("enabled = 'no'", "Stop", "capture is off"),
        ("prompts = false", "UserPromptSubmit", "prompts are off"),
        ("prompts = false", "PostToolUse", ""),
        ("tools = false", "PostToolUse", "tools are off"),
        ("tools = false", "UserPromptSubmit", ""),
        ("assistant = false", "Stop", "assistant messages are off"),
        ("ignore_paths = ['secrets/']", "PostToolUse", "ignored path"),
        ("ignore_paths = 'secrets/'", "PostToolUse", "settings do not parse"),
    ],
)
@pytest.mark.parametrize("where", ["user", "project"])
def test_rules_drop_what_they_name_and_leave_the_reason_alone(hook, rule, event, reason, where):
    path = hook.home / "config.toml" if where == "user" else hook.project / ".ai-memory.toml"
    path.write_text(f"[capture]\n{rule}\n")
    hook.emit(hook.payload(tool_input={"command": "cat secrets/x"}), "claude-code", event)
    entry = hook.entry()
    assert entry["filtered"] == reason
    if reason:
        assert (entry["payload"], entry["cwd"], entry["root"]) == ({}, "", "")
        assert "secrets" not in json.dumps(entry)


def test_the_environment_sets_rules_too(hook):
    env = {**hook.env, "AI_MEMORY_CAPTURE__PROMPTS": "false"}
    hook.emit(hook.payload(prompt="x"), "claude-code", "UserPromptSubmit", env=env)
    assert filtered(hook) == ["prompts are off"]


def test_the_nearest_project_file_rules(hook):
    inner = hook.project / "a" / "b"
    inner.mkdir(parents=True)
    (hook.project / ".ai-memory.toml").write_text("[capture]\nenabled = false\n")
    (hook.project / "a" / ".ai-memory.toml").write_text("[capture]\nenabled = true\n")
    hook.emit({"session_id": "s1", "cwd": str(inner)})
    assert hook.entry()["marker"] == str(hook.project / "a" / ".ai-memory.toml")
    assert filtered(hook) == [""]


@pytest.mark.parametrize(
    ("pattern", "path", "dropped"),
    [
        ("*.pem", "deep/down/key.pem", True),
        ("secrets/**", "secrets/a/b", True),
        ("secrets", "x/secrets/a", True),
        ("**/prod.env", "prod.env", True),
        ("config/*.env", "./config/a.env", True),
        ("config/*.env", "{project}/config/a.env", True),
        ("config/*.env", "{project}/src/../config/a.env", True),
        ("config/*.env", "lib/a.env", False),
        ("secrets/", "src/secretscan.py", False),
    ],
)
def test_ignored_paths_are_patterns_as_git_knows_them(hook, pattern, path, dropped):
    (hook.project / ".ai-memory.toml").write_text(f"[capture]\nignore_paths = ['{pattern}']\n")
    hook.emit(hook.payload(tool_input={"file_path": path.format(project=hook.project)}))
    assert filtered(hook) == ["ignored path" if dropped else ""]


@pytest.mark.parametrize("where", ["config.toml", ".ai-memory.toml"])
def test_rules_that_do_not_parse_forbid_until_they_are_known(hook, where):
    path = (hook.home if where == "config.toml" else hook.project) / where
    path.write_text("[capture\n")
    hook.emit(hook.payload(prompt="one"))
    path.write_text("[capture]\ntools = true\n")
    hook.emit(hook.payload(prompt="two"))
    path.write_text("[capture]\ntools = true broken again\n")
    hook.emit(hook.payload(prompt="three"))
    assert filtered(hook) == ["settings do not parse", "", ""]
    assert "one" not in json.dumps(hook.entries()[0]["payload"])
    assert f"in {path}" in hook.log()


def test_filtered_events_are_counted(hook):
    (hook.project / ".ai-memory.toml").write_text("[capture]\nenabled = false\n")
    hook.emit(hook.payload())
    hook.ingest()
    found = subprocess.run(
        [*hook.module()[:-1], "status", "--json"], env=hook.env, capture_output=True, check=True, timeout=30
    )
    assert json.loads(found.stdout)["capture"]["filtered"] == 1


# --- where things go


@pytest.mark.parametrize("name", ["with space", "quo'te\"s", "per%cent %x", "żółw 記憶", "back\\slash $HOME `x`"])
def test_any_home_folder_will_do(tmp_path, name):
    hook = Hook(tmp_path, home=name)
    del hook.env["AI_MEMORY_HOME"]
    hook.emit(hook.payload())
    assert hook.entry()["payload"] == hook.payload()
    assert hook.log() == ""


@pytest.mark.parametrize(
    ("env", "home"),
    [
        ({"XDG_DATA_HOME": "{base}/data"}, "data/ai-memory"),
        ({"XDG_DATA_HOME": "relative"}, ".local/share/ai-memory"),
        ({}, ".local/share/ai-memory"),
        ({"AI_MEMORY_HOME": "~/elsewhere"}, "elsewhere"),
        ({"AI_MEMORY_HOME": "below/here"}, "below/here"),
        ({"AI_MEMORY_HOME": "{base}/slash/"}, "slash"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the default folder is another one there")
def test_the_home_is_where_the_other_commands_look(hook, env, home):
    told = {key: value.format(base=hook.base) for key, value in env.items()}
    hook.emit(hook.payload(), command=hook.module(), env={"HOME": str(hook.base), **told})
    assert len(list((hook.base / home / "spool").glob("*.json"))) == 1


def test_without_any_home_nothing_is_written_and_nothing_said(hook):
    hook.emit(hook.payload(), command=hook.module(), env={"PATH": ""})
    assert not Path("/spool").exists()
    assert not (hook.home / "spool").exists()


def test_a_home_that_cannot_be_written_is_no_trouble_for_the_agent(hook):
    shutil.rmtree(hook.home / "spool", ignore_errors=True)
    (hook.home / "spool").write_text("a file in the way")
    hook.emit(hook.payload())
    assert "Error" in hook.log()
    hook.emit(hook.payload(), command=hook.module(), env={**hook.env, "AI_MEMORY_HOME": "/proc/nowhere"})


def test_a_full_disk_leaves_nothing_half_written(hook):
    hook.emit(hook.payload())
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
    command = hook.module()
    hook.emit(hook.payload(prompt="x" * 3000), command=(*command[:2], limit + command[2], *command[3:]))
    assert [path.suffix for path in (hook.home / "spool").iterdir()] == [".json"]
    assert "File too large" in hook.log()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_the_log_holds_no_content_and_is_bounded(hook):
    (hook.home / "logs").mkdir()
    (hook.home / "logs" / "emit.log").write_text("old line\n" * 200_000)
    (hook.home / "spool").write_text("in the way")
    hook.emit(hook.payload(prompt="very special words"))
    assert len(hook.log()) < 1000
    assert "special" not in hook.log()


def test_killed_at_any_moment_it_leaves_a_whole_entry_or_none(hook):
    raw = json.dumps(hook.payload(tool_response="line of output\n" * 1000)).encode()
    for number in range(40):
        with subprocess.Popen(
            [str(hook.launcher), "claude-code", "Stop"], stdin=subprocess.PIPE, env=hook.env
        ) as child:
            assert child.stdin
            child.stdin.write(raw)
            child.stdin.close()
            time.sleep(number / 2000)
            child.send_signal(signal.SIGKILL)
    assert all(entry["payload"]["tool_response"].endswith("output\n") for entry in hook.entries())


def test_many_at_once_lose_nothing(hook):
    children = [
        subprocess.Popen([str(hook.launcher), "claude-code", "Stop"], stdin=subprocess.PIPE, env=hook.env)
        for _ in range(12)
    ]
    for number, child in enumerate(children):
        child.communicate(json.dumps(hook.payload(n=number)).encode(), timeout=20)
    assert sorted(entry["payload"]["n"] for entry in hook.entries()) == list(range(12))


# --- streaming


def test_a_stream_stores_every_line_and_survives_bad_ones(hook):
    lines = [
        {"event": "UserPromptSubmit", "payload": hook.payload(prompt="one")},
        hook.payload(hook_event_name="Stop", n=2),
    ]
    raw = b"\n".join([json.dumps(lines[0]).encode(), b"{bad", b"", json.dumps(lines[1]).encode()])
    hook.emit(raw, "--agent", "claude-code", "--stream")
    kept = [(entry["event"], bool(entry["problem"])) for entry in hook.entries()]
    assert kept == [("UserPromptSubmit", False), ("unknown", True), ("Stop", False), ("agent-gone", False)]


def test_a_stream_answers_each_session_start_with_one_line(hook):
    start = json.dumps({"event": "SessionStart", "payload": hook.payload(source="startup")}).encode()
    out = hook.emit(start + b"\n" + start + b"\n", "--agent=claude-code", "--stream", quiet=False)
    answers = [json.loads(line) for line in out.splitlines()]
    assert len(answers) == 2
    assert all(isinstance(answer, dict) for answer in answers)


# --- the worker


def wait_for(condition, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_a_session_end_wakes_a_worker_that_holds_nothing_of_the_agent(hook):
    hook.emit(hook.payload(prompt="Do it"), "claude-code", "UserPromptSubmit")
    read, write = os.pipe()
    os.set_inheritable(write, True)
    child = subprocess.Popen(
        [str(hook.launcher), "claude-code", "SessionEnd"],
        stdin=subprocess.PIPE,
        stdout=write,
        stderr=write,
        env=hook.env,
        close_fds=False,
        start_new_session=True,
    )
    os.close(write)
    child.communicate(json.dumps(hook.payload(reason="other")).encode(), timeout=20)
    begun = time.monotonic()
    assert os.read(read, 100) == b""  # end of file: nobody holds the pipe any more
    assert time.monotonic() - begun < 0.3
    os.close(read)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    wait_for(lambda: list((hook.home / "journal").rglob("*.jsonl")) and not hook.entries())


# --- other interpreters

OTHERS = [str(path) for path in Path.home().glob(".pyenv/versions/3.1[0-9].*/bin/python") if os.access(path, os.X_OK)]


@pytest.mark.parametrize("python", sorted(OTHERS))
def test_other_interpreters_store_the_same(hook, python):
    (hook.project / ".ai-memory.toml").write_text("[brief]\nenabled = true\n")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from ai_memory_mcp.emit import finish; finish(sys.argv[1:])"
    for payload in (hook.payload(n=1), hook.payload(a=KEY), hook.payload(t="w " * 20_000)):
        hook.emit(payload, command=(python, "-I", "-S", "-B", "-c", code))
    one, two, three = hook.entries()
    if one["filtered"]:  # Python 3.10 without tomli: the rules cannot be read
        assert one["filtered"] == "settings do not parse"
        return
    assert one["payload"] == hook.payload(n=1)
    assert two["payload"]["a"] == "[REDACTED:anthropic-key]"
    assert len(three["payload"]["t"]) <= 16_384
    assert hook.log() == ""


@pytest.mark.parametrize("way", ["variable", "file", "nothing"])
def test_before_a_compaction_the_worker_starts_where_a_language_model_is_set_up(hook, way):
    """Nobody answers at that address: what is shown is that the worker takes the event in."""
    env = dict(hook.env)
    if way == "variable":
        env |= {"AI_MEMORY_LLM_PROVIDER": "openai", "AI_MEMORY_LLM_MODEL": "m"}
    if way == "file":
        (hook.home / "config.toml").write_text('[llm]\nprovider = "openai"\nmodel = "m"\n')
    hook.emit(hook.payload(trigger="auto"), "claude-code", "PreCompact", env=env)
    deadline = time.monotonic() + (20 if way != "nothing" else 1)
    while hook.entries() and time.monotonic() < deadline:
        time.sleep(0.05)

    assert bool(hook.entries()) == (way == "nothing")
    while (hook.home / "locks" / "ingest.lock.holder").exists():
        time.sleep(0.05)
