"""A server under load: `python tests/benchmarks/bench_server.py [--clients 200] [--seconds 60] [--dir DIR]`.

The memory holds 20,000 observations and 5,000 pages of 20 projects. First one client searches while nobody else asks,
with nothing new to know of, and with an event that happened right before. Then all clients, each with a token and
connections of its own, work as agents do (see `load_clients`): an event a second, which is many times what an agent
makes, a delivery every five, briefs, a search every five; then all do so without any pause but the one that a 429 asks
for. The clients run on this machine, in one process beside the server. Prints for each part the answers by status;
ms of those that were served, and from asking until then with what a 429 made them wait; CPU and memory of the server.
At the end every event that was accepted is looked for in the journal and in the index: it has to be there once.

    python tests/benchmarks/bench_server.py --seconds 600 --parts work      is the memory flat?

`--dir` keeps the filled memory in a folder, and works on a copy of it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_search import Words
from load_clients import PROJECTS, Client, Pace, Seen, alone, crowd, origin
from remotes import HttpServer, Machine, local, token

from ai_memory_mcp.model import Event, Origin, Scope

STORED, PAGES = 1_000, 250  # observations and pages of a project
QUIET = 200  # searches
EVERY = 5.0  # seconds between two searches of a client at work
TICKS = os.sysconf("SC_CLK_TCK")


def fill(machine: Machine) -> None:
    """Store pages and observations."""
    memory, words = local(machine.home), Words()
    for place in range(PROJECTS):
        folder = machine.user / "docs" / str(place)
        folder.mkdir(parents=True)
        for number in range(PAGES):
            (folder / f"{number}.md").write_text(f"# {words.text(4)}\n\n{words.text(300)}\n")
        memory.import_markdown(Scope(origin=Origin.model_validate(origin(place))), folder)
        memory.take([stored(place, number, words) for number in range(STORED)])
        memory.ingest()
    memory.close()


def stored(place: int, number: int, words: Words) -> Event:
    """Return an event of a session that has ended."""
    session, step = divmod(number, 100)
    kind = {0: "SessionStart", 1: "UserPromptSubmit", 99: "SessionEnd"}.get(step, "PostToolUse")
    payload = {"session_id": f"old-{place}-{session}", "prompt": words.text(150), "source": "startup"}
    if kind == "PostToolUse":
        payload |= {"tool_name": "Bash", "tool_input": {"command": words.text(8)}, "tool_response": words.text(150)}
        payload |= {"tool_use_id": f"{place}-{number}"}
    at = time.time() - 86_400 + number
    about = {"id": f"{int(at * 1e9):020d}-{place}-{number:08x}", "agent": "claude-code", "event": kind}
    when = datetime.fromtimestamp(at, timezone.utc)
    return Event.model_validate({**about, "at": when, "payload": payload, "origin": origin(place)})


def filled(folder: Path, kept: str) -> Machine:
    """Return a machine with a memory to serve."""
    base = Path(kept or folder / "kept")
    if not (base / "desk" / "memory").exists():
        fill(Machine(base, "desk"))
    home = base / "desk" / "memory"
    machine = Machine(folder, "served")
    shutil.copytree(home, machine.home)
    return machine


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_of_all() -> float:
    """Return the CPU seconds that all processes of the machine have taken."""
    user, nice, system, _, _, irq, soft, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + soft) / TICKS


def memory_of(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def family(pid: int) -> list[int]:
    """Return a process and those that it has started."""
    started = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(int(child) for path in started for child in path.read_text().split())]


def slope(samples: list[tuple[float, float]]) -> float:
    """Return MiB a minute over the second half of the samples (least squares)."""
    half = samples[len(samples) // 2 :]
    if len(half) < 3:
        return 0.0
    return statistics.linear_regression([at / 60 for at, _ in half], [mib for _, mib in half]).slope


def quantile(times: list[float]) -> float:
    """Return the 95th percentile."""
    return statistics.quantiles(times, n=20)[18] if len(times) > 1 else sum(times)


def tell(what: str, seen: Seen, quiet: Mapping[str, float] = {}) -> None:
    """Print the answers of one part and how long they took."""
    print(f"{what:8} { ({' '.join(map(str, key)): count for key, count in sorted(seen.answers.items())}) }")
    for kind, times in sorted(seen.served.items()):
        waited = seen.waited[kind]
        rate = f"{len(times) / seen.seconds:.0f} a second; " if seen.seconds else ""
        of = "".join(f", {quantile(times) / base:.1f}x {name}" for name, base in quiet.items() if kind == "search")
        line = f"{rate}served {statistics.median(times):.1f} ms median, {quantile(times):.1f} p95{of}"
        if seen.answers[kind, 429]:
            refused = seen.answers[kind, 429] / (seen.answers[kind, 429] + len(times))
            line += f"; {refused:.0%} were 429, with the wait {statistics.median(waited):.1f} median"
            line += f", {quantile(waited):.1f} p95, {seen.given_up[kind]} given up"
        print(f"         {kind}: {line}", flush=True)


def under_load(server: HttpServer, secrets: list[str], seconds: float, pace: Pace, run: str) -> Seen:
    """Let the clients do their work in a process of their own, and print what the server needs meanwhile."""
    assert server.process is not None
    pid, begun = server.process.pid, time.monotonic()
    before, everything = {one: cpu_of(one) for one in family(pid)}, cpu_of_all()
    samples = [(0.0, sum(map(memory_of, family(pid))))]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        clients = pool.submit(crowd, server.port, secrets, seconds, pace, run)
        while not clients.done():
            time.sleep(min(5.0, seconds / 10))
            samples.append((time.monotonic() - begun, sum(map(memory_of, family(pid)))))
        seen = clients.result()
    took = [cpu_of(one) - before.get(one, 0.0) for one in family(pid)]
    others = (cpu_of_all() - everything - sum(took) - seen.cpu) / (time.monotonic() - begun)
    ours = " and ".join(f"{one / seen.seconds:.0%}" for one in took)
    print(f"{run:8} of a core: server {ours}, clients {seen.cpu / seen.seconds:.0%}, others {others:.0%}")
    few = samples[:: max(1, len(samples) // 20)]
    print(f"{run:8} memory {[round(mib) for _, mib in few]} MiB; second half {slope(samples):+.2f} MiB a minute")
    return seen


def account(home: Path, parts: list[Seen]) -> None:
    """Look for every accepted event in the journal and in the index."""
    kept: dict[str, Counter[str]] = {"journal": Counter(), "index": Counter()}
    for path in (home / "journal").rglob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            record = json.loads(line)
            if record["type"] in ("observation", "unstored"):
                kept["journal"][record["id"]] += 1
    with local(home).res.index.read() as db:
        for table in ("observations", "unstored"):
            kept["index"].update(row["id"] for row in db.execute(f"SELECT id FROM {table}"))
    accepted = {ident for part in parts for ident in part.accepted}
    for where, found in kept.items():
        lost, twice = (sum(test(found[ident]) for ident in accepted) for test in ((0).__eq__, (1).__lt__))
        print(f"events   {len(accepted)} accepted; in the {where} {lost} are missing, {twice} are more than once")


def main(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-server-") as folder:
        machine = filled(Path(folder), given.dir)
        secrets = [token(machine.home, f"c{number}") for number in range(given.clients)]
        server = HttpServer(machine).start()
        assert server.process is not None
        print(f"server   {server.process.pid}", flush=True)
        try:
            alone(server.port, secrets[0], Client.search, 40, "warm")
            parts, quiet = [], {}
            for name, do in (("quiet", Client.search), ("knowing", Client.work_and_search)):
                parts.append(alone(server.port, secrets[0], do, QUIET, name))
                quiet[name] = quantile(parts[-1].served["search"])
                tell(name, parts[-1])
            for run in given.parts.split(","):
                pace = Pace(0.0, 0.0) if run == "rush" else Pace(given.event_every, given.search_every)
                parts.append(under_load(server, secrets, given.seconds, pace, run))
                tell(run, parts[-1], quiet)
        finally:
            stopping = time.monotonic()
            code = server.stop()
            print(f"stop     {code} after {time.monotonic() - stopping:.1f} s")
        memory = local(machine.home)
        begun, waiting = time.monotonic(), memory.res.spool.pending()
        memory.ingest()
        print(f"after    {waiting} events waited; taken in within {time.monotonic() - begun:.1f} s")
        account(machine.home, parts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--event-every", type=float, default=1.0)
    parser.add_argument("--search-every", type=float, default=EVERY)
    parser.add_argument("--parts", default="work,rush")
    parser.add_argument("--dir", default="")
    main(parser.parse_args())
