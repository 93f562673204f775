"""Questions: what is asked for, taken apart; and the shape of an answer (snippets, budgets). Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from itertools import islice, pairwise
from typing import get_args

from ai_memory_mcp.model import EventKind, PageKind
from ai_memory_mcp.terms import ASKING_WORDS, CJK_RUN, pairs, terms, with_sign, words

_FILTER = re.compile(r"(?:^|(?<=\s))(kind|agent|before|after|path):(\"[^\"]+\"|\S+)")
_PHRASE = re.compile(r'(?:^|(?<=\s))"([^"]+)"(?=[\s.,;:?!]|$)')  # not the quotes of pasted code: {"key": 1}
_WORD = re.compile(r"\w+")
_WHEN = re.compile(
    r"\s*(?:when|how long|(?:in |on |at |since )?(?:what|which) (?:date|day|month|year|time|week))\b", re.I
)
_LATELY = re.compile(
    r"\b(?:latest|newest|most recent|recently|lately|last time|just now|today|yesterday|up to date)\b", re.I
)
_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DAY = re.compile(
    rf"\b(?:(\d{{4}})-(\d\d)(?:-(\d\d))?|{_MONTH} (\d{{1,2}})(?:st|nd|rd|th)?,? (\d{{4}})"
    rf"|(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? {_MONTH},? (\d{{4}})|{_MONTH},? (\d{{4}}))\b",
    re.IGNORECASE,
)
OBSERVATIONS = ("observation", "observations")  # how a question asks for observations of any kind
EVENT_KINDS: tuple[str, ...] = get_args(EventKind)
PAGE_KINDS: tuple[str, ...] = get_args(PageKind)
MAX_TERMS = 40  # of a question, and of its phrases: what is longer is a pasted text, whose first words say enough
NEAR_IN_QUESTION = 3  # words of a question so near each other are looked for near each other


@dataclass(frozen=True)
class Question:
    """A question taken apart. `terms` are alternatives, `phrases` (runs of terms) are all required; filters narrow.

    `adjacent` are pairs of terms that follow each other in the question, `near` those that stand a few words apart.
    A term that ends with `*` is one CJK character and means every pair that begins with it. `loose` are quoted texts
    of stop words alone or with them: the index cannot tell them, the text can. `since`..`until` is a time named
    in the question; `asks_when` and `lately` say that it asks for a time, or for what is new. `text` is what was
    asked without the filters.
    """

    terms: tuple[str, ...]
    words: tuple[str, ...] = ()
    adjacent: tuple[tuple[str, str], ...] = ()
    near: tuple[tuple[str, str], ...] = ()
    phrases: tuple[tuple[str, ...], ...] = ()
    loose: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    agent: str = ""
    path: str = ""
    before: datetime | None = None
    after: datetime | None = None
    asks_when: bool = False
    lately: bool = False
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""

    @property
    def narrowed(self) -> bool:
        """Whether anything but words limits what is found."""
        return bool(self.agent or self.path or self.before or self.after or self.kinds)

    def respelt(self, meant: Mapping[str, str]) -> Question:
        """Return the question with other words for some of its terms."""
        other = {term: terms(word)[-1] for term, word in meant.items()}
        return replace(
            self,
            terms=tuple(dict.fromkeys(other.get(term, term) for term in self.terms)),
            words=tuple(dict.fromkeys((*self.words, *meant.values()))),
            adjacent=tuple((other.get(one, one), other.get(two, two)) for one, two in self.adjacent),
            near=tuple((other.get(one, one), other.get(two, two)) for one, two in self.near),
        )


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
    quoted = _PHRASE.findall(rest)
    asked = _asked(rest)
    named = _time_named(rest)
    return Question(
        terms=tuple(dict.fromkeys(asked))[:MAX_TERMS],
        words=tuple(word for word in dict.fromkeys(words(rest)) if word not in ASKING_WORDS)[:MAX_TERMS],
        adjacent=tuple(dict.fromkeys(pairwise(asked[:MAX_TERMS]))),
        near=_near(asked[:MAX_TERMS]),
        phrases=_phrases(quoted),
        loose=tuple(one for one in quoted if len(_WORD.findall(one)) > len(words(one)))[:16],
        kinds=tuple(kind_named(kind) for kind in given.get("kind", ())),
        agent=given.get("agent", [""])[-1],
        path=given.get("path", [""])[-1],
        before=_date(given.get("before", [""])[-1]),
        after=_date(given.get("after", [""])[-1]),
        asks_when=bool(_WHEN.match(rest)),
        lately=bool(_LATELY.search(rest)),
        since=named[0] if named else None,
        until=named[1] if named else None,
        text=" ".join(rest.split()),
    )


def match_expression(
    required: Sequence[Sequence[str]],
    term: str,
    columns: str,
    scopes: Sequence[Sequence[str]],
    barred: Sequence[str] = (),
) -> str:
    """Return an FTS5 MATCH expression for one term ('' for none) and the required phrases, in columns like `{title}`.

    Every word is quoted, so nothing typed can be syntax. `scopes` are groups of scope tokens: one of each group;
    none of `barred`.
    """
    wanted = [" + ".join(_quoted(one) for one in phrase) for phrase in required]
    wanted += [_quoted(term)] if term else []
    within = [within_scopes(scopes)] if scopes else []
    besides = f" NOT scope : ({' OR '.join(_quoted(token) for token in barred)})" if barred else ""
    return " AND ".join([f"{columns} : ({' AND '.join(wanted)})", *within]) + besides


def within_scopes(scopes: Sequence[Sequence[str]]) -> str:
    """Return an FTS5 MATCH expression for rows that have one of each group of scope tokens."""
    return " AND ".join(f"scope : ({' OR '.join(_quoted(token) for token in group)})" for group in scopes)


def scope_token(letter: str, name: str) -> str:
    """Return the token for a project (p), kind (k) or agent (a) in the scope column of the full-text index."""
    return letter + "".join(char for char in name.lower() if char.isalnum())


def snippet(text: str, title: str, wanted: Sequence[str], width: int = 320) -> str:
    """Return the stretch of `text` (about `width` characters) that holds most of the wanted words, on one line.

    The title is shown beside it, so where the text begins with it, that is no evidence unless there is none else.
    """
    flat = " ".join(text.split())
    beginning = " ".join(title.rstrip("…").split())
    rest = flat.lstrip("# ").removeprefix(beginning).lstrip(" .…") if beginning else flat
    if _spots(rest, wanted) or (rest and not _spots(flat, wanted)):
        flat = rest
    if len(flat) <= width:
        return flat
    spots = _spots(flat, wanted)
    best = max(
        spots, key=lambda spot: len({t for at, t in spots if spot[0] <= at < spot[0] + width * 3 // 4}), default=(0, "")
    )
    start = max(0, best[0] - width // 8)
    start = 0 if start == 0 else flat.find(" ", start, best[0]) + 1 or start
    cut = flat[start : start + width]
    return ("…" if start else "") + cut + ("…" if start + width < len(flat) else "")


def tokens(text: str) -> int:
    """Return the price of a text in tokens, at four characters each (CJK: one each)."""
    return (len(text) + 3 * sum(len(run) for run in CJK_RUN.findall(text)) + 3) // 4


def clip(text: str, budget: int) -> str:
    """Return the beginning of a text that costs at most `budget` tokens, marked with … where it was cut."""
    if tokens(text) <= budget:
        return text
    short, over = 0, len(text)
    while short < over - 1:
        middle = (short + over) // 2
        short, over = (middle, over) if tokens(text[:middle] + "…") <= budget else (short, middle)
    return text[:short].rstrip() + "…" if short else ""


def _spots(text: str, wanted: Sequence[str]) -> list[tuple[int, str]]:
    """Return where (stems of) the words stand in a text, the first 200."""
    told = sorted({stem for word in wanted for stem in stems(word)}, key=len, reverse=True)
    if not told:
        return []
    pattern = "|".join(
        re.escape(stem) if len(stem) > 3 or CJK_RUN.match(stem) else rf"\b{re.escape(stem)}" for stem in told
    )
    return [(found.start(), found.group()) for found in islice(re.finditer(pattern, text.lower()), 200)]


def stems(word: str) -> list[str]:
    """Return what of a word stands in its other forms too: its beginning; of a run of CJK its pairs."""
    found = [pair for run in CJK_RUN.findall(word) for pair in pairs(run)]
    return [*found, *(part[: max(4, len(part) - 3)] for part in CJK_RUN.split(with_sign(word)) if part)]


def _asked(text: str) -> list[str]:
    """Return the telling terms of a question in their order; all of them where none is telling."""
    told = terms(" ".join(word for word in text.split() if word.lower().strip("?,.:;!'") not in ASKING_WORDS))
    return _stars(told or terms(text))


def _stars(found: list[str]) -> list[str]:
    """Mark single CJK characters: such a one stands for every pair that begins with it."""
    return [f"{term}*" if len(term) == 1 and CJK_RUN.match(term) else term for term in found]


def _phrases(quoted: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return runs of terms, together at most MAX_TERMS: each of them costs as much as a question."""
    left = MAX_TERMS
    found = []
    for one in dict.fromkeys(quoted):
        run = tuple(_stars(terms(one))[:left])
        found += [run] * bool(run)
        left -= len(run)
    return tuple(found)


