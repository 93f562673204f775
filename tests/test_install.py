"""Wiring whole homes: plans, application, removal, and what happens when others write in between."""

import json
import os
import stat
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_memory_mcp.agents import tomledit
from ai_memory_mcp.agents.changes import apply, diff, load_installed
from ai_memory_mcp.agents.entry import Entry, server_entry
from ai_memory_mcp.agents.install import detect, plan, uninstall, wired
from ai_memory_mcp.agents.pieces import Target, settings_path
from ai_memory_mcp.agents.spec import AgentSpec, all_specs, find_spec
from ai_memory_mcp.agents.trust import codex_trust_plan
from ai_memory_mcp.agents.wiring import Draft, Launch, unwire, wire
from ai_memory_mcp.errors import InstallError

NOW = datetime(2026, 11, 22, 17, 0, tzinfo=timezone.utc)
LAUNCH = Launch("/opt/my tools/ai-memory-mcp", ("serve",), "/home/u/my data/bin/emit")
MOVED = Launch("/new/ai-memory-mcp", ("serve",), "/new/bin/emit", {"AI_MEMORY_HOME": "/new"})
GOLDEN = Path(__file__).parent / "golden"
BOTH = ("claude-code", "codex")


class Home:
    """A user's home with agents' settings, and ours beside it."""

    def __init__(self, root: Path) -> None:
        self.user = root / "user"
        self.memory = root / "memory"
        self.user.mkdir()
        self.memory.mkdir()
        self.target = Target(self.user)

    def file(self, name: str, content: bytes | str | None = None) -> Path:
        path = self.user / name
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def plan(self, *names, launch=LAUNCH, target=None, parts=("mcp", "hooks")):
        specs = [find_spec(name) for name in names or BOTH]
        return plan(specs, target or self.target, launch, self.memory, parts)

    def apply(self, planned):
        assert not planned.errors
        applied = apply(planned, self.memory, NOW)
        assert not applied.errors
        return applied

    def install(self, *names, **arguments):
        return self.apply(self.plan(*names, **arguments))

    def uninstall(self, *names, launch=LAUNCH, target=None):
        specs = [find_spec(name) for name in names or BOTH]
        return self.apply(uninstall(specs, target or self.target, launch, self.memory))

    def state(self, name, launch=LAUNCH):
        found = wired(find_spec(name), self.target, launch)
        return found.mcp, found.hooks

    def tree(self) -> dict[str, bytes | None]:
        return {
            str(path.relative_to(self.user)): path.read_bytes() if path.is_file() else None
            for path in sorted(self.user.rglob("*"))
        }


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def golden_cases():
    return sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())


@pytest.mark.parametrize("case", golden_cases())
def test_golden_wiring_and_unwiring(home, case):
    """Each case is a folder `<agent>.<case>`: one file, named in `where`, `before` (if any) and `after`."""
    folder = GOLDEN / case
    name = case.split(".")[0]
    where = (folder / "where").read_text().strip()
    before = (folder / "before").read_bytes() if (folder / "before").exists() else None
    path = home.file(where, before)

    home.install(name)
    assert path.read_bytes() == (folder / "after").read_bytes()

    assert not home.plan(name).changes
    (home.memory / "installed.json").rename(home.memory / "kept.json")
    assert not home.plan(name).changes
    (home.memory / "kept.json").rename(home.memory / "installed.json")
    home.uninstall(name)
    assert (path.read_bytes() if path.exists() else None) == before


def test_an_empty_home_is_empty_again_after_uninstall(home):
    home.install()
    assert {".claude.json", ".claude/settings.json", ".codex/config.toml", ".codex/hooks.json"} < set(home.tree())

    home.uninstall()

    assert home.tree() == {}
    assert load_installed(home.memory).files == {}


@pytest.mark.parametrize("name", sorted(all_specs()))
def test_every_agent_has_golden_cases_of_no_empty_and_rich_settings(name):
    cases = [GOLDEN / case for case in golden_cases() if case.split(".")[0] == name]
    before = [(case / "before").read_bytes().strip() if (case / "before").exists() else None for case in cases]

    assert None in before
    assert {b"", b"{}"} & set(before) or any(b"{}" in text for text in before if text)
    assert any(text and len(text) > 20 for text in before)


@pytest.mark.parametrize("level", ["user", "project"])
@pytest.mark.parametrize("name", sorted(all_specs()))
def test_every_agent_comes_into_an_empty_home_and_leaves_it_empty(home, name, level):
    target = Target(home.user, project=home.user / "p" if level == "project" else None)
    (home.user / "p").mkdir()
    before = home.tree()

    home.install(name, target=target)
    wired_tree = home.tree()
    assert not home.plan(name, target=target).changes
    home.uninstall(name, target=target)

    assert home.tree() == before
    assert wired_tree != before or (level == "project" and not settings_path(find_spec(name), "mcp", target))


BROKEN_TEXT = {"json": "{", "jsonc": "{", "json5": "{", "toml": "a = [", "yaml": "a: [1"}


