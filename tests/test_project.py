"""Which project a folder is: hooks and callers must give the same answer in every kind of folder.

Each test asks twice: an event goes through emit's spool and ingest, and the folder is resolved as MCP and CLI do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from ai_memory_mcp import emit, registry
from ai_memory_mcp.config import Config
from ai_memory_mcp.errors import ProjectError
from ai_memory_mcp.index import rows
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Project, Scope
from ai_memory_mcp.project import ID_FILE, branch_of, identify, keep_id, normalise_remote, remote_id
from ai_memory_mcp.resources import Resources

URL = "https://github.com/acme/api.git"
GIT_ENV = {
    **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "user",
    "GIT_AUTHOR_EMAIL": "user@example.org",
    "GIT_COMMITTER_NAME": "user",
    "GIT_COMMITTER_EMAIL": "user@example.org",
}


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main", *arguments]
    subprocess.run(command, cwd=folder, env=GIT_ENV, check=True, capture_output=True)


def repo(folder: Path, remote: str = "", *, commit: bool = False) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    if remote:
        git(folder, "remote", "add", "origin", remote)
    if commit:
        git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


def folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def mark(at: Path, text: str) -> Path:
    (at / ".ai-memory.toml").write_text(text, encoding="utf-8")
    return at


class Machine:
    """A user's home, a memory, and ways to ask what project a folder is."""

    def __init__(self, base: Path, name: str = "memory") -> None:
        self.home = folder(base / "home")
        self.memory = LocalMemory(Resources.at(base / name, user_home=str(self.home), config=Config()))
        self.count = 0

    def hook(self, cwd: Path | str) -> None:
        """Have a hook report a prompt typed in a folder."""
        self.count += 1
        payload: dict[str, object] = {
            "session_id": f"s{self.count}",
            "cwd": str(cwd),
            "prompt": f"Question {self.count}",
        }
        env = {"HOME": str(self.home)}
        emit.store_event(str(self.memory.res.home), env, "claude-code", "UserPromptSubmit", payload, "")

    def ingested(self) -> Project:
        """Return the project that the last event went to."""
        report = self.memory.ingest()
        assert report.ingested == 1, report
        with self.memory.res.index.read() as db:
            row = rows.native_sessions(db, "claude-code", f"s{self.count}")[0]
            project = rows.project(db, row.project)
        assert project is not None, f"session in unknown project {row.project}"
        return project

    def asked(self, cwd: Path | str) -> Project | None:
        return self.memory.resolve(Scope(cwd=str(cwd))).project

    def at(self, cwd: Path | str) -> Project:
        """Return the project of a folder, on which hooks and callers must agree, before and after it is known."""
        before = self.asked(cwd)
        self.hook(cwd)
        project = self.ingested()
        asked = self.asked(cwd)
        if asked is None:
            assert project.name == "general"
            return project
        assert (asked.id, asked.name) == (project.id, project.name)
        assert before is not None
        assert before.name == project.name
        return project


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return folder(tmp_path / "home" / "work")


def different(*projects: Project) -> bool:
    ids, names = {one.id for one in projects}, {one.name for one in projects}
    return len(ids) == len(names) == len(projects)


# --- one project in many places


