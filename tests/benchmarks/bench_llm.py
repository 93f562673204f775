"""What a language and an embedding model that are set up cost those who do not ask them: `emit`, `search` and `serve`.

    python tests/benchmarks/bench_llm.py [PAIRS]

Each pair runs a command with a provider configured and without, one after the other; the median of the ratios of CPU
time counts, which a busy machine disturbs little.
`by file` compares a config.toml that sets something else with one that also has [llm] and [embedding], `by variable`
none with AI_MEMORY_LLM_PROVIDER and its like. Nothing is embedded: a search that asks for its question's embedding
costs more, see retrieval.py.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bench_emit import run, seed
from bench_serve import HANDSHAKE

from ai_memory_mcp.agents.launcher import write_launcher

OTHER = "[session]\nidle_minutes = 9\n"
LLM = '[llm]\nprovider = "openai"\nmodel = "m"\nbase_url = "http://127.0.0.1:9/v1"\n'
LLM += '[embedding]\nprovider = "openai"\nmodel = "m"\nbase_url = "http://127.0.0.1:9/v1"\nautomatic = false\n'
VARIABLES = {"AI_MEMORY_LLM_PROVIDER": "openai", "AI_MEMORY_LLM_MODEL": "m", "OPENAI_API_KEY": "k"}
VARIABLES |= {"AI_MEMORY_EMBEDDING_PROVIDER": "openai", "AI_MEMORY_EMBEDDING_MODEL": "m"}
VARIABLES |= {"AI_MEMORY_EMBEDDING_BASE_URL": "http://127.0.0.1:9/v1"}


def main() -> None:
    """Print one line per command and way of configuring."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    base = Path(tempfile.mkdtemp(prefix="bench-llm-"))
    project, home = base / "project", base / "memory"
    project.mkdir()
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    env = {"PATH": os.environ["PATH"], "HOME": str(base), "AI_MEMORY_HOME": str(home)}
    launcher = str(write_launcher(home, python=sys.executable))
    for event, words in seed(str(project)):
        run([launcher, "claude-code", event], json.dumps(words).encode(), env)
    memory = [sys.executable, "-m", "ai_memory_mcp"]
    subprocess.run([*memory, "ingest", "--quiet"], env=env, check=True)
    event = json.dumps({"session_id": "s", "cwd": str(project), "prompt": "go on"}).encode()
    commands: dict[str, tuple[list[str], bytes]] = {
        "emit": ([launcher, "claude-code", "UserPromptSubmit"], event),
        "search": ([*memory, "search", "parser"], b""),
        "serve, to tools/list and its end": ([*memory, "serve"], HANDSHAKE),
    }
    for name, (command, data) in commands.items():
        for way, change in {"by file": by_file, "by variable": by_variable}.items():
            ratios = []
            for number in range(pairs + 3):
                with_it, without = (timed(command, data, change(home, env, on)) for on in (True, False))
                if number >= 3:
                    ratios.append(with_it / without)
            middle, high = statistics.median(ratios), sorted(ratios)[pairs * 9 // 10]
            print(f"{name:34} {way:12} median {middle:.3f}  p90 {high:.2f}")
    shutil.rmtree(base)


def timed(command: list[str], data: bytes, prepared: Callable[[], Mapping[str, str]]) -> float:
    env = dict(prepared())
    for entry in Path(env["AI_MEMORY_HOME"], "spool").glob("*.json"):
        entry.unlink()
    run(command, data, env)  # what is derived from settings is fresh
    for entry in Path(env["AI_MEMORY_HOME"], "spool").glob("*.json"):
        entry.unlink()
    before = children_seconds()
    run(command, data, env)
    return children_seconds() - before


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def by_file(home: Path, env: Mapping[str, str], on: bool) -> Callable[[], Mapping[str, str]]:
    """Return what writes config.toml, with or without [llm], and gives the environment."""

    def prepare() -> Mapping[str, str]:
        (home / "config.toml").write_text(OTHER + (LLM if on else ""))
        return env

    return prepare


def by_variable(home: Path, env: Mapping[str, str], on: bool) -> Callable[[], Mapping[str, str]]:
    """Return what gives the environment with or without a provider, and no config.toml."""

    def prepare() -> Mapping[str, str]:
        (home / "config.toml").unlink(missing_ok=True)
        return {**env, **(VARIABLES if on else {})}

    return prepare


if __name__ == "__main__":
    main()
