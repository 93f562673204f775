"""What we cost a tool call in a real agent: the time from one request to its model to the next, with and without us.

    REALCLIENTS=folder python tests/benchmarks/bench_clients.py [CLIENT...] [--calls N] [--pairs N]

See `tests/clients.py` for REALCLIENTS. Runs of one client with and without us take turns; printed are the medians over
all calls of all runs, and the median of the differences pair by pair with the interval that holds the true one in 95
of 100 series. No two commands are the same: some clients end a turn that repeats itself. Budget: 25 ms, near 0 where
hooks run beside.
"""

import argparse
import math
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clients import AGENTS, Place, here, shell_turn


def main() -> None:
    """Print one line per client."""
    parser = argparse.ArgumentParser()
    parser.add_argument("clients", nargs="*", default=list(AGENTS))
    parser.add_argument("--calls", type=int, default=25)
    parser.add_argument("--pairs", type=int, default=12)
    args = parser.parse_args()
    for client in args.clients:
        if not here(client):
            print(f"{client:10} not installed, or REALCLIENTS does not name a folder with run.sh")
            continue
        with tempfile.TemporaryDirectory() as folder:
            places = {}
            for name in ("without", "with"):
                (Path(folder) / name).mkdir()
                places[name] = Place(Path(folder) / name)
            places["with"].setup(client)
            for place in places.values():  # the first start of a client sets itself up
                gaps(place, client, 1)
            pairs = []
            for number in range(args.pairs):
                order = ["without", "with"][:: 1 if number % 2 else -1]
                seen = {name: gaps(places[name], client, args.calls) for name in order}
                pairs.append((seen["without"], seen["with"]))
        bare = statistics.median(gap for one, _ in pairs for gap in one)
        ours = statistics.median(gap for _, one in pairs for gap in one)
        added = [statistics.median(two) - statistics.median(one) for one, two in pairs]
        low, high = interval(added)
        without, told = f"{1000 * bare:6.1f} ms without", f"{1000 * ours:6.1f} ms with"
        middle = f"{1000 * statistics.median(added):+.1f} ms per call ({1000 * low:+.1f} to {1000 * high:+.1f})"
        print(f"{client:10} {without}, {told}; added {middle}", flush=True)


def interval(values: list[float]) -> tuple[float, float]:
    """Return the values between which the median lies at 95 %: it is on either side of each with equal chances."""
    ordered, count = sorted(values), len(values)
    outside, cut = 0.0, 0
    while cut < (count - 1) // 2 and outside + math.comb(count, cut) / 2**count <= 0.025:
        outside += math.comb(count, cut) / 2**count
        cut += 1
    cut = max(cut - 1, 0)
    return ordered[cut], ordered[-1 - cut]


def gaps(place: Place, client: str, calls: int) -> list[float]:
    """Run a session of so many commands; returns the seconds from each request that offers tools to the next."""
    turns = [shell_turn(f"true {number}") for number in range(calls)]
    run = place.run(client, [*turns, {"text": "done"}], "Do nothing")
    times = [request["t"] for request in run.requests if request.get("offered_tools")]
    return [after - before for before, after in pairwise(times)]


if __name__ == "__main__":
    main()
