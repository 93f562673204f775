"""Scoring: how well each of a few candidates answers a question. Pure counting over terms, no index.

A score is a sum of streams, each divided by the best candidate's: words (BM25F over title and body), pairs of words
side by side, pairs near each other, how much of the title the question covers, and words as they are written, also
inside longer ones. What each stream is worth was measured (tests/benchmarks/retrieval.py, option --without); a sum of
streams scaled to their best did better there than a fusion by ranks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ai_memory_mcp.ranking import Question

REACH = 80  # characters within which two terms are near each other: about twelve terms
PAIR_K1, PAIR_B = 1.2, 0.3
INSIDE_K1, INSIDE_B = 1.2, 0.75
SPOTS = 50  # places of one term that are looked at for pairs; a text with more is a list
_LABEL = re.compile(r"\s*\[?(\w[\w .-]{0,30}?)\]?:\s")  # who speaks, at the beginning of what is said
_TIME = re.compile(
    r"\b(?:yesterday|today|tonight|tomorrow|ago|last|next|this (?:week|month|year|morning|evening|weekend|summer|winter"
    r"|spring|fall)|week(?:end)?s?|months?|years?|(?:mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march"
    r"|april|may \d|june|july|august|september|october|november|december|(?:19|20)\d\d|recently|since)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Weights:
    """What the streams count (0 switches one off) and BM25's constants for one kind of text."""

    k1: float
    title: float
    title_b: float
    body_b: float
    adjacent: float
    near: float
    cover: float
    inside: float

    def without(self, parts: Iterable[str]) -> Weights:
        """Return the weights with some streams switched off, by their names here."""
        off = {part: 0.0 for part in parts if part in ("adjacent", "near", "cover", "inside")}
        return replace(self, **off)


PAGE_WEIGHTS = Weights(k1=1.6, title=4.0, title_b=0.75, body_b=0.6, adjacent=0.3, near=0.2, cover=0.2, inside=0.3)
# Observations are short: their length says little, and their title repeats the text.
OBSERVATION_WEIGHTS = Weights(k1=1.2, title=1.0, title_b=0.3, body_b=0.3, adjacent=0.2, near=0.1, cover=0.0, inside=0.0)


@dataclass(frozen=True)
class Candidate:
    """A text to score: its terms as indexed (separated by spaces), how many these are, and as it is written."""

    id: int
    body: str
    length: int
    text: str = ""
    title: str = ""
    written_title: str = ""


@dataclass(frozen=True)
class Collection:
    """What is known of all texts that were searched: how many, their mean length in terms, how many have a term."""

    size: int
    mean: float
    having: Mapping[str, int]

    def rarity(self, having: float) -> float:
        """Return the weight (inverse document frequency) of evidence that so many texts have."""
        size = max(self.size, having)
        return math.log(1 + (size - having + 0.5) / (having + 0.5))

    def idf(self, term: str) -> float:
        """Return the weight of a term."""
        return self.rarity(self.having.get(term, 0))


@dataclass
class Score:
    """A candidate's score and what it is made of; `covered` is the share of the question's weight it has words for."""

    id: int
    total: float = 0.0
    covered: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)


def score(question: Question, candidates: Sequence[Candidate], texts: Collection, weights: Weights) -> list[Score]:
    """Score candidates; in their order. Those without any word of the question score 0."""
    sought = [(term, f" {term[:-1]}" if term.endswith("*") else f" {term} ") for term in question.terms]
    counted = [_Counts(sought, one) for one in candidates]
    streams = {
        "words": (1.0, _words(question, counted, texts, weights)),
        "adjacent": (
            weights.adjacent,
            _pairs(question.adjacent, counted, texts, _side_by_side) if weights.adjacent else [],
        ),
        "near": (weights.near, _pairs(question.near, counted, texts, _near) if weights.near else []),
        "cover": (weights.cover, _cover(question, counted, texts) if weights.cover else []),
        "inside": (weights.inside, _inside(question, candidates, texts) if weights.inside else []),
    }
    asked = {term: texts.idf(term) for term in question.terms}
    whole = sum(asked.values()) or 1.0
    scores = [
        Score(one.id, covered=sum(asked[term] for term in counts.having) / whole)
        for one, counts in zip(candidates, counted, strict=True)
    ]
    for name, (weight, values) in streams.items():
        best = max(values, default=0.0)
        if weight and best > 0:
            for one, value in zip(scores, values, strict=True):
                if value > 0:
                    one.parts[name] = weight * value / best
                    one.total += weight * value / best
    return scores


def spoken_by(text: str, question: Question) -> bool:
    """Tell whether a text begins with the name of a speaker whom the question names (`Ann: …`)."""
    label = _LABEL.match(text)
    return label is not None and any(name in question.words for name in label.group(1).lower().split())


