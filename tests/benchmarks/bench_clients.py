"""What we cost a tool call in a real agent: the time from one request to its model to the next, with and without us.

    REALCLIENTS=folder python tests/benchmarks/bench_clients.py [CLIENT...] [--calls N] [--pairs N]

See `tests/clients.py` for REALCLIENTS. Runs of one client with and without us take turns; printed are the medians over
all calls of all runs, and the median of the differences pair by pair. Budget: 25 ms, near 0 where hooks run beside.
"""

import argparse
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
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=5)
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
            for _ in range(args.pairs):
                pairs.append([gaps(places[name], client, args.calls) for name in ("without", "with")])
        bare = statistics.median(gap for one, _ in pairs for gap in one)
        ours = statistics.median(gap for _, one in pairs for gap in one)
        added = statistics.median(statistics.median(two) - statistics.median(one) for one, two in pairs)
        without, told = f"{1000 * bare:6.1f} ms without", f"{1000 * ours:6.1f} ms with"
        print(f"{client:10} {without}, {told}; added {1000 * added:+.1f} ms per call", flush=True)


def gaps(place: Place, client: str, calls: int) -> list[float]:
    """Run a session of so many commands; returns the seconds from each request that offers tools to the next."""
    run = place.run(client, [*(shell_turn("true") for _ in range(calls)), {"text": "done"}], "Do nothing")
    times = [request["t"] for request in run.requests if request.get("offered_tools")]
    return [after - before for before, after in pairwise(times)]


if __name__ == "__main__":
    main()
