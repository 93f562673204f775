"""Sync with real git remotes: what one machine writes another one has, and nothing gets lost or where it must not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from children import child, sync_killed
from playing import repository
from syncing import GIT, Machine, git

from ai_memory_mcp import merging, registry, sync
from ai_memory_mcp.config import Config, SyncConfig, load_config, remote_fault
from ai_memory_mcp.doctor import examine
from ai_memory_mcp.errors import BusyError, ConfigError, InputError
from ai_memory_mcp.files import locked
from ai_memory_mcp.gitremote import shown
from ai_memory_mcp.handoff import waiting
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, HandoffDraft, Query, Scope
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.server.hands import Here
from ai_memory_mcp.server.workers import Workers
from ai_memory_mcp.wiki_git import ON_PURPOSE


def branch(remote: Path, folder: Path, name: str = "default/app") -> Path:
    """A clone to do by git itself what another machine, or an attacker, may do to the remote."""
    subprocess.run(["git", "clone", "-q", "-b", name, str(remote), str(folder)], check=True)
    return folder


def push(clone: Path, message: str = "by git", *options: str) -> None:
    git(clone, "add", "-A", "-f")
    git(clone, "commit", "-q", "-m", message)
    git(clone, "push", "-q", *options, "origin", "HEAD")


def test_what_one_machine_writes_another_one_finds_at_once(a: Machine, b: Machine, remote: Path) -> None:
    a.write("Postgres", "We use it for its okapis.")
    a.memory.leave_handoff(a.scope, HandoffDraft(summary="Half of it is done."))
    assert a.sync().sent
    b.write("Redis", "For the cache.")
    done = b.sync()

    assert {"notes/postgres.md", "project.md"} <= set(done.received)
    assert [hit.path for hit in b.memory.search(b.scope, Query(text="okapis")).hits] == ["notes/postgres.md"]
    assert b.memory.handoffs(b.scope)[0].summary == "Half of it is done."
    assert b.memory.read(b.scope, "notes/postgres.md").page
    assert git(remote, "branch", "--format=%(refname:short)") == "default/app"
    assert a.sync().received
    assert a.texts() == b.texts()
    assert a.sync().state == b.sync().state == "unchanged"
    assert a.healthy()
    assert b.healthy()
    assert [one.author for one in b.memory.history(b.scope, "notes/postgres.md")] == ["ai-memory"]


def test_a_machine_that_never_saw_the_project_gets_it(a: Machine, own_home: Path, remote: Path) -> None:
    a.write("Postgres", "okapis")
    a.sync()
    c = LocalMemory(Resources.at(own_home / "c", str(own_home), Config(sync=SyncConfig(remote=str(remote)))))
    told = c.sync(Scope(), every=True)

    assert [(one.project, one.state, one.new) for one in told.projects] == [("app", "synced", True)]
    project = c.projects()[0]
    assert (project.id, project.name, project.remotes) == (a.project.id, "app", ("github.com/me/app",))
    assert project.roots == ()
    assert c.search(Scope(project="app"), Query(text="okapis")).hits
    c.reindex()
    assert c.projects() == (project,)
    assert [one.state for one in c.sync(Scope(), every=True).projects] == ["unchanged"]


def test_without_a_remote_nothing_is_sent(a: Machine, own_home: Path) -> None:
    alone = LocalMemory(Resources.at(own_home / "a" / "memory", str(own_home), Config()))
    with pytest.raises(InputError, match="no remote is set up"):
        alone.sync(a.scope)


def test_a_dry_run_changes_nothing(a: Machine, b: Machine, remote: Path) -> None:
    a.write("Postgres", "okapis")
    assert a.sync(dry_run=True).sent
    assert git(remote, "branch") == ""
    a.sync()
    b.write("Redis", "cache")
    before = b.texts()

    assert "notes/postgres.md" in b.sync(dry_run=True).received
    assert b.texts() == before


def test_both_edits_of_a_page_survive_and_a_real_conflict_is_named_until_it_is_resolved(a: Machine, b: Machine) -> None:
    path = a.write("List", "- one\n- two\n- three\n")
    a.sync()
    b.sync()
    text = (a.wiki / path).read_text()
    a.save({path: text.replace("two", "two of A") + "- A\n"})
    (b.wiki / path).write_text(text.replace("two", "two of B") + "- B\n")  # by hand
    a.sync()
    assert b.sync().in_conflict == (path,)
    a.sync()

    assert a.texts() == b.texts()
    merged = (a.wiki / path).read_text()
    assert {"- two of A", "- two of B", "- A", "- B", "- one", "- three"} <= set(merged.splitlines())
    for machine in (a, b):
        told = machine.memory.status(machine.scope).sync
        assert told
        assert told.in_conflict == (path,)
        looked = examine(machine.res, [], env={}, cwd="", python=sys.executable, now=datetime.now(timezone.utc))
        assert [one.level for one in looked if "changed in two places" in one.message] == ["warning"]
    b.save({path: "\n".join(line for line in merged.splitlines() if merging.MARK not in line) + "\n"})
    b.sync()
    a.sync()
    for machine in (a, b):
        told = machine.memory.status(machine.scope).sync
        assert told
        assert told.in_conflict == ()


def test_a_handoff_that_two_machines_accept_is_the_earlier_ones_and_is_never_open_again(a: Machine, b: Machine) -> None:
    left = a.memory.leave_handoff(a.scope, HandoffDraft(summary="Go on."))
    a.sync()
    b.sync()
    a.memory.accept_handoff(a.scope, agent="claude-code")
    time.sleep(0.01)
    b.memory.accept_handoff(b.scope, agent="codex")
    b.sync()
    a.sync()
    b.sync()

    for machine in (a, b):
        found = machine.memory.handoffs(machine.scope, every=True)
        assert [(one.id, one.state, one.accepted_by) for one in found] == [(left.id, "accepted", "claude-code")]
    assert a.texts() == b.texts()
    assert "also_accepted_by: [codex]" in a.texts()[left.path]


def test_a_page_goes_only_where_somebody_says_so(a: Machine, b: Machine) -> None:
    meant, vanished, edited, by_git = (a.write(title, "text") for title in ("Meant", "Vanished", "Edited", "By git"))
    a.sync()
    b.sync()
    a.save({meant: None, edited: None})
    (a.wiki / vanished).unlink()
    a.memory.close()
    git(a.wiki, "rm", "-q", by_git)
    git(a.wiki, "commit", "-q", "-m", "away with it")
    b.save({edited: b.texts()[edited] + "more\n"})
    assert a.sync().sent
    done = b.sync()
    a.sync()

    assert done.removed == (meant,)
    assert meant not in a.texts()
    assert {vanished, edited, by_git} <= set(b.texts())
    assert "more" in a.texts()[edited]
    assert by_git in a.texts()
    assert b.healthy()
    git(b.wiki, "rm", "-q", by_git)
    git(b.wiki, "commit", "-q", "-m", f"away with it\n\n{ON_PURPOSE}")
    b.sync()
    assert a.sync().removed == (by_git,)


def test_two_projects_called_alike_never_share_a_branch(own_home: Path, remote: Path, a: Machine) -> None:
    """On one machine the second one has another name; on the other it is the only one."""
    a.write("Mine", "okapi")
    a.sync()
    theirs = "git@github.com:you/app.git"
    other = Machine(own_home / "c", remote, origin=theirs)
    other.write("Theirs", "zebra")
    assert other.project.name == "app"
    first = other.sync().branch
    second = LocalMemory(a.res)
    scope = Scope(cwd=str(repository(own_home / "a" / "fork" / "app", remote=theirs)))
    second.write(scope, Draft(title="Here", body="lion"))
    told = second.sync(scope).projects[0]

    assert first != "default/app"
    assert told.branch == first
    assert "notes/theirs.md" in told.received
    other.sync()
    assert {"notes/here.md", "notes/theirs.md"} <= set(other.texts())
    assert "notes/mine.md" not in other.texts()
    assert {one.name for one in second.projects()} == {"app", told.project}
    assert len(git(remote, "branch").splitlines()) == 2


@pytest.mark.parametrize(
    "name",
    ["app", "my app", "a..b", "x.lock", "-x", ".x", "@{u}", "a~b^c:d", "größe", "メモ", "a\\b", "?*[", "x" * 300],
)
def test_every_name_makes_a_branch(name: str) -> None:
    part = sync.ref_part(name)

    assert subprocess.run(["git", "check-ref-format", f"refs/heads/default/{part}"], check=False).returncode == 0
    assert sync.ref_part(name + "?") != part


def test_many_random_edits_on_both_sides_end_in_the_same_tree_with_every_line(a: Machine, b: Machine) -> None:
    rounds(a, b, edits=200, syncs=0.08, seed=6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_more_random_edits(a: Machine, b: Machine, seed: int) -> None:
    rounds(a, b, edits=400, syncs=0.2, seed=seed)


def rounds(a: Machine, b: Machine, *, edits: int, syncs: float, seed: int) -> None:
    """Edit in random places and sync in random order; a line may only be gone where somebody has removed it."""
    dice = random.Random(seed)
    living: set[str] = set()
    for machine in (a, b):
        machine.write("Begin", "begun")
    for number in range(edits):
        machine = dice.choice((a, b))
        living = edit(machine, dice, f"- line {number}", living)
        if dice.random() < syncs:
            dice.choice((a, b)).sync()
    for machine in (a, b, a):
        machine.sync()
    found = {line for text in a.texts().values() for line in text.splitlines()}

    assert a.texts() == b.texts()
    assert git(a.wiki, "rev-parse", "HEAD^{tree}") == git(b.wiki, "rev-parse", "HEAD^{tree}")
    assert living - found == set()
    assert a.healthy()
    assert b.healthy()


def edit(machine: Machine, dice: random.Random, line: str, living: set[str]) -> set[str]:
    """Add a line to one of a few pages, sometimes in place of another one, or remove a page; returns what must stay."""
    path = f"notes/{dice.randrange(6)}.md"
    lines = (machine.wiki / path).read_text().splitlines() if (machine.wiki / path).exists() else ["# Page", ""]
    gone: set[str] = set()
    if dice.random() < 0.03 and len(lines) > 2:
        machine.save({path: None})
        return living - set(lines)
    at = dice.randrange(2, len(lines) + 1) if dice.random() < 0.7 else len(lines)
    if dice.random() < 0.2 and at < len(lines) and lines[at].startswith("- "):
        gone = {lines.pop(at)}
    lines.insert(at, line)
    text = "\n".join(lines) + "\n"
    if dice.random() < 0.7:
        (machine.wiki / path).parent.mkdir(exist_ok=True)
        (machine.wiki / path).write_text(text)
    else:
        machine.save({path: text})
    return (living | {line}) - gone


def test_two_that_push_at_once_both_get_through(a: Machine, b: Machine, own_home: Path) -> None:
    for machine in (a, b):
        machine.write("Begin", "begun")
        machine.sync()
    for number in range(3):
        for name, machine in (("a", a), ("b", b)):
            machine.write(f"{name} {number}", "text")
        both = [command(machine) for machine in (a, b)]
        assert [(one.communicate(timeout=60)[1], one.returncode) for one in both] == [(b"", 0)] * 2
    a.sync()
    b.sync()

    assert a.texts() == b.texts()
    assert {f"notes/{name}-{number}.md" for name in "ab" for number in range(3)} <= set(a.texts())


def command(machine: Machine) -> subprocess.Popen[bytes]:
    env = {
        **os.environ,
        "AI_MEMORY_HOME": str(machine.res.home),
        "AI_MEMORY_SYNC__REMOTE": machine.res.config.sync.remote,
    }
    line = [sys.executable, "-m", "ai_memory_mcp", "sync"]
    return subprocess.Popen(line, cwd=machine.work, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_remote_that_is_away_is_told_and_changes_nothing(a: Machine, remote: Path) -> None:
    a.write("Postgres", "okapis")
    remote.rename(remote.with_name("away"))
    note = a.fails()

    assert "remote.git" in note
    told = a.memory.status(a.scope).sync
    assert told
    assert told.error == note
    remote.with_name("away").rename(remote)
    assert a.sync().sent
    told = a.memory.status(a.scope).sync
    assert told
    assert told.error == ""


def test_a_remote_that_was_begun_anew_is_brought_together_with_what_is_here(
    a: Machine, remote: Path, own_home: Path
) -> None:
    a.write("Old", "okapi")
    a.sync()
    clone = branch(remote, own_home / "clone")
    git(clone, "checkout", "-q", "--orphan", "anew")
    (clone / "notes" / "old.md").unlink()
    (clone / "notes" / "fresh.md").write_text("zebra\n")
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "anew")
    git(clone, "push", "-q", "-f", "origin", "anew:default/app")
    done = a.sync()

    assert "notes/fresh.md" in done.received
    assert {"notes/old.md", "notes/fresh.md"} <= set(a.texts())
    assert git(remote, "show", "default/app:notes/old.md")
    assert a.healthy()


def test_a_branch_that_holds_another_project_is_left_alone(a: Machine, remote: Path, own_home: Path) -> None:
    a.write("Mine", "okapi")
    a.sync()
    clone = branch(remote, own_home / "clone")
    front = (clone / "project.md").read_text()
    (clone / "project.md").write_text(front.replace(a.project.id, "6f0c1d1e-8a4b-4c0e-9d53-a1a3e0b7c9d2"))
    (clone / "notes" / "evil.md").write_text("evil\n")
    push(clone)
    tip = git(remote, "rev-parse", "default/app")
    a.write("More", "lion")

    assert "holds another project now" in a.fails()
    assert "notes/evil.md" not in a.texts()
    assert git(remote, "rev-parse", "default/app") == tip


def test_what_a_hostile_remote_holds_stays_out(a: Machine, remote: Path, own_home: Path) -> None:
    a.write("Mine", "okapi", path="notes/mine.md")
    a.sync()
    clone = branch(remote, own_home / "clone")
    (clone / ".obsidian").mkdir()
    (clone / ".obsidian" / "app.json").write_text("{}")
    (clone / ".gitattributes").write_text("* filter=evil\n")
    (clone / "link").symlink_to("/etc")
    (clone / "notes" / "link.md").symlink_to("/etc/passwd")
    (clone / "notes" / "huge.md").write_bytes(b"x" * (17 * 2**20))
    (clone / "notes" / "a:b.md").write_text("not on Windows\n")
    (clone / "notes" / "latin.md").write_bytes(b"caf\xe9\n")
    (clone / "notes" / "secret.md").write_text("GITHUB_TOKEN=ghp_" + "a1B2" * 9 + "\n")
    (clone / "Notes").mkdir()
    (clone / "Notes" / "MINE.md").write_text("another one\n")
    (clone / "picture.png").write_bytes(b"\x89PNG")
    front = (clone / "project.md").read_text()
    claimed = "/home/me/secret"
    (clone / "project.md").write_text(front.replace("roots: [", f"roots: [{claimed}, "))
    git(clone, "add", "-A", "-f")
    git(clone, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    git(clone, "commit", "-q", "-m", "evil")
    git(clone, "push", "-q")
    done = a.sync()

    assert {".obsidian/app.json", ".gitattributes", "link", "notes/link.md", "notes/huge.md", "notes/a:b.md"} <= set(
        done.left_out
    )
    assert "module" in done.left_out
    on_disk = {str(path.relative_to(a.wiki)) for path in a.wiki.rglob("*") if ".git" not in path.parts}
    assert not on_disk & set(done.left_out)
    assert not any((a.wiki / path).is_symlink() for path in on_disk)
    assert (a.wiki / "notes" / "latin.md").read_bytes() == b"caf\xe9\n"
    assert (a.wiki / "picture.png").read_bytes() == b"\x89PNG"
    secret = (a.wiki / "notes" / "secret.md").read_text()
    assert "ghp_" not in secret
    assert "[REDACTED" in secret
    assert (a.wiki / "notes" / "mine.md").read_text().endswith("okapi\n")
    assert [path.read_text() for path in (a.wiki / "notes").glob("MINE-*.md")] == ["another one\n"]
    assert claimed not in a.project.roots
    a.memory.reindex()
    assert claimed not in a.project.roots
    listed = set(git(remote, "ls-tree", "-r", "-z", "--name-only", "default/app").split("\0"))
    assert listed & set(done.left_out) == set()
    assert a.sync().state == "unchanged"
    assert a.healthy()


@pytest.mark.parametrize("name", ["..", ".git", ".GIT", "git~1"])
def test_what_leads_out_of_the_wiki_is_refused_by_git_itself(
    a: Machine, remote: Path, own_home: Path, name: str
) -> None:
    a.write("Mine", "okapi")
    a.sync()
    clone = branch(remote, own_home / "clone")
    inner = tree(clone, f"100644 blob {git(clone, 'rev-parse', 'HEAD:project.md')}\tevil.md\n")
    whole = git(clone, "ls-tree", "HEAD") + f"\n040000 tree {inner}\t{name}\n"
    commit = git(clone, "commit-tree", "-m", "evil", "-p", "HEAD", tree(clone, whole))
    git(clone, "push", "-q", "origin", f"{commit}:default/app")
    before = set(own_home.rglob("evil.md"))

    assert "failed" in a.fails()
    assert set(own_home.rglob("evil.md")) == before
    assert a.healthy()


def tree(clone: Path, listing: str) -> str:
    line = [*GIT, "-C", str(clone), "mktree"]
    done = subprocess.run(line, input=listing, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_plain_folder_is_not_taken_for_a_project_of_another_machine(own_home: Path, remote: Path) -> None:
    """Its path means something else here."""
    folder = own_home / "notes"
    folder.mkdir()
    first = LocalMemory(Resources.at(own_home / "m1", str(own_home), Config(sync=SyncConfig(remote=str(remote)))))
    first.write(Scope(cwd=str(folder)), Draft(title="Theirs", body="zebra"))
    first.sync(Scope(cwd=str(folder)))
    second = LocalMemory(Resources.at(own_home / "m2", str(own_home), Config(sync=SyncConfig(remote=str(remote)))))
    second.sync(Scope(), every=True)
    second.write(Scope(cwd=str(folder)), Draft(title="Mine", body="okapi"))

    assert {one.id for one in first.projects()} != {one.id for one in second.projects()}
    assert len(second.projects()) == 2
    assert not second.search(Scope(cwd=str(folder)), Query(text="zebra")).hits


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://me:secret@host/a.git", "https://host/a.git"),
        ("https://ghp_secret@host/a.git?token=x", "https://host/a.git"),
        ("ssh://git:secret@host:22/a", "ssh://git@host:22/a"),
        ("git@host:a/b.git", "git@host:a/b.git"),
        ("/srv/a.git", "/srv/a.git"),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret(url: str, told: str) -> None:
    assert shown(url) == told


@pytest.mark.parametrize("url", ["https://me:hunter2@host/a", "https://ghp_" + "a1B2" * 9 + "@host/a", "ext::sh", "-x"])
def test_an_address_with_a_password_is_no_setting_and_is_not_repeated(tmp_path: Path, url: str) -> None:
    (tmp_path / "config.toml").write_text(f'[sync]\nremote = "{url}"\n')
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, {})

    assert remote_fault(url)
    assert "hunter2" not in str(caught.value)
    assert "ghp_" not in str(caught.value)


class Asking(BaseHTTPRequestHandler):
    """A host that wants a password."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_remote_that_wants_a_password_is_not_waited_for(own_home: Path) -> None:
    """Nobody is there to type it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Asking) as server:
        threading.Thread(target=server.serve_forever).start()
        note = Machine(own_home / "a", f"http://127.0.0.1:{server.server_port}/a.git").fails()
        server.shutdown()

    assert "terminal prompts disabled" in note


def test_one_sync_at_a_time(a: Machine) -> None:
    with locked(a.res.home / "locks" / "sync.lock", timeout=1), pytest.raises(BusyError):
        a.memory.sync(a.scope, wait=0.0)


@pytest.mark.parametrize("point", range(4))
def test_killed_at_any_line_the_next_sync_goes_on(a: Machine, b: Machine, own_home: Path, point: int) -> None:
    counted = own_home / "counted"
    for machine in (a, b):
        for number in range(4):
            machine.write(f"{machine.work.parent.name} {number}", "- one\n- two\n", path=f"notes/{number}.md")
        machine.write(machine.work.parent.name, "own")
    a.sync()
    process = child(
        sync_killed, str(b.res.home), str(b.work), b.res.config.sync.remote, 300 + 1200 * point, str(counted)
    )
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    b.sync()
    a.sync()

    assert a.texts() == b.texts()
    assert {"notes/a.md", "notes/other.md"} <= set(a.texts())
    assert a.healthy()
    assert b.healthy()


def test_a_server_syncs_by_itself(a: Machine, remote: Path, home: Path) -> None:
    a.write("Postgres", "okapis")
    a.sync()
    res = Resources.at(home, str(home.parent), Config(sync=SyncConfig(remote=str(remote))))
    workers = Workers(home, lambda: LocalMemory(res), lambda: Here(LocalMemory(res)))
    workers.start()
    deadline = time.monotonic() + 30
    while not list(home.glob("wiki/*/*/notes/postgres.md")) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers.stop()

    assert list(home.glob("wiki/*/*/notes/postgres.md"))


def test_a_front_page_names_the_folders_of_all_machines_but_each_goes_by_its_own(a: Machine, b: Machine) -> None:
    for machine in (a, b):
        machine.write("Begin", "begun")
        machine.sync()
    a.sync()

    assert {str(a.work), str(b.work)} <= set(registry.from_front_page(a.texts()["project.md"], "x", "y").roots)
    assert a.project.roots == (str(a.work),)
    assert b.project.roots == (str(b.work),)
    assert not [one for one in a.memory.handoffs(a.scope) if not waiting(one)]
