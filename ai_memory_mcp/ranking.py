"""Words of texts and questions: pure functions that index and search share, so that both see the same terms.

FTS5's `unicode61` already splits snake_case, paths and dotted names. What it misses is added as extra terms: the
parts of camelCase and of letter-digit names, and pairs of neighbouring characters of Chinese, Japanese and Korean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone

STOP_WORDS = frozenset(
    """
    a about after all also an and any are as at be because been but by can could did do does doing done for from get
    got had has have having he her here him his how i if in into is it its just let me more most my no not of off on
    once only or other our out over own same she should so some such than that the their them then there these they
    this those through to too under until up us very was we were what when where which while who whom why will with
    would you your
    """.split()
)
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_CJK_RUN = re.compile(f"[{_CJK}]+")
_WORD = re.compile(r"\w+", re.UNICODE)
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+|\d+")
_MIXED = re.compile(r"\b(?=\w*[a-z][A-Z]|\w*[A-Za-z]\d|\w*\d[A-Za-z]|\w*[A-Z]{2}[a-z])\w{3,80}\b")
_FILTER = re.compile(r"(?:^|(?<=\s))(kind|agent|before|after|path):(\"[^\"]+\"|\S+)")
_PHRASE = re.compile(r'"([^"]+)"')
MAX_TERMS = 40  # of a question: what is longer is a pasted text, whose first words say enough


@dataclass(frozen=True)
class Question:
    """A question taken apart. `terms` are alternatives, `phrases` are all required; filters narrow."""

    terms: tuple[str, ...]
    phrases: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    agent: str = ""
    path: str = ""
    before: datetime | None = None
    after: datetime | None = None


def extra_terms(text: str) -> str:
    """Return the terms that the tokenizer would miss, space separated: parts of mixed names, CJK pairs."""
    found: list[str] = []
    for name in _MIXED.findall(text):
        found += [part.lower() for part in _PARTS.findall(name) if part != name]
    for run in _CJK_RUN.findall(text):
        found += pairs(run)
    return " ".join(dict.fromkeys(found))


def pairs(run: str) -> list[str]:
    """Return the overlapping pairs of a run of CJK characters (a single one stays itself)."""
    return [run] if len(run) == 1 else [run[i : i + 2] for i in range(len(run) - 1)]


def take_apart(text: str) -> Question:
    """Read a question: filters (`kind:decision agent:codex after:2026-01-01 path:src/`), phrases, words.

    Anything is valid: what is no filter is searched as words.
    """
    text = text.replace("\0", " ")[:10_000]
    given: dict[str, list[str]] = {}
    for name, value in _FILTER.findall(text):
        given.setdefault(name, []).append(value.strip('"'))
    dates = {name: _date(given[name][-1]) for name in ("before", "after") if name in given}
    if any(value is None for value in dates.values()):  # "before:lunch" is a word, not a filter
        given, dates = {k: v for k, v in given.items() if k not in dates}, {}
    rest = _FILTER.sub(lambda m: " " if m.group(1) in given else m.group(0), text)
    phrases = tuple(phrase for quoted in _PHRASE.findall(rest) if (phrase := " ".join(_WORD.findall(quoted))))
    return Question(
        terms=_terms(rest),
        phrases=phrases[:8],
        kinds=tuple(given.get("kind", ())),
        agent=given.get("agent", [""])[-1],
        path=given.get("path", [""])[-1],
        before=dates.get("before"),
        after=dates.get("after"),
    )


def match_expression(question: Question, scope: str) -> str:
    """Return an FTS5 MATCH expression; every word is quoted, so nothing typed can be syntax. '' for no words.

    `scope` is the token of the project ('' for all).
    """
    parts = [f'"{phrase}"' for phrase in question.phrases]
    if not parts and question.terms:
        parts = ["(" + " OR ".join(f'"{term}"' for term in question.terms) + ")"]
    if not parts:
        return ""
    wanted = " AND ".join(parts)
    return f'scope:"{scope}" AND {wanted}' if scope else wanted


def scope_token(project: str) -> str:
    """Return the token that stands for a project in the full-text index."""
    return "p" + project.replace("-", "")


def snippet(text: str, terms: tuple[str, ...], width: int = 320) -> str:
    """Return the stretch of `text` (about `width` characters) that holds most of the terms, on one line."""
    flat = " ".join(text.split())
    if len(flat) <= width:
        return flat
    lowered = flat.lower()
    spots = sorted({at for term in terms for at in _spots(lowered, term)})
    best = max(spots, key=lambda at: sum(at <= other < at + width * 3 // 4 for other in spots), default=0)
    start = max(0, best - width // 8)
    start = 0 if start == 0 else flat.find(" ", start) + 1
    cut = flat[start : start + width]
    return ("…" if start else "") + cut + ("…" if start + width < len(flat) else "")


def tokens(text: str) -> int:
    """Return the price of a text in tokens, at four characters each (CJK: one each)."""
    return (len(text) + 3 * sum(len(run) for run in _CJK_RUN.findall(text)) + 3) // 4


def _spots(text: str, term: str) -> list[int]:
    found: list[int] = []
    at = text.find(term)
    while at >= 0 and len(found) < 50:
        found.append(at)
        at = text.find(term, at + 1)
    return found


def _terms(text: str) -> tuple[str, ...]:
    found: list[str] = []
    for word in _WORD.findall(text):
        runs = _CJK_RUN.findall(word)
        if runs:
            found += [pair for run in runs for pair in pairs(run)]
            word = _CJK_RUN.sub(" ", word)
        for plain in word.replace("_", " ").split():
            found.append(plain.lower())
            found += [part.lower() for part in _PARTS.findall(plain) if len(part) > 1]
    unique = list(dict.fromkeys(found))
    telling = [word for word in unique if word not in STOP_WORDS]
    return tuple((telling or unique)[:MAX_TERMS])


def _date(value: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=timezone.utc)
