"""Native Windows as far as it can be seen from elsewhere: fake paths, the hook without `posix`, the script."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import pytest
from hooking import ROOT, Hook

from ai_memory_mcp import alive, observe, place
from ai_memory_mcp.agents.launcher import (
    POWERSHELL,
    launcher_command,
    launcher_path,
    launcher_text,
    mend_launcher,
    retire_launcher,
    write_launcher,
)
from ai_memory_mcp.agents.pieces import Target, settings_path
from ai_memory_mcp.agents.spec import all_specs, find_spec
from ai_memory_mcp.agents.wiring import Draft, Launch, is_wired, unwire, wire

HOME = PureWindowsPath("C:/Users/J. O'Neil/AppData/Local/ai-memory")
PYTHON = "C:\\Program Files\\Python\\python.exe"


@pytest.fixture
def windows(monkeypatch):
    """Code that asks for the platform is told Windows."""
    monkeypatch.setattr(sys, "platform", "win32")


@pytest.fixture
def launch():
    runner, emit = launcher_command(HOME, "win32")
    return Launch("C:\\Tools\\ai-memory-mcp.exe", ("serve",), emit, {}, runner)


# The hook


WITHOUT_POSIX = """
import os, sys
sys.modules["posix"] = None  # as on Windows, where `os` stands on something else
sys.path.insert(0, {root!r})
from ai_memory_mcp.emit import main
main(["claude-code", {event!r}])
"""


def without_posix(hook: Hook, event: str, **payload: object) -> str:
    code = WITHOUT_POSIX.format(root=str(ROOT), event=event)
    command = (sys.executable, "-I", "-S", "-c", code)
    return hook.emit(hook.payload(**payload), "claude-code", event, command=command, quiet=False)


def test_the_hook_stores_an_event_without_any_module_of_posix(tmp_path):
    hook = Hook(tmp_path)
    key = "sk-ant-" + "api03-" + "aB3dE5fG7hJ9kL1mN3pQ"

    assert without_posix(hook, "UserPromptSubmit", prompt=f"Use {key}") == ""

    entry = hook.entry()
    assert (entry["event"], entry["root"]) == ("UserPromptSubmit", str(hook.project))
    assert key not in json.dumps(entry)
    assert hook.log() == ""


def test_the_hook_gives_the_brief_without_any_module_of_posix(tmp_path):
    hook = Hook(tmp_path)
    for event, more in (
        ("SessionStart", {"source": "startup"}),
        ("UserPromptSubmit", {"prompt": "Grease the frobnicator"}),
        ("Stop", {"last_assistant_message": "Half of it is greased."}),
    ):
        hook.emit(hook.payload(**more), "claude-code", event, quiet=False)
    hook.emit(hook.payload(reason="other"), "claude-code", "SessionEnd")
    hook.ingest()

    told = without_posix(hook, "SessionStart", session_id="s2", source="startup")

    assert "Half of it is greased." in json.loads(told)["hookSpecificOutput"]["additionalContext"]


def test_spool_names_are_names_on_windows_too(tmp_path):
    hook = Hook(tmp_path)
    hook.emit(hook.payload())

    (path,) = (hook.home / "spool").glob("*.json")
    assert re.fullmatch(r"[0-9a-z.-]+", path.name)


@pytest.mark.usefixtures("windows")
def test_a_process_number_that_is_reused_at_once_is_not_told():
    assert alive.agent_pid() == 0


# Paths


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("/c:/x", "c:/x"),
        ("/c/x", "c:/x"),
        ("/d", "d:/"),
        ("c:/x", "c:/x"),
        ("C:\\x", "C:\\x"),
        ("\\\\server\\share\\x", "\\\\server\\share\\x"),
        ("/code/x", "/code/x"),
        ("", ""),
    ],
)
def test_a_drive_is_known_however_a_shell_writes_it(told, meant):
    assert place.drive_path(told) == meant


@pytest.mark.parametrize(
    ("path", "never"),
    [
        ("C:\\", True),
        ("C:", True),
        ("C:\\Users\\me", True),
        ("C:\\Users", True),
        ("C:\\Windows\\System32", True),
        ("C:\\Users\\me\\AppData\\Local\\Temp", True),
        ("\\\\server\\share", True),
        ("C:\\Users\\me\\code\\shop", False),
        ("\\\\server\\share\\shop", False),
        ("D:\\shop", False),
    ],
)
def test_what_is_too_general_to_be_a_project(path, never):
    assert place.never_a_project(path, "C:\\Users\\me") is never


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize(
    ("env", "home"),
    [
        ({"AI_MEMORY_HOME": "D:\\m"}, "D:\\m"),
        ({"LOCALAPPDATA": "C:\\L", "USERPROFILE": "C:\\U"}, "C:\\L\\ai-memory"),
        ({"USERPROFILE": "C:\\U", "HOME": "/h"}, "C:\\U\\AppData\\Local\\ai-memory"),
        ({}, ""),
    ],
)
def test_the_memory_lies_in_the_local_application_data(env, home):
    assert place.default_home(env) == home


def test_paths_in_a_project_are_told_from_its_root_whatever_their_case():
    assert observe.relative_path("c:\\Shop\\src\\a.py", "C:\\shop", "C:\\shop") == "src/a.py"
    assert observe.relative_path("D:\\other\\a.py", "C:\\shop", "C:\\shop") == "D:/other/a.py"


@pytest.mark.parametrize("name", sorted(all_specs()))
def test_every_agent_has_its_settings_somewhere_on_windows(name, tmp_path):
    spec = find_spec(name)
    target = Target(
        tmp_path, {"APPDATA": str(tmp_path / "Roaming"), "LOCALAPPDATA": str(tmp_path / "Local")}, os="windows"
    )

    path = settings_path(spec, "mcp", target)

    assert path is not None
    assert path.is_relative_to(tmp_path)
    assert "*" not in str(path)


def test_claude_desktop_from_the_store_is_found_inside_its_package(tmp_path):
    folder = tmp_path / "Local/Packages/Claude_pzs8sxrjxfjjc/LocalCache/Roaming/Claude"
    folder.mkdir(parents=True)
    (folder / "claude_desktop_config.json").write_text("{}")
    env = {"APPDATA": str(tmp_path / "Roaming"), "LOCALAPPDATA": str(tmp_path / "Local")}

    found = settings_path(find_spec("claude-desktop"), "mcp", Target(tmp_path, env, os="windows"))

    assert found == folder / "claude_desktop_config.json"


# The launcher and the hooks that run it


def test_the_launcher_is_a_script_whose_path_has_no_backslash():
    runner, emit = launcher_command(HOME, "win32")

    assert runner == POWERSHELL
    assert emit == "C:/Users/J. O'Neil/AppData/Local/ai-memory/bin/emit.ps1"


def test_the_script_quotes_for_powershell_and_uses_no_double_quotes_in_code():
    text = launcher_text(HOME, PYTHON, "win32")

    assert text.startswith("\ufeff")
    assert f"'{PYTHON}'" in text
    assert "J. O''Neil" in text
    code = text[text.index("-c '") + 4 : text.rindex("' @args")]
    assert '"' not in code
    compile(code.replace("''", "'"), "launcher", "exec")


def test_the_script_is_written_kept_mended_and_retired(tmp_path):
    path = write_launcher(tmp_path, PYTHON, "win32")
    text = path.read_bytes()
    assert path == launcher_path(tmp_path, "win32")
    path.write_bytes(text + b"# older\n")

    mend_launcher(tmp_path, "C:\\other.exe", "win32")
    assert path.read_bytes() != text
    mend_launcher(tmp_path, PYTHON, "win32")
    assert path.read_bytes() == text

    retire_launcher(tmp_path, "win32")
    assert PYTHON.encode() not in path.read_bytes()


@pytest.mark.parametrize("name", sorted(spec.name for spec in all_specs().values() if spec.hooks))
def test_hooks_that_run_powershell_are_wired_known_again_and_unwired(name, launch):
    spec = find_spec(name)
    draft = Draft("{}")
    wire(draft, spec, "hooks", launch)
    text = draft.text

    assert "emit.ps1" in text
    assert is_wired(text, spec, "hooks", launch)
    wire(draft, spec, "hooks", launch)
    assert draft.text == text
    unwire(draft, spec, "hooks", launch)
    assert draft.text == "{}"


@pytest.mark.skipif(not Path("/usr/bin/pwsh").exists(), reason="there is no PowerShell here")
def test_the_script_runs_in_powershell(tmp_path):
    path = write_launcher(tmp_path, sys.executable, "win32")
    command = ["/usr/bin/pwsh", "-NoProfile", "-NonInteractive", "-File", str(path), "claude-code", "Stop"]
    done = subprocess.run(command, input=b'{"session_id": "s"}', capture_output=True, timeout=60)

    assert (done.returncode, done.stdout) == (0, b"")
    assert len(list((tmp_path / "spool").glob("*.json"))) == 1
