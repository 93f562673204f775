"""What an agent answered, where only its own transcript says so."""

import json
from threading import Timer

import pytest
from hooking import Hook

from ai_memory_mcp import emit_rare
from ai_memory_mcp.agents.spec import find_spec

COPILOT = find_spec("copilot").transcript.model_dump(mode="json")


@pytest.fixture
def hook(tmp_path):
    return Hook(tmp_path)


@pytest.fixture
def transcript(tmp_path):
    """A transcript of Copilot's whose first turn is answered."""
    path = tmp_path / "events.jsonl"
    path.write_text(said("user.message", "Begin", 1) + said("assistant.message", "first", 2))
    return path


def said(kind, content, second):
    told = {"type": kind, "data": {"content": content}, "timestamp": f"2026-11-26T02:17:{second:02d}.000Z"}
    return json.dumps(told) + "\n"


def test_an_answer_is_taken_from_the_transcript_at_once_when_that_is_as_late_as_the_event(hook, transcript):
    told = {"transcript_path": str(transcript), "timestamp": "2026-11-26T02:17:02.000Z"}
    hook.emit(hook.payload(**told), "copilot", "Stop")

    assert hook.entries()[0]["payload"]["last_assistant_message"] == "first"


def test_a_transcript_that_is_written_late_is_waited_for(transcript, monkeypatch):
    monkeypatch.setattr(emit_rare, "TRANSCRIPT_WAIT", 20)
    payload = {"transcript_path": str(transcript), "timestamp": "2026-11-26T02:17:09.000Z"}
    late = said("user.message", "Go on", 8) + said("assistant.message", "second", 9)
    writer = Timer(0.1, lambda: transcript.write_text(transcript.read_text() + late))
    writer.start()

    emit_rare.add_answer(COPILOT, payload)

    writer.join()
    assert payload["last_assistant_message"] == "second"


def test_a_transcript_that_never_gets_there_is_taken_as_it_is(transcript, monkeypatch):
    monkeypatch.setattr(emit_rare, "TRANSCRIPT_WAIT", 0)
    payload = {"transcript_path": str(transcript), "timestamp": "2026-11-26T02:17:09.000Z"}

    emit_rare.add_answer(COPILOT, payload)

    assert payload["last_assistant_message"] == "first"


def test_an_answer_before_the_last_prompt_is_none(hook, transcript):
    transcript.write_text(transcript.read_text() + said("user.message", "Go on", 3))
    told = {"transcript_path": str(transcript), "timestamp": "2026-11-26T02:17:03.000Z"}
    hook.emit(hook.payload(**told), "copilot", "Stop")

    assert "last_assistant_message" not in hook.entries()[0]["payload"]
