"""OpenClaw as most people have it: a gateway that runs all day, and messages to it. See `clients`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from typing import Any

from clients import Place
from run_client import INSTALLED, environment, model

OPENCLAW = INSTALLED / "openclaw" / "node_modules" / ".bin" / "openclaw"


class Gateway:
    """A gateway in the home of a place where OpenClaw has run before; a context that ends it as its service does."""

    def __init__(self, place: Place, turns: list[dict[str, Any]]) -> None:
        self.place = place
        self.out = place.base / "gateway"
        self.script = place.base / "gateway.json"
        self.script.write_text(json.dumps({"turns": turns, "side_text": "A summary"}))
        self.port = free_port()
        self.held = ExitStack()
        token = {"OPENCLAW_GATEWAY_TOKEN": "token", "OPENCLAW_GATEWAY_PORT": str(self.port)}
        quiet = {"OPENCLAW_DISABLE_TELEMETRY": "1", "OPENCLAW_NO_UPDATE_CHECK": "1"}
        self.env = environment(place.home) | token | quiet

    def __enter__(self) -> Gateway:
        address = self.held.enter_context(model(self.script, self.out, self.place.project))
        provider = {"models": {"providers": {"fake": {"baseUrl": f"{address}/v1"}}}}
        self.place.merge(self.place.home / ".openclaw/openclaw.json", provider)
        log = self.held.enter_context((self.out / "gateway.log").open("wb"))
        command = [str(OPENCLAW), "gateway", "run", "--port", str(self.port), "--auth", "token", "--token", "token"]
        self.process = subprocess.Popen(
            command,
            env=self.env,
            cwd=self.place.project,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while not listens(self.port):
            assert self.process.poll() is None, (self.out / "gateway.log").read_text()
            assert time.monotonic() < deadline, "the gateway does not start"
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.held.close()

    def ask(self, *words: str) -> None:
        """Run a command of OpenClaw's that speaks to the gateway."""
        command = [str(OPENCLAW), *words]
        done = subprocess.run(
            command, env=self.env, cwd=self.place.project, stdin=subprocess.DEVNULL, capture_output=True, timeout=120
        )
        assert done.returncode == 0, done.stderr.decode()

    def say(self, message: str) -> None:
        """Send a message of one conversation and wait for the answer."""
        self.ask("agent", "--session-id", "talk", "--message", message, "--timeout", "90")

    def compact(self) -> None:
        """Have the conversation compacted."""
        self.ask("sessions", "compact", "agent:main:explicit:talk")


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Tell whether somebody listens at a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
