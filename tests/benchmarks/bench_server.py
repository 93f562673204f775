"""A server under load: `python tests/benchmarks/bench_server.py [clients [seconds]]` (200 and 60).

Each client, with a token of its own, delivers ten events and searches, again and again with a pause of 1 to 3 s; all of
them run on this machine too. Prints answers by status, ms of a search while nobody else asks and under the load, what
became of the accepted events, and the server's memory every ten seconds.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from remotes import HttpServer, Machine, ask, local, token

from ai_memory_mcp.model import Scope

EVENTS = 10
QUIET = 100  # searches
WORDS = [f"{one}{two}{three}" for one in "bdfgklm" for two in ("ar", "en", "io", "ut") for three in "npqrstvwxyz"]


class Load:
    """What the clients have seen."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.times: list[float] = []
        self.accepted = 0
        self.lock = threading.Lock()

    def client(self, number: int, secret: str, until: float) -> None:
        chance, serial = random.Random(number), 0
        origin = {
            "by": "remote",
            "workspace": "default",
            "name": f"p{number % 20}",
            "remote": f"example.com/p{number % 20}",
        }
        origin["id"] = f"00000000-0000-4000-8000-{number % 20:012d}"
        headers = {"Authorization": f"Bearer {secret}"}
        time.sleep(chance.random() * 2)
        while time.monotonic() < until:
            events = []
            for _ in range(EVENTS):
                serial += 1
                payload = {"session_id": f"s{number}", "prompt": " ".join(chance.choices(WORDS, k=40))}
                event = {"id": f"{time.time_ns():020d}-{number}-{serial:08x}", "at": time.time(), "agent": "codex"}
                events.append({**event, "event": "UserPromptSubmit", "payload": payload, "origin": origin})
            status = self.ask("hook", "/hook", {"events": events}, headers)
            with self.lock:
                self.accepted += EVENTS if status == 200 else 0
            self.search(chance, headers, self.times)
            time.sleep(1 + 2 * chance.random())

    def search(self, chance: random.Random, headers: dict[str, str], times: list[float]) -> None:
        query = {"text": " ".join(chance.choices(WORDS, k=3)), "kinds": ["observation"]}
        begun = time.perf_counter()
        status = self.ask("search", "/api/v1/search", {"scope": {}, "query": query}, headers)
        if status == 200:
            times.append((time.perf_counter() - begun) * 1000)

    def ask(self, what: str, path: str, body: object, headers: dict[str, str]) -> int:
        try:
            status = ask(self.url, path, body, **headers)[0]
        except OSError as error:
            status = -1
            print(f"{what}: {error!r}")
        with self.lock:
            self.statuses[what, status] += 1
        return status


def memory_of(pid: int) -> int:
    """Return the resident memory of a process in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


def told(times: list[float]) -> str:
    times = sorted(times)
    return f"{statistics.median(times):.0f} ms median, {times[int(len(times) * 0.95)]:.0f} ms p95 of {len(times)}"


def main(clients: int, seconds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-server-") as folder:
        machine = Machine(Path(folder), "desk")
        tokens = [token(machine.home, f"c{number}") for number in range(clients)]
        server = HttpServer(machine).start()
        load, quiet = Load(server.url), []
        seed = Load(server.url)
        seed.client(0, tokens[0], time.monotonic() + 5)
        time.sleep(2)
        for _ in range(QUIET):
            seed.search(random.Random(1), {"Authorization": f"Bearer {tokens[0]}"}, quiet)
            time.sleep(0.02)
        until = time.monotonic() + seconds
        threads = [
            threading.Thread(target=load.client, args=(number + 1000, secret, until))
            for number, secret in enumerate(tokens)
        ]
        for thread in threads:
            thread.start()
        assert server.process is not None
        used = [memory_of(server.process.pid)]
        while any(thread.is_alive() for thread in threads):
            time.sleep(10)
            used.append(memory_of(server.process.pid))
        for thread in threads:
            thread.join()
        waiting = local(machine.home).res.spool.pending()
        server.stop()
        memory = local(machine.home)
        memory.ingest()
        capture = memory.status(Scope()).capture
        print(f"answers  {dict(load.statuses)}")
        print(f"quiet    {told(quiet)}")
        print(f"load     {told(load.times)}")
        print(
            f"events   {load.accepted + seed.accepted} accepted, {capture.stored} stored, {capture.duplicates} doubled"
        )
        print(f"         {waiting} waited at the end")
        print(f"memory   {used} MiB")


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*(numbers + [200, 60][len(numbers) :]))
