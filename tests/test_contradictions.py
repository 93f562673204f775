"""Contradictions: which pairs are judged, what of a verdict counts, and that nobody is asked twice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from playing import repository
from provider import Asked, Provider, provider

from ai_memory_mcp import contradictions
from ai_memory_mcp.cli.main import main
from ai_memory_mcp.config import Config
from ai_memory_mcp.errors import LlmError
from ai_memory_mcp.llm import Child, Llm
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Contradiction, Draft, Page, Project, Scope
from ai_memory_mcp.redact import Redactor
from ai_memory_mcp.resources import Resources

pytestmark = pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed: pip install '.[llm]'")

YES = "Retry uploads three times, then give up."
NO = "Never retry uploads: the server counts them."


@pytest.fixture
def stand_in() -> Iterator[Provider]:
    with provider() as found:
        found.answer = judged
        yield found


def judged(asked: Asked) -> str:
    """Find what a decent model would find in the pages written here."""
    pairs = re.findall(r"Pair (\d+)\n(.*?)(?=\n\nPair|\Z)", asked.user, re.S)
    against = [
        {"pair": int(number), "quote": first[1], "other_quote": second[1], "why": "Retry or not?"}
        for number, text in pairs
        if YES in text and NO in text
        for first, second in [sorted((text.index(said), said) for said in (YES, NO))]
    ]
    return json.dumps({"contradictions": against})


@pytest.fixture
def work(own_home: Path) -> Path:
    return repository(own_home / "work", remote="git@example.com:me/work.git")


@pytest.fixture
def memory(own_home: Path, home: Path, stand_in: Provider) -> LocalMemory:
    told = {"provider": "openai-compatible", "model": "m", "base_url": stand_in.base("openai"), "timeout_seconds": 20}
    return LocalMemory(Resources.at(home, str(own_home), Config.model_validate({"llm": told})))


def write(memory: LocalMemory, work: Path, title: str, body: str, **more: object) -> Page:
    draft = Draft.model_validate({"title": title, "body": body, "kind": "decision", "agent": "user", **more})
    return memory.write(Scope(cwd=str(work)), draft)


def judge(memory: LocalMemory, work: Path, child: Child, home: Path) -> tuple[Contradiction, ...]:
    project = memory.resolve(Scope(cwd=str(work))).project
    assert isinstance(project, Project)
    return contradictions.judge(memory.res, project, Llm(memory.res.config.llm, "", home, child, pauses=()), Redactor())


@pytest.mark.slow
def test_pages_that_contradict_each_other_are_found_with_both_their_words(
    memory: LocalMemory, work: Path, child: Child, home: Path, stand_in: Provider
) -> None:
    one = write(memory, work, "Retries of uploads", f"{YES} It was measured.\n")
    other = write(memory, work, "Uploads and retries", f"{NO}\n", kind="gotcha")
    write(memory, work, "Colours of the logo", "Blue and green.\n")
    found = judge(memory, work, child, home)

    assert found == (Contradiction(page=one.path, other=other.path, quote=YES, other_quote=NO, why="Retry or not?"),)
    assert "Colours" not in "".join(asked.user for asked in stand_in.asked), "not all pairs"
    assert memory.contradictions(Scope(cwd=str(work))) == found


def test_nobody_is_asked_twice_and_a_change_is_judged_anew(
    memory: LocalMemory, work: Path, child: Child, home: Path, stand_in: Provider
) -> None:
    write(memory, work, "Retries of uploads", f"{YES}\n")
    write(memory, work, "Uploads and retries", f"{NO}\n")
    judge(memory, work, child, home)
    judge(memory, work, child, home)
    assert len(stand_in.asked) == 1

    write(memory, work, "Uploads and retries", "Retries of uploads are logged.\n")
    assert memory.contradictions(Scope(cwd=str(work))) == ()
    assert judge(memory, work, child, home) == ()
    assert len(stand_in.asked) == 2


def test_what_is_superseded_is_no_contradiction(
    memory: LocalMemory, work: Path, child: Child, home: Path, stand_in: Provider
) -> None:
    old = write(memory, work, "Retries of uploads", f"{YES}\n")
    write(memory, work, "Uploads and retries", f"{NO}\n", supersedes=(old.path,))

    assert judge(memory, work, child, home) == ()
    assert stand_in.asked == []


@pytest.mark.parametrize(
    "verdict",
    [
        {"pair": 1, "quote": YES, "other_quote": "It says so somewhere."},
        {"pair": 1, "quote": "", "other_quote": NO},
        {"pair": 7, "quote": YES, "other_quote": NO},
        {"pair": 1, "quote": NO, "other_quote": YES},
    ],
)
def test_a_verdict_without_the_words_of_both_pages_does_not_count(
    memory: LocalMemory, work: Path, child: Child, home: Path, stand_in: Provider, verdict: dict[str, object]
) -> None:
    write(memory, work, "Retries of uploads", f"{YES}\n")
    write(memory, work, "Uploads and retries", f"{NO}\n")
    stand_in.answer = lambda asked: json.dumps({"contradictions": [verdict]})

    assert judge(memory, work, child, home) == ()


def test_what_was_judged_before_a_failure_is_kept(
    memory: LocalMemory, work: Path, child: Child, home: Path, stand_in: Provider
) -> None:
    for number in range(6):
        write(memory, work, f"Uploads retries {number}", f"Uploads and retries, part {number}.\n")
    stand_in.modes = ["ok", "refusing"]
    with pytest.raises(LlmError):
        judge(memory, work, child, home)
    first = stand_in.asked[0].user
    stand_in.modes = ["ok"]
    judge(memory, work, child, home)

    assert all(asked.user != first for asked in stand_in.asked[1:])


def test_the_command_tells_them(
    memory: LocalMemory,
    work: Path,
    child: Child,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(memory, work, "Retries of uploads", f"{YES}\n")
    write(memory, work, "Uploads and retries", f"{NO}\n")
    monkeypatch.chdir(work)
    assert main(["lint"]) == 0
    assert "contradicts" not in capsys.readouterr().out
    judge(memory, work, child, home)
    assert main(["lint"]) == 1
    told = capsys.readouterr().out
    assert YES in told
    assert NO in told
    assert main(["lint", "--llm"]) == 1
    assert "no language model" not in capsys.readouterr().err, "there is nothing new to ask"
    write(memory, work, "More of uploads and retries", "They are logged.\n")
    assert main(["lint", "--llm"]) == 1
    assert "no language model is set up" in capsys.readouterr().err
