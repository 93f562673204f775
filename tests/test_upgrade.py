"""Upgrade: the installer is asked and told in its own words, and nothing changes where it has nothing for us.

The installers are programs that record how they were called and answer like the real ones; the last test runs pip.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from ai_memory_mcp import upgrade
from ai_memory_mcp.alive import process_lives
from ai_memory_mcp.errors import UpgradeError
from ai_memory_mcp.trying import try_launcher
from ai_memory_mcp.upgrade import Installation, installation, is_newer, newest

ROOT = Path(__file__).parent.parent
OLD, NEW = "0.1.0", "0.2.0"
LOOK = ["install", "--target", "FOLDER", "--no-deps", "--only-binary=:all:", "--quiet"]

INSTALLER = """#!{python}
import json, os, sys, time
from pathlib import Path

def called(words):
    answer = json.loads(Path({answer!r}).read_text())
    with open({calls!r}, "a") as file:
        file.write(json.dumps(words) + "\\n")
    if "--target" in words:
        if "hang" in answer:
            Path(answer["hang"]).write_text(str(os.getpid()))
            time.sleep(60)
        if not answer.get("offers"):
            sys.stderr.write("WARNING: Retrying after connection broken\\n" + answer["says"] + "\\nmore\\n")
            return 1
        version = answer["offers"]
        info = Path(words[words.index("--target") + 1], f"ai_memory_mcp-{{version}}.dist-info")
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: ai-memory-mcp\\nVersion: {{version}}\\n")
        command = answer.get("command", "ai-memory-mcp")
        (info / "entry_points.txt").write_text(f"[console_scripts]\\n{{command}} = x:main\\n")
        return 0
    print("Installing collected packages: ai-memory-mcp")
    if answer.get("refuses"):
        sys.stderr.write("ERROR: Could not install packages due to an OSError\\n")
        return 1
    init = Path({site!r}, "ai_memory_mcp", "__init__.py")
    init.write_text(f'__version__ = "{{answer["installs"]}}"\\n')
    for stale in init.parent.glob("__pycache__/__init__.*"):
        stale.unlink()
    return 0

if __name__ == "__main__":
    sys.exit(called([{name!r}, *sys.argv[1:]]))
"""


def bare_environment(folder: Path) -> Path:
    """Make a virtual environment with what we depend on, but without us; return its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    (site,) = folder.glob("lib/python*/site-packages")
    shared = folder / "shared"
    shared.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("ai_memory_mcp", "_ai_memory_mcp", "__editable__", "pip", "_virtualenv")):
            (shared / entry.name).symlink_to(entry)
    (site / "shared.pth").write_text(f"{shared}\n")
    return site


