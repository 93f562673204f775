"""Embeddings: `vectors.db` keeps them by model and text, so that an index built anew costs nothing; the index has their
signs, one bit a number, by which the nearest rows are found.

Without a library a search can afford to look at all of them only as bits: 50,000 of 384 numbers take 30 ms so, and
half a second as numbers. The few that are near are then compared as they are (8 bits a number). The index has signs of
one model only; vectors of others stay where they are until nothing has their texts any more.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import sqlite3
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from operator import mul
from pathlib import Path
from typing import NamedTuple, TypeVar

from ai_memory_mcp.files import locked
from ai_memory_mcp.index.db import sqlite_error
from ai_memory_mcp.index.schema import PASSAGE_BITS
from ai_memory_mcp.passages import pieces

T = TypeVar("T")
MOST_OF_OBSERVATION = 2_000  # characters that are embedded; tool output goes on for long and says little more
TABLES = ("passages", "observations")  # whose rows have signs, in `<table>_signs`
SCANNED = 100_000  # signs that a search looks at; beyond them only what has the words gets to be compared
LOCK_WAIT = 30.0  # seconds
READ_WAIT = 0.2  # seconds that a search waits for one who writes
SAMPLE = 500  # signs of each table by which it is told how near a text is that is about something else
LOOKED_AT = 2  # pieces of a row, the nearest by their signs, that are compared as numbers
AT_ONCE = 500  # arguments of one statement
_BEGUN = "embedding"  # in the index's meta: a run is not complete
_MODEL = "vectors"  # in the index's meta: whose signs it has
_SCHEMA = """
CREATE TABLE IF NOT EXISTS models (number INTEGER PRIMARY KEY, provider TEXT, model TEXT, dimension INTEGER,
 UNIQUE (provider, model));
CREATE TABLE IF NOT EXISTS vectors (model INTEGER, id BLOB, vector BLOB, PRIMARY KEY (model, id)) WITHOUT ROWID;
"""


class Model(NamedTuple):
    """Who made vectors: `number` is its number in vectors.db, `dimension` how many numbers a vector has."""

    number: int
    provider: str
    name: str
    dimension: int

    def is_of(self, provider: str, name: str) -> bool:
        """Tell whether this is a provider's model of this name."""
        return (self.provider, self.name) == (provider, name)

    def __str__(self) -> str:
        return f"{self.provider} {self.name} ({self.dimension} numbers)"


class Row(NamedTuple):
    """A row of the index that can be embedded."""

    table: str
    project: str
    number: int
    title: str
    text: str

    def pieces(self) -> list[str]:
        """Return the texts that are embedded for it, in their order, each of a page with its title."""
        return pieces_of(self.table, self.title, self.text)


@dataclass(frozen=True)
class Meaning:
    """The vector of a question, as made by a model, and where the vectors of that model are."""

    vector: tuple[float, ...]
    model: Model
    path: Path


class Near(NamedTuple):
    """How near a row is to a question: the cosine of its nearest piece, and the number of that piece."""

    cosine: float
    piece: int


def path_in(home: Path) -> Path:
    """Return where the vectors of a home are."""
    return home / "vectors.db"


