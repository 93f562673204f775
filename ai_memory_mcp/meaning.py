"""The meaning of a question: its embedding, asked for while its words are looked up, and waited for a bounded time.

What hinders that hinders nothing else: search goes by words alone then, and says so. Nobody is asked while the index
has no vectors of the configured model. What a provider says is told by status and doctor, never in an answer.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timezone

from ai_memory_mcp.embedding import Embedder, Vector, fault
from ai_memory_mcp.errors import LlmError
from ai_memory_mcp.index import vectors
from ai_memory_mcp.index.vectors import Meaning, Model
from ai_memory_mcp.llm_meter import CHARS_PER_TOKEN
from ai_memory_mcp.redact import Redactor
from ai_memory_mcp.resources import Resources

KEPT = 256  # questions whose vectors a process remembers
LONGEST = 2_000  # characters of a question
LATE = 5.0  # seconds after which an embedding that did not come in time is not waited for by its thread either
NOTES = {  # by the kind of error
    "unset": "the embedding model is not set up completely",
    "key": "the embedding model's key is missing or not accepted",
    "model": "the embedding model has changed or is not there",
    "paused": "the embedding model is left alone for a while after failures",
    "capped": "the embedding model's tokens for today are spent",
    "slow": "the embedding model did not answer in time",
}
FAILED = "the embedding model did not answer"

_kept: OrderedDict[tuple[str, ...], Vector] = OrderedDict()
_guard = threading.Lock()


class Asked:
    """A question whose vector is on its way, or is known, or (with a `note` that says why) does not come."""

    def __init__(self, found: Meaning | None = None, note: str = "") -> None:
        self.note = note
        self._found = found
        self._deadline = 0.0
        self._done = threading.Event()
        self._late = False
        if found or note:
            self._done.set()

    def meaning(self) -> Meaning | None:
        """Return the question's vector, waiting for what is left of the time; None where it does not come."""
        if not self._done.wait(max(0.0, self._deadline - time.monotonic())):
            self._late = True
            self.note = NOTES["slow"]
        return self._found if not self.note else None

    @classmethod
    def begun(cls, embedder: Embedder, text: Callable[[], str], then: Callable[[Vector], Meaning]) -> Asked:
        """Ask for the vector of a text in a thread that nobody waits for any longer than the settings say.

        One that comes late is still handed to `then`: somebody may ask the same again.
        """
        asked = cls()
        limit = embedder.config.wait_ms / 1000
        asked._deadline = time.monotonic() + limit

        def run() -> None:
            cost, failed = 0, True
            try:
                vector, cost = embedder.ask(text(), max(limit, LATE))
                asked._found = then(vector)
                failed = False
            except Exception as error:  # whatever it was, words are enough
                asked.note = NOTES.get(error.kind, FAILED) if isinstance(error, LlmError) else FAILED
            embedder.meter.note(cost, failed=failed or asked._late, now=_now())
            asked._done.set()

        threading.Thread(target=run, daemon=True).start()
        return asked


def ask(res: Resources, model: Model, text: str, key: str, redactor: Callable[[], Redactor]) -> Asked:
    """Begin to ask for the vector of a question, to be compared with those that `model` has made.

    What leaves is redacted, by a `redactor` that is made in the thread: it takes longer than the words do.
    """
    config = res.config.embedding
    if not model.is_of(config.provider, config.model):
        return Asked(note="what is embedded is of another model; to have it anew: ai-memory-mcp embed")
    if error := fault(config, key):
        return Asked(note=NOTES.get(error.kind, FAILED))
    embedder = Embedder(config, key, res.home)
    name = (str(res.home), config.provider, config.model, config.base_url, text)
    path = vectors.path_in(res.home)
    with _guard:
        known = _kept.get(name)
    if known and len(known) == model.dimension:
        return Asked(Meaning(known, model, path))
    if kind := _left_alone(embedder, text):
        return Asked(note=NOTES[kind])

    def then(vector: Vector) -> Meaning:
        if len(vector) != model.dimension:
            raise LlmError("the vectors here have another length than the question's", "model")
        with _guard:
            _kept[name] = vector
            while len(_kept) > KEPT:
                _kept.popitem(last=False)
        return Meaning(vector, model, path)

    return Asked.begun(embedder, lambda: redactor().text(text[:LONGEST]), then)


def _left_alone(embedder: Embedder, text: str) -> str:
    """Say (as the kind of an error) why the model is not asked for a question just now, '' when it is."""
    meter, now = embedder.meter, _now()
    if meter.paused(now) or meter.failing(now):
        return "paused"
    estimate = min(len(text), LONGEST) // CHARS_PER_TOKEN
    return "capped" if meter.spent(now) + estimate > embedder.config.daily_tokens else ""


def _now() -> datetime:
    return datetime.now(timezone.utc)
