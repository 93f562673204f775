"""The guard of conftest.py holds: proved by tests that break its rules, in a pytest of their own."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent

BAD = """
import os, socket, pathlib, pytest

def test_opens_settings():
    open({home!r} + "/.claude.json", "w")

def test_swallows_the_error():
    try:
        os.mkdir({home!r} + "/.local/share/ai-memory")
    except BaseException:
        pass

def test_calls_out():
    socket.create_connection(("192.0.2.1", 80), timeout=0.01)

def test_looks_up_a_name():
    socket.getaddrinfo("example.invalid", 80)

def test_stays_at_home(home, tmp_path):
    assert {home!r} not in str(home)
    assert os.environ["AI_MEMORY_HOME"] == str(home)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        socket.create_connection(server.getsockname()).close()
"""


def test_a_test_that_reaches_outside_fails(tmp_path: Path) -> None:
    user = tmp_path / "user"
    (user / ".local/share").mkdir(parents=True)
    (tmp_path / "test_bad.py").write_text(BAD.format(home=str(user)))
    env = {"HOME": str(user), "PATH": "/usr/bin:/bin", "PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", "test_bad.py"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert "3 failed, 2 passed, 4 errors" in done.stdout, done.stdout
    assert not (user / ".claude.json").exists()
