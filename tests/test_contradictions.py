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


def test_a_name_that_few_pages_have_brings_those_together_that_search_does_not(
    memory: LocalMemory, work: Path, child: Child, home: Path, stand_in: Provider
) -> None:
    for number in range(contradictions.NEIGHBOURS + 1):  # the nearest neighbours of the two, who leave no place
        write(memory, work, f"Retries of uploads, part {number}", "How uploads are retried.\n")
        write(memory, work, f"Nightly chores, part {number}", "What the nightly chores are.\n")
    long = "It was measured.\n\n" * 300  # what is shown of a page holds the name
    one = write(
        memory, work, "Retries of uploads", f"{long}See `src/up.py`. {YES}\n", summary="How uploads are retried."
    )
    other = write(memory, work, "Nightly chores", f"In up.py: {NO}\n", summary="What the nightly chores are.")
    found = judge(memory, work, child, home)

    assert found == (Contradiction(page=other.path, other=one.path, quote=NO, other_quote=YES, why="Retry or not?"),)


def test_pairs_of_a_shared_name_are_few_and_the_rarest_come_first(memory: LocalMemory, work: Path) -> None:
    groups = {"every_page": range(30), "six_of_them": range(6), "three_of_them": range(10, 13), "two_of_them": (20, 21)}
    said = {number: [name for name, pages in groups.items() if number in pages] for number in range(30)}
    for number, names in said.items():
        write(memory, work, f"{number:02}", f"{' and '.join(names)} {number}\n", summary=f"page{number}")
    project = memory.resolve(Scope(cwd=str(work))).project
    assert isinstance(project, Project)
    found = [pair for pair in contradictions.candidates(memory.res, project) if pair.name]
    names = [pair.name for pair in found]
    pages = [page.path for pair in found for page in (pair.first, pair.second)]

    assert names == sorted(names, key=["two_of_them", "three_of_them", "six_of_them"].index)
    assert names.count("two_of_them") == 1
    assert names.count("three_of_them") == 3
    assert max(map(pages.count, pages)) == contradictions.NEIGHBOURS, "six pages are 15 pairs"
    again = contradictions.candidates(memory.res, project, {pair.mark for pair in found})
    assert not any(pair.name for pair in again)


def test_more_pairs_than_are_judged_at_one_time_wait_for_the_next(
    memory: LocalMemory, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contradictions, "BY_NAME", 3)
    names = ["upload_ttl", "retry_count", "cron_lock", "disk_quota"]
    colours = iter("amber blue cyan denim ebony fawn gold hazel".split())
    for name in names * 2:
        colour = next(colours)
        write(memory, work, colour.title(), f"{name} is here.\n", summary=colour)
    project = memory.resolve(Scope(cwd=str(work))).project
    assert isinstance(project, Project)
    first = {pair.mark: pair.name for pair in contradictions.candidates(memory.res, project)}
    later = [pair.name for pair in contradictions.candidates(memory.res, project, first)]

    assert len(first) == 3
    assert sorted([*first.values(), *later]) == sorted(names)


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