@pytest.mark.parametrize("name", sorted(all_specs()))
def test_broken_settings_of_every_agent_stay_as_they_are(home, name):
    spec = find_spec(name)
    broken = {}
    for part, place in (("mcp", spec.mcp), ("hooks", spec.hooks)):
        if place is not None:
            path = settings_path(spec, part, home.target)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(BROKEN_TEXT[place.format])
            broken[path] = path.read_bytes()

    planned = home.plan(name)
    apply(planned, home.memory, NOW)

    assert len(planned.errors) == len(broken)
    assert all(any(str(path) in str(error) for error in planned.errors) for path in broken)
    assert {path: path.read_bytes() for path in broken} == broken


def test_wiring_is_reported_per_part(home):
    assert home.state("codex") == ("missing", "missing")
    home.install("codex", parts=("mcp",))
    assert home.state("codex") == ("wired", "missing")
    home.install("codex")
    assert home.state("codex") == ("wired", "wired")
    assert home.state("codex", MOVED) == ("outdated", "outdated")
    home.file(".codex/hooks.json", "{")
    assert home.state("codex") == ("wired", "broken")


def test_a_second_run_changes_nothing_and_says_so(home):
    home.install()
    before = home.tree()

    again = home.plan()

    assert not again.changes
    assert len(again.already) == 4
    assert all("already wired" in line for line in again.already)
    home.apply(again)
    assert home.tree() == before


def test_a_moved_launcher_updates_our_entries_in_place(home):
    foreign = '{"hooks": [{"type": "command", "command": "theirs"}]}'
    home.file(".claude/settings.json", '{\n  "hooks": {\n    "Stop": [\n      ' + foreign + "\n    ]\n  }\n}\n")
    home.file(".codex/config.toml", 'model = "x"\n')
    original = home.tree()
    home.install()
    first = {name: home.file(name).read_text() for name in (".claude/settings.json", ".codex/hooks.json")}

    home.install(launch=MOVED)

    for name, text in first.items():
        moved = text.replace("'/home/u/my data/bin/emit'", "/new/bin/emit")
        assert home.file(name).read_text() == moved.replace("/home/u/my data/bin/emit", "/new/bin/emit")
    server = json.loads(home.file(".claude.json").read_text())["mcpServers"]["aimemory"]
    assert (server["command"], server["env"]) == ("/new/ai-memory-mcp", {"AI_MEMORY_HOME": "/new"})
    assert home.file(".codex/config.toml").read_text().count("[mcp_servers.aimemory]") == 1
    home.uninstall(launch=MOVED)
    assert home.tree() == original


def test_what_the_user_added_to_our_server_stays_and_what_we_no_longer_want_goes(home):
    home.install("claude-code", launch=MOVED)
    path = home.file(".claude.json")
    data = json.loads(path.read_text())
    data["mcpServers"]["aimemory"] |= {"timeout": 60000}
    path.write_text(json.dumps(data))

    home.install("claude-code", launch=LAUNCH)

    server = json.loads(path.read_text())["mcpServers"]["aimemory"]
    assert server["timeout"] == 60000
    assert server["command"] == LAUNCH.command
    assert "env" not in server


def test_doubled_and_retired_hooks_of_ours_become_one_again(home):
    ours = {"hooks": [{"type": "command", "command": "/old/bin/emit codex Stop", "timeout": 99}]}
    theirs = {"matcher": "x", "hooks": [{"type": "command", "command": "emit codex"}]}
    retired = {"hooks": [{"type": "command", "command": "/old/bin/emit codex Gone"}]}
    hooks = {"hooks": {"Stop": [theirs, ours, theirs, ours], "Gone": [theirs, retired]}}
    path = home.file(".codex/hooks.json", json.dumps(hooks))

    home.install("codex")

    after = json.loads(path.read_text())["hooks"]
    assert [after["Stop"][0], after["Stop"][2]] == [theirs, theirs]
    assert after["Stop"][1]["hooks"][0]["command"] == "'/home/u/my data/bin/emit' codex Stop"
    assert len(after["Stop"]) == 3
    assert after["Gone"] == [theirs]


def test_our_hook_inside_a_group_of_the_user_is_taken_out_alone(home):
    home.install("codex")
    path = home.file(".codex/hooks.json")
    data = json.loads(path.read_text())
    theirs = {"type": "command", "command": "theirs"}
    data["hooks"]["Stop"][0]["hooks"].insert(0, theirs)
    path.write_text(json.dumps(data))
    assert home.state("codex") == ("wired", "wired")

    home.uninstall("codex")

    assert json.loads(path.read_text()) == {"hooks": {"Stop": [{"hooks": [theirs]}]}}


def test_a_rewritten_file_loses_our_entries_only(home):
    home.file(".claude.json", '{"numStartups": 1}')
    home.install("claude-code")
    path = home.file(".claude.json")
    data = json.loads(path.read_text()) | {"numStartups": 2, "projects": {"/x": {}}}
    path.write_text(json.dumps(data, indent=2))

    home.uninstall("claude-code")

    assert path.read_text() == json.dumps({"numStartups": 2, "projects": {"/x": {}}}, indent=2)


