"""A provider of language models over HTTP on this machine, in the wire shapes of OpenAI, Anthropic and Gemini, and of
embeddings in OpenAI's, which Voyage and Gemini speak as well.

It answers what the test tells it to, or misbehaves: `modes` are taken one per request, the last one stays.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

SHAPES = ("openai", "anthropic", "gemini")
STATUS = {"error": 500, "limited": 429, "key": 401, "forbidden": 403, "unknown": 404, "request": 400, "busy": 503}


class Asked(NamedTuple):
    """One request: `shape` is whose wire it came in, `system` and `user` are the texts for the model."""

    shape: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    system: str
    user: str

    @property
    def key(self) -> str:
        """The key that was sent, however this shape does that."""
        told = self.headers.get("authorization", "").removeprefix("Bearer ")
        return told or self.headers.get("x-api-key", "") or self.headers.get("x-goog-api-key", "")

    @property
    def has_schema(self) -> bool:
        told = {*self.body, *self.body.get("generationConfig", {})}
        return bool(told & {"response_format", "output_format", "tools", "response_json_schema", "response_schema"})


Answer = Callable[[Asked], str]
CONCEPTS = {  # what the embedding model understands: words that mean about the same
    "store": "database postgres sqlite persisted stored storage rows",
    "ship": "deploy deployment release shipped rollout",
    "animal": "cat dog animals pets puppy",
    "sign in": "login password authentication credentials",
}


def meant(text: str) -> list[float]:
    """Return the vector of a text: 64 numbers, near those of texts with words of the same concepts, far from others."""
    found = [one * 0.3 for one in _scattered(text)]
    for concept, words in CONCEPTS.items():
        often = len(set(re.findall(r"\w+", text.lower())) & set(words.split()))
        found = [one + min(often, 2) * other for one, other in zip(found, _scattered(concept), strict=True)]
    return found


def _scattered(text: str) -> list[float]:
    bits = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return [1.0 if bits >> place & 1 else -1.0 for place in range(64)]


class Provider:
    """The stand-in: what it was asked, and how it shall answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.modes = ["ok"]
        self.answer: Answer = lambda asked: '{"word": "ok"}'
        self.vector: Callable[[str], list[float]] = meant
        self.asked: list[Asked] = []
        self.elsewhere = ""  # where `moved` says that it is now
        self.wait = "0"  # what `limited` asks for, in seconds
        self.released = threading.Event()  # ends what `hang` and `drip` keep waiting
        self._lock = threading.Lock()

    def base(self, shape: str) -> str:
        """Return the base URL by which a client of this shape finds it."""
        return self.url + {"openai": "/v1", "anthropic": "", "gemini": "/v1beta"}[shape]

    def next_mode(self, asked: Asked) -> str:
        with self._lock:
            self.asked.append(asked)
            return self.modes.pop(0) if len(self.modes) > 1 else self.modes[0]


@contextmanager
def provider() -> Iterator[Provider]:
    """Serve on a free port of loopback until the test ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    stand_in = Provider(f"http://127.0.0.1:{server.server_address[1]}")
    server.stand_in = stand_in  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        stand_in.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        return

    def do_POST(self) -> None:
        stand_in: Provider = self.server.stand_in  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        asked = _asked(self.path, {key.lower(): value for key, value in self.headers.items()}, body)
        mode = stand_in.next_mode(asked)
        if mode == "schemaless":
            mode = "ok" if not asked.has_schema else "request"
        if mode == "down":
            self.close_connection = True
        elif mode == "hang":
            stand_in.released.wait(60)
        elif mode == "drip":
            self._drip(stand_in)
        elif mode == "html":
            self._send(200, b"<html><body>Bad gateway</body></html>", "text/html")
        elif mode == "moved":
            self._send(307, b"", extra={"location": stand_in.elsewhere})
        elif mode in STATUS:
            words = "response_format is not supported here" if mode == "request" else f"no: {mode} {asked.key}"
            told = {"error": {"message": words, "type": mode, "code": STATUS[mode], "status": mode}}
            self._send(STATUS[mode], json.dumps(told).encode(), extra={"retry-after": stand_in.wait})
        else:
            told = (
                _reply(asked, mode, stand_in.answer) if asked.shape != "embedding" else _vectors(asked, mode, stand_in)
            )
            self._send(200, json.dumps(told).encode())

    def _send(
        self, status: int, data: bytes, kind: str = "application/json", extra: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(data)), **(extra or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _drip(self, stand_in: Provider) -> None:
        """Keep a client's read time-out from ever running out."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "100000")
        self.end_headers()
        try:
            while not stand_in.released.wait(0.1):
                self.wfile.write(b" ")
        except OSError:
            return


