"""What stands in docker/ fits the program: its commands, the files of an image, its question for health."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from remotes import HttpServer, Machine, ask

from ai_memory_mcp.cli.main import build_parser

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["memory"]


def test_every_command_in_it_is_one_of_ours() -> None:
    unit = (ROOT / "docker" / "ai-memory.service").read_text()
    started = shlex.split(re.findall(r"^ExecStart=(.+)$", unit, re.M)[0])
    assert started[0].endswith("/bin/ai-memory-mcp")
    default = json.loads(re.findall(r"^CMD (.+)$", DOCKERFILE, re.M)[0])
    for words in (default, COMPOSE["command"], started[1:]):
        args = build_parser().parse_args(words)
        assert args.run == "run:serve_http"
        assert args.port == 49374


def test_the_image_runs_as_nobody_special_and_keeps_memory_in_a_volume() -> None:
    assert re.search(r"^USER memory$", DOCKERFILE, re.M)
    assert re.search(r"^VOLUME /memory$", DOCKERFILE, re.M)
    assert "AI_MEMORY_HOME=/memory" in DOCKERFILE
    assert COMPOSE["volumes"] == ["memory:/memory"]


def test_the_question_for_health_is_answered_by_a_server_that_wants_tokens(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "desk")
    machine.run("token", "create", "laptop")
    server = HttpServer(machine).start()
    python, *words = [word.replace("49374", str(server.port)) for word in health()]
    try:
        assert python == "python"
        assert subprocess.run([sys.executable, *words], check=False, timeout=30).returncode == 0
        assert ask(server.url, "/api/v1/projects", {})[0] == 401
    finally:
        server.stop()
    done = subprocess.run([sys.executable, *words], check=False, timeout=30, capture_output=True)
    assert done.returncode != 0


def health() -> list[str]:
    line = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", DOCKERFILE, re.M)[0]
    words: list[str] = json.loads(line)
    return words


@pytest.mark.slow
def test_the_files_that_are_copied_are_all_that_a_build_needs(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    ignored = (ROOT / "docker" / "Dockerfile.dockerignore").read_text().split()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M):
        *names, target = line.split()
        for name in names:
            assert f"!{name}" in ignored
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, source / target)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-index", "--no-deps"]
    command += ["--no-build-isolation", "-w", str(tmp_path), str(source)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    assert list(tmp_path.glob("*.whl"))