def test_clones_of_one_remote_are_one_project_on_every_machine(machine: Machine, work: Path, tmp_path: Path) -> None:
    first = machine.at(repo(work / "api", URL))
    second = machine.at(repo(work / "other" / "name", "git@github.com:Acme/API"))
    elsewhere = Machine(tmp_path, "another-memory").at(work / "api")

    assert first.id == second.id == elsewhere.id == remote_id("github.com/acme/api")
    assert first.name == "api"


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example.org/acme/api.git",
        "https://git.example.org/acme/api",
        "https://git.example.org/acme/api/",
        "https://user@git.example.org/acme/api.git",
        "https://user:secret@git.example.org:8443/acme/api.git",
        "https://user@corp.com:sec@ret@git.example.org/acme/api.git",
        "http://GIT.Example.ORG/acme/api.git",
        "ssh://git@git.example.org/acme/api.git",
        "ssh://git@git.example.org:22/acme/api.git/",
        "ssh://git.example.org//acme/api",
        "git+ssh://git@git.example.org/acme/api.git",
        "git://git.example.org/acme/api.git",
        "git@git.example.org:acme/api.git",
        "git@git.example.org:/acme/api.git",
        "git.example.org:acme/api",
        "  git@git.example.org:acme/api.git\n",
    ],
)
def test_every_spelling_of_a_remote_is_the_same(url: str) -> None:
    assert normalise_remote(url) == "git.example.org/acme/api"


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("", ""),
        ("git@github.com:", ""),
        ("git@GitHub.com:Acme/Api.git", "github.com/acme/api"),
        ("ssh://git@ssh.github.com:443/acme/api.git", "github.com/acme/api"),
        ("https://www.github.com/acme/api", "github.com/acme/api"),
        ("https://git.example.org/Acme/Api", "git.example.org/Acme/Api"),
        ("ssh://git@[2001:db8::1]:22/acme/api", "[2001:db8::1]/acme/api"),
        ("/srv/nowhere/api.git", "file:/srv/nowhere/api"),
        ("/srv/nowhere/api/.git", "file:/srv/nowhere/api"),
        ("file:///srv/nowhere/api.git/", "file:/srv/nowhere/api"),
        ("../api", "file:/srv/nowhere/api"),
    ],
)
def test_remotes_are_told_apart_where_they_differ(url: str, meant: str) -> None:
    assert normalise_remote(url, "/srv/nowhere/clone") == meant


def test_case_counts_in_paths_of_hosts_that_tell_case_apart(machine: Machine, work: Path) -> None:
    one = machine.at(repo(work / "a" / "api", "https://git.example.org/acme/api"))
    other = machine.at(repo(work / "b" / "api", "https://git.example.org/Acme/api"))

    assert different(one, other)


def test_a_subfolder_is_its_repository(machine: Machine, work: Path) -> None:
    root = repo(work / "api", URL)

    assert machine.at(folder(root / "src" / "deep")).id == machine.at(root).id


def test_linked_worktrees_are_their_repository_wherever_they_are(machine: Machine, work: Path) -> None:
    for name, remote in (("plain", ""), ("published", URL)):
        root = repo(work / name, remote, commit=True)
        git(root, "worktree", "add", "-q", str(work / f"{name}-outside"))
        git(root, "worktree", "add", "-q", str(root / ".worktrees" / "inside"))

        found = [machine.at(work / f"{name}-outside"), machine.at(root / ".worktrees" / "inside"), machine.at(root)]

        assert len({project.id for project in found}) == 1
        assert found[0].name == ("api" if remote else "plain")


@pytest.mark.parametrize("bare_name", ["api.git", "api/.bare"])
def test_worktrees_of_a_bare_repository_are_one_project_named_after_it(
    machine: Machine, work: Path, bare_name: str
) -> None:
    source = repo(work / "source", commit=True)
    folder(work / "api")
    git(work, "clone", "-q", "--bare", str(source), bare_name)
    git(work / bare_name, "remote", "remove", "origin")
    for tree in ("one", "two"):
        git(work / bare_name, "worktree", "add", "-q", "-b", tree, str(work / "api" / tree))

    found = [machine.at(work / "api" / "one"), machine.at(work / "api" / "two"), machine.at(work / bare_name)]

    assert len({project.id for project in found}) == 1
    assert found[0].name == "api"


def test_a_symlink_is_what_it_points_to(machine: Machine, work: Path) -> None:
    root = repo(work / "real" / "api")
    (work / "linked").symlink_to(root)
    (work / "parent").symlink_to(work / "real")
    (work / "circle").symlink_to(work / "circle")

    assert machine.at(work / "linked").id == machine.at(work / "parent" / "api").id == machine.at(root).id
    assert machine.asked(work / "circle") is not None


def test_a_link_out_of_a_repository_leads_out_of_its_project(machine: Machine, work: Path) -> None:
    root = repo(work / "api", URL)
    (root / "data").symlink_to(folder(work / "elsewhere"))

    assert different(machine.at(root), machine.at(root / "data"))
    assert machine.at(root).name == "api"


