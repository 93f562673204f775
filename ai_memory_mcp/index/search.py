"""Asking the index: ranked pages and observations for a question, with bounded work.

Each term of the question brings the numbers of the newest rows that have it (all of them, where the term is rare: a
rare word is found however old it is). The rows with the most and rarest terms become candidates, whose texts are read
and scored. FTS5's own bm25() is not used: it pays for every match, counts the whole table and not the projects asked,
and its weight of a word that half of a small project has is nothing. `recall` makes hits of what is returned.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.index.rows import LONGEST, SHORTEST, grams, millis
from ai_memory_mcp.index.schema import PASSAGE_BITS, SEQ_BITS
from ai_memory_mcp.passages import pieces
from ai_memory_mcp.ranking import OBSERVATIONS, Question, match_expression, scope_token, within_scopes
from ai_memory_mcp.scoring import (
    OBSERVATION_WEIGHTS,
    PAGE_WEIGHTS,
    Candidate,
    Collection,
    Score,
    score,
    spoken_by,
    tells_time,
)
from ai_memory_mcp.terms import terms

if TYPE_CHECKING:
    from ai_memory_mcp.index.vectors import Meaning

Db = sqlite3.Connection  # named for those who only pass it on
POSTINGS = 24_000  # row numbers that a question reads at most, shared among its terms
FEWEST = 500  # of them for one term
REACH = 20  # times as many are looked through when dates or a path narrow
PASSAGES = 60  # candidates; the ranking of 13,000 texts was no better with 100
FEW_PAGES = 10  # where candidates are passages of fewer pages, other pages are looked at too
CANDIDATES = 120  # observations, before their neighbours
NEIGHBOURS = ((1, 0.3), (2, 0.2))  # what stands next to an observation in its session says what it is about
OF_SESSION = 0.8  # the share of the session as a whole: does it have the question's words?
SESSION_K1, SESSION_B = 1.2, 0.75
SPEAKER = 0.4  # said by the one whom the question names
TIME = 0.4  # says when, and the question asks for that
MANY_PROJECTS = 100  # with more, all rows are looked through and those of other projects left out
MANY_UNKNOWN = 8  # words that are respelt: a text with more is of another language
NEAREST = 40  # rows that come in by their meaning alone
COMPARED = 200  # rows with the question's words whose meaning is looked at
MEANING = 0.4  # what the page nearest in meaning gains, as a share of the best score by words
MEANING_SEEN = 0.3  # the same of an observation, which is too short to say much alone: what stands around it counts too
CLOSE = 0.35  # of the way from what is usual to the very same: what is not so near needs a word of the question
LONG = 8  # letters of a word in which two slips are forgiven


@dataclass(frozen=True)
class Match:
    """One ranked row: `score` is positive, higher is better; `record` is JSON of the page, '' for observations.

    `text` is the best passage; `covered` the share of the question that the row has words for; `parts` what the
    score is made of; `near` how near the row is in meaning, from 0 (as all are) to 1 (as the nearest).
    """

    id: str
    project: str
    path: str
    title: str
    kind: str
    text: str
    score: float
    at: int
    session: str = ""
    record: str = ""
    covered: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict)
    near: float = 0.0

    @property
    def place(self) -> tuple[str, str]:
        """What no other row has, not even the copy of a page, which has the id of the first."""
        return self.project, self.path or self.id


class Found(NamedTuple):
    """The ranked rows, and which of the question's terms any row has."""

    matches: list[Match]
    known: frozenset[str]


Meant = Callable[[], "Meaning | None"]  # gives the vector of the question, if there is one


class Nearness(NamedTuple):
    """How near rows are to the question in meaning, from 0 (as all are) to 1 (as the nearest), and which are so close
    that they need no word of it, with the number of the piece that is."""

    of: Mapping[int, float]
    close: Mapping[int, int]


_NOT_COMPARED = Nearness({}, {})


@dataclass(frozen=True)
class Narrow:
    """What limits the rows: scope tokens by group, tokens that none has, and SQL with arguments over the row `p`."""

    scopes: tuple[tuple[str, ...], ...]
    sql: str = ""
    args: tuple[object, ...] = ()
    barred: tuple[str, ...] = ()


