"""The process that holds litellm (the only module that imports it): one JSON request a line in, one answer a line out.

On its own because litellm costs seconds and 200 MiB to import, reads a `.env` and a hundred variables, and can be
stopped for certain only by ending its process. It gets its whole environment from `llm`; keys come with the requests.
Leaves when its input ends, whatever it is doing.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

MESSAGE = 300  # characters kept of what a provider says went wrong
REFUSALS = ("content_filter", "refusal", "safety")
_SCHEMA_WORDS = (
    "response_format",
    "json_schema",
    "output_format",
    "response_schema",
    "structured output",
    "tool_choice",
)


def main() -> None:
    """Answer requests until the input ends."""
    sink = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing that a library prints may stand among the answers
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    while True:
        request = json.loads(lines.get())
        try:
            result = _METHODS[request["method"]](request["params"])
        except ImportError as error:
            result = {"error": "missing", "message": str(error)}
        except Exception as error:  # whatever it was, the other side decides what becomes of it
            result = _fault(error, request["params"])
        sink.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}) + "\n")
        sink.flush()


def _read(lines: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def _start(given: dict[str, Any]) -> dict[str, Any]:
    """Import litellm, which takes seconds; what cannot be imported is told of the first real request."""
    with suppress(ImportError):
        _litellm()
    return {}


def _litellm() -> Any:
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.drop_params = True  # what one provider knows and another does not
    litellm.disable_hf_tokenizer_download = True
    return litellm


def _complete(given: dict[str, Any]) -> dict[str, Any]:
    """Ask for one answer. `given`: model (litellm's name), base_url, key, system, user, schema, timeout, and the most
    tokens of the answer under the name that this provider has for it.

    A provider that does not take the schema is asked once more without: the instructions hold it as well.
    """
    litellm = _litellm()
    asked = {
        "model": given["model"],
        "api_base": given["base_url"],
        "api_key": given["key"] or "none",  # without one litellm would look for one of another service
        "messages": [{"role": "system", "content": given["system"]}, {"role": "user", "content": given["user"]}],
        given["most"]: given["max_tokens"],
        "timeout": given["timeout"],
        "num_retries": 0,
        "max_retries": 0,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": given["schema"], "strict": True}}
    try:
        told = litellm.completion(**asked, response_format=form)
    except Exception as error:  # each provider refuses in a class of its own: what it says tells them apart
        if not _dislikes_schema(error):
            raise
        told = litellm.completion(**asked)
    choice = told.choices[0]
    usage = getattr(told, "usage", None)
    refusal = getattr(choice.message, "refusal", None)
    return {
        "text": choice.message.content or "",
        "finish": "refused" if refusal or choice.finish_reason in REFUSALS else str(choice.finish_reason),
        "input": int(getattr(usage, "prompt_tokens", 0) or 0),
        "output": int(getattr(usage, "completion_tokens", 0) or 0),
        "model": str(told.model or ""),
    }


def _dislikes_schema(error: Exception) -> bool:
    return _status(error) in (400, 404, 422) and any(word in str(error).lower() for word in _SCHEMA_WORDS)


def _fault(error: Exception, given: dict[str, Any]) -> dict[str, Any]:
    """Return what went wrong in few words, without the key."""
    said = " ".join(str(error).split())
    if given.get("key"):
        said = said.replace(given["key"], "[key]")
    return {
        "error": _kind(error),
        "message": said[:MESSAGE],
        "wait": _wait(error),
    }


def _kind(error: Exception) -> str:
    names = {one.__name__ for one in type(error).__mro__}
    if "ContentPolicyViolationError" in names:
        return "refused"
    if "Timeout" in names or "APITimeoutError" in names:
        return "slow"
    if _is_no_json(error):
        return "down"  # what answers there is not the provider
    kinds = {401: "key", 403: "key", 404: "model", 408: "slow", 429: "limited"}
    status = _status(error)
    return kinds.get(status, "request" if 400 <= status < 500 else "down")


def _is_no_json(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, json.JSONDecodeError):
        error = error.__cause__ or error.__context__
    return error is not None


def _status(error: Exception) -> int:
    try:
        return int(getattr(error, "status_code", 0) or 0)
    except (TypeError, ValueError):
        return 0


def _wait(error: Exception) -> float:
    """Return the seconds that the provider asks to be left alone."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return max(0.0, float(headers.get("retry-after", 0)))
    except (TypeError, ValueError):
        return 0.0


_METHODS = {"start": _start, "complete": _complete}