def test_a_repository_without_remote_keeps_its_project_when_moved(machine: Machine, work: Path) -> None:
    before = machine.at(repo(work / "api"))
    folder(work / "moved")
    (work / "api").rename(work / "moved" / "renamed")

    after = machine.at(work / "moved" / "renamed")

    assert (after.id, after.name) == (before.id, "api")


def test_what_comes_to_a_place_that_a_project_left_is_another_project(machine: Machine, work: Path) -> None:
    before = machine.at(repo(work / "api"))
    (work / "api").rename(work / "renamed")
    machine.at(work / "renamed")

    assert different(before, machine.at(repo(work / "api")))
    shutil.rmtree(work / "api")
    assert machine.at(folder(work / "api")).id != before.id


def test_a_remote_added_later_is_an_alias(machine: Machine, work: Path) -> None:
    before = machine.at(repo(work / "api"))
    git(work / "api", "remote", "add", "origin", URL)

    assert machine.at(work / "api").id == before.id
    assert machine.at(repo(work / "clone", URL)).id == before.id


def test_a_remote_that_moved_to_another_host_is_an_alias(machine: Machine, work: Path) -> None:
    before = machine.at(repo(work / "api", URL))
    git(work / "api", "remote", "set-url", "origin", "git@git.example.org:acme/api.git")

    assert machine.at(work / "api").id == before.id


def test_another_repository_at_the_same_path_is_another_project(machine: Machine, work: Path) -> None:
    before = machine.at(repo(work / "try", URL))
    shutil.rmtree(work / "try")

    after = machine.at(repo(work / "try", "https://github.com/acme/web"))

    assert different(before, after)


def test_git_init_keeps_the_project_of_the_folder(machine: Machine, work: Path) -> None:
    before = machine.at(folder(work / "api"))
    git(work / "api", "init", "-q")

    assert machine.at(work / "api").id == before.id
    (work / "api").rename(work / "renamed")
    assert machine.at(work / "renamed").id == before.id


def test_publishing_a_folder_keeps_its_project(machine: Machine, work: Path) -> None:
    before = machine.at(folder(work / "api"))
    git(work / "api", "init", "-q")
    git(work / "api", "remote", "add", "origin", URL)

    assert machine.at(work / "api").id == before.id
    assert machine.at(repo(work / "clone", URL)).id == before.id


def test_a_copy_of_a_repository_shares_its_project_until_it_has_a_remote_of_its_own(
    machine: Machine, work: Path
) -> None:
    original = machine.at(repo(work / "api"))
    shutil.copytree(work / "api", work / "copy")
    assert machine.at(work / "copy").id == original.id

    git(work / "api", "remote", "add", "origin", URL)
    assert machine.at(work / "api").id == original.id
    git(work / "copy", "remote", "add", "origin", "https://github.com/acme/copy")

    assert different(original, machine.at(work / "copy"))
    assert machine.at(work / "api").id == original.id


@pytest.mark.parametrize("clone_first", [True, False])
def test_a_clone_of_a_local_repository_is_its_project(machine: Machine, work: Path, clone_first: bool) -> None:
    root = repo(work / "api", commit=True)
    git(work, "clone", "-q", "api", "clone")
    order = [work / "clone", root] if clone_first else [root, work / "clone"]

    assert len({machine.at(one).id for one in order}) == 1


def test_a_clone_of_a_local_clone_has_the_remote_of_that(machine: Machine, work: Path) -> None:
    repo(work / "api", URL, commit=True)
    git(work, "clone", "-q", "api", "clone")

    assert machine.at(work / "clone").id == remote_id("github.com/acme/api")


def test_relative_remotes_count_from_the_repository(machine: Machine, work: Path) -> None:
    one = machine.at(repo(work / "a" / "clone", "../origin"))
    other = machine.at(repo(work / "b" / "clone", "../origin"))

    assert different(one, other)


