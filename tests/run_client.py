"""Runs what the runner of `clients` has no command for, in the same way and with its fake model and its supervisor.

`OUT=folder run_client.py CLIENT HOME WORK SCRIPT PROMPT [argument...]`: one turn of a client that npm has put below
REALCLIENTS_MORE. CONTINUE, LIMIT and LINGER as in run.sh. `model` and `environment` serve OpenClaw's gateway as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RUNNER = os.environ.get("REALCLIENTS", "")
INSTALLED = Path(os.environ.get("REALCLIENTS_HOME") or os.path.expanduser("~/.cache/realclients")) / "clients"
MORE = Path(os.environ.get("REALCLIENTS_MORE") or "/nowhere") / "node_modules" / ".bin"
PYTHON = INSTALLED.parent / "venv" / "bin" / "python"
NODE = INSTALLED / "node26" / "node_modules" / ".bin"


@contextmanager
def model(script: Path, out: Path, project: Path) -> Iterator[str]:
    """Have a fake model follow a script; gives its address. It keeps each request in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    port = out / "port"
    told = ["--script", str(script), "--out", str(out), "--cwd", str(project), "--portfile", str(port)]
    with (out / "server.log").open("wb") as log:
        process = subprocess.Popen([str(PYTHON), f"{RUNNER}/fakellm.py", *told], stdout=log, stderr=log)
    try:
        while not port.exists():
            assert process.poll() is None, (out / "server.log").read_text()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port.read_text()}"
    finally:
        process.kill()
        process.wait()


def environment(home: Path) -> dict[str, str]:
    """Return what a client sees of the world: its home, and proxies that lead nowhere."""
    nowhere, loopback = "http://127.0.0.1:9", "127.0.0.1,localhost"
    (home / ".tmp").mkdir(exist_ok=True)
    return {
        "PATH": f"{NODE}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "USER": "dev",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "TMPDIR": str(home / ".tmp"),
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "NO_PROXY": loopback,
        "no_proxy": loopback,
    }


def command(client: str, address: str, prompt: str) -> tuple[list[str], dict[str, str]]:
    """Return how a client is started for one turn, and the variables that lead it to the model."""
    goes_on = bool(os.environ.get("CONTINUE"))
    if client == "qwen":
        words = ["--auth-type", "openai", "--yolo", *(["--continue"] if goes_on else []), prompt]
        return words, {"OPENAI_API_KEY": "dummy", "OPENAI_BASE_URL": f"{address}/v1", "OPENAI_MODEL": "fake-model"}
    words = ["--silent", "--allow-all-tools", "--allow-all-paths", *(["--continue"] if goes_on else []), "-p", prompt]
    provider = {"BASE_URL": f"{address}/v1", "API_KEY": "dummy"}
    env = {f"COPILOT_PROVIDER_{name}": value for name, value in provider.items()}
    return words, {**env, "COPILOT_MODEL": "fake-model", "COPILOT_AUTO_UPDATE": "false", "COPILOT_OFFLINE": "true"}


def main(client: str, home: str, project: str, script: str, prompt: str, *more: str) -> int:
    """Run one turn and return the client's status; recordings go to OUT."""
    out = Path(os.environ["OUT"])
    limits = [os.environ.get("LIMIT", "120"), os.environ.get("LINGER", "5")]
    with model(Path(script), out / "llm", Path(project)) as address:
        words, env = command(client, address, prompt)
        supervised = [
            str(PYTHON),
            f"{RUNNER}/supervise.py",
            str(out / "result.json"),
            *limits,
            "--",
            str(MORE / client),
        ]
        with (out / "stdout.txt").open("wb") as said, (out / "stderr.txt").open("wb") as complained:
            return subprocess.run(
                [*supervised, *words, *more],
                env=environment(Path(home)) | env,
                cwd=project,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=complained,
            ).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
