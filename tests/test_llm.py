"""The door to language models: what is sent and to whom, what becomes of every way to fail, what is counted."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path

import pytest
from provider import SHAPES, Asked, Provider, provider
from pydantic import BaseModel

from ai_memory_mcp import llm
from ai_memory_mcp.cli.main import main
from ai_memory_mcp.config import Config, LlmConfig, api_key, load_config
from ai_memory_mcp.doctor import examine, try_llm
from ai_memory_mcp.errors import ConfigError, LlmError
from ai_memory_mcp.llm import Child, Llm, wire_schema
from ai_memory_mcp.llm_meter import Meter
from ai_memory_mcp.llm_queue import Queue
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Scope, Spending
from ai_memory_mcp.processes import Conversation, conversation
from ai_memory_mcp.resources import Resources

needs_litellm = pytest.mark.skipif(
    find_spec("litellm") is None, reason="litellm is not installed: pip install '.[llm]'"
)
KEY = "test-key-0123456789abcdef"
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=timezone.utc)


class Word(BaseModel):
    """What the model is asked for here."""

    word: str = ""


@pytest.fixture
def stand_in() -> Iterator[Provider]:
    with provider() as found:
        yield found


def settings(stand_in: Provider, shape: str = "openai", **more: object) -> LlmConfig:
    told = {"provider": shape, "model": "made-up-1", "base_url": stand_in.base(shape), "timeout_seconds": 20, **more}
    return LlmConfig.model_validate(told)


def ask(config: LlmConfig, child: Child, home: Path, **more: object) -> Word:
    door = Llm(config, KEY, home, child, pauses=(0.0, 0.0), **more)  # type: ignore[arg-type]
    return door.ask("test", "Say a word.", "Which one?", Word, max_tokens=50)


def spent(home: Path) -> Spending:
    return next(iter(Meter(home).days(datetime.now(timezone.utc)).values()))["test"]


# --- the wire


@needs_litellm
@pytest.mark.parametrize("shape", SHAPES)
def test_each_provider_is_asked_in_its_own_shape_and_its_answer_is_read(
    shape: str, stand_in: Provider, child: Child, home: Path
) -> None:
    assert ask(settings(stand_in, shape), child, home) == Word(word="ok")

    asked = stand_in.asked[0]
    assert (asked.shape, asked.key) == (shape, KEY)
    assert "Which one?" in asked.user
    assert "Say a word." in asked.system + asked.user
    most = {
        "openai": asked.body.get("max_completion_tokens"),
        "anthropic": asked.body.get("max_tokens"),
        "gemini": asked.body.get("generationConfig", {}).get("max_output_tokens"),
    }
    assert most[shape] == 50
    assert len(stand_in.asked) == 1
    assert spent(home).calls == 1
    assert spent(home).input > 0


@needs_litellm
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("mode", "kind", "tries"),
    [
        ("error", "down", 3),
        ("busy", "down", 3),
        ("down", "down", 3),
        ("html", "down", 3),
        ("limited", "limited", 3),
        ("key", "key", 1),
        ("forbidden", "key", 1),
        ("unknown", "model", 1),
        ("garbage", "garbage", 3),
        ("shape", "garbage", 3),
        ("silent", "garbage", 3),
        ("truncated", "truncated", 1),
        ("refusing", "refused", 1),
    ],
)
def test_every_way_to_fail_is_told_apart_and_what_may_pass_is_tried_again(
    shape: str, mode: str, kind: str, tries: int, stand_in: Provider, child: Child, home: Path
) -> None:
    stand_in.modes = [mode]
    with pytest.raises(LlmError) as error:
        ask(settings(stand_in, shape), child, home)

    assert error.value.kind == kind, error.value
    assert len(stand_in.asked) == tries
    assert KEY not in str(error.value)
    assert (spent(home).calls, spent(home).failed) == (tries, tries)


@needs_litellm
@pytest.mark.parametrize("mode", ["error", "limited", "garbage", "down"])
def test_a_provider_that_recovers_is_heard(mode: str, stand_in: Provider, child: Child, home: Path) -> None:
    stand_in.modes = [mode, "ok"]

    assert ask(settings(stand_in), child, home) == Word(word="ok")
    assert (spent(home).calls, spent(home).failed) == (2, 1)


@needs_litellm
def test_who_asks_for_much_patience_is_not_asked_again_now(stand_in: Provider, child: Child, home: Path) -> None:
    stand_in.modes, stand_in.wait = ["limited"], "90"
    with pytest.raises(LlmError) as error:
        ask(settings(stand_in), child, home)

    assert (error.value.kind, error.value.wait, len(stand_in.asked)) == ("limited", 90.0, 1)
    assert "left alone" in Meter(home).paused(datetime.now(timezone.utc))


@needs_litellm
def test_an_endpoint_that_takes_no_schema_is_asked_without(stand_in: Provider, child: Child, home: Path) -> None:
    stand_in.modes = ["schemaless"]

    assert ask(settings(stand_in), child, home) == Word(word="ok")
    assert [asked.has_schema for asked in stand_in.asked] == [True, False]


@needs_litellm
@pytest.mark.parametrize("mode", ["fenced", "uncounted"])
def test_an_answer_in_a_code_block_or_without_a_count_is_taken(
    mode: str, stand_in: Provider, child: Child, home: Path
) -> None:
    stand_in.modes = [mode]

    assert ask(settings(stand_in), child, home) == Word(word="ok")
    assert spent(home).input > 0


@needs_litellm
def test_an_endpoint_of_ones_own_gets_no_key_unless_told(stand_in: Provider, child: Child, home: Path) -> None:
    config = settings(stand_in, "openai", provider="openai-compatible")
    door = Llm(config, api_key(config, {"OPENAI_API_KEY": KEY}), home, child)

    assert door.ask("test", "Say a word.", "Which one?", Word, max_tokens=50) == Word(word="ok")
    assert stand_in.asked[0].key == "none"


@needs_litellm
@pytest.mark.slow
def test_a_provider_that_never_ends_its_answer_is_left(stand_in: Provider, home: Path) -> None:
    """litellm gives up waiting for a first word; against one that comes byte by byte only the end of it helps."""
    with Child({"PATH": os.environ["PATH"]}) as own:
        for mode in ("hang", "drip"):
            stand_in.modes = [mode]
            with pytest.raises(LlmError) as error:
                ask(settings(stand_in, timeout_seconds=1), own, home)

            assert error.value.kind == "slow"
    assert len(stand_in.asked) == 2
    assert spent(home).input > 0, "what may have been answered for nothing stays booked"


# --- who is contacted

WATCH = """
import json, sys
told = open({log!r}, "a", buffering=1)
def watch(event, args):
    if event in ("socket.connect", "socket.sendto"):
        told.write(json.dumps([event, str(args[1])]) + "\\n")
    elif event == "socket.getaddrinfo":
        told.write(json.dumps([event, str(args[:2])]) + "\\n")
    elif event == "open" and isinstance(args[0], str) and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        told.write(json.dumps([event, args[0]]) + "\\n")
