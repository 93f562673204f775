"""Other programs that we start: bounded in time, and ended together with what they started themselves.

`run` is one question and its answer, `show` is work that the user watches and may interrupt, `conversation` is
JSON-RPC on standard input and output (MCP servers speak it).
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

STEP = 0.2  # seconds between looks at whether to give up


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    limit: float,
    given: str = "",
    stopped: Callable[[], bool] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, `given` being its whole input. `limit` is in seconds; `stopped` is
    asked in between whether to give up.

    Raises OSError when it cannot be started and subprocess.TimeoutExpired when it had to be killed.
    """
    pipe = subprocess.PIPE
    process = _start(command, env, cwd, pipe)
    with process:
        try:
            out, err = _said(process, given, limit, stopped)
        except BaseException:  # time is up, or Ctrl-C, which does not reach a group of its own
            _kill(process)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _said(
    process: subprocess.Popen[str], given: str, limit: float, stopped: Callable[[], bool] | None
) -> tuple[str, str]:
    if stopped is None:
        return process.communicate(given, timeout=limit)
    until = time.monotonic() + limit
    while True:
        try:
            return process.communicate(given, timeout=max(0.01, min(STEP, until - time.monotonic())))
        except subprocess.TimeoutExpired:
            given = ""  # it has that
            if stopped() or time.monotonic() >= until:
                raise


def show(command: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> int:
    """Run a command in front of the user, who sees on standard error what it says; returns its exit code.

    Raises OSError when it cannot be started.
    """
    return subprocess.run(list(command), env=dict(env), cwd=cwd, stdout=2).returncode


class Conversation:
    """Requests to a program and its answers, one JSON object per line."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str] | None) -> None:
        self._process = process
        self._errors = errors
        self._lines: queue.Queue[str] = queue.Queue()
        self._asked = 0
        threading.Thread(target=self._pump, daemon=True).start()

    def ask(self, method: str, params: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        """Return the result of one request; what comes between is skipped. `deadline` is of the monotonic clock.

        Raises TimeoutError, ValueError for an answer that is no result, and OSError when the program has gone.
        """
        self._asked += 1
        self._send({"id": self._asked, "method": method, "params": dict(params)})
        while True:
            message = self._next(method, deadline)
            if isinstance(message, dict) and message.get("id") == self._asked:
                if not isinstance(message.get("result"), dict):
                    raise ValueError(f"it refuses {method}: {json.dumps(message.get('error'))[:200]}")
                result: dict[str, Any] = message["result"]
                return result

    def tell(self, method: str) -> None:
        """Send a notification. Raises OSError when the program has gone."""
        self._send({"method": method})

    def close(self, limit: float = 1.0) -> bool:
        """End the input; tell whether the program ended by that within `limit` seconds. Else it is killed."""
        with suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            _kill(self._process)
            self._process.wait()
            return False
        return True

    def complaint(self) -> str:
        """Return the end of what the program wrote to standard error, on one line; '' where it is `heard`."""
        if self._errors is None:
            return ""
        self._errors.seek(0)
        return " ".join(self._errors.read().split())[-300:]

    def _next(self, method: str, deadline: float) -> Any:
        try:
            line = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError(f"it does not answer {method}") from None
        if not line:
            raise ValueError(f"it ended without an answer to {method}")
        with suppress(ValueError):
            return json.loads(line)
        raise ValueError(f"it writes what is no JSON: {line.strip()[:200]}")

    def _send(self, message: dict[str, Any]) -> None:
        if self._process.stdin is None:
            raise ValueError("it has no standard input")
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._process.stdin.flush()

    def _pump(self) -> None:
        output = self._process.stdout
        if output is not None:
            with suppress(OSError, ValueError), output:
                for line in output:
                    self._lines.put(line)
        self._lines.put("")


@contextmanager
def conversation(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, heard: bool = False
) -> Iterator[Conversation]:
    """Start a program to speak JSON-RPC with; at the end its input is closed. Raises OSError when it cannot start.

    What a `heard` program says on standard error, it says on ours.
    """
    with ExitStack() as stack:
        errors = None
        if not heard:
            errors = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
        talk = Conversation(_start(command, env, cwd, errors), errors)
        stack.callback(talk.close)
        yield talk


def of_ours(module: str, *given: str) -> list[str]:
    """Return the command that calls `main` of one of our modules with these arguments, in this Python, whatever stands
    in the folder or the environment that it is run in."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    find = f"import sys; sys.path[:1] = []; sys.path.append({root!r})"
    return [sys.executable, "-E", "-c", f"{find}; from {module} import main; main(*{given!r})"]


def _start(
    command: Sequence[str], env: Mapping[str, str], cwd: Path | None, errors: int | IO[str] | None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd=cwd,
        env=dict(env),
        encoding="utf-8",
        errors="replace",
        start_new_session=os.name == "posix",
    )


def _kill(process: subprocess.Popen[str]) -> None:
    """The command may be a wrapper around the real one: on POSIX its whole group goes."""
    with suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