def pages(
    db: Db,
    question: Question,
    project_ids: Sequence[str],
    kinds: Sequence[str],
    limit: int,
    *,
    hidden: Sequence[str] = (),
    without: Sequence[str] = (),
    meant: Meant = lambda: None,
) -> Found:
    """Rank pages of the projects (all when empty) by their best passage; without `kinds` none of `hidden` kinds.

    What is superseded comes last, so that `limit` never cuts its successor off. `meant` gives the question's vector.
    """
    narrow = _narrow(db, question, project_ids, kinds, "passages")
    if not kinds:
        narrow = replace(narrow, barred=tuple(scope_token("k", kind) for kind in hidden))
    found = _postings(db, "passages", question, narrow, "{title body}", _share(question))
    texts = _collection(db, "passages", question, project_ids, found)
    rough = _rough(found, texts)
    for term, rows in _postings(db, "passages", question, narrow, "{title}", FEWEST).items():
        idf = texts.idf(term)
        for row in rows:
            rough[row] = rough.get(row, 0.0) + idf
    best = _candidates(rough)
    meaning = meant()  # the words have been looked up by now: that is the time in which it came
    near = _near(db, "passages", question, project_ids, narrow, meaning, best) if meaning else _NOT_COMPARED
    best += [row for row in near.close if row not in best]
    read = _read(db, f"SELECT rowid, text, title, body, length FROM passages WHERE rowid IN ({_marks(best)})", best)
    on_pages = {row["rowid"]: row for row in _pages_of(db, best)}
    candidates = [
        Candidate(
            row["rowid"],
            row["body"],
            row["length"],
            row["text"],
            row["title"],
            on_pages[row["rowid"] >> PASSAGE_BITS]["title"],
        )
        for row in read
    ]
    texts_of = {one.id: one.text for one in candidates}
    scored = score(question, candidates, texts, PAGE_WEIGHTS.without(without))
    top = max((one.total for one in scored), default=0.0) or 1.0
    for one in scored:
        if one.total > 0 or one.id in near.close:
            one.total += MEANING * top * near.of.get(one.id, 0.0)
    by_page: dict[int, Score] = {}
    for one in sorted(scored, key=lambda one: (-one.total, one.id)):
        number = one.id >> PASSAGE_BITS
        if one.total > 0 and _said(question, texts_of[one.id], on_pages[number]["title"]):
            by_page.setdefault(number, one)
    matches = []
    for number, one in sorted(by_page.items(), key=lambda pair: on_pages[pair[0]]["status"] == "superseded"):
        page = on_pages[number]
        matches.append(
            Match(
                id=page["id"],
                project=page["project"],
                path=page["path"],
                title=page["title"],
                kind=page["kind"],
                text=texts_of[one.id] if one.parts else pieces(texts_of[one.id])[near.close[one.id]],
                score=one.total,
                at=page["updated"],
                record=page["record"],
                covered=one.covered,
                parts=one.parts,
                near=near.of.get(one.id, 0.0),
            )
        )
    return Found(matches[:limit], frozenset(found))


