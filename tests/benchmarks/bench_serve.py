"""How long until an agent sees our tools: from spawn to `tools/list` answered, against a bare interpreter.

    python tests/benchmarks/bench_serve.py [pairs]

Runs alternate, so that a busy machine disturbs both alike; the ratio of medians is what counts. As a
baseline for the SDK itself its own server with the same tools is started too.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONSOLE_SCRIPT = "import sys; from ai_memory_mcp.__main__ import main; sys.argv[1:] = ['serve']; sys.exit(main())"
BARE = [sys.executable, "-I", "-c", "pass"]
SERVERS = {
    "python -m ai_memory_mcp serve": [sys.executable, "-m", "ai_memory_mcp", "serve"],
    "console script": [sys.executable, "-c", CONSOLE_SCRIPT],
}
SDK_SERVER = [sys.executable, str(ROOT / "tests" / "serving.py"), "sdk"]
HANDSHAKE = b"".join(
    json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
    for message in (
        {
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "bench", "version": "1"},
            },
        },
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
    )
)


def seconds_bare() -> float:
    """Return how long the interpreter takes to do nothing."""
    start = time.perf_counter()
    subprocess.run(BARE, check=True, cwd=ROOT)
    return time.perf_counter() - start


def seconds_to_tools(command: list[str]) -> float:
    """Return the time from spawn until the second answer, that to `tools/list`, is read."""
    start = time.perf_counter()
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": str(ROOT)}
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(HANDSHAKE)
        server.stdin.flush()
        server.stdout.readline()
        assert b'"tools"' in server.stdout.readline()
        taken = time.perf_counter() - start
        server.stdin.close()
    return taken


def ratio(command: list[str], pairs: int) -> float:
    """Return the ratio of the medians of alternating runs."""
    bare, ours = [], []
    for _ in range(pairs):
        bare.append(seconds_bare())
        ours.append(seconds_to_tools(command))
    return statistics.median(ours) / statistics.median(bare)


def report(pairs: int) -> dict[str, float]:
    """Return the ratios by kind of server."""
    ratios = {name: ratio(command, pairs) for name, command in SERVERS.items()}
    return {**ratios, "the SDK's own server": ratio(SDK_SERVER, max(2, pairs // 10))}


@pytest.mark.benchmark
def test_benchmark_of_the_handshake(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        show(report(10))


def show(ratios: dict[str, float]) -> None:
    """Print the ratios."""
    for name, value in ratios.items():
        sys.stdout.write(f"{name:32} {value:6.2f} x bare python\n")


if __name__ == "__main__":
    show(report(int(sys.argv[1]) if len(sys.argv) > 1 else 30))
