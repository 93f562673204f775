"""Servers for tests: a real one on a loopback port in a thread of this process, or in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import uvicorn

from ai_memory_mcp.config import Config
from ai_memory_mcp.link import Link
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.remote import RemoteMemory
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.server.app import build_app
from ai_memory_mcp.tokens import Tokens

PROGRAM = [sys.executable, "-m", "ai_memory_mcp"]


def local(home: Path) -> LocalMemory:
    """Open the memory of a home in this process; nothing above it is a project."""
    return LocalMemory(Resources.at(home, str(home.parent), Config()))


@contextmanager
def serving(home: Path, hosts: Sequence[str] = ()) -> Iterator[str]:
    """Serve a home from a thread; gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = build_app(home, lambda: local(home), Tokens(home), hosts)
        settings = uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, timeout_graceful_shutdown=5)
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


def remote(url: str, home: Path, token: str = "") -> RemoteMemory:
    """Open the memory of a server as a machine with this home does."""
    return RemoteMemory(home, str(home.parent), Link(url, token))


def token(home: Path, name: str = "test", *, read_only: bool = False, workspaces: Sequence[str] = ()) -> str:
    """Make a token on the server."""
    return Tokens(home).create(name, read_only=read_only, workspaces=workspaces, now=datetime.now(timezone.utc))


def ask(
    url: str, path: str, body: object = None, method: str = "POST", **headers: str
) -> tuple[int, dict[str, str], Any]:
    """Send one plain request; returns status, headers (lower case) and the JSON, or text, of the answer."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=30)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    told = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        connection.request(method, path, None if body is None else raw, told)
        reply = connection.getresponse()
        data = reply.read()
        try:
            answer = json.loads(data)
        except ValueError:
            answer = data.decode()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, answer
    finally:
        connection.close()


class Machine:
    """A machine with a user, a home folder and a memory of its own, that may be a client of a server."""

    def __init__(self, base: Path, name: str, url: str = "", token: str = "") -> None:
        self.user = base / name
        self.user.mkdir(parents=True)
        self.home = self.user / "memory"
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.user), "AI_MEMORY_HOME": str(self.home)}
        if url:
            self.env |= {"AI_MEMORY_SERVER_URL": url}
        if token:
            self.env |= {"AI_MEMORY_TOKEN": token}

    def run(
        self, *words: str, cwd: Path | None = None, given: str | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run one of our commands to its end, which must have this exit code."""
        done = subprocess.run(
            [*PROGRAM, *words],
            env=self.env,
            cwd=cwd or self.user,
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL if given is None else None,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done

    def json(self, *words: str, cwd: Path | None = None) -> Any:
        """Run a command with --json and return what it says."""
        return json.loads(self.run(*words, "--json", cwd=cwd).stdout)


class HttpServer:
    """`serve-http` of a machine, in a process of its own that can be killed and started again at the same port."""

    def __init__(self, machine: Machine, *words: str) -> None:
        self.machine = machine
        self.words = words
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.log = machine.user / "server.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> HttpServer:
        """Start it and wait until it answers."""
        before = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [*PROGRAM, "serve-http", "--port", str(self.port), *self.words],
                env=self.machine.env,
                cwd=self.machine.user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            said = self.log.read_text()[before:]
            found = re.search(r"serving .* at http://.*:(\d+)", said)
            if found:
                self.port = int(found.group(1))
                if self._answers():
                    return self
            assert self.process.poll() is None, said
            time.sleep(0.05)
        raise AssertionError(f"the server does not come up: {self.log.read_text()}")

    def stop(self) -> int:
        """End it as systemd and docker do; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """End it without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _answers(self) -> bool:
        try:
            return ask(self.url, "/healthz", method="GET")[0] == 200
        except OSError:
            return False
