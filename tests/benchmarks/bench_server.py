"""A server under load: `python tests/benchmarks/bench_server.py [--clients 200] [--seconds 60]`.

The memory holds 20,000 observations and 1,000 pages of 20 projects. First one client searches while nobody else asks;
then all clients, each with a token and a connection of its own, deliver a batch of five events every five seconds (an
agent that uses a tool a second) and search every fifteen; then all do so without any pause but the one a 429 asks
for. The clients run on this machine, in one process beside the server. Prints for each part the answers by status, ms
of an answer, and the memory that the server has in MiB; at the end what became of the accepted events.

    python tests/benchmarks/bench_server.py --seconds 600 --no-rush      is the memory flat?
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from multiprocessing import Process, Queue
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_search import Words
from remotes import HttpServer, Machine, local, token

from ai_memory_mcp.model import Origin, Scope

PROJECTS = 20
STORED, PAGES = 1_000, 50  # observations and pages of a project
EVENTS = 5  # of a batch
BATCH_EVERY, SEARCH_EVERY = 5.0, 15.0  # seconds
QUIET = 200  # searches
MOST_PAUSE = 2.0  # seconds: what a 429 asks for is waited for, up to this
OURS = "00000000-0000-4000-8000-{:012d}"


@dataclass
class Seen:
    """What the clients of one part have seen: answers, ms of those that were no refusal, and accepted events."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    times: dict[str, list[float]] = field(default_factory=lambda: {"hook": [], "search": []})
    accepted: int = 0
    seconds: float = 0.0


def origin(place: int) -> dict[str, str]:
    """Return what a machine says of a folder with a clone of this project."""
    name = f"p{place}"
    return {"by": "remote", "id": OURS.format(place), "workspace": "default", "name": name, "remote": f"x.org/{name}"}


class Connection:
    """One client's connection, kept open."""

    def __init__(self, port: int, secret: str) -> None:
        self._port = port
        self._head = f" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {secret}\r\nContent-Length: ".encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, float]:
        """Return the status, -1 where the connection failed, and the seconds after which to come back."""
        head = b"POST " + path.encode() + self._head + str(len(body)).encode() + b"\r\n\r\n"
        kept = self._streams is not None
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(head + body)
            told = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            named = dict(line.split(": ", 1) for line in told.split("\r\n")[1:-2])
            await reader.readexactly(int(named["content-length"]))
            return int(told.split(" ", 2)[1]), min(MOST_PAUSE, float(named.get("retry-after", 0)))
        except (OSError, EOFError):
            if self._streams is not None:
                self._streams[1].close()
            self._streams = None
            return await self.post(path, body) if kept else (-1, 1.0)  # the server closes those that are not used


class Client:
    """One machine with an agent at work: hooks deliver on one connection, the agent searches on another."""

    def __init__(self, number: int, port: int, secret: str, seen: Seen) -> None:
        self.number, self.seen, self.serial = number, seen, 0
        self.words = Words(seed=number)
        self.connections = {"hook": Connection(port, secret), "search": Connection(port, secret)}
        self.origin = origin(number % PROJECTS)

    async def work(self, until: float) -> None:
        await asyncio.gather(
            self._every(BATCH_EVERY, self.deliver, until),
            self._every(SEARCH_EVERY, self.search, until),
        )

    async def rush(self, until: float) -> None:
        while time.monotonic() < until:
            await self.deliver()
            await self.search()

    async def deliver(self, count: int = EVENTS) -> None:
        events = []
        for _ in range(count):
            self.serial += 1
            payload = {"session_id": f"s{self.number}", "prompt": self.words.text(60)}
            event = {"id": f"{time.time_ns():020d}-{self.number}-{self.serial:08x}", "at": time.time()}
            event |= {"agent": "codex", "event": "UserPromptSubmit"}
            events.append({**event, "payload": payload, "origin": self.origin})
        if await self._ask("hook", "/hook", {"events": events}) == 200:
            self.seen.accepted += count

    async def search(self) -> None:
        question = {"scope": {"origin": self.origin}, "query": {"text": self.words.text(6)}}
        await self._ask("search", "/api/v1/search", question)

    async def _every(self, seconds: float, do: Callable[[], Awaitable[None]], until: float) -> None:
        at = time.monotonic() + seconds * self.words.random.random()
        while at < until:
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            await do()
            at += seconds

    async def _ask(self, what: str, path: str, body: object) -> int:
        raw = json.dumps(body).encode()
        begun = time.perf_counter()
        status, pause = await self.connections[what].post(path, raw)
        self.seen.answers[what, status] += 1
        if status == 200:
            self.seen.times[what].append((time.perf_counter() - begun) * 1000)
        await asyncio.sleep(pause)
        return status