def _near(asked: Sequence[str]) -> tuple[tuple[str, str], ...]:
    found = dict.fromkeys(
        (min(one, other), max(one, other))
        for place, one in enumerate(asked)
        for other in asked[place + 1 : place + 1 + NEAR_IN_QUESTION]
        if one != other
    )
    return tuple(found)


def _quoted(term: str) -> str:
    """Quote a term for FTS5."""
    return f'"{term[:-1]}"*' if term.endswith("*") else f'"{term}"'


def _time_named(text: str) -> tuple[datetime, datetime] | None:
    """Return the day or month that a question names with its year, as [from, until)."""
    found = _DAY.search(text)
    if not found:
        return None
    year, month, day, month2, day2, year2, day3, month3, year3, month4, year4 = found.groups()
    name = month2 or month3 or month4
    number = int(month) if month else next(n for n, one in enumerate(_MONTHS, 1) if one.startswith(name.casefold()))
    the_day = day or day2 or day3
    try:
        first = datetime(int(year or year2 or year3 or year4), number, int(the_day or 1), tzinfo=timezone.utc)
        return first, first + timedelta(days=1) if the_day else (first + timedelta(days=32)).replace(day=1)
    except (ValueError, OverflowError):  # no such day; the last day that there is
        return None


def _date(value: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(value)
        return when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    except ValueError:
        return None
