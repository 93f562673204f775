"""Runs a plugin of ours under plain node, in a host that calls its hooks as its agent does, with a real memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hooking import Hook

from ai_memory_mcp.agents.plugin import file_text
from ai_memory_mcp.agents.spec import PluginFile, find_spec
from ai_memory_mcp.agents.wiring import Launch

Running = TypeVar("Running", bound="Host")
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="plugins run in JavaScript: node is not installed")

# Takes {"call": hook, "with": [arguments]} lines; says what the hook returned, what became of its arguments (they are
# there to be changed), and how many ms it kept its caller. `enter` is an agent's own way: module, context -> hooks.
_HOST = """
import { createInterface } from "node:readline"
const enter = @ENTER@
let hooks
const asked = {
  load: async ({ load, context }) => { hooks = await enter(await import(load), context); return Object.keys(hooks) },
  call: async ({ call, with: given }) => {
    const begun = performance.now()
    const back = hooks[call](...given)
    const held = performance.now() - begun
    return { held, back: await back, with: given, took: performance.now() - begun }
  },
  exit: ({ exit }) => process.exit(exit),
}
for await (const line of createInterface({ input: process.stdin })) {
  const told = JSON.parse(line)
  const name = Object.keys(asked).find((name) => name in told)
  console.log(JSON.stringify((await asked[name](told)) ?? null))
}
"""


class Host:
    """A process that has loaded an agent's plugin; a context that ends it.

    `enter` is JavaScript: (module, context) => hooks by name. Where the memory has no index yet it gets none: no
    worker can take in what is stored, and it stays in the spool for the test to see.
    """

    def __init__(self, hook: Hook, agent: str, enter: str, *, context: object = None, launcher: str = "") -> None:
        self.hook = hook
        if not (hook.home / "index.db").exists():
            (hook.home / "index.db").mkdir()
        spec = find_spec(agent)
        assert spec.plugin is not None
        launch = Launch("ai-memory-mcp", ("serve",), launcher or str(hook.launcher))
        script = write_plugin(hook.base, next(file for file in spec.plugin.files if file.source), agent, launch)
        host = hook.base / "host.mjs"
        host.write_text(_HOST.replace("@ENTER@", enter), encoding="utf-8")
        self.process = subprocess.Popen(
            [str(NODE), str(host)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=hook.env,
            cwd=hook.project,
            encoding="utf-8",
        )
        self.hooks: list[str] = self.ask(load=script.as_uri(), context=context)

    def ask(self, **told: object) -> Any:
        """Have the host do one thing; returns what came of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def call(self, name: str, *given: object) -> dict[str, Any]:
        """Call a hook: {back: its result, with: its arguments afterwards, took: ms, held: ms before it let go}."""
        answer: dict[str, Any] = self.ask(**{"call": name, "with": given})
        return answer

    def stored(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        """Wait for so many entries of the spool; returns (event, payload) of each in order."""
        wait_for(lambda: len(self.hook.entries()) >= count)
        return [(entry["event"], entry["payload"]) for entry in self.hook.entries()]

    def streams(self) -> list[int]:
        """Return the processes that the plugin has started and that still run."""
        told = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
        rows = [line.split() for line in told.stdout.splitlines()]
        return [int(pid) for pid, parent, state in rows if int(parent) == self.process.pid and state[0] != "Z"]

    def end(self) -> int:
        """Let the host end as a process does that has nothing left to do; returns its status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=20)

    def __enter__(self: Running) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.__exit__(None, None, None)


def write_plugin(folder: Path, file: PluginFile, agent: str, launch: Launch) -> Path:
    """Write a plugin as `setup` does; a module by its name, as agents take it for one whatever it is called."""
    path = folder / f"{agent}.mjs"
    path.write_text(file_text(file, find_spec(agent), launch), encoding="utf-8")
    return path


def wait_for(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