def load(port: int, secrets: list[str], seconds: float, rush: bool, told: Queue[Seen]) -> None:
    """Be all clients for some seconds; puts what they have seen."""

    async def run() -> None:
        until = time.monotonic() + seconds
        clients = [Client(number, port, secret, seen) for number, secret in enumerate(secrets)]
        await asyncio.gather(*(client.rush(until) if rush else client.work(until) for client in clients))

    seen, begun = Seen(), time.monotonic()
    asyncio.run(run())
    seen.seconds = time.monotonic() - begun
    told.put(seen)


def alone(port: int, secret: str, do: Callable[[Client], Awaitable[None]], times: int) -> Seen:
    """Be one client while there is no other."""
    seen = Seen()

    async def run() -> None:
        for number in range(times):
            await do(Client(number, port, secret, seen))

    asyncio.run(run())
    return seen


def fill(machine: Machine) -> None:
    """Store the pages."""
    memory, words = local(machine.home), Words()
    for place in range(PROJECTS):
        folder = machine.user / "docs" / str(place)
        folder.mkdir(parents=True)
        for number in range(PAGES):
            (folder / f"{number}.md").write_text(f"# {words.text(4)}\n\n{words.text(300)}\n")
        memory.import_markdown(Scope(origin=Origin.model_validate(origin(place))), folder)
    memory.close()


def memory_of(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def tell(what: str, seen: Seen, quiet: float = 0.0) -> None:
    """Print the answers of one part and how long they took."""
    print(f"{what:10} { ({' '.join(map(str, key)): count for key, count in sorted(seen.answers.items())}) }")
    for kind, times in seen.times.items():
        if times:
            most = statistics.quantiles(times, n=20)[18]
            ratio = f", {most / quiet:.1f}x quiet" if quiet and kind == "search" else ""
            rate = f", {len(times) / seen.seconds:.0f} a second" if seen.seconds else ""
            print(f"           {kind}: {statistics.median(times):.1f} ms median, {most:.1f} p95{ratio}{rate}")


def under_load(server: HttpServer, secrets: list[str], seconds: float, rush: bool) -> Seen:
    """Let the clients do their work in a process of their own, and print what the server needs meanwhile."""
    assert server.process is not None
    told: Queue[Seen] = Queue()
    clients = Process(target=load, args=(server.port, secrets, seconds, rush, told))
    clients.start()
    used = []
    while told.empty():
        used.append(round(memory_of(server.process.pid)))
        time.sleep(min(5.0, seconds / 10))
    seen = told.get()
    clients.join()
    print(f"memory     {used} MiB")
    return seen


def main(count: int, seconds: float, rush: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-server-") as folder:
        machine = Machine(Path(folder), "desk")
        fill(machine)
        secrets = [token(machine.home, f"c{number}") for number in range(count)]
        server = HttpServer(machine).start()
        parts = [alone(server.port, secrets[0], lambda client: client.deliver(STORED), PROJECTS)]
        while local(machine.home).res.spool.pending():
            time.sleep(0.5)
        time.sleep(5)
        quiet = alone(server.port, secrets[0], Client.search, QUIET)
        base = statistics.quantiles(quiet.times["search"], n=20)[18]
        tell("quiet", quiet)
        parts.append(under_load(server, secrets, seconds, rush=False))
        tell("at work", parts[-1], base)
        if rush:
            parts.append(under_load(server, secrets, seconds, rush=True))
            tell("rush", parts[-1], base)
        server.stop()
        memory = local(machine.home)
        memory.ingest()
        capture = memory.status(Scope()).capture
        accepted = sum(part.accepted for part in parts)
        print(f"events     {accepted} accepted, {capture.stored} stored, {capture.duplicates} doubled")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--no-rush", action="store_true")
    given = parser.parse_args()
    main(given.clients, given.seconds, not given.no_rush)