def tells_time(text: str) -> bool:
    """Tell whether a text says when: an answer to a question that asks for a time."""
    return bool(_TIME.search(text))


class _Counts:
    """Where the question's terms stand in one candidate, as places of characters: looking for a few strings in a text
    is many times faster than walking through its words."""

    def __init__(self, terms: Sequence[tuple[str, str]], one: Candidate) -> None:
        self.title, self.body = f" {one.title} ", f" {one.body} "
        self.title_length, self.length = len(one.title.split()), one.length
        self.title_counts: dict[str, int] = {}
        self.spots: dict[str, list[int]] = {}  # in the body
        for term, sought in terms:
            if sought in self.body:
                self.spots[term] = _places(sought, self.body)
            if self.title_length and sought in self.title:
                self.title_counts[term] = self.title.count(sought)
        self.having = self.title_counts.keys() | self.spots.keys()


def _places(sought: str, text: str) -> list[int]:
    found = []
    place = text.find(sought)
    while place >= 0:
        found.append(place)
        place = text.find(sought, place + len(sought) - 1)  # the space between two belongs to both
    return found


_Stand = Callable[[str, str, _Counts], int]


def _words(question: Question, counted: Sequence[_Counts], texts: Collection, weights: Weights) -> list[float]:
    """BM25F (Robertson, Zaragoza and Taylor, 2004): saturation works on the weighted sum of the fields."""
    idf = {term: texts.idf(term) for term in question.terms}
    mean_title = sum(counts.title_length for counts in counted) / max(1, len(counted)) or 1.0
    found = []
    for counts in counted:
        in_title = weights.title / (1 - weights.title_b + weights.title_b * counts.title_length / mean_title)
        in_body = 1 / (1 - weights.body_b + weights.body_b * counts.length / (texts.mean or 1.0))
        total = 0.0
        for term in counts.having:
            often = in_title * counts.title_counts.get(term, 0) + in_body * len(counts.spots.get(term, ()))
            total += idf[term] * often * (weights.k1 + 1) / (often + weights.k1)
        found.append(total)
    return found


def _pairs(
    pairs: Sequence[tuple[str, str]], counted: Sequence[_Counts], texts: Collection, stand: _Stand
) -> list[float]:
    """BM25 over pairs of the question's words that stand together in a text."""
    total = [0.0] * len(counted)
    for one, other in pairs:
        often = {
            place: count
            for place, counts in enumerate(counted)
            if one in counts.having and other in counts.having
            if (count := stand(one, other, counts))
        }
        idf = texts.rarity(len(often))
        for place, count in often.items():
            length = counted[place].title_length + counted[place].length
            scaled = count / (1 - PAIR_B + PAIR_B * length / (texts.mean or 1.0))
            total[place] += idf * scaled * (PAIR_K1 + 1) / (scaled + PAIR_K1)
    return total


def _side_by_side(one: str, other: str, counts: _Counts) -> int:
    sought = f" {one} {other} "
    return counts.title.count(sought) + counts.body.count(sought)


def _near(one: str, other: str, counts: _Counts) -> int:
    """Count the places where both stand near each other; in a title they always do."""
    first, second = counts.spots.get(one, ())[:SPOTS], counts.spots.get(other, ())[:SPOTS]
    titled = min(counts.title_counts.get(one, 0), counts.title_counts.get(other, 0))
    return titled + sum(-REACH <= there - here <= REACH for here in first for there in second)


def _cover(question: Question, counted: Sequence[_Counts], texts: Collection) -> list[float]:
    """Return how much of each title the question has: a title that says more is about something else."""
    typical = texts.rarity(math.sqrt(texts.size))
    found = []
    for counts in counted:
        matched = sum(texts.idf(term) for term in counts.title_counts)
        rest = len(set(counts.title.split())) - len(counts.title_counts)
        found.append(matched / (matched + rest * typical) if matched else 0.0)
    return found


def _inside(question: Question, candidates: Sequence[Candidate], texts: Collection) -> list[float]:
    """BM25 over the words as they are written, also within longer ones (`auth` in `authorize`, `Client` in names)."""
    written = [(one.written_title.lower(), one.text.lower()) for one in candidates]
    mean = sum(len(text) for _, text in written) / max(1, len(written)) or 1.0
    total = [0.0] * len(candidates)
    for word in question.words:
        often = {
            place: count
            for place, (title, text) in enumerate(written)
            if (count := 4 * title.count(word) + text.count(word))
        }
        idf = texts.rarity(len(often))
        for place, count in often.items():
            norm = INSIDE_K1 * (1 - INSIDE_B + INSIDE_B * len(written[place][1]) / mean)
            total[place] += idf * count * (INSIDE_K1 + 1) / (count + norm)
    return total
