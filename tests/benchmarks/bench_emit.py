"""What a hook costs: whole processes, as an agent's settings call them, in pairs with a bare interpreter start.

    python tests/benchmarks/bench_emit.py [RUNS]

Prints the median of the ratios pair by pair. Budgets: plain 1.1, with a secret 3, session start with a fresh brief
1.5 times `python -I -S -c pass`.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ai_memory_mcp.agents.launcher import write_launcher


def main() -> None:
    """Print one line per kind of event."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    base = Path(tempfile.mkdtemp(prefix="bench-emit-"))
    project, home = base / "project", base / "memory"
    project.mkdir()
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    launcher = write_launcher(home, python=sys.executable)
    env = {"PATH": os.environ["PATH"], "HOME": str(base), "AI_MEMORY_HOME": str(home)}
    memory = [sys.executable, "-m", "ai_memory_mcp"]
    for event, words in seed(str(project)):
        run([str(launcher), "claude-code", event], json.dumps(words).encode(), env)
    subprocess.run([*memory, "ingest", "--quiet"], env=env, check=True)
    bare = [sys.executable, "-I", "-S", "-c", "pass"]
    for name, event, words in events(str(project)):
        data = json.dumps(words).encode()
        emit = [str(launcher), "claude-code", event]
        ratios = []
        for number in range(runs + 5):
            for entry in (home / "spool").glob("*.json"):  # as ingest does; a brief is fresh when nothing waits
                entry.unlink()
            first, second = run(emit, data, env), run(bare, b"", env)
            if number >= 5:
                ratios.append(first / second)
        ratios.sort()
        middle, high = statistics.median(ratios), ratios[runs * 9 // 10]
        print(f"{name:34} {len(data):6} bytes  median {middle:.2f}x bare  p90 {high:.2f}x")
    shutil.rmtree(base)


def run(command: list[str], data: bytes, env: dict[str, str]) -> float:
    """Run a process to its end and return the wall seconds."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(data)
        stdin.seek(0)
        begun = time.perf_counter()
        pid = os.posix_spawn(
            command[0],
            command,
            env,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stdin.fileno(), 0),
                (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            ],
        )
        os.waitpid(pid, 0)
        return time.perf_counter() - begun


def seed(cwd: str) -> list[tuple[str, dict[str, object]]]:
    """A short session, so that there is a brief with a handoff."""
    told = {"session_id": "seed", "cwd": cwd}
    return [
        ("SessionStart", {**told, "source": "startup"}),
        ("UserPromptSubmit", {**told, "prompt": "Make the parser accept tabs", "prompt_id": "p1"}),
        ("Stop", {**told, "last_assistant_message": "Tabs work. Next: update the docs.", "prompt_id": "p1"}),
        ("SessionEnd", {**told, "reason": "other"}),
    ]


def events(cwd: str) -> list[tuple[str, str, dict[str, object]]]:
    """The measured events: (name, event, payload)."""
    line = "tests/test_parser.py::test_tabs PASSED, and one more line of quite ordinary output\n"
    tool = {
        "session_id": "46381fce-536b-4eba-9d01-27985b9d3ff0",
        "transcript_path": "/home/dev/.claude/projects/-home-dev-project/46381fce.jsonl",
        "cwd": cwd,
        "prompt_id": "b9041d59-6440-4247-86fd-5a9ff763408c",
        "permission_mode": "default",
        "hook_event_name": "PostToolUse",
        "tool_name": "Bash",
        "tool_input": {"command": "pytest -q tests/test_parser.py", "description": "Run the tests"},
        "tool_response": {"stdout": line * 18, "stderr": "", "interrupted": False},
        "tool_use_id": "toolu_2fae9be806b641dda39f",
        "duration_ms": 56,
    }
    secret = {**tool, "tool_input": {"command": "export OPENAI_API_KEY=" + "sk-proj-" + "a1B2" * 10}}
    start = {"session_id": "new", "cwd": cwd, "hook_event_name": "SessionStart", "source": "startup"}
    return [
        ("tool use without a secret", "PostToolUse", tool),
        ("tool use with a secret", "PostToolUse", secret),
        ("session start with a fresh brief", "SessionStart", start),
    ]


if __name__ == "__main__":
    main()
