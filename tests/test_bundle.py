"""Ready plugins: those in the repository are what the descriptions say, and their hooks find the installed program."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hooking import Hook

from ai_memory_mcp.agents.bundle import FINDER, bundle_files, packed
from ai_memory_mcp.agents.launcher import retire_launcher
from ai_memory_mcp.agents.spec import all_specs, configs_dir, find_spec, scripts_dir
from ai_memory_mcp.cli.main import main
from ai_memory_mcp.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
BUNDLED = sorted(spec.name for spec in all_specs().values() if spec.bundle)
LISTED = [name for name in BUNDLED if not all_specs()[name].bundle.pack]


KEPT = sorted(folder.parent.name for folder in configs_dir().glob("*/bundle"))


@pytest.mark.parametrize("name", KEPT)
def test_the_bundle_in_the_repository_is_what_the_description_says(name):
    """When this fails: ai-memory-mcp agents --bundle NAME --out agent_configs/NAME/bundle"""
    folder = configs_dir() / name / "bundle"
    kept = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}

    assert kept == bundle_files(find_spec(name))


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundle_depends_on_no_machine_and_its_json_is_json(name):
    files = bundle_files(find_spec(name))

    assert not [path for path, text in files.items() if sys.prefix in text or str(ROOT) in text]
    assert [json.loads(text) for path, text in files.items() if path.endswith(".json")]


@pytest.mark.parametrize("name", BUNDLED)
def test_every_event_that_setup_wires_is_in_the_bundle(name):
    spec = find_spec(name)
    text = "".join(bundle_files(spec).values())

    assert [event for event, told in spec.events.items() if spec.hooks and told.install and event not in text] == []


@pytest.mark.parametrize("folder", [".claude-plugin", ".agents/plugins"])
def test_marketplaces_point_at_the_bundles(folder):
    market = json.loads((ROOT / folder / "marketplace.json").read_text())
    for plugin in market["plugins"]:
        source = plugin["source"]
        assert (ROOT / (source if isinstance(source, str) else source["path"])).is_dir()


def test_an_agent_without_a_plugin_format_says_what_to_do_instead():
    without = find_spec("codex").model_copy(update={"bundle": None})

    with pytest.raises(InputError, match="setup --agent codex"):
        bundle_files(without)


@pytest.mark.parametrize("name", [name for name in BUNDLED if all_specs()[name].bundle.pack])
def test_a_packed_bundle_is_the_same_file_every_time(name, tmp_path):
    spec = find_spec(name)

    assert main(["agents", "--bundle", name, "--out", str(tmp_path)]) == 0

    (path,) = tmp_path.iterdir()
    assert path.name == spec.bundle.pack
    assert path.read_bytes() == packed(spec)
    assert set(zipfile.ZipFile(io.BytesIO(packed(spec))).namelist()) == set(bundle_files(spec))


@pytest.mark.parametrize("name", LISTED)
def test_a_bundle_is_written_where_it_is_wanted(name, tmp_path):
    assert main(["agents", "--bundle", name, "--out", str(tmp_path)]) == 0

    written = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: file.read_text() for path, file in written.items()} == bundle_files(find_spec(name))
    assert all(os.access(file, os.X_OK) for path, file in written.items() if path.endswith(".sh"))


# The finder


@pytest.fixture
def hook(tmp_path):
    return Hook(tmp_path, home=".local/share/ai-memory")


def fire(hook: Hook, **env: str) -> list[dict]:
    """Run the finder as a plugin's hook does, with an environment that knows nothing of us but what is told."""
    command = ["sh", str(scripts_dir() / FINDER), "claude-code", "Stop"]
    told = {"HOME": str(hook.base), "PATH": "/usr/bin:/bin", **env}
    done = subprocess.run(command, input=json.dumps(hook.payload()).encode(), env=told, capture_output=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    return hook.entries()


def test_the_finder_runs_the_launcher_of_the_usual_memory(hook):
    assert [entry["event"] for entry in fire(hook)] == ["Stop"]


def test_the_finder_runs_the_launcher_of_the_memory_that_is_named(tmp_path):
    hook = Hook(tmp_path, home="elsewhere")

    assert [entry["event"] for entry in fire(hook, AI_MEMORY_HOME=str(hook.home))] == ["Stop"]


def test_after_uninstall_the_finder_runs_the_program_itself(hook):
    retire_launcher(hook.home)
    script = hook.base / ".local" / "bin" / "ai-memory-mcp"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m ai_memory_mcp "$@"\n')
    script.chmod(0o755)

    assert [entry["event"] for entry in fire(hook)] == ["Stop"]


def test_without_any_program_the_finder_says_nothing_and_succeeds(hook):
    retire_launcher(hook.home)

    assert fire(hook) == []