def observations(
    db: Db,
    question: Question,
    project_ids: Sequence[str],
    kinds: Sequence[str],
    limit: int,
    *,
    without: Sequence[str] = (),
    meant: Meant = lambda: None,
) -> Found:
    """Rank observations of the projects (all when empty), each with what stands around it in its session."""
    kinds = [kind for kind in kinds if kind not in OBSERVATIONS]
    narrow = _narrow(db, question, project_ids, kinds, "observations")
    found = _postings(db, "observations", question, narrow, "{body}", _share(question))
    texts = _collection(db, "observations", question, project_ids, found)
    rough = _rough(found, texts)
    around = "context" not in without
    rough = {row: rough[row] for row in _most(rough, CANDIDATES * 5)}
    of_session = _of_sessions(db, found, _most(rough, CANDIDATES * 2), project_ids) if around else {}
    in_context = _with_neighbours(rough, of_session, _best(rough)) if around else rough
    pool = [row for row in _most(in_context, CANDIDATES * 2) if row in rough][:CANDIDATES]
    near = {row + step for row in pool for far, _ in NEIGHBOURS for step in (-far, far)} if around else set()
    chosen = sorted({*pool, *(near & rough.keys())})
    length = "20000" if question.asks_when and "time" not in without else "60"  # else only who speaks is asked
    read = _read(
        db,
        f"SELECT rowid, title, substr(text, 1, length(title) + {length}) AS text, body, length FROM observations"
        f" WHERE rowid IN ({_marks(chosen)})",
        chosen,
    )
    candidates = [
        Candidate(row["rowid"], row["body"], row["length"], row["text"], written_title=row["title"]) for row in read
    ]
    scored = {one.id: one for one in score(question, candidates, texts, OBSERVATION_WEIGHTS.without(without))}
    words = {row: one.total for row, one in scored.items() if one.total > 0}
    totals = _with_neighbours(words, of_session, 1.0) if around else dict(words)
    for one in candidates:
        if one.id in words:
            said = one.text, one.text.removeprefix(one.written_title)  # a title may stand before what was said
            if "speaker" not in without and any(spoken_by(text, question) for text in said):
                totals[one.id] += SPEAKER
            if question.asks_when and "time" not in without and tells_time(one.text):
                totals[one.id] += TIME
    if kinds or question.agent or narrow.sql or question.phrases or question.loose:
        totals = {row: total for row, total in totals.items() if row in words}  # what surrounds need not fit
    nearness = _NOT_COMPARED
    if meaning := meant():  # the words have been looked up by now: that is the time in which it came
        nearness = _near(db, "observations", question, project_ids, narrow, meaning, _most(totals, COMPARED))
    top, around_it = _best(totals) or 1.0, set(totals)
    meanings = _with_neighbours(nearness.of, {}, 0.0) if around else nearness.of
    nearest = _best({row: meanings[row] for row in nearness.of}) or 1.0
    for row in nearness.of:
        if row in totals or row in nearness.close:
            totals[row] = totals.get(row, 0.0) + MEANING_SEEN * top * meanings[row] / nearest
    ranked = sorted(totals.items(), key=lambda pair: (-pair[1], -pair[0]))[: None if question.loose else limit]
    rows = {row["rowid"]: row for row in _read(db, _OBSERVATION.format(_marks(ranked)), [row for row, _ in ranked])}
    matches = [
        Match(
            id=rows[number]["id"],
            project=rows[number]["project"],
            path="",
            title=rows[number]["title"],
            kind=rows[number]["kind"],
            text=rows[number]["text"],
            score=total,
            at=rows[number]["at"],
            session=rows[number]["session"],
            covered=scored[number].covered if number in scored else 0.0,
            parts=scored[number].parts if number in scored else {"context": total} if number in around_it else {},
            near=nearness.of.get(number, 0.0),
        )
        for number, total in ranked
        if number in rows and rows[number]["text"].strip() and _said(question, rows[number]["text"], "")
    ]
    return Found(matches[:limit], frozenset(found))


def naming(db: Db, names: Iterable[str], project_id: str, kinds: Sequence[str], most: int) -> dict[str, list[str]]:
    """Return by name the paths of the project's current pages of these kinds that have it, in title or text, the newest
    page first. A name is left out whose words stand so in more than `most` passages: it tells little."""
    from ai_memory_mcp.entities import has_name  # not at the top: a search does without

    narrow = _narrow(db, Question(terms=()), [project_id], kinds, "passages")
    found: dict[str, list[str]] = {}
    for name in names:
        run = tuple(terms(name))
        rows = _postings(db, "passages", Question((), phrases=(run,)), narrow, "{title body}", most + 1) if run else {}
        if rows and len(rows[""]) <= most:
            texts = f"SELECT rowid, text FROM passages WHERE rowid IN ({_marks(rows[''])})"
            pages = {row["rowid"]: row for row in _pages_of(db, rows[""]) if row["status"] == "current"}
            told = {
                number: page["path"]
                for row in _read(db, texts, rows[""])
                if (page := pages.get(number := row["rowid"] >> PASSAGE_BITS))
                and has_name(f"{page['title']}\n{row['text']}", name)
            }
            found[name] = [told[number] for number in sorted(told, reverse=True)]
    return found


