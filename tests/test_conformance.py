"""The published conformance suite of MCP against our server, as far as it is about what we offer.

Opt-in: CONFORMANCE is how `@modelcontextprotocol/conformance` is started, e.g. `npx @modelcontextprotocol/conformance`.
Most of its scenarios want tools, resources and prompts that only a server made for it has; those are left out.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from remotes import HttpServer, Machine

SUITE = shlex.split(os.environ.get("CONFORMANCE", ""))
SCENARIOS = ("server-initialize", "ping", "tools-list", "dns-rebinding-protection", "http-header-validation")


@pytest.mark.skipif(not SUITE, reason="CONFORMANCE does not say how the suite is started")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_published_suite_passes(scenario: str, tmp_path: Path) -> None:
    server = HttpServer(Machine(tmp_path, "desk")).start()
    try:
        command = [*SUITE, "server", "--url", f"{server.url}/mcp", "--scenario", scenario]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    finally:
        server.stop()
    said = done.stdout + done.stderr
    if "Unknown" in said:
        pytest.skip("this version of the suite has no such scenario")
    passed, of, failed = map(int, re.search(r"Passed: (\d+)/(\d+), (\d+) failed", said).groups())  # type: ignore[union-attr]

    assert (passed, failed) == (of, 0), said
    assert of