def test_a_removed_folder_is_still_known_by_its_path(machine: Machine, work: Path) -> None:
    root = repo(work / "api", commit=True)
    git(root, "worktree", "add", "-q", str(work / "tree"))
    before = machine.at(work / "tree")
    plain = machine.at(folder(work / "plain"))
    for gone, project in ((work / "tree", before), (work / "plain", plain)):
        machine.hook(gone)
        shutil.rmtree(gone)
        assert machine.ingested().id == project.id


def test_a_removed_nested_repository_is_not_taken_for_the_outer_one(machine: Machine, work: Path) -> None:
    outer = machine.at(repo(work / "outer"))
    inner = machine.at(repo(work / "outer" / "inner"))
    machine.hook(work / "outer" / "inner")
    shutil.rmtree(work / "outer" / "inner")

    assert machine.ingested().id == inner.id != outer.id


def test_a_worktree_whose_repository_is_not_mounted_is_still_known(machine: Machine, work: Path) -> None:
    root = repo(work / "api", commit=True)
    git(root, "worktree", "add", "-q", str(work / "tree"))
    before = machine.at(root)
    root.rename(work / "away")

    assert machine.at(work / "tree").id == before.id


# --- projects within projects


def test_nested_repositories_and_submodules_are_projects_of_their_own(machine: Machine, work: Path) -> None:
    library = repo(work / "library", commit=True)
    outer = repo(work / "outer", URL, commit=True)
    nested = repo(outer / "nested")
    git(outer, "submodule", "--quiet", "add", str(library), "vendored")

    assert different(machine.at(outer), machine.at(nested), machine.at(outer / "vendored"))
    assert machine.at(outer / "vendored").id == machine.at(library).id


def test_a_marker_gives_a_package_of_a_repository_its_own_project(machine: Machine, work: Path) -> None:
    root = repo(work / "mono")
    package = mark(folder(root / "packages" / "web"), 'project = "web"\n')
    other = folder(root / "packages" / "other")

    web, rest = machine.at(folder(package / "src")), machine.at(other)

    assert different(web, rest)
    assert web.name == "web"
    assert rest.id == machine.at(root).id
    assert machine.at(package).roots == (str(package),)


def test_a_marker_round_a_repository_counts_for_it_too(machine: Machine, work: Path) -> None:
    mark(work, 'workspace = "acme"\nproject = "all"\n')
    inner = machine.at(repo(work / "api", URL))

    assert (inner.workspace, inner.name) == ("acme", "all")
    assert machine.at(work).id == inner.id


def test_markers_tell_the_workspace_and_the_project_each_at_its_level(machine: Machine, work: Path) -> None:
    mark(work, 'workspace = "acme"\n')
    package = mark(folder(work / "web"), 'project = "web"\n')

    assert machine.at(package).workspace == "acme"
    assert machine.at(repo(work / "api", URL)).workspace == "acme"


def test_a_marker_with_capture_rules_alone_changes_no_project(machine: Machine, work: Path) -> None:
    root = repo(work / "api", URL)
    inner = mark(folder(root / "src"), "[capture]\ntools = false\n")

    assert machine.at(inner).id == machine.at(root).id


def test_a_marker_joins_the_project_that_has_its_name(machine: Machine, work: Path) -> None:
    known = machine.at(repo(work / "api", URL))

    assert machine.at(mark(folder(work / "scripts"), 'project = "api"\n')).id == known.id


def test_markers_with_one_name_are_one_project_on_every_machine(machine: Machine, work: Path, tmp_path: Path) -> None:
    one = machine.at(mark(folder(work / "a"), 'project = "both"\n'))
    other = Machine(tmp_path, "another-memory").at(mark(folder(work / "b"), 'project = "both"\n'))

    assert one.id == other.id


def test_a_removed_marker_gives_its_folder_back(machine: Machine, work: Path) -> None:
    root = mark(repo(work / "api"), 'project = "named"\n')
    named = machine.at(root)
    (root / ".ai-memory.toml").unlink()

    assert different(named, machine.at(root))


