"""Every kind of folder is the same, right project to a hook, to the MCP server and to a command.

One user's home has all of them at once. `CELLS` says which project each is: the table to read when in doubt. The hook
is a real process started as an agent starts it; server and command are real processes forked from one that has
everything imported.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from children import opened
from faults import HERE, Forge
from test_project import URL, folder, git, mark, repo

from ai_memory_mcp.agents.launcher import write_launcher
from ai_memory_mcp.index import rows

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it makes symbolic links and forks")

# What a folder is called here -> (the folder below the base, its project as workspace/name, where it may have any
# letter for each question mark: what tells it from another one of its name).
CELLS = {
    "a clone": ("home/work/api", "default/api"),
    "another clone under another name": ("home/work/deep/other", "default/api"),
    "a subfolder": ("home/work/api/src/deep", "default/api"),
    "a worktree outside": ("home/work/api-fix", "default/api"),
    "a worktree inside": ("home/work/api/.worktrees/fix", "default/api"),
    "a repository without a remote": ("home/work/lonely", "default/lonely"),
    "its worktree": ("home/work/lonely-fix", "default/lonely"),
    "a clone of it": ("home/work/lonely-clone", "default/lonely"),
    "a nested repository": ("home/work/api/nested", "default/nested"),
    "a subfolder of a nested repository": ("home/work/api/nested/src", "default/nested"),
    "a submodule": ("home/work/api/vendor/library", "default/library"),
    "what the submodule is a clone of": ("home/work/library", "default/library"),
    "a package of a monorepo": ("home/work/mono/packages/one", "default/mono"),
    "a package with a marker": ("home/work/mono/packages/web/src", "default/web-shop"),
    "a symlink to a repository": ("home/work/linked", "default/api"),
    "a folder below a symlink": ("home/work/linked-parent/api/src", "default/api"),
    "a symlink that leads out of a repository": ("home/work/api/data", "default/elsewhere"),
    "a renamed repository": ("home/work/after", "default/before"),
    "what came to the place that it left": ("home/work/before", "default/before-????"),
    "a moved repository": ("home/work/deep/moving", "default/moving"),
    "a moved clone": ("home/work/deep/moving-clone", "default/shop"),
    "a moved folder with a marker": ("home/work/deep/carried", "default/carried"),
    "a folder without git": ("home/work/plain", "default/plain"),
    "a folder in it": ("home/work/plain/inside", "default/inside"),
    "another folder of its name": ("home/work/deep/plain", "default/plain-????"),
    "the home": ("home", "default/general"),
    "a symlink to the home": ("home-link", "default/general"),
    "what holds the home": ("", "default/general"),
    "the folder for temporary files": ("/tmp", "default/general"),
    "the root": ("/", "default/general"),
    "a deleted repository": ("home/work/gone", "default/gone"),
    "a deleted folder of a deleted repository": ("home/work/gone/sub", "default/gone"),
    "a deleted folder of a repository": ("home/work/api/was-here", "default/api"),
    "a deleted folder without git": ("home/work/gone-plain", "default/gone-plain"),
    "a deleted worktree": ("home/work/gone-fix", "default/lonely"),
    "a repository mounted in a container": ("workspaces/boxed", "default/boxed"),
    "its worktree in that container": ("workspaces/boxed-fix", "default/boxed"),
    "a clone mounted in a container": ("workspaces/api", "default/api"),
    "a marker that names the workspace": ("home/work/acme", "acme/acme"),
    "a repository below it": ("home/work/acme/tool", "acme/tool"),
    "a folder below it": ("home/work/acme/notes", "acme/acme"),
    "a marker at the root of a repository": ("home/work/acme/named/src", "acme/named-here"),
    "a marker in a package": ("home/work/acme/named/packages/web", "acme/package"),
    "a repository below a marker": ("home/work/acme/named/packages/web/vendored", "acme/package"),
    "a marker with capture rules alone": ("home/work/acme/tool/src", "acme/tool"),
    "a repository in other letters": ("home/work/CASED/api", "default/cased-api"),
    "a folder in other letters": ("home/work/cased/NOTES", "default/Notes"),
    "a marked folder in other letters": ("home/work/cased/MARKED/src", "default/cased-mark"),
}
CONTAINER = {name for name in CELLS if "container" in name}
DELETED = {name for name in CELLS if "deleted" in name}
CASELESS = {name for name in CELLS if "in other letters" in name}


class World:
    """A user's home with every kind of folder; what moved, went or was renamed was known before."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.home = folder(base / "home")
        self.memory = base / "memory"
        self.launcher = write_launcher(self.memory, python=sys.executable)
        self.library = base / "caseless.so"
        if shutil.which("gcc") and sys.platform == "linux":
            subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", self.library, HERE / "caseless.c"], check=True)
        self.forge = Forge(base, folder(base / "forge"), None, "ai_memory_mcp.server.sdk", "ai_memory_mcp.local_model")
        self._build(folder(self.home / "work"))

    def _build(self, work: Path) -> None:
        repo(work / "library", commit=True)
        api = repo(work / "api", URL, commit=True)
        for name in ("src/deep", "was-here"):
            folder(api / name)
        git(api, "worktree", "add", "-q", str(work / "api-fix"))
        git(api, "worktree", "add", "-q", str(api / ".worktrees" / "fix"))
        git(api, "submodule", "--quiet", "add", str(work / "library"), "vendor/library")
        folder(repo(api / "nested") / "src")
        repo(work / "deep" / "other", "git@github.com:Acme/API")
        lonely = repo(work / "lonely", commit=True)
        git(lonely, "worktree", "add", "-q", str(work / "lonely-fix"))
        git(lonely, "worktree", "add", "-q", str(work / "gone-fix"))
        git(work, "clone", "-q", "lonely", "lonely-clone")
        mono = repo(work / "mono", "https://github.com/acme/mono")
        folder(mono / "packages" / "one")
        folder(mark(folder(mono / "packages" / "web"), 'project = "web-shop"\n') / "src")
        (work / "linked").symlink_to(api)
        (work / "linked-parent").symlink_to(work)
        (api / "data").symlink_to(folder(work / "elsewhere"))
        (self.base / "home-link").symlink_to(self.home)
        mark(self.home, 'project = "everything"\n')
        folder(work / "plain" / "inside")
        folder(work / "deep" / "plain")
        acme = mark(folder(work / "acme"), 'workspace = "acme"\n')
        mark(folder(repo(acme / "tool") / "src"), "[capture]\ntools = true\n")
        folder(acme / "notes")
        named = mark(repo(acme / "named"), 'project = "named-here"\n')
        folder(named / "src")
        repo(mark(folder(named / "packages" / "web"), 'project = "package"\n') / "vendored")
        repo(work / "cased" / "Api", "https://github.com/acme/cased-api")
        folder(work / "cased" / "Notes")
        folder(mark(folder(work / "cased" / "Marked"), 'project = "cased-mark"\n') / "src")
        self._change(work)

    def _change(self, work: Path) -> None:
        boxed = repo(work / "boxed", commit=True)
        git(boxed, "worktree", "add", "-q", str(work / "boxed-fix"))
        known = [repo(work / "before"), repo(work / "moving"), repo(work / "moving-clone", "https://github.com/a/shop")]
        known += [mark(folder(work / "carried"), 'project = "carried"\n'), repo(work / "gone"), boxed]
        known += [folder(work / "gone-plain"), work / "gone-fix", work / "lonely", work / "plain"]
        known += [folder(work / "cased" / "Notes")]
        for place in known:
            self.hook(f"before in {place}", str(place))
        self.command("ingest", str(self.base))
        (work / "before").rename(work / "after")
        repo(work / "before")
        for name in ("moving", "moving-clone", "carried"):
            (work / name).rename(work / "deep" / name)
        for name in ("boxed", "boxed-fix"):
            (work / name).rename(folder(self.base / "workspaces") / name)
        repo(self.base / "workspaces" / "api", URL)

    def env(self, cell: str = "") -> dict[str, str]:
        found = {"PATH": os.environ["PATH"], "HOME": str(self.home), "AI_MEMORY_HOME": str(self.memory)}
        if cell in CONTAINER:
            found["HOME"] = str(folder(self.base / "root"))
        if cell in CASELESS:
            found |= {"LD_PRELOAD": str(self.library), "CASELESS": str(self.home)}
        return found

    def hook(self, session: str, cwd: str, cell: str = "") -> None:
        """Have a hook report a prompt typed in a folder."""
        payload = json.dumps({"session_id": session, "cwd": cwd, "prompt": f"Question {session}"})
        command = [str(self.launcher), "claude-code", "UserPromptSubmit"]
        done = subprocess.run(command, input=payload.encode(), env=self.env(cell), capture_output=True, check=True)
        assert (done.stdout, done.stderr) == (b"", b"")

    def command(self, words: str, cwd: str, cell: str = "", given: str = "") -> str:
        """Run one of our commands in a folder, which may be gone by the time that it starts."""
        if cell in CASELESS:
            return self._alone(words, cwd, cell, given)
        gone = cell in DELETED
        at = str(folder(self.base / "gone")) if gone else cwd  # which of the two it was makes no difference any more
        done = self.forge.run(words, cwd=at, gone=gone, given=given, **self.env(cell), PWD=cwd)
        assert (done.code, done.err) == (0, ""), done
        return done.out

    def _alone(self, words: str, cwd: str, cell: str, given: str) -> str:
        with subprocess.Popen(
            [sys.executable, "-m", "ai_memory_mcp", *words.split()],
            cwd=self.as_spelled(cwd),
            env={**self.env(cell), "PWD": cwd, "PYTHONPATH": str(HERE.parent)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            process.stdin.write(given)
            process.stdin.flush()
            answers = [process.stdout.readline() for _ in range(2) if given]  # before the end of input
            told = "".join(answers) + process.communicate(timeout=60)[0]
        assert process.returncode == 0
        return told

    def as_spelled(self, cwd: str) -> str:
        """Return a folder under the name that it has on this disk."""
        for name in ("cased/Api", "cased/Notes", "cased/Marked"):
            told = str(self.home / "work" / name)
            if cwd.lower().startswith(told.lower()):
                return told + cwd[len(told) :]
        return cwd


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"))
    yield world
    world.forge.close()


def by_command(world: World, cwd: str, cell: str) -> str:
    project = json.loads(world.command("status --json", cwd, cell))["project"]
    return f"{project['workspace']}/{project['name'] or 'general'}"


def by_mcp(world: World, cwd: str, cell: str) -> str:
    """Return the project that the server tells, without its workspace."""
    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "probe", "version": "1"}}
    asked = [
        {"id": 1, "method": "initialize", "params": client},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "memory.status", "arguments": {}}},
    ]
    given = "".join(json.dumps({"jsonrpc": "2.0", **one}) + "\n" for one in asked)
    answer = json.loads(world.command("serve", cwd, cell, given).splitlines()[-1])["result"]
    told = str(answer["content"][0]["text"])
    if told.startswith("Project: none here"):
        return "general"
    return told.removeprefix("Project: ").partition(" (")[0]


def by_hook(world: World, cwd: str, cell: str) -> str:
    """Return the project that an event from this folder is stored in."""
    world.hook(cell, cwd, cell)
    world.command("ingest", "/")
    memory = opened(str(world.memory))
    with memory.res.index.read() as db:
        (session,) = rows.native_sessions(db, "claude-code", cell)
        project = rows.project(db, session.project)
    assert project is not None
    return f"{project.workspace}/{project.name}"


@pytest.mark.parametrize("cell", CELLS)
def test_it_is_the_right_project_to_all_three(world: World, cell: str) -> None:
    if cell in CASELESS and not world.library.exists():
        pytest.skip("a disk that tells no case apart is made by a library that only Linux preloads")
    place, wanted = CELLS[cell]
    cwd = os.path.normpath(world.base / place)
    if cell in DELETED:
        shutil.rmtree(cwd.removesuffix("/sub"), ignore_errors=True)

    asked = [by_command(world, cwd, cell), by_hook(world, cwd, cell), by_command(world, cwd, cell)]
    served = by_mcp(world, cwd, cell)

    assert [fnmatchcase(one, wanted) for one in asked] == [True] * 3, asked
    assert fnmatchcase(served, wanted.partition("/")[2])
