"""Embed: every passage that has no vector yet, and the newest observations, in batches; what was paid for once is kept.

A run that is interrupted loses at most one batch. One process at a time; the caller opens the door to the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING

from ai_memory_mcp import passages
from ai_memory_mcp.embedding import Embedder, address
from ai_memory_mcp.errors import LlmError, StorageError
from ai_memory_mcp.files import locked
from ai_memory_mcp.index import rows, vectors
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.index.vectors import Model, Row, Store
from ai_memory_mcp.llm_meter import CHARS_PER_TOKEN
from ai_memory_mcp.memory import Progress
from ai_memory_mcp.model import Embedded, EmbeddingStatus
from ai_memory_mcp.resources import Resources

if TYPE_CHECKING:
    from ai_memory_mcp.redact import Redactor

BATCH = 64  # texts
ROWS = 50  # read from the index at once
PATIENCE = 5.0  # seconds that a person waits for another process that embeds
SHORTEST = 250  # characters below which a text that the model refuses is not made shorter
COMMAND = "ai-memory-mcp embed"


def lock(res: Resources, wait: float) -> AbstractContextManager[bool]:
    """The right to embed. Raises BusyError after `wait` seconds."""
    return locked(res.home / "locks" / "embed.lock", timeout=wait)


def may_ask(embedder: Embedder, now: datetime) -> bool:
    """Tell whether the model can be asked, is not left alone, and has tokens left for a batch. Contacts nobody."""
    if embedder.fault() or embedder.meter.paused(now):
        return False
    batch = BATCH * passages.PIECE // CHARS_PER_TOKEN
    return embedder.meter.spent(now) + batch <= embedder.config.daily_tokens


def status(res: Resources, embedder: Embedder, *, now: datetime) -> EmbeddingStatus:
    """Tell who is asked, what is embedded and what waits, what it cost, and why search goes by words alone."""
    config, meter = embedder.config, embedder.meter
    with res.index.read() as db:
        model = vectors.model_of(db)
        done = sum(vectors.count(db, table) for table in vectors.TABLES)
        waiting = _count_waiting(db, res)
    fault = embedder.fault()
    problem = str(fault) if fault else meter.paused(now)
    if model and not model.is_of(config.provider, config.model):
        problem = f"what is embedded is of {model} and not used; to have it embedded by {config.model}: {COMMAND}"
    elif model and (lost := _lost(res, model)):
        problem = lost
    elif not model and not problem:
        problem = f"nothing is embedded yet; a session's end does it, or: {COMMAND}"
    return EmbeddingStatus(
        provider=config.provider,
        model=config.model,
        address=address(config),
        dimension=model.dimension if model else 0,
        embedded=done,
        waiting=waiting,
        spent=meter.spent(now),
        daily_tokens=config.daily_tokens,
        days=meter.days(now),
        problem=problem,
    )


def run(
    res: Resources,
    embedder: Embedder,
    redactor: Redactor,
    *,
    again: bool = False,
    progress: Progress = lambda *_: None,
) -> Embedded:
    """Embed what has no vector of the configured model, newest first; the caller holds the lock.

    With `again` this model's vectors are made anew. Raises LlmError; what was done before it stays done.
    """
    config, store = res.config.embedding, Store(res.home)
    model = store.model(config.provider, config.model)
    if again and model:
        with res.index.write() as db:
            vectors.set_model(db, None)
        store.forget(model)
        model = None
    with res.index.write() as db:
        if model is None or vectors.model_of(db) != model:
            vectors.set_model(db, model)
        vectors.begin(db)
    work = _Work(res, embedder, redactor, store, model)
    with res.index.read() as db:
        total = _count_waiting(db, res)
    done = 0
    progress("embedding", 0, total)
    for some in _waiting(res):
        work.embed(some)
        done += len(some)
        progress("embedding", done, max(done, total))
    with res.index.write() as db:
        vectors.end(db)
        known = vectors.ids(db)
    removed = store.keep_only(known)
    return Embedded(
        provider=config.provider,
        model=config.model,
        dimension=work.model.dimension if work.model else 0,
        rows=done,
        asked=work.asked,
        refused=work.refused,
        removed=removed,
    )


def restore(db: Connection, res: Resources) -> None:
    """Give an index that was built anew the signs of the vectors that are kept: nobody is asked for them again."""
    config, store = res.config.embedding, Store(res.home)
    model = store.model(config.provider, config.model) if config.provider else None
    if model is None:
        return
    vectors.set_model(db, model)
    vectors.begin(db)  # what has no vector yet is the next run's
    for project in rows.projects(db):
        for table, newest in _wanted(res):
            for some in _rows(db, table, project.id, newest):
                told = {row: [vectors.text_id(piece) for piece in row.pieces()] for row in some}
                known = store.signs(model, [name for names in told.values() for name in names])
                for row, names in told.items():
                    if all(name in known for name in names):
                        vectors.put_signs(db, row, [(name, known[name]) for name in names])


def forget_unused(res: Resources) -> int:
    """Remove the vectors of texts that are no longer there, for good; return how many. Contacts nobody."""
    store = Store(res.home)
    with res.index.read() as db:
        return store.keep_only(vectors.ids(db))


class _Work:
    """Embeds rows: `asked` and `refused` are the texts that went to the model, and those that it does not take."""

    def __init__(
        self, res: Resources, embedder: Embedder, redactor: Redactor, store: Store, model: Model | None
    ) -> None:
        self.model = model
        self.asked = 0
        self.refused = 0
        self._res = res
        self._embedder = embedder
        self._redactor = redactor
        self._store = store

    def embed(self, some: Sequence[Row]) -> None:
        """Give rows their signs; their vectors are kept before."""
        told = {row: row.pieces() for row in some}
        texts = {vectors.text_id(piece): piece for pieces in told.values() for piece in pieces}
        known = self._store.signs(self.model, texts) if self.model else {}
        new = [name for name in texts if name not in known]
        for start in range(0, len(new), BATCH):
            names = new[start : start + BATCH]
            made = self._vectors([self._redactor.text(texts[name]) for name in names])
            self._keep({name: vector for name, vector in zip(names, made, strict=True) if vector})
        known = self._store.signs(self.model, texts) if self.model else {}
        with self._res.index.write() as db:
            if self.model:
                vectors.set_model(db, self.model)
            for row, pieces in told.items():  # what is refused has no bits: it is not asked for again
                ids = [vectors.text_id(piece) for piece in pieces]
                vectors.put_signs(db, row, [(name, known.get(name, b"")) for name in ids])

    def _keep(self, made: dict[bytes, Sequence[float]]) -> None:
        if not made:
            return
        dimension = len(next(iter(made.values())))
        config = self._embedder.config
        if self.model is None:
            self.model = self._store.add_model(config.provider, config.model, dimension)
        if any(len(vector) != self.model.dimension for vector in made.values()):
            raise LlmError(
                f"{config.model} answers with {dimension} numbers now, and with {self.model.dimension} before; if it is"
                " another model by now, have everything embedded anew: ai-memory-mcp embed --again",
                "model",
            )
        self._store.put(self.model, made)

    def _vectors(self, texts: Sequence[str]) -> list[Sequence[float]]:
        """Return a vector for each text, an empty one for a text that the model does not take however short."""
        try:
            made: list[Sequence[float]] = list(self._embedder.embed(texts))
        except LlmError as error:
            if error.kind != "request":
                raise
            if len(texts) > 1:
                return [vector for text in texts for vector in self._vectors([text])]
            if len(texts[0]) > SHORTEST:
                return self._vectors([texts[0][: len(texts[0]) // 2]])
            if self.model is None:  # it may be that this is no way to ask at all
                raise
            self.refused += 1
            return [()]
        self.asked += len(texts)
        return made


def _lost(res: Resources, model: Model) -> str:
    """Say what is wrong with the file of vectors, '' when it has some of this model."""
    try:
        known = Store(res.home).model(model.provider, model.name)
    except StorageError as error:
        return str(error)
    return "" if known == model else f"{vectors.path_in(res.home)} is gone; to have it made anew: {COMMAND}"


def _wanted(res: Resources) -> tuple[tuple[str, int], ...]:
    """Return (table, how many of a project's newest rows, -1 for all) of what is embedded."""
    return ("passages", -1), ("observations", res.config.embedding.observations)


def _count_waiting(db: Connection, res: Resources) -> int:
    """Count the rows that `_waiting` yields."""
    return sum(
        vectors.count_missing(db, table, project.id, newest=newest)
        for project in rows.projects(db)
        for table, newest in _wanted(res)
    )


def _waiting(res: Resources) -> Iterator[list[Row]]:
    """Yield rows without signs by handfuls, pages of all projects first. The index is not held open meanwhile."""
    with res.index.read() as db:
        projects = [project.id for project in rows.projects(db)]
    for table, newest in _wanted(res):
        for project_id in projects:
            below = 1 << 62
            while True:
                with res.index.read() as db:
                    some = vectors.missing(db, table, project_id, newest=newest, below=below, limit=ROWS)
                if not some:
                    break
                yield some
                below = some[-1].number


def _rows(db: Connection, table: str, project_id: str, newest: int) -> Iterator[list[Row]]:
    below = 1 << 62
    while some := vectors.missing(db, table, project_id, newest=newest, below=below, limit=ROWS):
        yield some
        below = some[-1].number