def text_id(text: str) -> bytes:
    """Return the name under which the vector of a text is kept."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()[:16]


def pieces_of(table: str, title: str, text: str) -> list[str]:
    """Return the texts that are embedded for a row of a table."""
    if table == "observations":
        return pieces(text[:MOST_OF_OBSERVATION])  # its title repeats the text
    return [f"{title}\n{piece}".strip() for piece in pieces(text)]


# --- the file of vectors


class Store:
    """The file `vectors.db` of AI_MEMORY_HOME. Opened for each operation; not in WAL mode, see `db`."""

    def __init__(self, home: Path) -> None:
        self.path = path_in(home)
        self._lock = home / "locks" / "vectors.lock"

    def models(self) -> list[Model]:
        """Return whose vectors are here; those of nobody when there is no file."""
        if not self.path.exists():
            return []
        with _reading(self.path) as db:
            return [Model(*row) for row in db.execute("SELECT number, provider, model, dimension FROM models")]

    def model(self, provider: str, name: str) -> Model | None:
        """Return a model that has vectors here."""
        return next((one for one in self.models() if one.is_of(provider, name)), None)

    def add_model(self, provider: str, name: str, dimension: int) -> Model:
        """Return a model that is to have vectors here; one that is known keeps its dimension."""
        with self._writing() as db:
            db.execute(
                "INSERT OR IGNORE INTO models (provider, model, dimension) VALUES (?, ?, ?)",
                (provider, name, dimension),
            )
        found = self.model(provider, name)
        assert found
        return found

    def put(self, model: Model, vectors: Mapping[bytes, Sequence[float]]) -> None:
        """Keep vectors by the ids of their texts."""
        told = [(model.number, name, _packed(vector)) for name, vector in vectors.items()]
        with self._writing() as db:
            db.executemany("INSERT OR REPLACE INTO vectors (model, id, vector) VALUES (?, ?, ?)", told)

    def signs(self, model: Model, ids: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the signs of the vectors that are known of these texts."""
        if not self.path.exists():
            return {}
        with _reading(self.path) as db:
            return {name: _signs(_unpacked(packed)) for name, packed in _vectors(db, model, ids)}

    def forget(self, model: Model) -> None:
        """Remove a model and its vectors."""
        with self._writing() as db:
            db.execute("DELETE FROM vectors WHERE model = ?", (model.number,))
            db.execute("DELETE FROM models WHERE number = ?", (model.number,))

    def keep_only(self, ids: set[bytes]) -> int:
        """Remove the vectors of all other texts, of any model, for good; return how many."""
        if not self.path.exists():
            return 0
        with _reading(self.path) as db:
            gone = [(name,) for (name,) in db.execute("SELECT DISTINCT id FROM vectors") if name not in ids]
        if gone:
            with self._writing() as db:
                db.executemany("DELETE FROM vectors WHERE id = ?", gone)
        return len(gone)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with locked(self._lock, timeout=LOCK_WAIT), _translated(self.path):
            fresh = not self.path.exists()
            with closing(sqlite3.connect(self.path, timeout=LOCK_WAIT, isolation_level=None)) as db:
                if fresh:
                    self.path.chmod(0o600)
                db.execute("PRAGMA secure_delete = ON")
                db.executescript(_SCHEMA)
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                except BaseException:
                    db.rollback()
                    raise
                db.commit()


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with _translated(path), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=READ_WAIT)) as db:
        yield db


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise sqlite_error(path, error, "remove it and run: ai-memory-mcp embed") from error