sys.addaudithook(watch)
sys.path.append({root!r})
from ai_memory_mcp.llm_child import main
main()
"""


class Watched(Child):
    """The same process, with every connection, look-up and file written told in a log."""

    log: Path

    def _begin(self) -> Conversation:
        root = str(Path(llm.__file__).parent.parent)
        command = [sys.executable, "-E", "-c", WATCH.format(log=str(self.log), root=root)]
        return self._stack.enter_context(conversation(command, env=self._env, cwd=self.log.parent))


@needs_litellm
def test_nothing_but_the_configured_address_is_contacted_and_nothing_written(
    stand_in: Provider, home: Path, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("OPENAI_BASE_URL=http://192.0.2.7/v1\nLITELLM_LOG=DEBUG\n")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "OPENAI_BASE_URL": "http://192.0.2.8",
        "LITELLM_LOG": "DEBUG",
    }
    with Watched(env) as child:
        child.log = tmp_path / "log"
        for shape in SHAPES:
            stand_in.modes = ["ok"]
            ask(settings(stand_in, shape), child, home)
            stand_in.modes = ["error", "ok"]
            ask(settings(stand_in, shape), child, home)
        seen = [json.loads(line) for line in child.log.read_text().splitlines()]
    port = stand_in.url.rpartition(":")[2]
    contacts = {what for event, what in seen if event.startswith("socket")}

    assert len(stand_in.asked) == 9
    assert contacts
    assert all("127.0.0.1" in what and port in what for what in contacts), contacts
    assert {what for event, what in seen if event == "open" and what.startswith(str(tmp_path))} == set()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", "log"]


@needs_litellm
def test_the_key_is_in_no_argument_no_variable_and_no_file(stand_in: Provider, home: Path) -> None:
    env = {"PATH": os.environ["PATH"], "ANTHROPIC_API_KEY": KEY, "AWS_SECRET_ACCESS_KEY": KEY}
    seen: list[bytes] = []

    def look(asked: Asked) -> str:
        seen.extend(
            path.read_bytes()
            for name in ("cmdline", "environ")
            for path in Path("/proc").glob(f"[0-9]*/{name}")
            if _child_of_ours(path)
        )
        return '{"word": "ok"}'

    stand_in.answer = look
    with Child(env) as child:
        ask(settings(stand_in), child, home)
        stand_in.modes = ["key"]
        with pytest.raises(LlmError):
            ask(settings(stand_in), child, home)

    assert any(b"llm_child" in data for data in seen)
    assert not [data for data in seen if KEY.encode() in data]
    assert not [path for path in home.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def _child_of_ours(path: Path) -> bool:
    try:
        return int((path.parent / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()
    except OSError:
        return False


# --- what must be set up first


def test_without_a_provider_nobody_is_asked(child: Child, home: Path) -> None:
    with pytest.raises(LlmError, match=r"no language model is set up; set provider and model") as error:
        ask(LlmConfig(), child, home)

    assert error.value.kind == "unset"
    assert not home.exists()


@pytest.mark.parametrize(
    ("told", "key", "kind", "words"),
    [
        ({"provider": "openai"}, KEY, "unset", "no model is set"),
        ({"provider": "openai-compatible", "model": "m"}, KEY, "unset", "needs the address"),
        ({"provider": "anthropic", "model": "m"}, "", "key", "ANTHROPIC_API_KEY is not set here"),
        ({"provider": "gemini", "model": "m"}, "", "key", "GEMINI_API_KEY or GOOGLE_API_KEY"),
        ({"provider": "openai", "model": "m", "api_key_env": "MINE"}, "", "key", "MINE is not set"),
    ],
)
@needs_litellm
def test_what_is_missing_is_said_with_what_mends_it(told: dict[str, str], key: str, kind: str, words: str) -> None:
    error = llm.fault(LlmConfig.model_validate(told), key)

    assert error is not None
    assert error.kind == kind
    assert words in str(error)


def test_a_complete_setting_has_no_fault() -> None:
    if find_spec("litellm") is None:
        error = llm.fault(LlmConfig(provider="openai", model="m"), KEY)
        assert error is not None
        assert llm.installing() in str(error)
    else:
        assert llm.fault(LlmConfig(provider="openai", model="m"), KEY) is None
        assert llm.fault(LlmConfig(provider="openai-compatible", model="m", base_url="http://127.0.0.1:1"), "") is None


def test_the_key_comes_from_the_file_the_variable_named_or_the_providers_own(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(" from-file\n")
    file.chmod(0o600)
    env = {"OPENAI_API_KEY": "own", "MINE": "named", "GOOGLE_API_KEY": "google"}

    assert api_key(LlmConfig(provider="openai"), env) == "own"
    assert api_key(LlmConfig(provider="gemini"), env) == "google"
    assert api_key(LlmConfig(provider="anthropic"), env) == ""
    assert api_key(LlmConfig(provider="openai-compatible"), env) == ""
    assert api_key(LlmConfig(provider="openai", api_key_env="MINE"), env) == "named"
    assert api_key(LlmConfig(provider="openai", api_key_env="MINE", api_key_file=str(file)), env) == "from-file"
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        api_key(LlmConfig(provider="openai", api_key_file=str(file)), env)
    with pytest.raises(ConfigError, match="does not exist"):
        api_key(LlmConfig(provider="openai", api_key_file=str(tmp_path / "none")), env)


def test_the_short_names_of_the_variables_are_known(tmp_path: Path) -> None:
    env = {
        "AI_MEMORY_LLM_PROVIDER": "openai-compatible",
        "AI_MEMORY_LLM_MODEL": "2024-10",
        "AI_MEMORY_LLM_BASE_URL": "http://localhost:11434/v1/",
        "AI_MEMORY_LLM__MODEL": "llama3",
    }
    found = load_config(tmp_path, env).llm

    assert (found.provider, found.model, found.base_url) == ("openai-compatible", "llama3", "http://localhost:11434/v1")
    assert Config().llm.provider == ""


@pytest.mark.parametrize("url", ["localhost:11434", "ftp://host/", "https://user:pass@host/v1", "http://"])
def test_an_address_that_cannot_be_or_holds_a_key_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="AI_MEMORY_LLM_BASE_URL"):
        load_config(tmp_path, {"AI_MEMORY_LLM_BASE_URL": url})


# --- the meter


def test_tokens_are_booked_before_and_corrected_after(home: Path) -> None:
    meter = Meter(home)
    meter.begin("page", 1000, 5000, now=NOW)
    assert meter.spent(NOW) == 1000
    meter.end("page", 1000, (300, 40), now=NOW)

    assert meter.spent(NOW) == 340
    assert Meter(home).days(NOW) == {"2026-11-22": {"page": Spending(calls=1, input=300, output=40)}}
    assert meter.spent(NOW + timedelta(days=1)) == 0


def test_the_days_tokens_cannot_be_overspent(home: Path) -> None:
    meter = Meter(home)
    meter.begin("page", 4000, 5000, now=NOW)
    with pytest.raises(LlmError, match="4,000 of 5,000 tokens") as error:
        meter.begin("lint", 1001, 5000, now=NOW, asked=True)

    assert error.value.kind == "capped"
    meter.begin("lint", 1000, 5000, now=NOW)
    meter.begin("lint", 1001, 5000, now=NOW + timedelta(days=1))


def test_after_failures_in_a_row_the_provider_is_left_alone_ever_longer(home: Path) -> None:
    meter, down = Meter(home), LlmError("it is down", "down")

    def fails(now: datetime) -> None:
        meter.begin("page", 10, 5000, now=now)
        meter.failed("page", 10, down, now=now)

    for _ in range(3):
        assert meter.paused(NOW) == ""
        fails(NOW)
    assert meter.paused(NOW) == "the language model is left alone until 2026-11-22 10:05 UTC: it is down"
    with pytest.raises(LlmError) as error:
        fails(NOW + timedelta(seconds=299))
    assert error.value.kind == "paused"
    meter.begin("page", 10, 5000, now=NOW, asked=True)

    later = NOW + timedelta(seconds=300)
    fails(later)
    assert "10:15" in meter.paused(later)
    meter.end("page", 10, (5, 5), now=later)
    assert meter.paused(later) == ""
    fails(later)
    assert meter.paused(later) == "", "it worked in between"


def test_a_key_that_is_not_accepted_pauses_at_once_and_a_refused_answer_never(home: Path) -> None:
    meter = Meter(home)
    for _ in range(5):
        meter.failed("page", 0, LlmError("no", "refused"), now=NOW)
    assert meter.paused(NOW) == ""
    meter.failed("page", 0, LlmError("wrong key", "key"), now=NOW)
    assert "wrong key" in meter.paused(NOW)


def test_a_damaged_meter_begins_anew(home: Path) -> None:
    (home / "llm").mkdir(parents=True)
    (home / "llm" / "meter.json").write_text('{"days": 5')
    Meter(home).begin("page", 10, 5000, now=NOW)

    assert Meter(home).spent(NOW) == 10


def test_days_of_long_ago_are_forgotten(home: Path) -> None:
    meter = Meter(home)
    meter.begin("page", 10, 5000, now=NOW - timedelta(days=40))
    meter.begin("page", 10, 5000, now=NOW)

    assert list(meter.days(NOW, 60)) == ["2026-11-22"]


# --- the schema


class Part(BaseModel):
    """A part."""

    names: list[str] = []


class Whole(BaseModel):
    """A whole."""

    part: Part = Part()
    parts: list[Part] = []


def test_a_schema_has_no_references_and_requires_every_key() -> None:
    part = {
        "type": "object",
        "description": "A part.",
        "properties": {"names": {"type": "array", "items": {"type": "string"}}},
        "required": ["names"],
        "additionalProperties": False,
    }

    assert wire_schema(Whole) == {
        "type": "object",
        "description": "A whole.",
        "properties": {"part": part, "parts": {"type": "array", "items": part}},
        "required": ["part", "parts"],
        "additionalProperties": False,
    }


# --- what is told


@needs_litellm
def test_doctor_tries_the_model_on_request_and_says_what_came_back(
    stand_in: Provider, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir(mode=0o700)
    monkeypatch.setenv("AI_MEMORY_LLM_PROVIDER", "openai-compatible")
    monkeypatch.setenv("AI_MEMORY_LLM_MODEL", "made-up-1")
    monkeypatch.setenv("AI_MEMORY_LLM_BASE_URL", stand_in.base("openai"))
    assert main(["doctor"]) == 0
    assert f"made-up-1 at {stand_in.base('openai')} is set up; 0 of 500,000 tokens" in capsys.readouterr().out
    assert stand_in.asked == []

    assert main(["doctor", "--llm"]) == 0
    assert f"made-up-1 at {stand_in.base('openai')} says 'ok' in" in capsys.readouterr().out
    assert len(stand_in.asked) == 1

    main(["status"])
    assert "doctor: 1 calls" in capsys.readouterr().out


@needs_litellm
def test_what_hinders_the_model_is_told_by_doctor_and_status(
    stand_in: Provider, child: Child, own_home: Path, home: Path
) -> None:
    home.mkdir(mode=0o700)
    config = Config(llm=settings(stand_in, provider="openai-compatible"))
    res = Resources.at(home, str(own_home), config)
    stand_in.modes = ["key"]
    found = try_llm(res, {}, child)

    assert (found.level, "does not accept the key" in found.message) == ("error", True)
    told = examine(res, [], env={}, cwd="", python=sys.executable, now=datetime.now(timezone.utc))
    assert [one.message for one in told if "is left alone until" in one.message]
    status = LocalMemory(res).status(Scope()).llm
    assert status is not None
    assert "is left alone until" in status.problem
    assert next(iter(status.days.values()))["doctor"].failed == 1


def test_without_a_provider_nothing_of_it_is_told(
    home: Path, memory: LocalMemory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert memory.status(Scope()).llm is None
    main(["status"])
    main(["doctor"])
    assert "llm" not in capsys.readouterr().out
    assert not (home / "llm").exists()

    assert main(["doctor", "--llm"]) == 1
    assert "no language model is set up; set provider and model" in capsys.readouterr().out


# --- what waits


def test_a_session_waits_longer_after_each_failure_and_is_given_up_in_the_end(home: Path) -> None:
    queue, now, waits = Queue(home), NOW, []
    queue.add("s1", "p1")
    while queue.due(now):
        one = queue.due(now)[0]
        queue.put_off(one, one, LlmError("it is down", "down"), now)
        one = queue.every()[0]
        if one.given_up:
            break
        waits.append(int(one.not_before - now.timestamp()))
        assert queue.due(now + timedelta(seconds=waits[-1] - 1)) == []
        now += timedelta(seconds=waits[-1])

    assert waits == [600, 3600, 21600, 86400, 86400, 86400, 86400]
    assert queue.every()[0].error == "it is down"
    queue.add("s1", "p1")
    assert [one.tries for one in queue.due(now)] == [0]


@pytest.mark.parametrize(("kind", "tries"), [("garbage", 3), ("refused", 3), ("paused", 0), ("capped", 0), ("key", 0)])
def test_a_session_is_given_up_sooner_for_its_own_fault_and_never_for_anothers(
    kind: str, tries: int, home: Path
) -> None:
    queue = Queue(home)
    queue.add("s1", "p1")
    for _ in range(9):
        if not (one := queue.every()[0]).given_up:
            queue.put_off(one, one, LlmError("no", kind), NOW)

    assert (queue.every()[0].tries, queue.every()[0].given_up) == (tries, tries > 0)


def test_a_session_that_comes_again_meanwhile_is_not_taken_away(home: Path) -> None:
    queue = Queue(home)
    queue.add("s1", "p1")
    taken = queue.every()[0]
    begun = queue.begin(taken, NOW)
    queue.add("s1", "p1")
    queue.done(begun)
    queue.put_off(taken, begun, LlmError("no", "down"), NOW)
    assert [one.tries for one in queue.every()] == [0]

    queue.done(queue.every()[0])
    assert queue.every() == []


def test_who_dies_of_a_session_is_not_sent_to_it_again_at_once(home: Path) -> None:
    queue = Queue(home)
    queue.add("s1", "p1")
    queue.begin(queue.due(NOW)[0], NOW)

    assert queue.due(NOW + timedelta(seconds=599)) == []
    assert [one.error for one in queue.due(NOW + timedelta(seconds=600))] == ["it was begun and never ended"]


def test_a_damaged_entry_is_passed_over(home: Path) -> None:
    queue = Queue(home)
    queue.add("s1", "p1")
    (home / "llm" / "waiting" / "s0.json").write_text("{")

    assert [one.session for one in queue.every()] == ["s1"]