def respell(db: Db, asked: Mapping[str, str], project_ids: Sequence[str]) -> dict[str, str]:
    """Return, for the first words (by their terms) of which the projects have nothing, the nearest that they have."""
    found = {}
    fit = (one for one in asked.items() if SHORTEST <= len(one[1]) <= LONGEST and one[1].isascii() and one[1].isalpha())
    for term, word in islice(fit, MANY_UNKNOWN):
        if not _anywhere(db, term, project_ids):
            near = (other for other in _alike(db, word) if _anywhere(db, (terms(other) or [other])[-1], project_ids))
            if meant := next(near, ""):
                found[term] = meant
    return found


_OF_THESE = "project IN (SELECT value FROM json_each(?))"  # any number of projects as one argument, a JSON list
_OBSERVATION = "SELECT rowid, id, project, title, kind, text, at, session FROM observations WHERE rowid IN ({})"


# --- what rows have the terms


def _postings(db: Db, table: str, question: Question, narrow: Narrow, columns: str, most: int) -> dict[str, list[int]]:
    """Return, by term, the numbers of the newest rows that have it and every phrase: {term: rows, newest first}."""
    sql = f"SELECT rowid FROM {table}_fts WHERE {table}_fts MATCH ? ORDER BY rowid DESC LIMIT {most}"
    if narrow.sql:
        newest = f"SELECT rowid FROM {table}_fts WHERE {table}_fts MATCH ? ORDER BY rowid DESC LIMIT {most * REACH}"
        sql = f"SELECT n.rowid FROM ({newest}) n CROSS JOIN {table} p ON p.rowid = n.rowid {narrow.sql} LIMIT {most}"
    cursor = db.cursor()
    cursor.row_factory = None  # plain tuples: thousands of them
    found = {}
    for term in question.terms or ("",) * bool(question.phrases):
        expression = match_expression(question.phrases, term, columns, narrow.scopes, narrow.barred)
        rows = [row for (row,) in cursor.execute(sql, (expression, *narrow.args))]
        if rows:
            found[term] = rows
    return found


