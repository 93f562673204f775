"""How well does search find what answers a question? One table for ours and for plain lexical systems, same data.

    python tests/benchmarks/retrieval.py DATA                              every task, every system
    python tests/benchmarks/retrieval.py DATA --tasks devlog --categories --versus fts5-porter
    python tests/benchmarks/retrieval.py DATA --ablation                   ours without each part of the ranking
    python tests/benchmarks/retrieval.py DATA --tasks devlog --systems ours,ours-mcp     through the MCP tool as well
    python tests/benchmarks/retrieval.py DATA --try pages.near=0.1,0.2,0.3               ours with other weights

--try is how the weights were chosen: one after the other, on all tasks together, kept only where the sum rose. With
--embeddings URL (see embedding_server.py) there is a system `hybrid`, ours with an embedding model, and --try is of it:

    python tests/benchmarks/retrieval.py DATA --embeddings http://127.0.0.1:8123/v1 --systems hybrid --versus ours
    python tests/benchmarks/retrieval.py DATA --embeddings http://127.0.0.1:8123/v1 --try search.MEANING=0.2,0.4,0.6

DATA holds `tasks.json` ({"tasks": {name: {folder, one_index}}}) and per folder `docs.jsonl.gz` ({id, index, title,
text[, session, seq][, date]}) and `queries.jsonl` ({id, index, category, text, relevant}); it is not part of this
project. Documents come in as in life: those of a session as events through spool and ingest, others as Markdown files
in one commit. Each index is a project of one memory with a home of its own; `Memory.search` answers. bm25s is run
where it is installed. Gains are binary; R@k is the share of the relevant documents found.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import math
import os
import random
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playing import spool

from ai_memory_mcp.config import SEARCH_PARTS, Config, EmbeddingConfig, SearchConfig
from ai_memory_mcp.index import search as ranked
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Query, Scope
from ai_memory_mcp.ranking import tokens
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.scoring import OBSERVATION_WEIGHTS, PAGE_WEIGHTS
from ai_memory_mcp.server import render
from ai_memory_mcp.terms import STOP_WORDS

ROOT = Path(__file__).resolve().parent.parent.parent
METRICS = ("R@1", "R@5", "R@10", "MRR@10", "NDCG@10")
WORD = re.compile(r"\w+")
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
ROUNDS = 2_000  # of the bootstrap


@dataclass(frozen=True)
class Index:
    """Documents that are searched together, and the questions to them."""

    name: str
    docs: list[dict[str, Any]]
    queries: list[dict[str, Any]]


@dataclass(frozen=True)
class Answered:
    """What a system made of one question."""

    query: str
    category: str
    scores: tuple[float, ...]
    ms: float
    tokens: int


Search = Callable[[str], tuple[list[str], int]]  # question -> ids, best first, and the price of the answer in tokens


def load(data: Path, task: str) -> Iterator[Index]:
    """Yield the indexes of a task that have questions."""
    entry = json.loads((data / "tasks.json").read_text())["tasks"][task]
    folder = data / entry["folder"]
    with gzip.open(folder / "docs.jsonl.gz", "rt", encoding="utf-8") as file:
        docs = [json.loads(line) for line in file]
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    names = ["all"] if entry["one_index"] else list(dict.fromkeys(query["index"] for query in queries))
    for name in names:
        yield Index(
            name,
            [doc for doc in docs if name in ("all", doc["index"])],
            [query for query in queries if name in ("all", query["index"])],
        )


# --- systems


def ours(without: Sequence[str] = (), embeddings: str = "") -> Callable[[Index, Path], Search]:
    """Return a maker of our memory, filled the ordinary ways; with the address of an embedding model, all embedded."""
    patient = EmbeddingConfig(
        provider="openai-compatible",
        model="benchmark",
        base_url=embeddings,
        observations=1_000_000,
        daily_tokens=10**12,
        wait_ms=10_000,
        timeout_seconds=600,
    )

    def make(index: Index, home: Path) -> Search:
        search_config = SearchConfig(without=tuple(without))
        config = Config(search=search_config, embedding=patient if embeddings else EmbeddingConfig())
        memory = LocalMemory(Resources.at(home / "memory", user_home=str(home), config=config))
        work = home / "work"
        work.mkdir()
        (work / ".ai-memory.toml").write_text('project = "bench"\n')
        scope = Scope(cwd=str(work))
        in_sessions = "session" in index.docs[0]
        by_place = by_events(memory, index, work) if in_sessions else by_files(memory, scope, index, home / "docs")
        kinds = ("observation",) if in_sessions else ()
        if embeddings:
            memory.embed()

        def search(question: str) -> tuple[list[str], int]:
            found = memory.search(scope, Query(text=question, kinds=kinds, limit=10, max_tokens=4000))
            return [by_place[hit.id if in_sessions else hit.path] for hit in found.hits], tokens(render.answer(found))

        return search

    return make


def tried(name: str, value: float, embeddings: str) -> Callable[[Index, Path], Search]:
    """Return a maker of our memory with one weight changed: `pages.near`, `observations.k1`, or a constant of search
    like `search.SPEAKER`."""
    kind, _, key = name.partition(".")
    usual = {"pages": PAGE_WEIGHTS, "observations": OBSERVATION_WEIGHTS}

    def make(index: Index, home: Path) -> Search:
        search = ours(embeddings=embeddings)(index, home)

        def with_it(question: str) -> tuple[list[str], int]:
            holder: Any = ranked
            place = key if kind == "search" else {"pages": "PAGE_WEIGHTS", "observations": "OBSERVATION_WEIGHTS"}[kind]
            before = getattr(holder, place)
            setattr(holder, place, value if kind == "search" else replace(usual[kind], **{key: value}))
            try:
                return search(question)
            finally:
                setattr(holder, place, before)

        return with_it

    return make


def by_files(memory: LocalMemory, scope: Scope, index: Index, folder: Path) -> dict[str, str]:
    """Bring documents in as a folder of Markdown files; return {path of the page: id}."""
    folder.mkdir()
    names = {}
    for number, doc in enumerate(index.docs):
        name = f"{number:06}.md"
        names[name] = doc["id"]
        (folder / name).write_text(
            f"---\ntitle: {json.dumps(doc['title'], ensure_ascii=False)}\n---\n\n{doc['text']}\n"
        )
    report = memory.import_markdown(scope, folder)
    return {path: names[file] for file, path in report.added.items()}


def by_events(memory: LocalMemory, index: Index, work: Path) -> dict[str, str]:
    """Bring documents in as prompts and messages of sessions, through spool and ingest; return {event id: id}."""
    home = memory.res.home
    by_text: dict[tuple[str, str], str] = {}
    at = NOW
    for doc in sorted(index.docs, key=lambda doc: (doc["session"], doc["seq"])):
        at += timedelta(seconds=10)
        payload = {"session_id": doc["session"], "cwd": str(work), "prompt": doc["text"], "prompt_id": doc["id"]}
        spool(home, work, "claude-code", "UserPromptSubmit", payload, at=at)
    memory.ingest()
    places = {}
    native = {one.id: one.native_id for one in memory.sessions(Scope(cwd=str(work)), limit=10_000)}
    for doc in index.docs:
        by_text[doc["session"], " ".join(doc["text"].split())] = doc["id"]
    for session_id, name in native.items():
        for seen in memory.read(Scope(cwd=str(work)), session_id, observations=True).observations:
            places[seen.id] = by_text.get((name, " ".join(seen.text.split())), "")
    return places


def over_mcp(index: Index, home: Path) -> Search:
    """Make our memory, asked through the MCP tool of a server process as an agent does (documents in files only)."""
    if "session" in index.docs[0]:
        raise SystemExit("an answer over MCP names an observation by its session: use --systems ours")
    memory = LocalMemory(Resources.at(home / "memory", user_home=str(home), config=Config()))
    work = home / "work"
    work.mkdir()
    (work / ".ai-memory.toml").write_text('project = "bench"\n')
    by_path = by_files(memory, Scope(cwd=str(work)), index, home / "docs")
    env = {**os.environ, "AI_MEMORY_HOME": str(home / "memory"), "HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ai_memory_mcp", "serve"]
    server = subprocess.Popen(command, cwd=work, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin
    assert server.stdout

    def ask(method: str, params: dict[str, Any]) -> dict[str, Any]:
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + "\n")
        server.stdin.flush()
        return dict(json.loads(server.stdout.readline()))

    client = {"name": "bench", "version": "1"}
    ask("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client})
    server.stdin.write('{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')

    def search(question: str) -> tuple[list[str], int]:
        arguments = {"query": question, "limit": 10, "max_tokens": 4000}
        told = ask("tools/call", {"name": "memory.search", "arguments": arguments})
        text = told["result"]["content"][0]["text"]
        return [by_path[path] for path in re.findall(r" · ref `([^`]+)`", text) if path in by_path], tokens(text)

    return search


def fts5(tokenizer: str, *, stop: bool) -> Callable[[Index, Path], Search]:
    """Return a maker of a plain FTS5 table whose question is its words joined by OR."""

    def make(index: Index, _: Path) -> Search:
        db = sqlite3.connect(":memory:")
        db.execute(f"CREATE VIRTUAL TABLE docs USING fts5(id UNINDEXED, title, body, tokenize='{tokenizer}')")
        db.executemany("INSERT INTO docs VALUES (?, ?, ?)", [(d["id"], d["title"], d["text"]) for d in index.docs])

        def search(question: str) -> tuple[list[str], int]:
            words = list(dict.fromkeys(WORD.findall(question.lower())))
            words = [word for word in words if not stop or word not in STOP_WORDS] or words
            match = " OR ".join(f'"{word}"' for word in words)
            rows = db.execute("SELECT id, body FROM docs WHERE docs MATCH ? ORDER BY bm25(docs) LIMIT 10", (match,))
            found = rows.fetchall() if match else []
            return [row[0] for row in found], sum(tokens(row[1]) for row in found)

        return search

    return make


def bm25s(index: Index, _: Path) -> Search:
    """Make an index of the bm25s library, with its English stop words and Snowball stems."""
    import bm25s as library
    import Stemmer

    stemmer = Stemmer.Stemmer("english")

    def terms(texts: list[str]) -> Any:
        return library.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)

    retriever = library.BM25()
    retriever.index(terms([f"{doc['title']} {doc['text']}" for doc in index.docs]), show_progress=False)

    def search(question: str) -> tuple[list[str], int]:
        try:
            found, scores = retriever.retrieve(terms([question]), k=min(10, len(index.docs)), show_progress=False)
        except ValueError:  # no word of the question is known
            return [], 0
        docs = [index.docs[place] for place, value in zip(found[0], scores[0], strict=True) if value > 0]
        return [doc["id"] for doc in docs], sum(tokens(doc["text"]) for doc in docs)

    return search


SYSTEMS: dict[str, Callable[[Index, Path], Search]] = {
    "ours": ours(),
    "ours-mcp": over_mcp,
    "fts5-or": fts5("unicode61", stop=False),
    "fts5-porter": fts5("porter unicode61", stop=True),
}
if importlib.util.find_spec("bm25s") and importlib.util.find_spec("Stemmer"):
    SYSTEMS["bm25s"] = bm25s


# --- measures


def measures(ranked: Sequence[str], relevant: Sequence[str]) -> tuple[float, ...]:
    """Return METRICS of one answer."""
    wanted = set(relevant)
    hits = [one in wanted for one in list(dict.fromkeys(ranked))[:10]]
    recall = [sum(hits[:k]) / len(wanted) for k in (1, 5, 10)]
    first = next((1 / (place + 1) for place, hit in enumerate(hits) if hit), 0.0)
    gain = sum(1 / math.log2(place + 2) for place, hit in enumerate(hits) if hit)
    ideal = sum(1 / math.log2(place + 2) for place in range(min(len(wanted), 10)))
    return (*recall, first, gain / ideal)


def run(make: Callable[[Index, Path], Search], indexes: Sequence[Index]) -> list[Answered]:
    """Ask every question of every index."""
    answered = []
    for index in indexes:
        with tempfile.TemporaryDirectory() as folder:
            search = make(index, Path(folder))
            for query in index.queries:
                begun = time.perf_counter()
                ranked, price = search(query["text"])
                ms = (time.perf_counter() - begun) * 1000
                scores = measures(ranked, query["relevant"])
                answered.append(Answered(query["id"], query["category"], scores, ms, price))
    return answered


def interval(mine: Sequence[Answered], theirs: Sequence[Answered]) -> str:
    """Return the mean difference of NDCG@10 over the same questions, and its 95 % interval (paired bootstrap)."""
    other = {one.query: one.scores[-1] for one in theirs}
    deltas = [one.scores[-1] - other[one.query] for one in mine]
    dice = random.Random(0)
    means = sorted(statistics.fmean(dice.choices(deltas, k=len(deltas))) for _ in range(ROUNDS))
    return f"{statistics.fmean(deltas):+.3f} [{means[ROUNDS // 40]:+.3f}, {means[-ROUNDS // 40]:+.3f}]"


def line(task: str, system: str, answered: Sequence[Answered], more: str = "") -> str:
    """Return one row of the table."""
    columns = [statistics.fmean(one.scores[place] for one in answered) for place in range(len(METRICS))]
    times = statistics.quantiles([one.ms for one in answered], n=20)
    price = statistics.fmean(one.tokens for one in answered)
    figures = " | ".join(f"{value:.4f}" for value in columns)
    return f"| {task} ({len(answered)}) | {system} | {figures} | {times[9]:.1f} | {times[18]:.1f} | {price:.0f} |{more}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tasks", default="", help="comma separated; default: all")
    parser.add_argument("--systems", default="", help=f"of {', '.join(SYSTEMS)}, hybrid; default: all")
    parser.add_argument("--versus", default="", choices=["", *SYSTEMS], help="paired difference against this one")
    parser.add_argument("--categories", action="store_true", help="a row per category of question")
    parser.add_argument("--ablation", action="store_true", help="ours without each part")
    parser.add_argument("--embeddings", metavar="URL", default="", help="address of an embedding model, up to its /v1")
    parser.add_argument("--try", dest="attempt", metavar="WEIGHT=V1,V2", default="", help="ours with other weights")
    options = parser.parse_args()
    names = options.systems.split(",") if options.systems else [name for name in SYSTEMS if name != "ours-mcp"]
    if options.embeddings:
        SYSTEMS["hybrid"] = ours(embeddings=options.embeddings)
        names += [] if options.systems else ["hybrid"]
    makers = {name: SYSTEMS[name] for name in names}
    if options.attempt:
        name, _, values = options.attempt.partition("=")
        makers = {f"{name}={value}": tried(name, float(value), options.embeddings) for value in values.split(",")}
    if options.ablation:
        makers = {"ours": ours()} | {f"without {part}": ours((part,)) for part in SEARCH_PARTS}
    known = json.loads((options.data / "tasks.json").read_text())["tasks"]
    print("| task (questions) | system | " + " | ".join(METRICS) + " | p50 ms | p95 ms | tokens |")
    print("|---|---|" + "---|" * (len(METRICS) + 3))
    for task in options.tasks.split(",") if options.tasks else known:
        indexes = list(load(options.data, task))
        base = run(SYSTEMS[options.versus], indexes) if options.versus else []
        for name, make in makers.items():
            answered = run(make, indexes)
            print(line(task, name, answered, f" {interval(answered, base)} |" if base else ""), flush=True)
            categories = sorted({one.category for one in answered}) if options.categories else []
            for category in categories if len(categories) > 1 else []:
                print(line(f"{task}, {category}", name, [one for one in answered if one.category == category]))


if __name__ == "__main__":
    main()