class Copy:
    """A copy of us in an environment of its own, with the installers that its user has."""

    def __init__(self, base: Path) -> None:
        self.prefix = base / "venvs" / "ai-memory-mcp"
        self.site = bare_environment(self.prefix)
        package = self.site / "ai_memory_mcp"
        shutil.copytree(ROOT / "ai_memory_mcp", package, ignore=shutil.ignore_patterns("__pycache__"))
        for data in ("agent_configs", "hook_scripts"):
            shutil.copytree(ROOT / data, package / data)
        self.program = self.prefix / "bin" / "ai-memory-mcp"
        code = "import sys\nfrom ai_memory_mcp.__main__ import main\nsys.exit(main())\n"
        self.program.write_text(f"#!{self.prefix}/bin/python3\n{code}")
        self.program.chmod(0o755)
        self.tools = base / "tools"
        self.calls, self.answer = base / "calls", base / "answer"

    def reset(self, installer: str) -> None:
        """Be version 0.1.0 again, brought by pip or uv from an index that has 0.2.0."""
        for leftover in (*self.site.glob("*.dist-info"), self.site / "pip", self.tools):
            shutil.rmtree(leftover, ignore_errors=True)
        for name in ("pipx_metadata.json", "uv-receipt.toml"):
            (self.prefix / name).unlink(missing_ok=True)
        self.calls.unlink(missing_ok=True)
        self.offer(offers=NEW, installs=NEW)
        for name in ("pipx", "uv"):
            self._script(self.tools / name, name)
        self._script(self.site / "pip" / "__main__.py", "pip")
        info = self.site / f"ai_memory_mcp-{OLD}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: ai-memory-mcp\nVersion: {OLD}\n")
        (info / "INSTALLER").write_text(f"{installer}\n")
        package = self.site / "ai_memory_mcp"
        (package / "__init__.py").write_text(f'__version__ = "{OLD}"\n')
        for stale in package.glob("__pycache__/__init__.*"):  # of the same second and size, so taken for current
            stale.unlink()

    def offer(self, **answer: object) -> None:
        """Say what the installers do when they are called."""
        self.answer.write_text(json.dumps({"says": "ERROR: no route to the index", **answer}))

    def direct(self, **url: object) -> None:
        """Have come from elsewhere than an index."""
        (self.site / f"ai_memory_mcp-{OLD}.dist-info" / "direct_url.json").write_text(json.dumps(url))

    def run(self, *words: str, given: str | None = None, path: str = "") -> tuple[int, str, str]:
        """Run our command; gives its exit code, what it printed and what it said on standard error."""
        env = {**os.environ, "PATH": path or f"{self.tools}{os.pathsep}{os.defpath}"}
        done = subprocess.run(
            [self.program, *words],
            env=env,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout, done.stderr

    def version(self) -> str:
        return self.run("--version")[1].split()[-1]

    def asked(self) -> list[list[str]]:
        """How the installers were called; the folder to look in, which is another each time, as FOLDER."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [[re.sub(r".*ai-memory-look-.*", "FOLDER", word) for word in json.loads(line)] for line in lines]

    def _script(self, path: Path, name: str) -> None:
        path.parent.mkdir(exist_ok=True)
        values = {"answer": str(self.answer), "calls": str(self.calls), "site": str(self.site)}
        path.write_text(INSTALLER.format(python=sys.executable, name=name, **values))
        path.chmod(0o755)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("copy"))


@pytest.fixture
def copy(made: Copy) -> Copy:
    """A copy that pip has installed from an index."""
    made.reset("pip")
    return made


def test_pip_upgrades_what_pip_has_installed(copy):
    code, out, err = copy.run("upgrade", "--yes", "--json")

    assert (code, copy.version()) == (0, NEW)
    told = json.loads(out)
    assert {name: told[name] for name in ("installed", "installer", "available", "newer", "upgraded")} == {
        "installed": OLD,
        "installer": "pip",
        "available": NEW,
        "newer": True,
        "upgraded": NEW,
    }
    assert "Installing collected packages" in err
    assert copy.asked() == [
        ["pip", *LOOK, "ai-memory-mcp"],
        ["pip", "install", "--upgrade", "ai-memory-mcp"],
    ]


def test_uv_upgrades_what_uv_has_installed_in_an_environment(made):
    made.reset("uv")

    assert made.run("upgrade", "--yes")[0] == 0
    python = str(made.prefix / "bin" / "python3")
    assert made.asked() == [
        ["uv", "pip", "install", "--python", python, *LOOK[1:], "ai-memory-mcp"],
        ["uv", "pip", "install", "--python", python, "--upgrade", "ai-memory-mcp"],
    ]


def test_uv_tool_upgrades_its_tool_and_looks_where_the_receipt_says(made):
    made.reset("uv")
    (made.prefix / "uv-receipt.toml").write_text(
        '[tool]\nrequirements = [{ name = "ai-memory-mcp" }]\n[tool.options]\n'
        'index = [{ url = "https://own.example/simple", default = true }, { url = "https://more.example/simple" }]\n'
        'no-index = false\nreinstall = true\nfind-links = ["file:///wheels"]\nresolution = "highest"\n'
    )

    assert made.run("upgrade", "--yes")[0] == 0
    look, done = made.asked()
    assert look[10:] == [
        "--default-index=https://own.example/simple",
        "--index=https://more.example/simple",
        "--reinstall",
        "--find-links=file:///wheels",
        "--resolution=highest",
        "ai-memory-mcp",
    ]
    assert done == ["uv", "tool", "upgrade", "ai-memory-mcp"]


def test_pipx_upgrades_its_environment_and_looks_where_it_was_told_to(copy):
    metadata = {"main_package": {"package": "ai-memory-mcp", "pip_args": ["--index-url", "https://own.example/simple"]}}
    (copy.prefix / "pipx_metadata.json").write_text(json.dumps(metadata))

    assert copy.run("upgrade", "--yes")[0] == 0
    assert copy.version() == NEW
    assert copy.asked() == [
        ["pip", *LOOK, "--index-url", "https://own.example/simple", "ai-memory-mcp"],
        ["pipx", "upgrade", "ai-memory-mcp"],
    ]


def test_checking_only_looks(copy):
    code, out, err = copy.run("upgrade", "--check")

    assert (code, err, copy.version()) == (0, "", OLD)
    assert re.search(
        rf"installed +{OLD}, installed by pip\navailable +{NEW}\nupgrade +.* -m pip install --upgrade", out
    )
    assert [call[:2] for call in copy.asked()] == [["pip", "install"]]
    assert json.loads(copy.run("upgrade", "--check", "--json")[1])["upgraded"] is None


@pytest.mark.parametrize("offered", [OLD, "0.0.9"])
def test_what_is_the_newest_stays(copy, offered):
    copy.offer(offers=offered)

    code, out, _ = copy.run("upgrade", "--yes")

    assert (code, copy.version(), len(copy.asked())) == (0, OLD, 1)
    assert "nothing to do" in out


def test_nothing_is_done_without_a_yes(copy):
    code, _, err = copy.run("upgrade", given="n\n")
    assert (code, copy.version()) == (0, OLD)
    assert "-m pip install --upgrade ai-memory-mcp`? [y/N]" in err

    code, _, err = copy.run("upgrade")
    assert (code, copy.version()) == (1, OLD)
    assert "--yes" in err

    assert copy.run("upgrade", given="y\n")[0] == 0
    assert copy.version() == NEW


def test_without_a_network_it_says_so_in_one_line(copy):
    copy.offer(offers="")

    code, out, err = copy.run("upgrade", "--yes")

    assert (code, out, copy.version()) == (1, "", OLD)
    assert err.count("\n") == 1
    assert "network" in err
    assert err.endswith("It says: ERROR: no route to the index\n")


def test_a_program_of_another_kind_with_our_name_is_not_taken_for_an_upgrade(copy):
    copy.offer(offers="0.10.0", installs="0.10.0", command="ai-memory-sdk")

    for words in (["--check"], ["--yes"]):
        code, _, err = copy.run("upgrade", *words)
        assert (code, copy.version()) == (1, OLD)
        assert "ai-memory-mcp 0.10.0 is another program" in err
    assert all("--target" in call for call in copy.asked())


def test_an_installer_that_fails_is_told_and_the_old_version_goes_on(copy):
    copy.offer(offers=NEW, refuses=True)

    code, _, err = copy.run("upgrade", "--yes")

    assert (code, copy.version()) == (1, OLD)
    assert "due to an OSError" in err
    assert "ended with 1" in err


def test_an_installer_that_leaves_the_old_version_is_told(copy):
    copy.offer(offers=NEW, installs=OLD)

    code, _, err = copy.run("upgrade", "--yes")

    assert code == 1
    assert f"pip left version {OLD} in place" in err


def test_a_version_that_does_not_run_is_told(copy):
    copy.offer(offers=NEW, installs='"; raise SystemExit("broken") #')

    code, _, err = copy.run("upgrade", "--yes")

    assert code == 1
    assert "does not tell its version any more: broken" in err


def test_a_manager_that_is_not_on_the_path_is_named(copy, tmp_path):
    (copy.prefix / "pipx_metadata.json").write_text("{}")

    code, out, err = copy.run("upgrade", "--yes", path=str(tmp_path))

    assert (code, copy.version()) == (1, OLD)
    assert NEW in out
    assert "pipx cannot be run" in err


def test_an_installer_that_hangs_is_ended_with_what_it_started(copy, tmp_path, monkeypatch):
    monkeypatch.setattr(upgrade, "LOOK_SECONDS", 3.0)
    copy.offer(hang=str(tmp_path / "pid"))
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\n{sys.executable} {copy.tools}/uv "$@" &\nwait\n')
    wrapper.chmod(0o755)

    with pytest.raises(UpgradeError, match="within 3 seconds"):
        newest(Installation(OLD, "pip", str(wrapper), "x", "pip"), dict(os.environ))

    pid, until = int((tmp_path / "pid").read_text()), time.monotonic() + 20
    while process_lives(pid) and time.monotonic() < until:  # killed it is, but the system takes its time
        time.sleep(0.05)
    assert not process_lives(pid)


@pytest.mark.parametrize(
    ("url", "origin", "by_hand"),
    [
        (
            {"url": "file:///src/my%20clone", "dir_info": {}},
            "/src/my clone",
            "PYTHON -m pip install '/src/my clone'",
        ),
        (
            {"url": "file:///tmp/ai_memory_mcp-0.1.0-py3-none-any.whl", "archive_info": {}},
            "/tmp/ai_memory_mcp-0.1.0-py3-none-any.whl",
            "PYTHON -m pip install NEWER-FILE",
        ),
        (
            {"url": "https://own.example/a.git", "vcs_info": {"vcs": "git", "requested_revision": "main"}},
            "git+https://own.example/a.git@main",
            "PYTHON -m pip install --force-reinstall git+https://own.example/a.git@main",
        ),
    ],
)
def test_what_does_not_come_from_an_index_is_renewed_by_hand(copy, url, origin, by_hand):
    copy.direct(**url)
    python = str(copy.prefix / "bin" / "python3")
    told = f"{by_hand.replace('PYTHON', python)} && ai-memory-mcp setup --refresh"

    code, out, _ = copy.run("upgrade", "--check", "--json")
    assert (code, json.loads(out)["origin"], json.loads(out)["command"]) == (0, origin, told)
    assert f"from {origin}" in copy.run("upgrade", "--check")[1]
    code, out, err = copy.run("upgrade", "--yes")
    assert (code, out) == (1, "")
    assert f"{OLD} comes from {origin}, " in err
    assert err.endswith(f" do it by hand: {told}\n")
    assert copy.asked() == []


@pytest.mark.parametrize(
    ("receipt", "installer", "by_hand"),
    [
        ("pipx_metadata.json", "pip", "pipx install --force"),
        ("uv-receipt.toml", "uv", "uv tool install --reinstall"),
        ("", "uv", "uv pip install --python /p --reinstall-package ai-memory-mcp"),
        ("", "pip", "/p -m pip install"),
    ],
)
def test_a_clone_is_pulled_and_installed_again_by_whoever_installed_it(made, tmp_path, receipt, installer, by_hand):
    made.reset(installer)
    if receipt:
        (made.prefix / receipt).write_text("{}" if receipt.endswith("json") else "")
    (tmp_path / ".git").mkdir()
    made.direct(url=tmp_path.as_uri(), dir_info={})

    here = installation(OLD, made.site / "ai_memory_mcp", made.prefix, "/p")

    assert here.by_hand == f"git -C {tmp_path} pull && {by_hand} {tmp_path} && ai-memory-mcp setup --refresh"


def test_an_editable_installation_and_a_checkout_are_pulled(tmp_path):
    here = installation(OLD, ROOT / "ai_memory_mcp", tmp_path, sys.executable)

    assert (here.manager, here.origin) == ("", str(ROOT))
    assert here.by_hand == f"git -C {ROOT} pull && ai-memory-mcp setup --refresh"


def test_what_another_installer_brought_is_left_to_it(made):
    made.reset("conda")

    code, _, err = made.run("upgrade", "--yes")

    assert (code, made.asked()) == (1, [])
    assert "was installed by conda" in err
    assert "upgrade it with conda" in err


@pytest.mark.parametrize(
    ("version", "than", "newer"),
    [
        ("0.2.0", "0.1.9", True),
        ("0.10", "0.9.9", True),
        ("0.2", "0.2.0", False),
        ("1.0", "1.0rc1", True),
        ("1.0rc2", "1.0rc1", True),
        ("1.0.dev3", "1.0", False),
        ("1.0.post1", "1.0", True),
        ("0.1.0", "0.2.0", False),
        ("nonsense", "0.1.0", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version, than, newer):
    assert is_newer(version, than) is newer


def test_what_setup_has_wired_is_refreshed_by_the_new_version(copy, own_home):
    """And what the user has unwired stays unwired."""
    for folder in (".claude", ".codex"):
        (own_home / folder).mkdir()
    assert copy.run("setup", "--yes")[0] == 0
    assert copy.run("uninstall", "--yes", "--agent", "codex")[0] == 0
    settings = own_home / ".claude" / "settings.json"
    wired = settings.read_text()
    settings.write_text(wired.replace('"timeout": 10', '"timeout": 7'))
    launcher = own_home / "memory" / "bin" / "emit"
    staged = launcher.read_bytes()
    launcher.write_bytes(staged + b"# of an earlier release\n")

    code, out, _ = copy.run("upgrade", "--yes", "--json")

    told = json.loads(out)["refreshed"]
    assert (code, told["agents"]) == (0, ["claude-code"])
    assert [change["path"] for change in told["changes"]] == [str(settings)]
    assert settings.read_text() == wired
    assert launcher.read_bytes() == staged
    assert not (own_home / ".codex" / "hooks.json").exists()


def test_wiring_that_cannot_be_refreshed_is_an_error_after_the_upgrade(copy, own_home):
    (own_home / ".claude").mkdir()
    assert copy.run("setup", "--yes")[0] == 0
    (own_home / ".claude" / "settings.json").write_text("{")

    code, out, _ = copy.run("upgrade", "--yes")

    assert (code, copy.version()) == (1, NEW)
    assert f"{NEW} is installed" in out
    assert ".claude/settings.json was left alone" in out


def built(version: str, work: Path, wheels: Path) -> None:
    """Build our wheel as this version into the folder."""
    source = work / version
    for name in ("ai_memory_mcp", "agent_configs", "hook_scripts"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    (source / "ai_memory_mcp" / "__init__.py").write_text(f'__version__ = "{version}"\n')
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(wheels), str(source)], check=True, timeout=120, capture_output=True)


@pytest.mark.slow
def test_pip_really_upgrades_from_a_folder_of_wheels(tmp_path, own_home):
    """Nothing stands in here: pip, two wheels, a fresh environment, and the files that setup staged."""
    wheels, prefix = tmp_path / "wheels", tmp_path / "own environment"
    built(OLD, tmp_path, wheels)
    site = bare_environment(prefix)
    for entry in Path(sysconfig.get_path("purelib")).glob("pip*"):
        (site / entry.name).symlink_to(entry)
    own = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    env = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")} | own

    def run(*words: str) -> str:
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(str(prefix / "bin" / "python3"), "-m", "pip", "install", "ai-memory-mcp")
    program = str(prefix / "bin" / "ai-memory-mcp")
    (own_home / ".claude").mkdir()
    run(program, "setup", "--yes")
    staged = {path: path.read_bytes() for path in sorted((own_home / "memory" / "bin").iterdir())}
    settings = {path: path.read_bytes() for path in (own_home / ".claude.json", own_home / ".claude" / "settings.json")}
    built("0.1.1", tmp_path, wheels)

    assert json.loads(run(program, "upgrade", "--check", "--json"))["available"] == "0.1.1"
    told = json.loads(run(program, "upgrade", "--yes", "--json"))

    assert (told["upgraded"], told["refreshed"]["errors"]) == ("0.1.1", [])
    assert run(program, "--version") == "ai-memory-mcp 0.1.1\n"
    assert {path: path.read_bytes() for path in settings} == settings
    launcher, bundle = sorted((own_home / "memory" / "bin").iterdir())
    assert launcher.read_bytes() == staged[launcher]
    assert bundle.read_bytes() != staged[bundle]  # the byte code that hooks run is that of the new version
    assert try_launcher(launcher) == ""