def test_containers_that_the_user_had_stay_even_when_empty(home):
    before = '{"mcpServers": { }, "x": 1}'
    path = home.file(".claude.json", before)
    home.install("claude-code")
    path.write_text(path.read_text().replace('"x": 1', '"x": 2'))

    home.uninstall("claude-code")

    assert path.read_text() == before.replace('"x": 1', '"x": 2')


def test_codex_may_append_to_its_settings_behind_ours(home):
    path = home.file(".codex/config.toml", 'model = "x"')
    home.install("codex")
    later = '\n[projects."/w"]\ntrust_level = "trusted"\n'
    path.write_text(path.read_text() + later)

    home.uninstall("codex")

    assert path.read_text() == 'model = "x"\n' + later


def test_without_a_record_our_entries_are_found_by_their_command(home):
    home.file(".claude/settings.json", '{\n  "hooks": {"Stop": [{"hooks": []}]}\n}\n')
    home.file(".codex/config.toml", 'model = "x"\n')
    home.install()
    (home.memory / "installed.json").write_text("spoilt")

    home.uninstall()

    assert "emit" not in home.file(".claude/settings.json").read_text()
    assert "emit" not in home.file(".codex/hooks.json").read_text()
    assert "aimemory" not in home.file(".claude.json").read_text()
    assert home.file(".codex/config.toml").read_text() == 'model = "x"\n'


BROKEN = {
    "syntax": (".claude/settings.json", '{\n  "hooks": oops\n}', "line 2, column 12"),
    "comment where the agent takes none": (".claude/settings.json", "{} // c", "line 1, column 4"),
    "list for an object": (".claude/settings.json", '{"hooks": []}', "line 1, column 11"),
    "string for an object": (".claude.json", '{"mcpServers": "x"}', "line 1, column 16"),
    "not an object at all": (".claude.json", "[]", "line 1, column 1"),
    "entry is no server": (".claude.json", '{"mcpServers": {"aimemory": 1}}', "something else"),
    "event is no list": (".codex/hooks.json", '{"hooks": {"Stop": {}}}', "line 1, column 20"),
    "toml syntax": (".codex/config.toml", "a = 1\nb =\n", "line 2"),
    "toml inline table": (".codex/config.toml", "mcp_servers = {}\n", "by hand"),
    "not utf-8": (".codex/config.toml", b'a = "\xff"\n', "UTF-8"),
}