@pytest.mark.parametrize("text", ["project = [broken", "project = 7", 'project = "a/b"', 'workspace = "a\\nb"'])
def test_a_broken_marker_stops_everything_below_it(machine: Machine, work: Path, text: str) -> None:
    root = mark(repo(work / "api", URL), text)
    with pytest.raises(ProjectError, match=r"\.ai-memory\.toml"):
        machine.asked(root)
    machine.hook(root)

    report = machine.memory.ingest()

    assert report.ingested == 0
    assert machine.memory.projects() == ()


# --- what is no project


def test_too_general_folders_are_never_a_project(machine: Machine, tmp_path: Path) -> None:
    repo_here = repo(tmp_path / "dotfiles")
    shutil.copytree(repo_here / ".git", machine.home / ".git")
    mark(machine.home, 'project = "everything"\n')
    (tmp_path / "link-home").symlink_to(machine.home)
    for cwd in (machine.home, tmp_path / "link-home", tmp_path, "/", "/tmp", "/tmp/", "/var/tmp", ""):
        resolved = machine.memory.resolve(Scope(cwd=str(cwd)))
        assert (resolved.project, resolved.by) == (None, "none"), cwd


def test_events_of_no_project_go_to_general(machine: Machine) -> None:
    assert machine.at(machine.home).name == "general"
    assert machine.at("/tmp").name == "general"


def test_home_as_a_repository_does_not_swallow_what_is_below(machine: Machine, work: Path) -> None:
    git(machine.home, "init", "-q")
    mark(machine.home, 'project = "everything"\n')

    assert different(machine.at(folder(work / "one")), machine.at(folder(work / "two")), machine.at(machine.home))


def test_a_folder_called_general_is_not_the_project_general(machine: Machine, work: Path) -> None:
    plain = machine.at(folder(work / "general"))

    assert different(plain, machine.at(machine.home))


