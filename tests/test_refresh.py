"""`setup --refresh`: what is wired comes up to date, nothing is added, and what is right is not touched at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ai_memory_mcp.cli.main import main

AGENTS = ("claude-code", "codex")


class Machine:
    """A home with the agents' folders, and our commands run there."""

    def __init__(self, user: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.user = user
        self._capsys = capsys
        for folder in (".claude", ".codex"):
            (user / folder).mkdir()
        self.settings = user / ".claude" / "settings.json"
        self.hooks = user / ".codex" / "hooks.json"

    def run(self, *words: str, code: int = 0) -> dict:
        """Run a command; gives what it tells as JSON."""
        self._capsys.readouterr()
        assert main([*words, "--yes", "--json"]) == code
        return json.loads(self._capsys.readouterr().out)

    def setup(self, *agents: str, **more) -> dict:
        return self.run("setup", *(word for agent in agents or AGENTS for word in ("--agent", agent)), **more)

    def refresh(self, *words: str, **more) -> dict:
        return self.run("setup", "--refresh", *words, **more)

    def files(self) -> dict[Path, tuple[bytes, int]]:
        """Content and time of every file in the home, the memory included."""
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in self.user.rglob("*") if path.is_file()}

    def age(self, path: Path) -> None:
        """Make our hooks there look like those of an earlier version."""
        path.write_text(path.read_text().replace('"timeout": 10', '"timeout": 7'))


@pytest.fixture
def machine(own_home, capsys, monkeypatch):
    monkeypatch.chdir(own_home)
    return Machine(own_home, capsys)


def test_an_unchanged_wiring_is_not_touched(machine):
    """Codex trusts its hooks by a hash of their definition, so they must stay to the byte."""
    machine.setup()
    before = machine.files()

    told = machine.refresh()

    assert (told["agents"], told["changes"], told["errors"]) == (list(AGENTS), [], [])
    assert machine.files() == before


def test_wiring_in_an_older_form_is_brought_up_to_date(machine):
    machine.setup()
    wired = machine.settings.read_bytes()
    machine.age(machine.settings)
    others = {path: seen for path, seen in machine.files().items() if path.parent.name == ".codex"}

    told = machine.refresh()

    assert [change["path"] for change in told["changes"]] == [str(machine.settings)]
    assert machine.settings.read_bytes() == wired
    assert {path: seen for path, seen in machine.files().items() if path.parent.name == ".codex"} == others


def test_an_agent_that_its_user_has_unwired_stays_so(machine):
    machine.setup()
    machine.run("uninstall", "--agent", "claude-code")

    told = machine.refresh()

    assert (told["agents"], told["changes"]) == (["codex"], [])
    assert not machine.settings.exists()


def test_a_part_that_is_not_wired_stays_so(machine):
    machine.setup("codex")
    machine.hooks.unlink()

    assert machine.refresh()["changes"] == []
    assert not machine.hooks.exists()


def test_only_the_agents_that_are_named_are_refreshed(machine):
    machine.setup()
    for path in (machine.settings, machine.hooks):
        machine.age(path)

    told = machine.refresh("--agent", "codex")

    assert [change["path"] for change in told["changes"]] == [str(machine.hooks)]


def test_a_projects_own_settings_are_refreshed_with_the_users(machine, monkeypatch):
    project = machine.user / "shop"
    project.mkdir()
    monkeypatch.chdir(project)
    machine.setup("claude-code", code=0)
    machine.run("setup", "--agent", "claude-code", "--project")
    monkeypatch.chdir(machine.user)
    machine.age(machine.settings)
    machine.age(project / ".claude" / "settings.json")

    told = machine.refresh()

    changed = {change["path"] for change in told["changes"]}
    assert changed == {str(machine.settings), str(project / ".claude" / "settings.json")}
    assert machine.refresh()["changes"] == []


def test_a_file_of_ours_that_does_not_parse_is_an_error_and_a_foreign_one_is_none(machine):
    machine.setup("codex")
    machine.settings.write_text("{")
    assert machine.refresh()["errors"] == []
    machine.hooks.write_text("{")

    told = machine.refresh(code=1)

    assert len(told["errors"]) == 1
    assert ".codex/hooks.json was left alone" in told["errors"][0]


def test_where_nothing_is_wired_nothing_is_written(machine):
    assert machine.refresh()["agents"] == []
    assert machine.files() == {}


def test_wiring_of_another_installation_is_left_to_it(machine, capsys):
    machine.setup()
    machine.age(machine.settings)
    launcher = machine.user / "memory" / "bin" / "emit"
    launcher.write_text(f"#!/bin/sh\nexec {os.sep}else{os.sep}python\n")
    before = machine.files()

    assert machine.refresh()["agents"] == []
    assert machine.files() == before
    assert main(["setup", "--refresh", "--yes"]) == 0
    assert "another installation" in capsys.readouterr().out
