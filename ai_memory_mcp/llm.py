"""The one door to language models: metered, bounded in time, checked. litellm itself runs in a child (`llm_child`).

Nothing is contacted but the configured provider's address, and the key goes to the child by its standard input: it
stands in no argument, file or log. Whoever asks gets an LlmError for all that can go wrong, never a half answer.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from ai_memory_mcp.config import KEY_VARIABLES, LlmConfig
from ai_memory_mcp.errors import LlmError
from ai_memory_mcp.llm_meter import CHARS_PER_TOKEN, PAUSES, Meter, tried_again
from ai_memory_mcp.processes import Conversation, conversation, of_ours

M = TypeVar("M", bound=BaseModel)

ADDRESSES = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta",
}
PREFIXES = {"openai-compatible": "openai"}  # litellm's name for who is asked
START_SECONDS = 60.0  # importing litellm on a busy machine
GRACE = 5.0  # seconds beyond the time that the provider has, after which litellm itself should have given up
AGAIN = ("down", "limited", "garbage")
# of our environment only this reaches litellm: the way to the network and what an interpreter needs
PASSED_ON = frozenset(
    """PATH HOME USERPROFILE SYSTEMROOT TEMP TMP TMPDIR LANG LC_ALL HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE VIRTUAL_ENV""".split()
)
QUIET = {  # no price list from the network, no `.env` of the working directory, no other look-up of its own
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_OFFLINE_MODE": "true",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "CRITICAL",
}


class Reply(NamedTuple):
    """An answer as it came, and what it cost; `model` is the provider's name for who answered."""

    text: str
    model: str
    input: int
    output: int
    seconds: float


def address(config: LlmConfig) -> str:
    """Return the one address that is contacted, '' when none is known."""
    return config.base_url or ADDRESSES.get(config.provider, "")


def fault(config: LlmConfig, key: str) -> LlmError | None:
    """Return what has to be mended before anybody can be asked; None when nothing has. Contacts nobody."""
    if not config.provider:
        return LlmError("no language model is set up; set provider and model under [llm] in config.toml", "unset")
    if not config.model:
        return LlmError(f"no model is set; say which one of {config.provider}'s: model under [llm]", "unset")
    if not address(config):
        return LlmError("openai-compatible needs the address of the endpoint: base_url under [llm]", "unset")
    if importlib.util.find_spec("litellm") is None:
        return LlmError(f"litellm, which speaks to language models, is not installed; run: {installing()}", "missing")
    if not key and (config.api_key_env or config.provider in KEY_VARIABLES):
        names = config.api_key_env or " or ".join(KEY_VARIABLES[config.provider])
        return LlmError(
            f"there is no key: {names} is not set here, and some agents keep it from what they start; put the key into"
            " a file of mode 0600 and name it: api_key_file under [llm]",
            "key",
        )
    return None


def estimate(system: str, user: str, max_tokens: int) -> int:
    """Return how many tokens a question takes at most, as they are booked before it is asked."""
    return (len(system) + len(user)) // CHARS_PER_TOKEN + max_tokens


def installing() -> str:
    """Return the command that installs litellm where this program runs."""
    prefix = Path(sys.prefix)
    if (prefix / "pipx_metadata.json").exists():
        return "pipx inject ai-memory-mcp litellm"
    if (prefix / "uv-receipt.toml").exists() or importlib.util.find_spec("pip") is None:
        return f"uv pip install --python {sys.executable} litellm"
    return f"{sys.executable} -m pip install litellm"


