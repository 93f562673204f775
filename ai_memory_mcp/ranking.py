"""Words of texts and questions: pure functions that index and search share, so that both see the same terms.

FTS5's `unicode61` already splits snake_case, paths and dotted names. What it misses is added as extra terms: the
parts of camelCase and of letter-digit names, and pairs of neighbouring characters of Chinese, Japanese and Korean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice, pairwise
from typing import get_args

from ai_memory_mcp.model import EventKind, PageKind

STOP_WORDS = frozenset(
    """
    a about after all also an and any are as at be because been but by can could did do does doing done for from get
    got had has have having he her here him his how i if in into is it its just let me more most my no not of off on
    once only or other our out over own same she should so some such than that the their them then there these they
    this those through to too under until up us very was we were what when where which while who whom why will with
    would you your
    """.split()
)
_CJK = (
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_CJK_RUN = re.compile(f"[{_CJK}]+")
_CJK_WORD = re.compile(rf"[\w{_CJK}]+")
_WORD = re.compile(r"\w+", re.UNICODE)
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+|\d+")
_MIXED = re.compile(r"[a-z][A-Z]|[A-Za-z]\d|\d[A-Za-z]|[A-Z]{2}[a-z]")
_CLASSES = bytes(  # of ASCII characters: a, A, 0 or a space
    97 if 97 <= char <= 122 else 65 if 65 <= char <= 90 else 48 if 48 <= char <= 57 else 32 for char in range(256)
)
_JOINTS = (b"aA", b"a0", b"A0", b"0a", b"0A", b"AAa")  # what _MIXED finds, once letters and digits are told as classes
_FILTER = re.compile(r"(?:^|(?<=\s))(kind|agent|before|after|path):(\"[^\"]+\"|\S+)")
_PHRASE = re.compile(r'"([^"]+)"')
OBSERVATIONS = ("observation", "observations")  # how a question asks for observations of any kind
EVENT_KINDS: tuple[str, ...] = get_args(EventKind)
PAGE_KINDS: tuple[str, ...] = get_args(PageKind)
MAX_PAIRS = 12  # pairs of words that count more where they stand together; each costs as much as two words
NEAR = 2  # words between the two of a pair
MAX_TERMS = 40  # of a question: what is longer is a pasted text, whose first words say enough


@dataclass(frozen=True)
class Question:
    """A question taken apart. `terms` are alternatives, `pairs` of them stood together, `phrases` are all required;
    filters narrow."""

    terms: tuple[str, ...]
    phrases: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    kinds: tuple[str, ...] = ()
    agent: str = ""
    path: str = ""
    before: datetime | None = None
    after: datetime | None = None


def extra_terms(text: str) -> str:
    """Return the terms that the tokenizer would miss, space separated: parts of mixed names, CJK pairs."""
    found: list[str] = []
    for name in _mixed_names(text):
        found += [part.lower() for part in _PARTS.findall(name) if part != name]
    for word in _cjk_words(text):
        found += _CJK_RUN.sub(" ", word).lower().split()
        for run in _CJK_RUN.findall(word):
            found += [*pairs(run), run[-1]]  # with the last one, each character begins a term: see `_term`
    return " ".join(dict.fromkeys(found))


def _mixed_names(text: str) -> list[str]:
    """Return the words with parts. Most texts have none, and a glance at the bytes tells that in no time."""
    if text.isascii():
        classes = text.encode().translate(_CLASSES)
        if not any(joint in classes for joint in _JOINTS):
            return []
    return [word for word in dict.fromkeys(_WORD.findall(text)) if 3 <= len(word) <= 80 and _MIXED.search(word)]


def _cjk_words(text: str) -> list[str]:
    if text.isascii() or not _CJK_RUN.search(text):
        return []
    return [word for word in _CJK_WORD.findall(text) if _CJK_RUN.search(word)]


def pairs(run: str) -> list[str]:
    """Return the overlapping pairs of a run of CJK characters (a single one stays itself)."""
    return [run] if len(run) == 1 else [run[i : i + 2] for i in range(len(run) - 1)]


def kind_named(name: str) -> str:
    """Return the kind of page or observation that a word means, plural or not; '' for none."""
    name = name.strip().lower()
    singular = name[:-3] + "y" if name.endswith("ies") else name.removesuffix("s")
    known = (*PAGE_KINDS, *EVENT_KINDS, *OBSERVATIONS)
    return next((one for one in (name, singular) if one in known), "")


def take_apart(text: str) -> Question:
    """Read a question: filters (`kind:decision agent:codex after:2026-01-01 path:src/`), phrases, words.

    Anything is valid: what is no filter is searched as words.
    """
    text = text[:10_000].replace("\0", " ").encode("utf-8", "replace").decode()
    given: dict[str, list[str]] = {}

    def take(match: re.Match[str]) -> str:
        name, value = match.group(1), match.group(2).strip('"')
        if (name == "kind" and not kind_named(value)) or (name in ("before", "after") and not _date(value)):
            return match.group(0)  # "before:lunch" are words
        given.setdefault(name, []).append(value)
        return " "

    rest = _FILTER.sub(take, text)
    words = _words(rest)
    return Question(
        terms=tuple(dict.fromkeys(term for group in words for term in group))[:MAX_TERMS],
        phrases=tuple(dict.fromkeys(part for quoted in _PHRASE.findall(rest) for part in _phrase(quoted)))[:16],
        pairs=tuple((one[0], other[0]) for one, other in pairwise(words))[:MAX_PAIRS],
        kinds=tuple(kind_named(kind) for kind in given.get("kind", ())),
        agent=given.get("agent", [""])[-1],
        path=given.get("path", [""])[-1],
        before=_date(given.get("before", [""])[-1]),
        after=_date(given.get("after", [""])[-1]),
    )


def match_expression(question: Question, scopes: Sequence[str]) -> str:
    """Return an FTS5 MATCH expression; every word is quoted, so nothing typed can be syntax. '' for no words.

    `scopes` are the tokens of the projects to look in (none: all).
    """
    required = [_term(phrase) for phrase in question.phrases]
    optional = [_term(term) for term in question.terms]
    optional += [f"NEAR({_term(one)} {_term(other)}, {NEAR})" for one, other in question.pairs]
    if not required and not optional:
        return ""
    wanted = " AND ".join([*required, f"({' OR '.join([*required, *optional])})"])
    within = "scope:(" + " OR ".join(f'"{scope}"' for scope in scopes) + ") AND " if scopes else ""
    return f"{within}{{title body terms}}:({wanted})"


def scope_token(project: str) -> str:
    """Return the token that stands for a project in the full-text index."""
    return "p" + project.replace("-", "")


def snippet(text: str, title: str, terms: tuple[str, ...], width: int = 320) -> str:
    """Return the stretch of `text` (about `width` characters) that holds most of the terms, on one line.

    The title is shown beside it, so where the text begins with it, that is no evidence unless there is none else.
    """
    flat = " ".join(text.split())
    beginning = " ".join(title.rstrip("…").split())
    rest = flat.lstrip("# ").removeprefix(beginning).lstrip(" .…") if beginning else flat
    if _spots(rest, terms) or (rest and not _spots(flat, terms)):
        flat = rest
    if len(flat) <= width:
        return flat
    spots = _spots(flat, terms)
    best = max(
        spots, key=lambda spot: len({t for at, t in spots if spot[0] <= at < spot[0] + width * 3 // 4}), default=(0, "")
    )
    start = max(0, best[0] - width // 8)
    start = 0 if start == 0 else flat.find(" ", start, best[0]) + 1 or start
    cut = flat[start : start + width]
    return ("…" if start else "") + cut + ("…" if start + width < len(flat) else "")


def tokens(text: str) -> int:
    """Return the price of a text in tokens, at four characters each (CJK: one each)."""
    return (len(text) + 3 * sum(len(run) for run in _CJK_RUN.findall(text)) + 3) // 4


def clip(text: str, budget: int) -> str:
    """Return the beginning of a text that costs at most `budget` tokens, marked with … where it was cut."""
    if tokens(text) <= budget:
        return text
    short, over = 0, len(text)
    while short < over - 1:
        middle = (short + over) // 2
        short, over = (middle, over) if tokens(text[:middle] + "…") <= budget else (short, middle)
    return text[:short].rstrip() + "…" if short else ""


def _spots(text: str, terms: Sequence[str]) -> list[tuple[int, str]]:
    """Return where (stems of) the terms stand in a text, the first 200."""
    stems = sorted({term[: max(4, len(term) - 3)] for term in terms}, key=len, reverse=True)
    if not stems:
        return []
    pattern = "|".join(
        re.escape(stem) if len(stem) > 3 or _CJK_RUN.match(stem) else rf"\b{re.escape(stem)}" for stem in stems
    )
    return [(found.start(), found.group()) for found in islice(re.finditer(pattern, text.lower()), 200)]


def _words(text: str) -> list[list[str]]:
    """Return the telling words of a text in their order, each with its parts; all words where none is telling."""
    groups = [group for word in _WORD.findall(text) for group in _word(word)]
    return [kept for group in groups if (kept := [term for term in group if term not in STOP_WORDS])] or groups


def _word(word: str) -> Iterator[list[str]]:
    for run in _CJK_RUN.findall(word):
        for pair in pairs(run):
            yield [pair]
    for plain in _CJK_RUN.sub(" ", word).replace("_", " ").split():
        yield [plain.lower(), *(part.lower() for part in _PARTS.findall(plain) if len(part) > 1)]


def _phrase(quoted: str) -> list[str]:
    """Return what a quoted text requires: its words together, its CJK characters as pairs."""
    plain = " ".join(_WORD.findall(_CJK_RUN.sub(" ", quoted)))
    return [*([plain] if plain else []), *(pair for run in _CJK_RUN.findall(quoted) for pair in pairs(run))]


def _term(term: str) -> str:
    """Quote a term for FTS5; a single CJK character stands for every pair that begins with it."""
    return f'"{term}"*' if len(term) == 1 and _CJK_RUN.match(term) else f'"{term}"'


def _date(value: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(value)
        return when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    except ValueError:
        return None
