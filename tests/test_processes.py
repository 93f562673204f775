"""Programs that we start end in time and alone: nothing of theirs goes on, whatever they do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ai_memory_mcp.alive import process_lives
from ai_memory_mcp.processes import conversation, run

# Answers each request with its own method; "silent" is not answered, "odd" refused, "noise" answered with no JSON.
ECHO = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["method"] == "noise":
        print("hello", flush=True)
    if "id" not in asked or asked["method"] == "silent":
        continue
    print(json.dumps({"jsonrpc": "2.0", "method": "between"}))
    answer = {"error": {"code": 1}} if asked["method"] == "odd" else {"result": {"did": asked["method"]}}
    print(json.dumps({"id": asked["id"], **answer}), flush=True)
"""


def gone(pid: int) -> bool:
    """Wait until a process that was killed is no more; False when it goes on."""
    until = time.monotonic() + 20
    while process_lives(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not process_lives(pid)


def soon() -> float:
    return time.monotonic() + 20


def test_a_command_is_run_to_its_end_with_its_whole_input():
    done = run([sys.executable, "-c", "print(input()); raise SystemExit(3)"], env={}, limit=20, given="é\n")

    assert (done.returncode, done.stdout, done.stderr) == (3, "é\n", "")


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path):
    script = f"sleep 60 & echo $! > {tmp_path}/pid; wait"

    with pytest.raises(subprocess.TimeoutExpired):
        run(["/bin/sh", "-c", script], env={"PATH": os.defpath}, limit=1)

    assert gone(int((tmp_path / "pid").read_text()))


def test_a_command_that_is_not_there_is_an_oserror(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        run([str(tmp_path / "nowhere")], env={}, limit=1)


def test_requests_are_answered_in_turn(tmp_path):
    with conversation([sys.executable, "-c", ECHO], env={}, cwd=tmp_path) as talk:
        assert talk.ask("first", {}, soon()) == {"did": "first"}
        talk.tell("told")
        assert talk.ask("second", {"a": 1}, soon()) == {"did": "second"}
        assert talk.close(20)


@pytest.mark.parametrize(("method", "reason"), [("odd", "it refuses odd"), ("noise", "what is no JSON: hello")])
def test_an_answer_that_is_no_result_is_an_error(tmp_path, method, reason):
    with (
        conversation([sys.executable, "-c", ECHO], env={}, cwd=tmp_path) as talk,
        pytest.raises(ValueError, match=reason),
    ):
        talk.ask(method, {}, soon())


def test_silence_is_a_timeout(tmp_path):
    with (
        conversation([sys.executable, "-c", ECHO], env={}, cwd=tmp_path) as talk,
        pytest.raises(TimeoutError, match="does not answer silent"),
    ):
        talk.ask("silent", {}, time.monotonic() + 0.2)


def test_an_early_end_is_told_with_its_complaint(tmp_path):
    code = "import sys; sys.stderr.write('no such\\nmodule'); input()"
    with conversation([sys.executable, "-c", code], env={}, cwd=tmp_path) as talk:
        with pytest.raises(ValueError, match="ended without an answer"):
            talk.ask("any", {}, soon())
        assert talk.complaint() == "no such module"


def test_one_that_goes_on_after_its_input_has_ended_is_ended_with_its_children(tmp_path):
    script = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    with conversation(["/bin/sh", "-c", script], env={"PATH": os.defpath}, cwd=tmp_path) as talk:
        pid = tmp_path / "pid"
        until = soon()
        while not (pid.exists() and Path(pid).read_text().strip()) and time.monotonic() < until:
            time.sleep(0.02)
        assert not talk.close(0.1)

    assert gone(int(pid.read_text()))
