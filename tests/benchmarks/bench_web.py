"""What a page costs a server: `python tests/benchmarks/bench_web.py [rounds]` (400).

A server in a process of its own with a small memory; one connection that stays, the kinds of request in turn. Prints
the median in ms of each, and what it is of `/healthz`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from remotes import HttpServer, Machine, local

from ai_memory_mcp.model import Draft, Scope
from ai_memory_mcp.server.web import places


def main() -> None:
    """Fill a memory, serve it, ask."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    with tempfile.TemporaryDirectory() as base:
        machine = Machine(Path(base), "desk")
        memory = local(machine.home)
        for number in range(60):
            body = f"See [[Page {number - 1}]].\n\n" + "Words to fill a page with. " * 100
            memory.write(Scope(project="general"), Draft(title=f"Page {number}", body=body))
        (project,) = memory.projects()
        server = HttpServer(machine).start()
        try:
            measure(server.port, places.page(project.id, "notes/page-7.md"), rounds)
        finally:
            server.stop()


def measure(port: int, page: str, rounds: int) -> None:
    """Ask for each kind in turn and print what it takes."""
    connection = HTTPConnection("127.0.0.1", port)

    def ask(path: str, **headers: str) -> tuple[float, str]:
        begun = time.perf_counter()
        connection.request("GET", path, headers=headers)
        reply = connection.getresponse()
        reply.read()
        return (time.perf_counter() - begun) * 1000, reply.headers.get("ETag", "")

    tag = ask(page)[1]
    took: dict[str, list[float]] = {}
    for number in range(rounds):
        ask("/healthz")  # whatever comes first after a pause takes longer
        for name, path, headers in (
            ("healthz", "/healthz", {}),
            ("cached page", page, {}),
            ("unchanged page (304)", page, {"If-None-Match": tag}),
            ("page made anew", f"{page}?n={number}", {}),
        ):
            took.setdefault(name, []).append(ask(path, **headers)[0])
        time.sleep(0.03)  # the rate limit
    bare = statistics.median(took["healthz"])
    for name, times in took.items():
        found = statistics.median(times)
        print(f"{name:<22} {found:6.2f} ms  {found / bare:5.2f}x")


if __name__ == "__main__":
    main()