def test_a_deleted_working_directory_is_no_error(machine: Machine, work: Path) -> None:
    gone = repo(work / "gone")
    program = (
        "import os, shutil, sys; os.chdir(sys.argv[1]); shutil.rmtree(sys.argv[1])\n"
        "from ai_memory_mcp.project import identify\n"
        "print(identify('', '/home/user').by, identify('sub', '/home/user').by, identify(sys.argv[1], '').by)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    done = subprocess.run([sys.executable, "-c", program, str(gone)], env=env, capture_output=True, text=True)

    assert done.stdout.split() == ["none", "folder", "folder"], done.stderr


# --- repositories in a bad state


def test_an_unborn_repository_has_its_project_and_branch(machine: Machine, work: Path) -> None:
    root = repo(work / "api")

    assert machine.at(root).name == "api"
    assert branch_of(str(root)) == "main"
    assert branch_of(str(work)) == ""


def test_a_git_file_that_points_nowhere_is_a_plain_place(machine: Machine, work: Path) -> None:
    root = folder(work / "api")
    (root / ".git").write_text("gitdir: /nowhere/at/all\n")
    (folder(work / "odd") / ".git").write_bytes(b"\xff\xfe")

    assert machine.at(root).name == "api"
    assert machine.at(root).id == machine.at(folder(root / "sub")).id
    assert machine.at(work / "odd").name == "odd"


def test_a_git_directory_that_refuses_the_id_file_leaves_it_to_the_path(machine: Machine, work: Path) -> None:
    root = repo(work / "api", commit=True)
    git(root, "worktree", "add", "-q", str(work / "tree"))
    folder(root / ".git" / ID_FILE)  # refuses even the superuser

    assert machine.at(root).id == machine.at(work / "tree").id == machine.at(root).id


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only to the superuser")
def test_a_read_only_git_directory_leaves_it_to_the_path(machine: Machine, work: Path) -> None:
    root = repo(work / "api")
    (root / ".git").chmod(0o500)
    try:
        assert machine.at(root).id == machine.at(root).id
    finally:
        (root / ".git").chmod(0o700)


def test_a_broken_id_file_is_not_an_id(machine: Machine, work: Path) -> None:
    root = repo(work / "api")
    (root / ".git" / ID_FILE).write_text("not an id\n")

    assert machine.at(root).id == machine.at(root).id


@pytest.mark.parametrize(
    "config",
    [
        '[REMOTE "origin"]\n\tURL = https://github.com/acme/api.git ; moved\n',
        '[remote "upstream"]\n\turl = https://github.com/other/api\n[remote "origin"]\n\turl = "https://github.com/acme/api"\n',
        '[remote "fork"]\n\tpushurl = x\n\turl = git@github.com:acme/api\n[branch "main"]\n\turl = y\n',
    ],
)
def test_git_settings_are_read_as_git_reads_them(machine: Machine, work: Path, config: str) -> None:
    root = repo(work / "x")
    (root / ".git" / "config").write_text(config)

    assert machine.at(root).id == remote_id("github.com/acme/api")


def test_the_id_that_was_kept_first_wins(work: Path) -> None:
    root = repo(work / "api")
    seen = identify(str(root), "")
    first, second = "0" * 8 + "-0000-4000-8000-" + "1" * 12, "0" * 8 + "-0000-4000-8000-" + "2" * 12

    assert keep_id(seen, first) == first
    assert keep_id(seen, second) == first
    assert identify(str(root), "").id == first
    assert [path.name for path in (root / ".git").glob(ID_FILE + "*")] == [ID_FILE]


def test_stamps_change_when_the_answer_may_change(work: Path) -> None:
    root = folder(work / "api")

    def stale(change: Callable[[], object]) -> bool:
        before = identify(str(root), "")
        change()
        return any(identify(str(root), "").stamps.get(path) != stamp for path, stamp in before.stamps.items())

    assert stale(lambda: git(root, "init", "-q"))
    assert stale(lambda: git(root, "remote", "add", "origin", URL))
    assert stale(lambda: (root / ".git" / ID_FILE).write_text("x"))
    mark(root, "[capture]\n")
    assert stale(lambda: os.utime(mark(root, 'project = "x"\n') / ".ai-memory.toml", (1, 1)))


# --- names


def test_repositories_with_one_folder_name_are_told_apart(machine: Machine, work: Path, tmp_path: Path) -> None:
    roots = [repo(work / owner / "api") for owner in ("a", "b", "c")] + [repo(work / "d" / "api", URL)]
    found = [machine.at(root) for root in roots]

    assert different(*found)
    assert found[0].name == "api"
    assert [machine.at(root).name for root in roots] == [project.name for project in found]
    again = Machine(tmp_path, "another-memory")
    assert [again.at(root).name for root in roots] == [project.name for project in found]


def test_a_folder_with_an_odd_name_is_a_project(machine: Machine, work: Path) -> None:
    assert machine.at(folder(work / "two\nlines")).name == "twolines"
    assert machine.at(folder(work / "日本 語")).name == "日本 語"


def test_looking_never_makes_a_project(machine: Machine, work: Path) -> None:
    root = repo(work / "api")
    machine.memory.resolve(Scope(cwd=str(root)))

    assert machine.memory.projects() == ()
    assert not (root / ".git" / ID_FILE).exists()


def test_what_is_written_lands_where_the_hooks_file(machine: Machine, work: Path) -> None:
    root = repo(work / "api")
    page = machine.memory.write(Scope(cwd=str(root)), Draft(title="T", body="b"))

    assert page.project == machine.at(root).id
    assert len(machine.memory.projects()) == 1


def test_projects_are_the_same_after_reindex(machine: Machine, work: Path) -> None:
    machine.at(repo(work / "api", URL))
    machine.at(mark(folder(work / "web"), 'workspace = "acme"\nproject = "web"\n'))
    machine.at(folder(work / "plain"))
    before = machine.memory.projects()

    machine.memory.reindex()

    assert machine.memory.projects() == before


def test_two_processes_make_one_project(machine: Machine, work: Path) -> None:
    root = folder(work / "plain")
    identity = identify(str(root), str(machine.home))
    machine.memory.resolve(Scope())
    now = datetime.now(timezone.utc)
    first = registry.make_known(machine.memory.res, identity, [], now=now)
    second = registry.make_known(machine.memory.res, identity, [], now=now)  # it looked before the first one wrote

    assert first == second