@pytest.mark.parametrize(("name", "content", "message"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_cannot_be_edited_is_left_alone_and_the_others_go_on(home, name, content, message):
    path = home.file(name, content)
    before = path.read_bytes()

    planned = home.plan()

    assert [str(error) for error in planned.errors if message in str(error) and str(path) in str(error)]
    assert len(planned.errors) == 1
    apply(planned, home.memory, NOW)
    assert path.read_bytes() == before
    assert len(load_installed(home.memory).files) == 3


UNSAFE = {
    "cursor": [
        (".cursor/hooks.json", "{"),
        (".cursor/hooks.json", '{"version": 1, "hooks": {"stop": {"command": "x"}}}'),
        (".cursor/mcp.json", '{"mcpServers": {} // mine\n}'),
    ],
    "antigravity": [
        (".gemini/config/hooks.json", '{"aimemory": []}'),
        (".gemini/config/hooks.json", '{"mine": {}} // c'),
        (".gemini/config/mcp_config.json", '{"mcpServers": {},}'),
    ],
    "gemini": [
        (".gemini/settings.json", '{\n  // mine\n  "mcpServers": {'),
        (".gemini/settings.json", '{"mcpServers": {"aimemory": "x"}}'),
        (".gemini/settings.json", '{"hooks": {"AfterTool": {"command": "x"}}}'),
    ],
    "qwen": [
        (".qwen/settings.json", '{\n  // mine\n  "mcpServers": {'),
        (".qwen/settings.json", '{"mcpServers": []}'),
        (".qwen/settings.json", '{"hooks": {"PostToolUse": {"command": "x"}}}'),
    ],
    "copilot": [
        (".copilot/hooks/ai-memory.json", '{"version": 1, "hooks": []}'),
        (".copilot/hooks/ai-memory.json", '{"version": 1, "hooks": {} // mine\n}'),
        (".copilot/mcp-config.json", '{"mcpServers": {"aimemory": "x"}}'),
        (".copilot/mcp-config.json", '{"mcpServers": {'),
    ],
    "claude-desktop": [(".config/Claude/claude_desktop_config.json", '{"mcpServers": {"a": }}')],
    "vscode": [(".config/Code/User/mcp.json", '{"servers": {}} }'), (".config/Code/User/mcp.json", '{"servers": 1}')],
    "zed": [(".config/zed/settings.json", '// mine\n{"context_servers": [}')],
    "windsurf": [
        (".codeium/windsurf/hooks.json", '{"hooks": []}'),
        (".codeium/windsurf/mcp_config.json", '{"mcpServers": {"aimemory": "x"}}'),
    ],
    "kiro": [
        (".kiro/hooks/ai-memory-mcp.json", '{"version": "v1", "hooks": {}}'),
        (".kiro/settings/mcp.json", "mcpServers:"),
    ],
}


@pytest.mark.parametrize(("agent", "name", "text"), [(agent, *one) for agent, all_ in UNSAFE.items() for one in all_])
def test_a_file_that_an_agent_cannot_read_or_that_holds_something_else_stays_as_it_is(home, agent, name, text):
    home.target = Target(home.user, os="linux")
    path = home.file(name, text)

    planned = home.plan(agent)

    assert [str(path) in str(error) for error in planned.errors] == [True]
    assert path not in {change.path for change in planned.changes}


def place_of(home, agent, system, part="mcp"):
    path = settings_path(find_spec(agent), part, Target(home.user, os=system))
    return path and path.relative_to(home.user).as_posix()


@pytest.mark.parametrize(
    ("agent", "linux", "macos", "windows"),
    [
        (
            "claude-desktop",
            ".config/Claude/claude_desktop_config.json",
            "Library/Application Support/Claude/claude_desktop_config.json",
            "AppData/Roaming/Claude/claude_desktop_config.json",
        ),
        (
            "vscode",
            ".config/Code/User/mcp.json",
            "Library/Application Support/Code/User/mcp.json",
            "AppData/Roaming/Code/User/mcp.json",
        ),
        ("zed", ".config/zed/settings.json", ".config/zed/settings.json", "AppData/Roaming/Zed/settings.json"),
        (
            "goose",
            ".config/goose/config.yaml",
            ".config/goose/config.yaml",
            "AppData/Roaming/Block/goose/config/config.yaml",
        ),
        ("cursor", ".cursor/mcp.json", ".cursor/mcp.json", ".cursor/mcp.json"),
    ],
)
def test_settings_are_where_each_system_has_them(home, agent, linux, macos, windows):
    assert [place_of(home, agent, system) for system in ("linux", "macos", "windows")] == [linux, macos, windows]


def test_claude_desktop_from_the_store_keeps_its_settings_in_its_package(home):
    package = "AppData/Local/Packages/Claude_pzs8sxrjxfjjc"
    inside = f"{package}/LocalCache/Roaming/Claude/claude_desktop_config.json"
    home.file(f"{package}/Settings/settings.dat", "")
    outside = place_of(home, "claude-desktop", "windows")
    assert not outside.startswith(package)  # the app sees that one as long as it has none of its own

    home.file(inside, "{}")

    assert place_of(home, "claude-desktop", "windows") == inside
    found = detect([find_spec("claude-desktop")], Target(home.user, os="windows"), lambda name: None)
    assert [agent.spec.name for agent in found] == ["claude-desktop"]


NO_DOTS = ("cursor", "antigravity", "claude-desktop", "vscode", "zed", "windsurf", "kiro")


@pytest.mark.parametrize("agent", NO_DOTS)
def test_agents_that_take_no_dots_in_tool_names_are_offered_none(home, agent):
    home.target = Target(home.user, os="linux")
    home.install(agent, parts=("mcp",))

    (written,) = [content for content in home.tree().values() if content]
    server = json.loads(written)[find_spec(agent).mcp.table[0]]["aimemory"]
    assert server["args"] == ["serve", "--tool-names", "underscore"]


def test_uninstall_minds_a_broken_file_only_when_it_may_hold_ours(home):
    home.file(".claude/settings.json", "{ oops")
    home.install("codex")
    hooks = home.file(".codex/hooks.json")
    hooks.write_text(hooks.read_text() + "oops")

    planned = uninstall([find_spec(name) for name in BOTH], home.target, LAUNCH, home.memory)

    assert [str(hooks) in str(error) for error in planned.errors] == [True]
    assert [change.path.name for change in planned.changes] == ["config.toml"]


def test_links_are_written_through_and_kept(home, tmp_path):
    real = tmp_path / "dotfiles" / "settings.json"
    real.parent.mkdir()
    real.write_text("{}")
    link = home.file(".claude/settings.json")
    link.parent.mkdir()
    link.symlink_to(real)

    home.install("claude-code")

    assert link.is_symlink()
    assert "hooks" in json.loads(real.read_text())
    home.uninstall("claude-code")
    assert link.is_symlink()
    assert real.read_text() == "{}"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_modes_are_kept_and_new_files_that_may_hold_secrets_are_private(home):
    kept = home.file(".claude/settings.json", "{}")
    kept.chmod(0o640)

    home.install()

    modes = {name: stat.S_IMODE(home.file(name).stat().st_mode) for name in home.tree()}
    assert modes[".claude/settings.json"] == 0o640
    assert modes[".claude.json"] == modes[".codex/config.toml"] == 0o600
    assert modes[".codex/hooks.json"] == 0o644
    assert all(path.stat().st_mode & 0o077 == 0 for path in home.memory.rglob("*.json"))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
@pytest.mark.parametrize("locked", [".codex/hooks.json", ".codex"])
def test_read_only_settings_are_refused(home, locked):
    home.file(".codex/hooks.json", "{}")
    home.file(locked).chmod(0o555)

    planned = home.plan()

    home.file(locked).chmod(0o755)
    assert "read-only" in str(planned.errors[0])
    assert {change.path.name for change in planned.changes} >= {".claude.json", "settings.json"}
    assert "hooks.json" not in {change.path.name for change in planned.changes}


def test_a_file_in_the_place_of_a_folder_is_refused(home):
    home.file(".codex", "x")

    assert [str(error) for error in home.plan().errors if "not a folder" in str(error)]


def test_a_file_changed_after_planning_is_refused(home):
    path = home.file(".claude.json", "{}")
    planned = home.plan()
    path.write_text('{"a": 1}')

    applied = apply(planned, home.memory, NOW)

    assert ["changed meanwhile" in str(error) for error in applied.errors] == [True]
    assert path.read_text() == '{"a": 1}'
    assert len(applied.done) == 3
    assert str(path) not in load_installed(home.memory).files


def test_a_crash_between_files_can_be_uninstalled(home):
    home.file(".claude.json", '{"a":1}')
    home.file(".codex/hooks.json", "{}")
    original = home.tree()
    home.install()
    home.file(".claude.json").write_bytes(original[".claude.json"])
    home.file(".claude/settings.json").unlink()

    home.uninstall()

    del original[".codex"], original[".codex/hooks.json"]
    assert home.file(".codex/hooks.json").read_text() == "{}"
    assert home.file(".claude.json").read_text() == '{"a":1}'
    assert load_installed(home.memory).files == {}


def test_every_changed_file_is_backed_up(home):
    home.file(".claude.json", '{"a":1}')

    home.install()

    backups = list((home.memory / "backups" / "install").iterdir())
    assert [path.read_text() for path in backups] == ['{"a":1}']


def test_a_lost_backup_falls_back_to_text_surgery(home):
    path = home.file(".claude.json", '{"a":1}')
    home.install("claude-code")
    for backup in (home.memory / "backups" / "install").iterdir():
        backup.unlink()

    home.uninstall("claude-code")

    assert path.read_text() == '{"a":1}'


def test_project_settings_are_wired_and_found_again_by_the_record(home, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    home.install(target=Target(home.user, project=project))
    assert {path.name for path in project.iterdir()} == {".mcp.json", ".claude", ".codex"}
    assert home.tree() == {}

    home.uninstall()

    assert list(project.iterdir()) == []


def test_one_agent_leaves_and_the_other_stays(home):
    home.install()

    home.uninstall("codex")

    assert home.state("claude-code") == ("wired", "wired")
    assert home.state("codex") == ("missing", "missing")


def test_two_parts_in_one_file_become_one_change(home):
    spec = AgentSpec.model_validate(
        find_spec("claude-code").model_dump(mode="json", by_alias=True) | {"name": "one", "aliases": []}
    )
    hooks = spec.hooks.model_copy(update={"user": spec.mcp.user, "format": "jsonc"})
    spec = spec.model_copy(update={"hooks": hooks, "mcp": spec.mcp.model_copy(update={"format": "jsonc"})})
    before = '// mine\n{\n\t"a": 1, // one\n}\n'
    path = home.file(".claude.json", before)

    planned = plan([spec], home.target, LAUNCH, home.memory)
    home.apply(planned)

    assert len(planned.changes) == 1
    assert path.read_text().startswith('// mine\n{\n\t"a": 1, // one\n\t"mcpServers": {\n\t\t"aimemory": {')
    path.write_text(path.read_text().replace('"a": 1', '"a": 2'))
    home.apply(uninstall([spec], home.target, LAUNCH, home.memory))
    assert path.read_text() == before.replace('"a": 1', '"a": 2')


def test_the_diff_shows_what_will_happen(home):
    home.file(".codex/config.toml", 'model = "x"')

    text = "".join(diff(change) for change in home.plan("codex").changes)

    assert '-model = "x"\n\\ No newline at end of file\n+model = "x"\n' in text
    assert '+command = "/opt/my tools/ai-memory-mcp"\n' in text
    assert "--- /dev/null\n" in text


def test_variables_of_the_agent_move_its_settings(tmp_path):
    claude, codex = find_spec("claude-code"), find_spec("codex")
    moved = Target(tmp_path, {"CLAUDE_CONFIG_DIR": "/c", "CODEX_HOME": "/x"})

    assert settings_path(claude, "mcp", moved) == Path("/c/.claude.json")
    assert settings_path(claude, "hooks", moved) == Path("/c/settings.json")
    assert settings_path(codex, "mcp", moved) == Path("/x/config.toml")
    assert settings_path(claude, "mcp", Target(tmp_path)) == tmp_path / ".claude.json"


def test_agents_are_found_by_their_folder_or_their_executable(home):
    specs = list(all_specs().values())
    assert detect(specs, home.target, lambda name: None) == []
    home.file(".codex/config.toml", "")

    found = detect(specs, home.target, {"claude": "/bin/claude"}.get)

    assert {(agent.spec.name, agent.executable) for agent in found} >= {
        ("claude-code", "/bin/claude"),
        ("codex", None),
    }


# Formats that only some agents have


SERVER_FORMS = {
    "yaml": {"enabled": True, "type": "stdio", "cmd": "{command}", "args": ["{args}"], "envs": "{env}"},
    "json5": {"command": "{command}", "args": ["{args}"]},
}
YAML = """\
# mine
model: 'x'  # fast
extensions:
    fetch: &fetch {cmd: uvx, args: [mcp-server-fetch]}  # web
    # memory: off

zeta: |
  extensions:
    aimemory: no
"""
YAML_OURS = """\
    aimemory:
        enabled: true
        type: stdio
        cmd: "/opt/my tools/ai-memory-mcp"
        args: [serve]
"""
YAML_MADE = "extensions:\n" + YAML_OURS.replace("    ", "  ")
JSON5 = """\
// mine
{
    model: 'x', // fast
    $include: ['./zeta.json5'],
    mcp: { servers: {
        "fetch": { command: 'uvx', timeout: +.5e3, }, /* web */
    } },
}
"""
JSON5_OURS = """
        "aimemory": {
            "command": "/opt/my tools/ai-memory-mcp",
            "args": [
                "serve"
            ]
        },"""
JSON5_MADE = '"mcp": {"servers": {"aimemory": {"command": "/opt/my tools/ai-memory-mcp", "args": ["serve"]}}}'

FORMS = {  # format, settings before (None: no file), settings with our server
    "yaml": ("yaml", YAML, YAML.replace("# memory: off\n", "# memory: off\n" + YAML_OURS)),
    "yaml without a file": ("yaml", None, YAML_MADE),
    "yaml with comments only": ("yaml", "# zeta\n", "# zeta\n" + YAML_MADE),
    "yaml without servers": ("yaml", "zeta: 1", "zeta: 1\n" + YAML_MADE.rstrip("\n")),
    "yaml with an empty table": (
        "yaml",
        "extensions: {} # none\nzeta: 1\n",
        YAML_MADE.replace(":", ": # none", 1) + "zeta: 1\n",
    ),
    "yaml with a table of nothing": ("yaml", "extensions: ~\nzeta: 1\n", YAML_MADE + "zeta: 1\n"),
    "json5": ("json5", JSON5, JSON5.replace(" /* web */", " /* web */" + JSON5_OURS)),
    "json5 on a line": ("json5", "{zeta: 'x', }", "{zeta: 'x', " + JSON5_MADE + ", }"),
    "json5 with an empty table": (
        "json5",
        "{zeta: 1, mcp: {\t}}",
        "{zeta: 1, " + JSON5_MADE.replace('"mcp"', "mcp", 1) + "}",
    ),
}


def spec_in(form):
    """An agent that lists its MCP servers in a file of this format."""
    table = ["extensions"] if form == "yaml" else ["mcp", "servers"]
    mcp = {"format": form, "user": "~/settings", "table": table, "entry": SERVER_FORMS.get(form, SERVER_FORMS["json5"])}
    return AgentSpec.model_validate({"name": "one", "title": "One", "mcp": mcp})


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(("form", "before", "after"), FORMS.values(), ids=FORMS)
def test_servers_come_and_go_in_yaml_and_json5(home, form, before, after, newline):
    spec = spec_in(form)
    before = None if before is None else before.replace("\n", newline)
    after = after.replace("\n", newline if newline in (before or "") else "\n")
    path = home.file("settings", before)

    home.apply(plan([spec], home.target, LAUNCH, home.memory))
    assert path.read_bytes().decode() == after
    assert not plan([spec], home.target, LAUNCH, home.memory).changes
    assert server_entry(spec, home.target) == Entry((LAUNCH.command, *LAUNCH.args))
    assert wired(spec, home.target, LAUNCH).mcp == "wired"

    home.apply(plan([spec], home.target, MOVED, home.memory))
    assert server_entry(spec, home.target).command == (MOVED.command, *MOVED.args)
    home.apply(plan([spec], home.target, LAUNCH, home.memory))
    home.apply(uninstall([spec], home.target, LAUNCH, home.memory))
    assert (path.read_bytes().decode() if path.exists() else None) == before


@pytest.mark.parametrize(("form", "before", "after"), FORMS.values(), ids=FORMS)
def test_what_others_wrote_meanwhile_into_yaml_or_json5_stays(home, form, before, after):
    spec = spec_in(form)
    path = home.file("settings", before)
    home.apply(plan([spec], home.target, LAUNCH, home.memory))
    edited = (before or "").replace("zeta", "edited")
    path.write_bytes(after.replace("zeta", "edited").encode())
    for backup in (home.memory / "backups" / "install").glob("*"):
        backup.unlink()

    home.apply(uninstall([spec], home.target, LAUNCH, home.memory))

    assert (path.read_text() if path.exists() else "") == edited


def test_what_the_user_added_to_our_server_in_yaml_stays(home):
    spec = spec_in("yaml")
    path = home.file("settings", YAML)
    home.apply(plan([spec], home.target, MOVED, home.memory))
    path.write_text(path.read_text().replace("        type: stdio\n", "        type: stdio\n        timeout: 60\n"))

    home.apply(plan([spec], home.target, LAUNCH, home.memory))

    ours = YAML_OURS.replace("        type: stdio\n", "        type: stdio\n        timeout: 60\n")
    assert path.read_text() == YAML.replace("# memory: off\n", "# memory: off\n" + ours)
    home.apply(uninstall([spec], home.target, LAUNCH, home.memory))
    assert path.read_text() == YAML


def test_a_table_made_for_our_server_in_yaml_stays_when_others_use_it(home):
    spec = spec_in("yaml")
    path = home.file("settings", "a: 1\n")
    home.apply(plan([spec], home.target, LAUNCH, home.memory))
    path.write_text(path.read_text() + "  theirs:\n    cmd: x\n")

    home.apply(uninstall([spec], home.target, LAUNCH, home.memory))

    assert path.read_text() == "a: 1\nextensions:\n  theirs:\n    cmd: x\n"


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        ("yaml", "a: [\n", "line 2, column 1"),
        ("yaml", "extensions: {x: {cmd: y}}\n", "line 1, column 1: expected a mapping in block style"),
        ("yaml", "extensions:\n- x\n", "expected a mapping"),
        ("yaml", "extensions:\n  aimemory: 1\n", "something else than a server"),
        ("yaml", "extensions: &all\n  x: 1\nb: *all\n", "by hand:\n  aimemory:\n    enabled: true"),
        ("json5", "{a: 1 b: 2}", "line 1, column 7"),
        ("json5", "{mcp: []}", "line 1, column 7: expected an object"),
        ("jsonc", "{/* c */ a: 1}", "line 1, column 10: this is JSON5"),
        ("json", "{a: 1}", "line 1, column 2: this is JSON5"),
    ],
)
def test_a_form_that_cannot_be_edited_or_is_not_read_by_the_agent_is_left_alone(home, form, content, message):
    path = home.file("settings", content)

    planned = plan([spec_in(form)], home.target, LAUNCH, home.memory)

    assert [message in str(error) and str(path) in str(error) for error in planned.errors] == [True]
    assert not planned.changes
    assert path.read_text() == content


def test_settings_that_must_name_a_plugin_are_not_touched_in_a_form_the_agent_does_not_read(home):
    plugin = {"files": [{"text": "// ai-memory-mcp", "user": "~/x.js"}], "entries": [{"path": ["on"], "value": True}]}
    spec = AgentSpec.model_validate(spec_in("jsonc").model_dump(mode="json") | {"plugin": plugin})
    path = home.file("settings", "{a: 1}")

    planned = plan([spec], home.target, LAUNCH, home.memory, parts=("hooks",))

    assert ["this is JSON5" in str(error) for error in planned.errors] == [True]
    assert path not in [change.path for change in planned.changes]


# A server elsewhere


SERVER = replace(LAUNCH, url="http://homelab:49374/mcp")
BY_ADDRESS = sorted(spec.name for spec in all_specs().values() if spec.mcp and spec.mcp.http)


@pytest.mark.parametrize("name", BY_ADDRESS)
def test_an_agent_is_given_the_address_of_a_server_and_keeps_it_until_told_otherwise(home, name):
    home.install(name)
    local = home.tree()

    home.install(name, launch=SERVER)
    text = "".join(content.decode() for content in home.tree().values() if content)
    remote = home.tree()

    assert text.count(SERVER.url) == 1
    assert LAUNCH.command not in text
    assert "AI_MEMORY_TOKEN" in text
    assert home.state(name) == ("wired", home.state(name)[1])
    assert not home.plan(name).changes
    assert home.tree() == remote
    home.install(name, launch=replace(LAUNCH, url="local"))
    assert home.tree() == local
    home.install(name, launch=SERVER)
    home.uninstall(name)
    assert home.tree() == {}


def test_an_agent_that_knows_no_addresses_is_named_and_the_others_go_on(home):
    spec = find_spec("codex")
    alone = spec.model_copy(update={"mcp": spec.mcp.model_copy(update={"http": None})})

    planned = plan([alone, find_spec("claude-code")], home.target, SERVER, home.memory, parts=("mcp",))

    assert ["Codex can only start" in str(error) for error in planned.errors] == [True]
    assert [change.path.name for change in planned.changes] == [".claude.json"]


# Trust


FAKE_CODEX = """#!{python}
import json, sys
path = {path!r}
def snake(event):
    return "".join("_" + c.lower() if c.isupper() else c for c in event).lstrip("_")
for line in sys.stdin:
    asked = json.loads(line)
    if asked["method"] == "initialize":
        print(json.dumps({{"method": "configWarning"}}))
        print(json.dumps({{"id": asked["id"], "result": {{}}}}), flush=True)
    if asked["method"] == "hooks/list":
        data = json.load(open(path))["hooks"]
        hooks = [
            {{"key": f"{{path}}:{{snake(event)}}:{{g}}:{{h}}",
              "command": hook["command"], "currentHash": "sha256:" + event}}
            for event, groups in data.items() for g, group in enumerate(groups)
            for h, hook in enumerate(group["hooks"])
        ]
        print(json.dumps({{"id": asked["id"], "result": {{"data": [{{"hooks": hooks}}]}}}}), flush=True)
"""


def fake_codex(home, tmp_path, script=FAKE_CODEX):
    path = tmp_path / "codex"
    path.write_text(script.format(python=sys.executable, path=str(home.file(".codex/hooks.json"))))
    path.chmod(0o755)
    return str(path)


def trust_plan(home, codex, limit=10.0):
    target = Target(home.user, dict(os.environ))
    return codex_trust_plan(find_spec("codex"), target, LAUNCH, home.memory, codex, limit)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script")
def test_only_our_hooks_are_trusted_and_uninstall_takes_the_trust_away(home, tmp_path):
    home.file(".codex/hooks.json", '{"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "x"}]}]}}')
    foreign = '[hooks.state."/else:stop:0:0"]\ntrusted_hash = "sha256:1"\n'
    home.file(".codex/config.toml", foreign)
    home.install("codex")
    assert wired(find_spec("codex"), home.target, LAUNCH).trusted is False

    home.apply(trust_plan(home, fake_codex(home, tmp_path)))

    assert wired(find_spec("codex"), home.target, LAUNCH).trusted is True
    state = tomledit.get(home.file(".codex/config.toml").read_text(), ("hooks", "state"))
    hooks = home.file(".codex/hooks.json")
    assert state[f"{hooks}:stop:1:0"] == {"trusted_hash": "sha256:Stop"}
    assert f"{hooks}:stop:0:0" not in state
    assert not trust_plan(home, fake_codex(home, tmp_path)).changes
    config = home.file(".codex/config.toml")
    config.write_text(config.read_text() + "[later]\na = 1\n")
    (home.memory / "installed.json").unlink()
    home.uninstall("codex")
    assert config.read_text() == foreign + "[later]\na = 1\n"


def test_hooks_of_others_keep_their_trust_when_ours_go(home):
    home.install("codex")
    hooks, config = home.file(".codex/hooks.json"), home.file(".codex/config.toml")
    data = json.loads(hooks.read_text())
    data["hooks"]["Stop"].append({"hooks": [{"type": "command", "command": "theirs"}]})
    hooks.write_text(json.dumps(data))
    entry = '\n[hooks.state."{}:stop:{}:0"] # theirs\ntrusted_hash = "sha256:1"\n'
    config.write_text(config.read_text() + entry.format(hooks, 1))

    home.uninstall("codex")

    assert config.read_text() == entry.format(hooks, 0).lstrip("\n")


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script")
@pytest.mark.parametrize("script", ["#!/bin/sh\necho '[]'\n", "#!/bin/sh\nexit 1\n", "#!/bin/sh\nexec sleep 30\n"])
def test_a_codex_that_does_not_answer_is_left_to_its_user(home, tmp_path, script):
    home.install("codex")

    with pytest.raises(InstallError, match="/hooks"):
        trust_plan(home, fake_codex(home, tmp_path, script), limit=0.5)


def test_a_missing_codex_is_left_to_its_user(home):
    home.install("codex")

    with pytest.raises(InstallError, match="/hooks"):
        trust_plan(home, None)
    with pytest.raises(InstallError, match="/hooks"):
        trust_plan(home, "/nowhere/codex")


# Properties


blanks = st.sampled_from(["", " ", "\n", "\r\n\t", "\n    "])
groups = st.lists(st.fixed_dictionaries({"hooks": st.just([{"type": "command", "command": "theirs"}])}), max_size=2)
tables = st.fixed_dictionaries(
    {"zeta": st.integers() | st.text()},
    optional={
        "hooks": st.dictionaries(st.sampled_from(["Stop", "SessionStart", "Other"]), groups),
        "mcpServers": st.dictionaries(st.sampled_from(["other", "é"]), st.just({"command": "x"})),
    },
)


@st.composite
def settings_texts(draw):
    data = draw(st.just({}) | tables)
    form = draw(st.sampled_from([None, 1, 2, 4, "\t"]))
    text = json.dumps(data, indent=form, ensure_ascii=draw(st.booleans()))
    text = text.replace("{}", "{" + draw(blanks) + "}").replace("[]", "[" + draw(blanks) + "]")
    if draw(st.booleans()):
        text = text.replace("\r\n", "\n").replace("\n", "\r\n")
    return draw(st.sampled_from(["", "\ufeff"])) + draw(blanks) + text + draw(blanks)


@settings(max_examples=40, deadline=None)
@given(settings_texts(), st.booleans())
def test_wiring_and_unwiring_any_settings_is_the_identity(text, foreign):
    spec = find_spec("claude-code")
    draft = Draft(text)
    for part in ("mcp", "hooks"):
        wire(draft, spec, part, LAUNCH)
    assert draft.text != text

    edited = foreign and '"zeta"' in text
    draft.text = draft.text.replace('"zeta"', '"edited by others"', 1) if edited else draft.text
    for part in ("mcp", "hooks"):
        unwire(draft, spec, part, LAUNCH)

    assert draft.text == (text.replace('"zeta"', '"edited by others"', 1) if edited else text)
