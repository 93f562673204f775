"""The demo as a newcomer runs it: real hooks, a real worker, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ai_memory_mcp.cli.demo import KEY, holding
from ai_memory_mcp.cli.main import main

ROOT = Path(__file__).parent.parent
PAYLOADS = Path(__file__).parent / "payloads" / "claude-code"
RECORDED = [
    json.loads(line)
    for line in (ROOT / "ai_memory_mcp" / "cli" / "demo_session.jsonl").read_text(encoding="utf-8").splitlines()
]


def start(base, *words, **env):
    """Start the demo as a process with `base`/tmp for temporary files and `base` as the user's home."""
    for name in ("tmp", "home", "memory"):
        (base / name).mkdir(exist_ok=True)
    told = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(base / "home")}
    told |= {"TMPDIR": str(base / "tmp"), "AI_MEMORY_HOME": str(base / "memory")}
    return subprocess.Popen(
        [sys.executable, "-m", "ai_memory_mcp", "demo", *words],
        env=told | env,
        cwd=base,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What `demo --json --keep` tells."""
    process = start(tmp_path_factory.mktemp("demo"), "--json", "--keep")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return json.loads(out)


# --- the recorded session


@pytest.mark.parametrize("number", range(len(RECORDED)))
def test_every_recorded_event_has_the_fields_that_claude_code_sends(number):
    payload = RECORDED[number]
    event = payload["hook_event_name"]
    real = json.loads((PAYLOADS / f"{event}.json").read_text(encoding="utf-8"))
    assert any(set(payload) == set(one) - {"mcp_server"} for one in real)


def test_the_recording_is_one_whole_session_without_a_literal_key():
    assert 25 <= len(RECORDED) <= 40
    assert (RECORDED[0]["hook_event_name"], RECORDED[-1]["hook_event_name"]) == ("SessionStart", "SessionEnd")
    assert len({payload["session_id"] for payload in RECORDED}) == 1
    assert KEY not in json.dumps(RECORDED)


# --- what comes of it


def test_every_event_is_stored_and_none_of_them_takes_long(told):
    assert told["events"] == len(RECORDED) + 2
    assert told["capture"]["seen"] == told["capture"]["stored"] == told["events"]
    assert 0 < told["hook_ms"]["median"] < told["hook_ms"]["first"] < 10_000


def test_codex_is_told_what_is_left_decided_and_open(told):
    brief = told["brief"]
    assert brief.startswith("<ai-memory-brief")
    assert "Park events that were given up in a dead-letter table" in brief  # unfinished on the to-do list
    assert "instead of a fixed offset per worker, because" in brief
    assert "Should a `Retry-After` header of a 429 win" in brief
    assert "courier/delivery.py" in brief
    assert "Find why retries come every second" not in brief  # that one is done


def test_the_handoff_goes_to_codex_once_it_is_asked_to_go_on(told):
    assert [one["state"] for one in told["handoffs"]] == ["accepted"]
    assert told["handoffs"][0]["accepted_by"].startswith("codex ")


def test_a_question_about_the_session_is_answered_from_it(told):
    assert "spread()" in " ".join(hit["snippet"] for hit in told["hits"])


def test_the_pasted_key_is_in_no_file_of_the_memory(told, tmp_path):
    assert told["key_found_in"] == []
    assert "[REDACTED" in told["redacted"]
    files = [path for path in Path(told["home"]).rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    (tmp_path / "leak").write_text(f"a {KEY} b")
    assert holding(tmp_path, KEY) == [str(tmp_path / "leak")]  # the search itself does find


def test_what_was_kept_is_a_memory_and_a_git_repository(told):
    assert told["kept"]
    assert Path(told["wiki"], ".git", "HEAD").exists()
    assert list(Path(told["wiki"]).glob("sessions/*/*/*.md"))
    assert told["commits"][-1].endswith("Project courier")


# --- how it behaves


def test_it_reads_well_without_git_without_terminal_and_leaves_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    process = start(tmp_path, PATH=str(tmp_path / "empty"))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    for words in (
        "Claude Code works in ~/courier",
        "[REDACTED",
        "<ai-memory-brief",
        "Project courier",
        "ai-memory-mcp setup",
    ):
        assert words in out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 100
    assert [list((tmp_path / name).iterdir()) for name in ("tmp", "home", "memory")] == [[], [], []]


def test_settings_of_the_user_do_not_reach_it(tmp_path):
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "config.toml").write_text("[capture]\nenabled = false\n")
    process = start(tmp_path, "--json", AI_MEMORY_CAPTURE__ENABLED="false")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["capture"]["filtered"] == 0


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ctrl_c_a_kill_and_a_closed_terminal_remove_the_throw_away_home(tmp_path, name):
    process = start(tmp_path)
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob("tmp/*/memory/spool/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_temporary_folder_that_cannot_be_used_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert main(["demo"]) == 1
    assert "TMPDIR" in capsys.readouterr().err