def _share(question: Question) -> int:
    """Return how many rows are read for each term of a question."""
    return max(FEWEST, POSTINGS // max(12, len(question.terms)))


def _narrow(db: Db, question: Question, project_ids: Sequence[str], kinds: Sequence[str], table: str) -> Narrow:
    """Return what limits the rows, as far as possible by scope tokens, which FTS5 intersects itself."""
    scopes: list[tuple[str, ...]] = []
    sql = ""
    args: list[object] = []
    if project_ids and not _is_everything(db, project_ids, table):
        if len(project_ids) <= MANY_PROJECTS:
            scopes.append(tuple(scope_token("p", project) for project in project_ids))
        else:
            sql += f" AND p.{_OF_THESE}"
            args.append(json.dumps(project_ids))
    if kinds:
        scopes.append(tuple(scope_token("k", kind) for kind in kinds))
    if question.agent:
        scopes.append((scope_token("a", question.agent),))
    join = ""
    when = "p.at"
    if table == "passages":
        when = "g.updated"
        if question.before or question.after or question.path:
            join = f"CROSS JOIN pages g ON g.rowid = p.rowid >> {PASSAGE_BITS}"
    for moment, sign in ((question.before, "<"), (question.after, ">=")):
        if moment:
            sql += f" AND {when} {sign} ?"
            args.append(millis(moment))
    if question.path:
        column = "g.path" if table == "passages" else "p.text"
        sql += f" AND {column} LIKE ? ESCAPE '\\'"
        args.append(_within(question.path))
    return Narrow(tuple(scopes), f"{join} WHERE 1{sql}" if sql else "", tuple(args))


def _is_everything(db: Db, project_ids: Sequence[str], table: str) -> bool:
    """Tell whether no other project has rows: then nothing need be intersected."""
    others = f"SELECT 1 FROM sizes WHERE of = ? AND rows > 0 AND NOT {_OF_THESE} LIMIT 1"
    return db.execute(others, (table, json.dumps(project_ids))).fetchone() is None


def _collection(
    db: Db, table: str, question: Question, project_ids: Sequence[str], found: Mapping[str, Sequence[int]]
) -> Collection:
    """Return how many rows the projects have, how long, and how many have each term.

    A term of which only the newest rows were read is taken to be as frequent among the older ones.
    """
    where = f"AND {_OF_THESE}" if project_ids else ""
    row = db.execute(
        f"SELECT coalesce(sum(rows), 0) AS rows, coalesce(sum(terms), 0) AS terms FROM sizes WHERE of = ? {where}",
        (table, json.dumps(project_ids)) if project_ids else (table,),
    ).fetchone()
    size = max(1, row["rows"])
    most = _share(question)
    newest = max((rows[0] for rows in found.values()), default=0)
    oldest = min((rows[-1] for rows in found.values() if len(rows) < most), default=0)
    having = {}
    for term, rows in found.items():
        seen = len(rows)
        if seen >= most:
            share = (newest - rows[-1] + 1) / (newest - oldest + 1)
            seen = min(size, max(seen, round(seen / share)))
        having[term] = seen
    return Collection(size, row["terms"] / size, having)


def _rough(found: Mapping[str, Sequence[int]], texts: Collection) -> dict[int, float]:
    """Return the summed weights of the terms that each row has."""
    rough: dict[int, float] = {}
    for term, rows in found.items():
        idf = texts.idf(term) or 1e-6
        for row in rows:
            rough[row] = rough.get(row, 0.0) + idf
    return rough


# --- what is meant


def _near(
    db: Db,
    table: str,
    question: Question,
    project_ids: Sequence[str],
    narrow: Narrow,
    meaning: Meaning,
    rows: Sequence[int],
) -> Nearness:
    """Compare rows, and those nearest to the question that fit its filters, with what is asked."""
    from ai_memory_mcp.index import vectors  # only for those who have some

    scopes = within_scopes([group for group in narrow.scopes if group[0][0] != "p"])
    limits = (narrow.sql, narrow.args)
    try:
        usual = vectors.usual(db, meaning)
        found = vectors.nearest(db, table, meaning, project_ids, NEAREST, scopes=scopes, narrow=limits)
        near = vectors.compared(db, table, meaning, list(dict.fromkeys([*rows, *found])))
    except StorageError:  # its file is damaged or gone: doctor says so
        return _NOT_COMPARED
    best = max((one.cosine for one in near.values()), default=0.0)
    span = best - usual
    of = {row: max(0.0, one.cosine - usual) / span for row, one in near.items()} if span > 0 else {}
    if question.phrases or question.loose:  # whose words are required
        return Nearness(of, {})
    least = usual + CLOSE * (1 - usual)
    return Nearness(of, {row: one.piece for row in found if (one := near.get(row)) and one.cosine >= least})


# --- what stands around an observation


def _of_sessions(
    db: Db, found: Mapping[str, Sequence[int]], rows: Iterable[int], project_ids: Sequence[str]
) -> dict[int, float]:
    """Return by session number how well the session as a whole has the question's words: the best has 1 (BM25)."""
    sessions = {row >> SEQ_BITS for row in rows}
    often = {term: Counter([row >> SEQ_BITS for row in having]) for term, having in found.items()}
    everywhere = set().union(*often.values())
    known = f"SELECT number, observations FROM sessions WHERE number IN ({_marks(sessions)})"
    lengths = dict.fromkeys(sessions, 1) | {
        row["number"]: max(1, row["observations"]) for row in _read(db, known, list(sessions))
    }
    mean = sum(lengths.values()) / max(1, len(lengths)) or 1.0
    where, these = (f"WHERE {_OF_THESE}", [json.dumps(project_ids)]) if project_ids else ("", [])
    sessions_known = db.execute(f"SELECT count(*) FROM sessions {where}", these).fetchone()[0]
    total = max(len(everywhere), int(sessions_known))
    texts = Collection(total, mean, {term: len(counts) for term, counts in often.items()})
    scores = dict.fromkeys(sessions, 0.0)
    for term, counts in often.items():
        idf = texts.idf(term)
        for number in sessions & counts.keys():
            norm = SESSION_K1 * (1 - SESSION_B + SESSION_B * lengths[number] / mean)
            scores[number] += idf * counts[number] * (SESSION_K1 + 1) / (counts[number] + norm)
    best = max(scores.values(), default=0.0) or 1.0
    return {number: value / best for number, value in scores.items()}


def _with_neighbours(alone: Mapping[int, float], of_session: Mapping[int, float], scale: float) -> dict[int, float]:
    """Add to each score shares of its neighbours' and of its session's; rows beside good ones appear among them."""
    total = dict(alone)
    for row, value in alone.items():
        for far, share in NEIGHBOURS:
            total[row - far] = total.get(row - far, 0.0) + share * value
            total[row + far] = total.get(row + far, 0.0) + share * value
    return {row: value + OF_SESSION * scale * of_session.get(row >> SEQ_BITS, 0.0) for row, value in total.items()}


# --- misspelt words


def _anywhere(db: Db, term: str, project_ids: Sequence[str]) -> bool:
    """Tell whether any row of the projects has the term."""
    nothing_else = Question(terms=(term,))
    return any(
        _postings(db, table, nothing_else, _narrow(db, nothing_else, project_ids, (), table), columns, FEWEST)
        for table, columns in (("passages", "{title body}"), ("observations", "{body}"))
    )


def _alike(db: Db, word: str) -> list[str]:
    """Return known words that differ by a slip of the finger (two in a long word), but for the first letter."""
    slips = 1 if len(word) < LONG else 2
    wanted = " OR ".join(f'"{gram}"' for gram in grams(word))
    rows = db.execute(
        "SELECT v.word FROM vocabulary_fts f JOIN vocabulary v ON v.rowid = f.rowid"
        " WHERE vocabulary_fts MATCH ? AND length(v.word) BETWEEN ? AND ? AND v.word >= ? AND v.word < ?"
        " ORDER BY bm25(vocabulary_fts), v.word LIMIT 20",
        (wanted, len(word) - slips, len(word) + slips, word[0], chr(ord(word[0]) + 1)),
    ).fetchall()
    near = [(slips_between(word, row["word"]), row["word"]) for row in rows]
    return [other for away, other in sorted(near) if away <= slips]


def slips_between(one: str, other: str) -> int:
    """Return how many letters are missing, added, wrong or swapped (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        last, before, row = before, row, [i] + [0] * len(other)
        for j, another in enumerate(other, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != another))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == another:
                row[j] = min(row[j], last[j - 2] + 1)
    return row[-1]


# --- small things


def _said(question: Question, text: str, title: str) -> bool:
    """Tell whether a row has the quoted texts whose stop words the index does not know."""
    if not question.loose:
        return True
    plain = " ".join(f"{title}\n{text}".lower().split())
    return all(" ".join(quoted.lower().split()) in plain for quoted in question.loose)


def _most(scores: Mapping[int, float], count: int) -> list[int]:
    """Return the rows with the highest scores, the best first; of equal ones the newest."""
    if len(scores) > count:
        least = sorted(scores.values(), reverse=True)[count - 1]  # few of thousands: cheaper than to sort the rows
        scores = {row: value for row, value in scores.items() if value >= least}
    return [row for _, row in sorted(((value, row) for row, value in scores.items()), reverse=True)[:count]]


def _best(scores: Mapping[int, float]) -> float:
    return max(scores.values(), default=0.0)


def _candidates(rough: Mapping[int, float]) -> list[int]:
    """Return the most promising passages; where a few long pages take all places, those of other pages too."""
    best = _most(rough, PASSAGES)
    pages = {row >> PASSAGE_BITS for row in best}
    if len(pages) < FEW_PAGES:
        best += _most({row: value for row, value in rough.items() if row >> PASSAGE_BITS not in pages}, PASSAGES)
    return best


def _pages_of(db: Db, rows: Iterable[int]) -> list[sqlite3.Row]:
    numbers = sorted({row >> PASSAGE_BITS for row in rows})
    return _read(
        db,
        "SELECT rowid, project, path, id, kind, status, updated, title, record FROM pages"
        f" WHERE rowid IN ({_marks(numbers)})",
        numbers,
    )


def _read(db: Db, sql: str, args: Sequence[object]) -> list[sqlite3.Row]:
    return db.execute(sql, list(args)).fetchall()


def _marks(values: Iterable[object]) -> str:
    return ",".join("?" for _ in values)


def _within(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
