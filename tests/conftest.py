"""A memory of its own for every test, and a guard that no test reaches the user's memory, settings or the network."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playing import repository
from syncing import Machine

from ai_memory_mcp.agents.spec import all_specs
from ai_memory_mcp.config import Config
from ai_memory_mcp.llm import Child
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Scope
from ai_memory_mcp.place import default_home
from ai_memory_mcp.resources import Resources

LOCAL_NAMES = ("localhost", "", None)


def forbidden_places() -> tuple[str, ...]:
    """Return the real memory and the real settings of every agent we know."""
    homes = [os.path.expanduser(home) for spec in all_specs().values() for home in spec.homes.get("linux", ())]
    return tuple(os.path.realpath(place) for place in [default_home(dict(os.environ)), *homes] if place)


FORBIDDEN = forbidden_places()  # before any test changes HOME
seen: list[str] = []


def watch(event: str, args: tuple[object, ...]) -> None:
    """Refuse what no test may do; noted as well, so that code which swallows errors cannot hide it."""
    problem = ""
    if event in ("socket.connect", "socket.sendto"):
        address = args[1] if len(args) > 1 else None
        if isinstance(address, tuple) and not is_local(address[0]):
            problem = f"{event} to {address}"
    elif event == "socket.getaddrinfo":
        problem = "" if is_local(args[0]) else f"look-up of {args[0]!r}"
    elif event in ("open", "os.mkdir", "os.rename", "os.remove", "os.listdir", "os.scandir", "sqlite3.connect"):
        problem = next((f"{event} {arg}" for arg in args if is_forbidden(arg)), "")
    if problem:
        seen.append(problem)
        raise AssertionError(f"a test must not do this: {problem}")


def is_local(host: object) -> bool:
    """Tell whether a host is this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in LOCAL_NAMES or not isinstance(name, str):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_forbidden(path: object) -> bool:
    """Tell whether a path lies in the user's own memory or in an agent's settings."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        return False
    told = os.fsdecode(path).removeprefix("file://")
    return told.startswith(FORBIDDEN) and any(told == place or told.startswith(place + os.sep) for place in FORBIDDEN)


sys.addaudithook(watch)


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give every test, and the processes it starts, a home folder and a memory of their own."""
    base = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("HOME", str(base))
    monkeypatch.setenv("AI_MEMORY_HOME", str(base / "memory"))
    for name in [name for name in os.environ if name.startswith(("XDG_", "CLAUDE_", "CODEX_"))]:
        monkeypatch.delenv(name)
    yield base
    told, seen[:] = list(seen), []
    assert not told, f"the test reached outside: {told}"


@pytest.fixture(scope="session")
def child() -> Iterator[Child]:
    """One process with litellm for all tests that need it: starting it costs seconds."""
    with Child({"PATH": os.environ["PATH"]}) as found:
        yield found


@pytest.fixture
def home(own_home: Path) -> Path:
    """The test's AI_MEMORY_HOME (not made yet)."""
    return own_home / "memory"


@pytest.fixture
def memory(own_home: Path, home: Path) -> LocalMemory:
    """The test's memory, opened in-process."""
    return LocalMemory(Resources.at(home, user_home=str(own_home), config=Config()))


@pytest.fixture
def work(own_home: Path) -> Path:
    """A project of the user."""
    return repository(own_home / "work")


@pytest.fixture
def here(work: Path) -> Scope:
    """That project, for those who ask."""
    return Scope(cwd=str(work))


@pytest.fixture
def remote(own_home: Path) -> Path:
    """A bare git repository by which machines sync."""
    folder = own_home / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(folder)], check=True)
    return folder


@pytest.fixture
def a(own_home: Path, remote: Path) -> Machine:
    """One of two machines that sync."""
    return Machine(own_home / "a", remote)


@pytest.fixture
def b(own_home: Path, remote: Path) -> Machine:
    """The other one, with a clone elsewhere that has another address."""
    return Machine(own_home / "b", f"file://{remote}", origin="https://github.com/me/app", folder="other/app")


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """The home folder that a server of this test serves."""
    return tmp_path / "server" / "memory"


@pytest.fixture
def url(server: Path) -> Iterator[str]:
    """The address of a server of `server`."""
    from remotes import serving

    with serving(server) as address:
        yield address