class Child:
    """The process that holds litellm. A context manager: it is started at the first question and ended at the exit."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = {name: value for name, value in env.items() if name.upper() in PASSED_ON} | QUIET
        self._stack = ExitStack()
        self._talk: Conversation | None = None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def ask(self, request: Mapping[str, Any], limit: float) -> dict[str, Any]:
        """Return what came of a request, for which there are `limit` seconds; after that the process is ended.

        Raises TimeoutError, OSError and ValueError as a `Conversation` does.
        """
        try:
            if self._talk is None:
                self._talk = self._begin()
                self._talk.ask("start", {}, time.monotonic() + START_SECONDS)
            return self._talk.ask("complete", request, time.monotonic() + limit)
        except (OSError, ValueError):
            self.end()
            raise

    def end(self) -> None:
        """End the process; the next question starts another one."""
        self._talk = None
        self._stack.close()

    def _begin(self) -> Conversation:
        command = of_ours("ai_memory_mcp.llm_child")
        # not in a folder of a project, whose files litellm might read, nor in one that a kill would leave behind
        return self._stack.enter_context(conversation(command, env=self._env, cwd=Path(sys.prefix)))


class Llm:
    """Asks the configured model, through a `child`, within the limits of the settings.

    `asked` says that a person waits for the answer: then a pause after failures is not kept. `pauses` are the seconds
    before each further try. Not for several threads at once.
    """

    def __init__(
        self,
        config: LlmConfig,
        key: str,
        home: Path,
        child: Child,
        *,
        asked: bool = False,
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self.config = config
        self._key = key
        self._meter = Meter(home)
        self._child = child
        self._asked = asked
        self._pauses = pauses

    def ask(self, purpose: str, system: str, user: str, answer: type[M], *, max_tokens: int) -> M:
        """Return the model's answer as a value of this model. Raises LlmError; then nothing has come of it."""
        return self.ask_for_reply(purpose, system, user, answer, max_tokens=max_tokens)[0]

    def ask_for_reply(
        self, purpose: str, system: str, user: str, answer: type[M], *, max_tokens: int
    ) -> tuple[M, Reply]:
        """The same, with the reply that it was read from."""
        error = fault(self.config, self._key)
        if error:
            raise error
        request = {
            "model": f"{PREFIXES.get(self.config.provider, self.config.provider)}/{self.config.model}",
            "base_url": address(self.config),
            "key": self._key,
            "system": system,
            "user": user,
            "schema": wire_schema(answer),
            "most": "max_completion_tokens" if self.config.provider == "openai" else "max_tokens",
            "max_tokens": max_tokens,
            "timeout": self.config.timeout_seconds,
        }
        most = estimate(system, user, max_tokens)
        return tried_again(lambda: self._metered(purpose, request, most, answer), AGAIN, self._pauses)

    def _metered(self, purpose: str, request: dict[str, Any], estimate: int, answer: type[M]) -> tuple[M, Reply]:
        self._meter.begin(purpose, estimate, self.config.daily_tokens, now=_now(), asked=self._asked)
        try:
            reply, finish = self._call(request)
        except LlmError as error:
            self._meter.failed(purpose, estimate, error, now=_now())
            raise
        self._meter.end(purpose, estimate, (reply.input, reply.output), now=_now())
        try:
            return _read(reply.text, finish, answer), reply
        except LlmError as error:  # it was answered and paid for, but not in a way that can be used
            self._meter.failed(purpose, 0, error, now=_now())
            raise

    def _call(self, request: dict[str, Any]) -> tuple[Reply, str]:
        """Ask once. Returns the reply and why it ended."""
        started = time.monotonic()
        patience = self.config.timeout_seconds
        try:
            told = self._child.ask(request, patience + GRACE)
        except TimeoutError:
            raise LlmError(f"{self._who()} did not answer within {patience} seconds", "slow") from None
        except (OSError, ValueError) as error:
            raise LlmError(f"the process that asks {self._who()} failed: {error}", "down") from error
        if "error" in told:
            raise self._refusal(told)
        seconds = round(time.monotonic() - started, 3)
        reply = Reply(str(told["text"]), str(told["model"]), int(told["input"]), int(told["output"]), seconds)
        if not reply.input + reply.output:  # some endpoints count nothing
            sent = len(request["system"]) + len(request["user"])
            reply = reply._replace(input=sent // CHARS_PER_TOKEN, output=len(reply.text) // CHARS_PER_TOKEN)
        return reply, str(told["finish"])

    def _who(self) -> str:
        return f"{self.config.model} at {address(self.config)}"

    def _refusal(self, told: Mapping[str, Any]) -> LlmError:
        kind, said = str(told["error"]), str(told["message"])
        if kind == "missing":
            return LlmError(f"litellm cannot be used: {said}; run: {installing()}", "missing")
        words = {
            "key": "does not accept the key",
            "model": "is not there",
            "limited": "asks for patience",
            "refused": "refuses",
            "slow": "did not answer in time",
            "request": "does not take the request",
        }
        return LlmError(
            f"{self._who()} {words.get(kind, 'cannot be reached')}: {said}", kind, float(told.get("wait", 0))
        )


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _read(text: str, finish: str, answer: type[M]) -> M:
    """Read an answer. Raises LlmError for one that was cut off, refused, or is of another shape."""
    if finish == "refused":
        raise LlmError("the language model refused to answer", "refused")
    if finish == "length":
        raise LlmError("the language model's answer was cut off", "truncated")
    try:
        return answer.model_validate(json.loads(text[text.index("{") : text.rindex("}") + 1], strict=False))
    except (ValueError, RecursionError, ValidationError):
        raise LlmError("the language model's answer is not what was asked for", "garbage") from None


def wire_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's JSON schema in the form that all providers take: no references, every key required."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def plain(node: Any) -> Any:
        if isinstance(node, list):
            return [plain(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return plain(definitions[node["$ref"].rsplit("/", 1)[-1]])
        kept = {key: value for key, value in node.items() if key not in ("title", "default")}
        if node.get("type") == "object":
            properties = {name: plain(value) for name, value in node["properties"].items()}
            told = {"properties": properties, "required": list(properties), "additionalProperties": False}
            return {"type": "object", **({"description": kept["description"]} if "description" in kept else {}), **told}
        return {key: plain(value) for key, value in kept.items()}

    found: dict[str, Any] = plain(schema)
    return found
