"""Runs the hook as agents do: a real process with a home of its own, and what it left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ai_memory_mcp.agents.launcher import write_launcher

ROOT = Path(__file__).resolve().parent.parent
KEY = "sk-ant-" + "api03-" + "aB3dE5fG7hJ9kL1mN3pQ"


class Hook:
    """One user's home with a project and a memory; `emit` runs the launcher, `module` runs `python -m`."""

    def __init__(self, base: Path, python: str = sys.executable, home: str = "memory") -> None:
        self.base = base
        self.home = base / home
        self.project = base / "project"
        (self.project / ".git").mkdir(parents=True)
        self.launcher = write_launcher(self.home, python)
        self.env = {"PATH": os.environ["PATH"], "HOME": str(base), "AI_MEMORY_HOME": str(self.home)}

    def payload(self, **more: object) -> dict[str, object]:
        return {"session_id": "s1", "cwd": str(self.project), **more}

    def emit(
        self,
        data: object = None,
        *words: str,
        command: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        quiet: bool = True,
        timeout: float = 20,
    ) -> str:
        """Run the hook to its end; it must succeed and, if `quiet`, say nothing. Returns its stdout."""
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        words = words or ("claude-code", "PostToolUse")
        done = subprocess.run(
            [*(command or (str(self.launcher),)), *words],
            input=raw,
            env=self.env if env is None else env,
            cwd=cwd or self.base,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        if quiet:
            assert done.stdout == b""
        return done.stdout.decode()

    def module(self) -> tuple[str, ...]:
        """Return the command for people, `ai-memory-mcp emit`."""
        code = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); from ai_memory_mcp.__main__ import main; sys.exit(main())"
        )
        return (sys.executable, "-c", code, "emit")

    def ingest(self) -> None:
        """Run what the worker runs."""
        subprocess.run([*self.module()[:-1], "ingest", "--quiet"], env=self.env, check=True, timeout=30)

    def entries(self) -> list[dict[str, Any]]:
        """Return the spool's entries, oldest first; a worker may take some away meanwhile."""
        found = []
        for path in sorted((self.home / "spool").glob("*.json")):
            with suppress(FileNotFoundError):
                found.append(json.loads(path.read_text(encoding="utf-8")))
        return found

    def entry(self) -> dict[str, Any]:
        (entry,) = self.entries()
        return entry

    def log(self) -> str:
        path = self.home / "logs" / "emit.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""