def _asked(path: str, headers: dict[str, str], body: dict[str, Any]) -> Asked:
    if path.endswith("/embeddings"):
        return Asked("embedding", path, headers, body, "", "\n".join(body["input"]))
    if "generateContent" in path:
        parts = [part["text"] for turn in body["contents"] for part in turn["parts"]]
        system = "\n".join(part["text"] for part in body.get("system_instruction", {}).get("parts", []))
        return Asked("gemini", path, headers, body, system, "\n".join(parts))
    shape = "anthropic" if path.endswith("/messages") else "openai"
    turns = [*body["messages"]]
    if shape == "anthropic":
        turns = [{"role": "system", "content": body.get("system", "")}, *turns]
    told = {
        role: "\n".join(_text(turn["content"]) for turn in turns if turn["role"] == role) for role in ("system", "user")
    }
    return Asked(shape, path, headers, body, told["system"], told["user"])


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def _vectors(asked: Asked, mode: str, stand_in: Provider) -> dict[str, Any]:
    """Return the embeddings of the texts, in no certain order, or what this mode says instead."""
    if mode == "garbage":
        return {"object": "list", "data": "none"}
    data = [
        {"object": "embedding", "index": index, "embedding": [None] if mode == "shape" else stand_in.vector(text)}
        for index, text in enumerate(asked.body["input"])
    ]
    count = len(asked.user) // 4
    usage = {} if mode == "uncounted" else {"usage": {"prompt_tokens": count, "total_tokens": count}}
    told = data[1:] if mode == "truncated" else data[::-1]
    return {"object": "list", "data": told, "model": asked.body["model"], **usage}


def _reply(asked: Asked, mode: str, answer: Answer) -> dict[str, Any]:
    """Return the envelope of this shape around an answer, or around what this mode says instead."""
    text = {"garbage": "I would rather not say.", "shape": '{"pages": 5, "word": ["no"]}', "silent": ""}.get(mode)
    text = answer(asked) if text is None else text
    if mode == "truncated":
        text = text[: len(text) // 2]
    if mode == "fenced":
        text = f"Here it is:\n```json\n{text}\n```\n"
    cut, refused = mode == "truncated", mode == "refusing"
    cost = (len(asked.system) + len(asked.user)) // 4, len(text) // 4 + 1
    if asked.shape == "anthropic":
        content: dict[str, Any] = {"type": "text", "text": text}
        if asked.body.get("tools") and not (cut or refused) and text.startswith("{"):
            content = {"type": "tool_use", "id": "t", "name": asked.body["tools"][0]["name"], "input": json.loads(text)}
        reason = "max_tokens" if cut else "refusal" if refused else "tool_use" if "id" in content else "end_turn"
        return {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": asked.body["model"],
            "content": [] if refused else [content],
            "stop_reason": reason,
            "usage": {"input_tokens": cost[0], "output_tokens": cost[1]},
        }
    if asked.shape == "gemini":
        usage = {"promptTokenCount": cost[0], "candidatesTokenCount": cost[1], "totalTokenCount": sum(cost)}
        if refused:
            return {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage}
        turn = {"role": "model", "parts": [{"text": text}]}
        return {
            "candidates": [{"content": turn, "finishReason": "MAX_TOKENS" if cut else "STOP"}],
            "usageMetadata": usage,
        }
    message = {"role": "assistant", "content": None if refused else text, "refusal": "I cannot." if refused else None}
    usage = {"prompt_tokens": cost[0], "completion_tokens": cost[1], "total_tokens": sum(cost)}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": asked.body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "length" if cut else "stop"}],
        **({} if mode == "uncounted" else {"usage": usage}),
    }
