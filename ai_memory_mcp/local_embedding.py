"""The part of LocalMemory that has to do with embeddings: making them, and asking for that of a question."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ai_memory_mcp.config import api_key, environment
from ai_memory_mcp.errors import ConfigError, LlmError, StorageError
from ai_memory_mcp.files import held
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.local_base import LocalBase, utc_now
from ai_memory_mcp.memory import Progress
from ai_memory_mcp.model import Embedded, EmbeddingStatus

if TYPE_CHECKING:
    from ai_memory_mcp.embedding import Embedder
    from ai_memory_mcp.meaning import Asked


class Embedding(LocalBase):
    """Vectors of pages and observations, and of questions."""

    def embed(self, *, again: bool = False, progress: Progress = lambda *_: None) -> Embedded:
        """Embed what has no vector of the configured model, in all projects; `again` everything. Raises LlmError."""
        from ai_memory_mcp import embed

        door = self._embedder(asked=True)
        if fault := door.fault():
            raise fault
        self._fresh(None)
        with embed.lock(self.res, embed.PATIENCE):
            return embed.run(self.res, door, self._redactor(), again=again, progress=progress)

    def embed_waiting(self) -> Embedded | None:
        """Embed what is new, unless somebody else is at it or it cannot be; for the worker, for whose end nobody
        waits."""
        if not self.embedding_is_due():
            return None
        from ai_memory_mcp import embed

        with suppress(StorageError, LlmError), embed.lock(self.res, 0.0):  # status tells what went wrong
            return embed.run(self.res, self._embedder(), self._redactor())
        return None

    def embedding_is_due(self) -> bool:
        """Tell whether there is something to embed, the model may be asked, and nobody is at it."""
        config = self.res.config.embedding
        if not (config.provider and config.automatic) or held(self.res.home / "locks" / "embed.lock"):
            return False
        from ai_memory_mcp.index import vectors

        with suppress(StorageError), self.res.index.read() as db:
            if vectors.is_due(db, self.res.home, config.provider, config.model):
                from ai_memory_mcp import embed

                return embed.may_ask(self._embedder(), utc_now())
        return False

    def _asking(self, db: Connection) -> Callable[[str], Asked | None]:
        """Return what begins to ask for the vector of a text. Where nothing is embedded, nothing is loaded for it."""
        config = self.res.config
        if not config.embedding.provider or "meaning" in config.search.without:
            return lambda text: None
        from ai_memory_mcp.index import vectors

        model = vectors.model_of(db)

        def ask(text: str) -> Asked | None:
            if model is None:
                return None
            from ai_memory_mcp import meaning

            return meaning.ask(self.res, model, text, self._embedding_key(), self._redactor)

        return ask

    def _embedder(self, *, asked: bool = False) -> Embedder:
        """The embedding model, for a person who waits (`asked`) or for the worker."""
        from ai_memory_mcp.embedding import Embedder

        return Embedder(self.res.config.embedding, self._embedding_key(), self.res.home, asked=asked)

    def _embedding_key(self) -> str:
        try:
            return api_key(self.res.config.embedding, environment())
        except ConfigError:  # told by doctor
            return ""

    def _embedding_status(self) -> EmbeddingStatus:
        from ai_memory_mcp import embed

        return embed.status(self.res, self._embedder(), now=utc_now())
