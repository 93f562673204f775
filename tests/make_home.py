"""Makes the files that `test_formats` opens: `python tests/make_home.py`, once for each new version of the files.

A small home is filled by this program's own commands, as a user and an agent would, and kept as it lies on the disk
(`home.zip`, but for what is derived) and as `backup` writes it (`backup.zip`). What was made is never made anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from ai_memory_mcp.formats import FORMAT

HERE = Path(__file__).resolve().parent
FORMATS = HERE / "formats"
DERIVED = ("index.db", "brief", "cache", "locks", "logs", "bin")


class Machine:
    """A user's home with one project, at a place that says nothing of who made it."""

    def __init__(self, base: Path) -> None:
        self.user = base / "user"
        self.home = self.user / "memory"
        self.work = self.user / "zoo"
        self.work.mkdir(parents=True)
        self._git(self.work, "init", "-q")
        self._git(self.work, "remote", "add", "origin", "https://example.com/me/zoo.git")
        self._git(base, "init", "-q", "--bare", "remote.git")
        self.home.mkdir(mode=0o700)
        (self.home / "config.toml").write_text(f'[sync]\nremote = "{base}/remote.git"\n')

    def run(self, *words: str, given: object = None) -> str:
        """Run one of our commands in the project."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.user), "AI_MEMORY_HOME": str(self.home)}
        done = subprocess.run(
            [sys.executable, "-m", "ai_memory_mcp", *words],
            env={**env, "PYTHONPATH": str(HERE.parent)},
            cwd=self.work,
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def hook(self, event: str, session: str, **fields: object) -> None:
        """Report an event as Claude Code does."""
        told = {"session_id": session, "cwd": str(self.work), "hook_event_name": event, **fields}
        self.run("emit", "--agent", "claude-code", "--event", event, given=told)

    def _git(self, folder: Path, *words: str) -> None:
        subprocess.run(["git", "-C", folder, *words], check=True)


def fill(machine: Machine) -> None:
    """Leave something of every kind that is kept."""
    machine.hook("SessionStart", "one", source="startup")
    machine.hook("UserPromptSubmit", "one", prompt="Please mend the parser")
    machine.hook(
        "PostToolUse",
        "one",
        tool_name="Bash",
        tool_input={"command": "pytest"},
        tool_response={"stdout": "12 passed", "stderr": ""},
    )
    machine.hook("Stop", "one", last_assistant_message="I mended the parser. Next step: write the docs.")
    machine.hook("SessionEnd", "one", reason="other")
    machine.run("ingest")
    machine.run("write", "Feed the okapi", "--kind", "decision", "--body", "At noon.", "--tag", "zoo")
    machine.run("write", "Feed the okapi", "--kind", "decision", "--body", "At dawn. See [[The giraffe]].")
    machine.run("write", "The giraffe", "--body", "It eats leaves.")
    machine.run("feedback", "notes/the-giraffe.md", "helpful", "--note", "true")
    machine.run("read", "notes/the-giraffe.md")
    machine.run("handoff", "leave", "--summary", "The docs are to be written", "--next-step", "write them")
    machine.run("write", "Sunscreen", "--kind", "rule", "--body", "For elephants, too.", "--project", "general")
    machine.run("token", "create", "laptop", "--read-only")
    machine.run("sync")
    waits = {"session_id": "two", "cwd": str(machine.work), "hook_event_name": "UserPromptSubmit", "prompt": "It waits"}
    machine.run("emit", "--agent", "claude-code", "--event", "UserPromptSubmit", given=waits)
    aside = machine.home / "spool" / "set-aside"
    aside.mkdir(exist_ok=True)
    (aside / "00000000000000000001-1-bad-0123456789abcdef.json").write_text("{")
    (aside / "00000000000000000001-1-bad-0123456789abcdef.json.reason").write_text("not an event: torn\n")


def main() -> None:
    """Fill a home and keep it."""
    folder = FORMATS / str(FORMAT)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as base:
        machine = Machine(Path(base))
        fill(machine)
        with zipfile.ZipFile(folder / "home.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(machine.home.rglob("*")):
                inside = path.relative_to(machine.home)
                if path.is_file() and not inside.parts[0].startswith(DERIVED):
                    archive.write(path, inside)
        machine.run("backup", str(folder / "backup.zip"))


if __name__ == "__main__":
    main()
