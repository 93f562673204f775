"""The one door to embedding models: texts become vectors of length 1, over HTTP, metered and bounded in time.

All providers speak OpenAI's `/embeddings` (Gemini at an address of its own), so litellm is not needed here; its start
of several seconds would keep a search from ever having its question's embedding in time. Nothing is contacted but the
configured address; the key stands in no error. A redirect is not followed.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from ai_memory_mcp.config import KEY_VARIABLES, EmbeddingConfig
from ai_memory_mcp.errors import LlmError
from ai_memory_mcp.llm_meter import CHARS_PER_TOKEN, PAUSES, Meter, tried_again

T = TypeVar("T")
Vector = tuple[float, ...]

ADDRESSES = {
    "openai": "https://api.openai.com/v1",
    "voyage": "https://api.voyageai.com/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai",
}
TELLS_KIND = ("voyage",)  # whose embeddings of questions and of texts differ
PURPOSE = "embedding"
CONNECT = 10.0  # seconds
AGAIN = ("down", "limited", "slow")
MESSAGE = 200  # characters kept of what a provider says went wrong
WIDEST = 16_384  # numbers of a vector


def fault(config: EmbeddingConfig, key: str) -> LlmError | None:
    """Return what has to be mended before anybody can be asked; None when nothing has. Contacts nobody."""
    if not config.provider:
        return LlmError(
            "no embedding model is set up; set provider and model under [embedding] in config.toml", "unset"
        )
    if not config.model:
        return LlmError(f"no model is set; say which one of {config.provider}'s: model under [embedding]", "unset")
    if not address(config):
        return LlmError("openai-compatible needs the address of the endpoint: base_url under [embedding]", "unset")
    if not key and (config.api_key_env or config.provider in KEY_VARIABLES):
        names = config.api_key_env or " or ".join(KEY_VARIABLES[config.provider])
        return LlmError(
            f"there is no key: {names} is not set here, and some agents keep it from what they start; put the key into"
            " a file of mode 0600 and name it: api_key_file under [embedding]",
            "key",
        )
    return None


def address(config: EmbeddingConfig) -> str:
    """Return the one address that is contacted, '' when none is known."""
    return config.base_url or ADDRESSES.get(config.provider, "")


class Embedder:
    """Asks the configured model within the limits of the settings. `asked` says that a person waits: then a pause after
    failures is not kept. `pauses` are the seconds before each further try."""

    def __init__(
        self,
        config: EmbeddingConfig,
        key: str,
        home: Path,
        *,
        asked: bool = False,
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self.config = config
        self._key = key
        self.meter = Meter(home, "embedding")
        self._asked = asked
        self._pauses = pauses

    def fault(self) -> LlmError | None:
        """Return what has to be mended before anybody can be asked, see `fault`."""
        return fault(self.config, self._key)

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Return the vectors of texts that are to be found, all of one length. Raises LlmError; then there are none."""
        if error := self.fault():
            raise error
        return tried_again(lambda: self._metered(texts), AGAIN, self._pauses)

    def ask(self, question: str, limit: float) -> tuple[Vector, int]:
        """Return the vector of a question, for which there are `limit` seconds, and what it cost. Raises LlmError."""
        vectors, cost = self._call([question], "query", limit)
        return vectors[0], cost

    def _metered(self, texts: Sequence[str]) -> list[Vector]:
        estimate = sum(len(text) for text in texts) // CHARS_PER_TOKEN
        self.meter.begin(PURPOSE, estimate, self.config.daily_tokens, now=_now(), asked=self._asked)
        try:
            vectors, cost = self._call(texts, "document", float(self.config.timeout_seconds))
        except LlmError as error:
            self.meter.failed(PURPOSE, estimate, error, now=_now())
            raise
        self.meter.end(PURPOSE, estimate, (cost, 0), now=_now())
        return vectors

    def _call(self, texts: Sequence[str], kind: str, limit: float) -> tuple[list[Vector], int]:
        body: dict[str, Any] = {"model": self.config.model, "input": list(texts)}
        if self.config.provider in TELLS_KIND:
            body["input_type"] = kind
        try:
            status, data, wait = within(limit, lambda: self._post(json.dumps(body).encode(), limit))
        except TimeoutError:
            raise LlmError(f"{self._who()} did not answer within {limit:g} seconds", "slow") from None
        except OSError as error:
            from ai_memory_mcp.link import reason

            raise LlmError(f"{self._who()} cannot be reached: {reason(error)}", "down") from error
        if status != 200:
            raise self._refusal(status, data, wait)
        try:
            told = json.loads(data)
            vectors = _vectors(told, len(texts))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise LlmError(f"what {self._who()} answers is no list of embeddings", "down") from error
        usage = told.get("usage")
        cost = usage.get("total_tokens") if isinstance(usage, dict) else None
        if not isinstance(cost, int) or cost <= 0:
            cost = sum(len(text) for text in texts) // CHARS_PER_TOKEN
        return vectors, cost

    def _post(self, body: bytes, limit: float) -> tuple[int, bytes, float]:
        from urllib.parse import urlsplit  # 40 ms with the next one, for those who ask

        from ai_memory_mcp.link import connected, posted

        parts = urlsplit(address(self.config))
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        connection = connected(parts, limit=min(CONNECT, limit))
        return posted(connection, f"{parts.path}/embeddings", body, headers, answer=limit)

    def _who(self) -> str:
        return f"{self.config.model} at {address(self.config)}"

    def _refusal(self, status: int, data: bytes, wait: float) -> LlmError:
        said = " ".join(data[:2_000].decode("utf-8", "replace").split())
        if self._key:
            said = said.replace(self._key, "[key]")
        kinds = {401: "key", 403: "key", 404: "model", 408: "slow", 429: "limited"}
        kind = kinds.get(status, "request" if 400 <= status < 500 else "down")
        words = {
            "key": "does not accept the key",
            "model": "is not there",
            "limited": "asks for patience",
            "request": "does not take the request",
        }
        message = f"{self._who()} {words.get(kind, 'fails')} ({status}): {said[:MESSAGE]}"
        return LlmError(message, kind, wait if kind == "limited" else 0.0)


def within(limit: float, work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises, within `limit` seconds. Raises TimeoutError after that.

    The work goes on in a thread that nobody waits for any more: no look-up of a name and no answer that comes drop by
    drop keeps anybody longer.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError
    return done[0]


def _vectors(told: Mapping[str, Any], count: int) -> list[Vector]:
    """Read an answer. Raises ValueError, TypeError or KeyError for one that is not what was asked for."""
    data = told["data"]
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        raise ValueError("no list of embeddings")
    found = [_unit(one["embedding"]) for one in sorted(data, key=lambda one: int(one.get("index", 0)))]
    if len(found) != count or len({len(vector) for vector in found}) != 1:
        raise ValueError("not one vector for each text, all of one length")
    return found


def _unit(numbers: Sequence[Any]) -> Vector:
    if not isinstance(numbers, list) or not 0 < len(numbers) <= WIDEST:
        raise ValueError("no list of numbers")
    length = math.sqrt(math.fsum(float(one) * float(one) for one in numbers))
    if not (length > 0 and math.isfinite(length)):
        raise ValueError("points nowhere")
    return tuple(float(one) / length for one in numbers)


def _now() -> datetime:
    return datetime.now(timezone.utc)
