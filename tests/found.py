"""Cases of search: texts, and questions by kind that must find them among the first five hits of one project."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from library import Library

FIRST = 5


@dataclass(frozen=True)
class Case:
    """A page, or without a title an observation, and the questions it answers: {kind of question: question}."""

    title: str
    text: str
    asked: dict[str, str]


def fill(library: Library, cases: Iterable[Case], decoys: Iterable[str]) -> None:
    """Store the cases and the decoys; every third decoy is an observation, every fourth text another session."""
    for number, case in enumerate(cases):
        if case.title:
            library.page(case.title, case.text)
        else:
            library.seen(case.text, session=f"s{number // 4}", kind="post-tool")
    for number, decoy in enumerate(decoys):
        title, _, text = decoy.partition(": ")
        if number % 3:
            library.page(title, text)
        else:
            library.seen(f"{title}: {text}", session=f"d{number // 4}")


def questions(cases: Iterable[Case]) -> list[tuple[str, str, str]]:
    """Return (kind of question, question, title that must be found)."""
    return [(kind, asked, case.title or case.text[:60]) for case in cases for kind, asked in case.asked.items()]


def misses(library: Library, asked: Iterable[tuple[str, str, str]]) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Ask everything; returns {kind: how many were asked} and {kind: what was not found}."""
    counts: dict[str, int] = defaultdict(int)
    missed: dict[str, list[str]] = defaultdict(list)
    for kind, question, wanted in asked:
        counts[kind] += 1
        titles = library.titles(question)
        if not any(title.startswith(wanted) for title in titles[:FIRST]):
            missed[kind].append(f"{question!r} wants {wanted!r}, got {titles}")
    return counts, missed