def _vectors(db: sqlite3.Connection, model: Model, ids: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for some in _parts(list(dict.fromkeys(ids))):
        marks = ",".join("?" * len(some))
        yield from db.execute(
            f"SELECT id, vector FROM vectors WHERE model = ? AND id IN ({marks})", (model.number, *some)
        )


def _packed(vector: Sequence[float]) -> bytes:
    """Return a vector as one float32, the size of a step, and its numbers in steps, a byte each."""
    step = max(map(abs, vector)) / 127 or 1.0
    return _little(array("f", [step])).tobytes() + array("b", [round(one / step) for one in vector]).tobytes()


def _unpacked(packed: bytes) -> array[int]:
    return array("b", packed[4:])


def _step(packed: bytes) -> float:
    return _little(array("f", packed[:4]))[0]


def _little(numbers: array[float]) -> array[float]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _signs(vector: Sequence[float]) -> bytes:
    """Return which numbers are above 0, a bit each."""
    bits = int("".join("1" if one > 0 else "0" for one in vector), 2)
    return bits.to_bytes((len(vector) + 7) // 8, "big")


# --- signs in the index


def model_of(db: sqlite3.Connection) -> Model | None:
    """Return the model whose signs the index has, None where it has none."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (_MODEL,)).fetchone()
    return Model(*json.loads(row[0])) if row else None


def set_model(db: sqlite3.Connection, model: Model | None) -> None:
    """Make the index one of this model: signs of another one are removed."""
    if model_of(db) != model:
        for table in TABLES:
            db.execute(f"DELETE FROM {table}_signs")
    db.execute("DELETE FROM meta WHERE key = ?", (_MODEL,))
    if model:
        db.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (_MODEL, json.dumps(model)))


def put_signs(db: sqlite3.Connection, row: Row, signs: Sequence[tuple[bytes, bytes]]) -> None:
    """Store the (id of the text, signs) of each piece of a row; not if the row says something else by now."""
    sql = f"{_TEXTS[row.table]} AND p.rowid = ? AND p.project = ?"
    found = db.execute(sql, (row.number, row.project)).fetchone()
    if found and (found["title"], found["text"]) == (row.title, row.text):
        db.executemany(
            f"INSERT OR REPLACE INTO {row.table}_signs (project, row, piece, id, bits) VALUES (?, ?, ?, ?, ?)",
            [(row.project, row.number, piece, name, bits) for piece, (name, bits) in enumerate(signs)],
        )


_TEXTS = {  # what is embedded: rows with a word; of pages none that search hides
    "passages": "SELECT p.rowid AS row, p.project AS project, g.title AS title, p.text AS text FROM passages p"
    f" JOIN pages g ON g.rowid = p.rowid >> {PASSAGE_BITS}"
    " WHERE p.length > 0 AND g.kind NOT IN ('index', 'project', 'lint')",
    "observations": "SELECT p.rowid AS row, p.project AS project, p.title AS title, p.text AS text FROM observations p"
    " WHERE p.length > 0",
}
_UNSIGNED = "NOT EXISTS (SELECT 1 FROM {}_signs s WHERE s.project = p.project AND s.row = p.rowid)"


def missing(db: sqlite3.Connection, table: str, project_id: str, *, newest: int, below: int, limit: int) -> list[Row]:
    """Return rows without signs among the `newest` of a project (-1: all) whose number is below one, newest first."""
    sql = (
        f"{_TEXTS[table]} AND p.project = ? AND p.rowid < ? AND p.rowid >= ? AND {_UNSIGNED.format(table)}"
        " ORDER BY p.rowid DESC LIMIT ?"
    )
    found = db.execute(sql, (project_id, below, _oldest(db, table, project_id, newest), limit))
    return [Row(table, row["project"], row["row"], row["title"], row["text"]) for row in found]


def count_missing(db: sqlite3.Connection, table: str, project_id: str, *, newest: int) -> int:
    """Count the rows that `missing` gives."""
    sql = f"SELECT count(*) FROM ({_TEXTS[table]} AND p.project = ? AND p.rowid >= ? AND {_UNSIGNED.format(table)})"
    return int(db.execute(sql, (project_id, _oldest(db, table, project_id, newest))).fetchone()[0])


def count(db: sqlite3.Connection, table: str) -> int:
    """Count the rows that have signs."""
    return int(db.execute(f"SELECT count(*) FROM {table}_signs WHERE piece = 0 AND bits <> x''").fetchone()[0])


def ids(db: sqlite3.Connection) -> set[bytes]:
    """Return the ids of all texts that have signs."""
    return {row[0] for table in TABLES for row in db.execute(f"SELECT id FROM {table}_signs")}


def is_behind(db: sqlite3.Connection, table: str) -> bool:
    """Tell whether the last row that came in has no signs: a cheap sign that there is something to embed."""
    last = f"{_TEXTS[table]} ORDER BY p.rowid DESC LIMIT 1"
    signed = f"SELECT 1 FROM {table}_signs s WHERE s.project = p.project AND s.row = p.row"
    return db.execute(f"SELECT 1 FROM ({last}) p WHERE NOT EXISTS ({signed})").fetchone() is not None


def is_due(db: sqlite3.Connection, home: Path, provider: str, name: str) -> bool:
    """Tell whether there is something to embed for a model; cheap, and no word on what it would cost.

    To have everything embedded anew by another model is for a person to say: two processes may have two settings.
    """
    model = model_of(db)
    if model and not model.is_of(provider, name):
        return False
    begun = db.execute("SELECT 1 FROM meta WHERE key = ?", (_BEGUN,)).fetchone() is not None
    return begun or (model is not None and not path_in(home).exists()) or is_behind(db, "passages")


def begin(db: sqlite3.Connection) -> None:
    """Note that a run is not complete: whoever comes next goes on."""
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, '1')", (_BEGUN,))


def end(db: sqlite3.Connection) -> None:
    """Note that a run is complete."""
    db.execute("DELETE FROM meta WHERE key = ?", (_BEGUN,))


def _oldest(db: sqlite3.Connection, table: str, project_id: str, newest: int) -> int:
    """Return the number of the last of a project's newest rows."""
    if newest < 0:
        return 0
    sql = f"SELECT rowid FROM {table} WHERE project = ? ORDER BY rowid DESC LIMIT 1 OFFSET ?"
    row = db.execute(sql, (project_id, newest - 1)).fetchone() if newest else None
    return int(row[0]) if row else 0 if newest else sys.maxsize


# --- asking


def usual(db: sqlite3.Connection, meaning: Meaning) -> float:
    """Return how near (cosine, by signs) a text is that has nothing to do with a question: the mean of the farther half
    of some hundred, for in a small memory the other half may be what is asked for."""
    asked = int.from_bytes(_signs(meaning.vector), "big")
    size = (meaning.model.dimension + 7) // 8
    some = [row[0] for table in TABLES for row in db.execute(f"SELECT bits FROM {table}_signs LIMIT {SAMPLE}")]
    away = sorted((int.from_bytes(bits, "big") ^ asked).bit_count() for bits in some if len(bits) == size)
    farther = [math.cos(math.pi * far / meaning.model.dimension) for far in away[len(away) // 2 :]]
    return sum(farther) / len(farther) if farther else 0.0


def nearest(
    db: sqlite3.Connection,
    table: str,
    meaning: Meaning,
    project_ids: Sequence[str],
    count: int,
    *,
    scopes: str = "",
    narrow: tuple[str, Sequence[object]] = ("", ()),
) -> list[int]:
    """Return the `count` rows of the projects (all when empty) that are nearest by their signs, nearest first. At most
    SCANNED signs are looked at, those of newer rows first.

    `scopes` is an FTS5 expression and `narrow` SQL that joins or limits the row `p`, with its arguments.
    """
    sql, args = narrow
    joined = f"CROSS JOIN {table} p ON p.rowid = s.row {sql}" if sql else "WHERE 1"
    told: list[object] = [*args]
    if project_ids:
        joined += " AND s.project IN (SELECT value FROM json_each(?))"
        told.append(json.dumps(project_ids))
    if scopes:
        joined += f" AND s.row IN (SELECT rowid FROM {table}_fts WHERE {table}_fts MATCH ?)"
        told.append(scopes)
    cursor = db.cursor()
    cursor.row_factory = None  # plain tuples: tens of thousands of them
    asked, read = int.from_bytes(_signs(meaning.vector), "big"), int.from_bytes
    size = (meaning.model.dimension + 7) // 8
    rows = cursor.execute(
        f"SELECT s.bits, s.row FROM {table}_signs s {joined} ORDER BY s.project DESC, s.row DESC LIMIT {SCANNED}", told
    )
    away = [((read(bits, "big") ^ asked).bit_count(), row) for bits, row in rows if len(bits) == size]
    return list(dict.fromkeys(row for _, row in heapq.nsmallest(count, away)))


def compared(db: sqlite3.Connection, table: str, meaning: Meaning, rows: Sequence[int]) -> dict[int, Near]:
    """Return how near each of these rows is to a question; those that are embedded."""
    asked, size = int.from_bytes(_signs(meaning.vector), "big"), (meaning.model.dimension + 7) // 8
    pieces: dict[int, list[tuple[int, int, bytes]]] = {}
    for some in _parts(list(rows)):
        sql = (
            f"SELECT s.row, s.piece, s.id, s.bits FROM {table} p JOIN {table}_signs s ON s.project = p.project"
            f" AND s.row = p.rowid WHERE p.rowid IN ({','.join('?' * len(some))})"
        )
        for row, piece, name, bits in db.execute(sql, some):
            if len(bits) == size:
                far = (int.from_bytes(bits, "big") ^ asked).bit_count()
                pieces.setdefault(row, []).append((far, piece, name))
    looked = {row: heapq.nsmallest(LOOKED_AT, some) for row, some in pieces.items()}
    with _reading(meaning.path) as store:
        packed = dict(_vectors(store, meaning.model, [name for some in looked.values() for _, _, name in some]))
    known = {name: _step(one) * sum(map(mul, meaning.vector, _unpacked(one))) for name, one in packed.items()}
    near = {row: [Near(known[name], piece) for _, piece, name in some if name in known] for row, some in looked.items()}
    return {row: max(some) for row, some in near.items() if some}


def _parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]
