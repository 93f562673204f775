"""The launcher: its path and content stay, and whatever is gone or stale, the agent is not disturbed."""

import shutil
import subprocess
import sys
import threading

import pytest
from hooking import ROOT, Hook

from ai_memory_mcp.agents.launcher import bundled, launcher_path, mend_launcher, retire_launcher, write_launcher


@pytest.fixture
def hook(tmp_path):
    return Hook(tmp_path)


def bundle_of(hook):
    (bundle,) = (hook.home / "bin").glob("emit-*.bin")
    return bundle


def test_launcher_and_bundle_are_private_and_executable(hook):
    assert hook.launcher == launcher_path(hook.home)
    assert hook.launcher.stat().st_mode & 0o777 == 0o700
    assert bundle_of(hook).stat().st_mode & 0o777 == 0o600


def test_writing_it_again_changes_nothing(hook):
    before = [(path, path.stat().st_mtime_ns) for path in sorted(hook.launcher.parent.iterdir())]
    write_launcher(hook.home, sys.executable)
    assert [(path, path.stat().st_mtime_ns) for path in sorted(hook.launcher.parent.iterdir())] == before


def test_the_bundle_is_the_same_each_time():
    assert bundled() == bundled()


def test_a_script_that_somebody_changed_is_put_right(hook):
    right = hook.launcher.read_bytes()
    hook.launcher.write_bytes(b"#!/bin/sh\nexit 3\n")
    write_launcher(hook.home, sys.executable)
    assert hook.launcher.read_bytes() == right


def test_the_worker_mends_the_launcher_of_its_own_installation_only(hook):
    right = hook.launcher.read_bytes()
    bundle_of(hook).unlink()
    hook.launcher.write_bytes(right + b"# from an earlier release\n")
    mend_launcher(hook.home, "/other/bin/python")
    assert hook.launcher.read_bytes() != right
    mend_launcher(hook.home, sys.executable)
    assert hook.launcher.read_bytes() == right
    assert bundle_of(hook).exists()
    retire_launcher(hook.home)
    mend_launcher(hook.home, sys.executable)
    assert hook.launcher.read_bytes() == b"#!/bin/sh\n# retired\nexit 0\n"


def test_two_writers_at_once_leave_a_whole_launcher(tmp_path):
    home = tmp_path / "memory"
    failures = []

    def write():
        try:
            for _ in range(5):
                write_launcher(home, sys.executable)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(path.suffix for path in (home / "bin").iterdir()) == ["", ".bin"]
    assert (home / "bin" / f"emit-{sys.hexversion:x}.bin").read_bytes() == bundled()


def test_an_interpreter_that_is_gone_is_silent(tmp_path):
    hook = Hook(tmp_path, python="/nowhere/bin/python3")
    hook.emit(b"x" * 1_000_000)
    assert not (hook.home / "spool").exists()


@pytest.fixture
def copied(tmp_path):
    """A hook whose package is a copy that may be changed."""
    copy = tmp_path / "it's a 100% copy"
    for name in ("ai_memory_mcp", "agent_configs", "hook_scripts"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    hook = Hook(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(copy)!r}); from pathlib import Path;"
        " from ai_memory_mcp.agents.launcher import write_launcher;"
        f" write_launcher(Path({str(hook.home)!r}), sys.executable)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
    return hook, copy / "ai_memory_mcp"


def test_a_package_that_is_gone_is_silent(copied):
    hook, package = copied
    hook.emit(hook.payload())
    assert len(hook.entries()) == 1
    shutil.rmtree(package)
    hook.emit(b"x" * 1_000_000)
    assert len(hook.entries()) == 1


def test_a_package_that_changed_is_run_as_it_is_now(copied):
    hook, package = copied
    source = package / "emit.py"
    source.write_text(source.read_text(encoding="utf-8").replace('"v":1', '"v":7'), encoding="utf-8")
    hook.emit(hook.payload())
    assert hook.entry()["v"] == 7


def test_an_agent_description_that_changed_counts_as_it_is_now(copied):
    hook, package = copied
    toml = package.parent / "agent_configs" / "claude-code" / "agent.toml"
    toml.write_text(toml.read_text(encoding="utf-8").replace('cwd = ["cwd"]', 'cwd = ["folder"]'), encoding="utf-8")
    hook.emit({"session_id": "s1", "cwd": "/wrong", "folder": "/right"})
    assert hook.entry()["cwd"] == "/right"


def test_a_broken_package_is_silent(copied):
    hook, package = copied
    (package / "emit.py").write_text("this is no Python")
    hook.emit(hook.payload())
    assert not (hook.home / "spool").exists()


@pytest.mark.parametrize("data", [b"", b"garbage", b"(\x05"], ids=["empty", "garbage", "cut off"])
def test_a_bundle_that_cannot_be_read_is_done_without(hook, data):
    bundle_of(hook).write_bytes(data)
    hook.emit(hook.payload())
    assert len(hook.entries()) == 1


def test_without_a_bundle_for_this_interpreter_it_works_too(hook):
    bundle_of(hook).rename(hook.home / "bin" / "emit-30a00f0.bin")
    hook.emit(hook.payload())
    assert len(hook.entries()) == 1
    write_launcher(hook.home, sys.executable)
    assert bundle_of(hook).name == f"emit-{sys.hexversion:x}.bin"


def test_the_environment_may_name_another_home(hook, tmp_path):
    hook.emit(hook.payload(), env={**hook.env, "AI_MEMORY_HOME": str(tmp_path / "other")})
    assert len(list((tmp_path / "other" / "spool").glob("*.json"))) == 1


def test_it_needs_nothing_of_the_environment(hook):
    hook.emit(hook.payload(), env={})
    assert len(hook.entries()) == 1
