"""A backup holds everything, is taken while agents write, and is put back only when it is what it says."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import threading
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from children import backup_killed, child, opened
from hypothesis import given, settings
from hypothesis import strategies as st
from invariants import git_problems, wikis
from playing import DEAD, Player, put, repository
from remotes import Machine, local

from ai_memory_mcp import backup, formats
from ai_memory_mcp.archive import Archive, Packer, refusal, tamed
from ai_memory_mcp.errors import BusyError, InputError, StorageError
from ai_memory_mcp.files import locked
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Query, Scope
from ai_memory_mcp.tokens import Tokens

WIKI = "wiki/11111111-1111-4111-8111-111111111111/22222222-2222-4222-8222-222222222222"
Change = Callable[[dict[str, bytes], dict[str, Any]], None]


@pytest.fixture
def filled(memory: LocalMemory, home: Path, work: Path, here: Scope) -> LocalMemory:
    """A memory with everything that there can be in one."""
    Player(home, work, "one", ago=900, pid=DEAD).start().works().ends()
    put(home, "00000000000000000001-1-aaaa-0123456789abcdef.json", b"{")
    memory.ingest()
    memory.write(here, Draft(title="One", body="okapi"))
    memory.write(here, Draft(title="One", body="okapi again"))
    memory.feedback(here, "One", "helpful")
    memory.close()
    Player(home, work, "two", ago=100).start().prompt("and this waits")
    (home / "config.toml").write_text("[session]\nidle_minutes = 11\n")
    (home / "token").write_text("secret")
    (home / "sync").mkdir()
    (home / "sync" / "x.json").write_text("{}")
    Tokens(home).create("laptop", read_only=False, workspaces=(), now=datetime.now(timezone.utc))
    return memory


@pytest.fixture
def archive(filled: LocalMemory, tmp_path: Path) -> Path:
    filled.backup(tmp_path / "b.zip")
    return tmp_path / "b.zip"


def quiet(*_: object) -> None:
    """Tell nobody how far it is."""


def restored(file: Path, home: Path) -> backup.Restored:
    return backup.restore(file, home, progress=quiet)


def at(home: Path, like: LocalMemory) -> LocalMemory:
    """Open a home as the user who has `like`."""
    return LocalMemory(like.res.at(home, like.res.user_home, like.res.config))


def said(memory: LocalMemory, here: Scope) -> dict[str, Any]:
    """Return what a memory tells."""
    return {
        "sessions": memory.sessions(here),
        "handoffs": memory.handoffs(here, every=True),
        "recent": memory.recent(here),
        "history": memory.history(here, limit=100),
        "old": memory.read(here, "One", links=True).text,
        "observations": memory.search(here, Query(text="parser", kinds=("observation",))).hits,
        "capture": memory.status(here).capture,
        "aside": memory.status(here).spool,
    }


def files(home: Path) -> dict[str, bytes]:
    """Return all that is in a home but locks."""
    found = (path for path in home.rglob("*") if path.is_file() and path.parent.name != "locks")
    return {str(path.relative_to(home)): path.read_bytes() for path in found}


def test_what_is_restored_tells_the_same(filled: LocalMemory, archive: Path, here: Scope, tmp_path: Path) -> None:
    new = tmp_path / "user" / "new"
    steps: list[tuple[str, int, int]] = []
    done = backup.restore(archive, new, progress=lambda *step: steps.append(step))
    other = at(new, filled)

    for path in new.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert said(other, here) == said(filled, here)
    assert (done.tokens, done.kept, done.aside) == (("laptop",), (), ())
    assert (new / "config.toml").read_text() == (filled.res.home / "config.toml").read_text()
    assert Tokens(new).all() == Tokens(filled.res.home).all()
    assert [git_problems(wiki) for wiki in wikis(new)] == [""]
    assert steps[0][:2] == ("unpacking", 0)
    assert steps[-1][2] == done.files
    assert other.ingest().ingested == 0
    other.write(here, Draft(title="Goes on", body="x"))


def test_an_archive_is_the_owners_alone_and_holds_no_secret(filled: LocalMemory, archive: Path, tmp_path: Path) -> None:
    names = zipfile.ZipFile(archive).namelist()

    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert {name.split("/")[0] for name in names} == {
        *("spool", "journal", "sync", "wiki", "config.toml", "tokens.json", "format", "manifest.json")
    }
    assert not [name for name in names if name.endswith(("/token", "index.db"))]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_times_of_pages_are_kept(filled: LocalMemory, home: Path, tmp_path: Path) -> None:
    (page,) = home.rglob("notes/one.md")
    os.utime(page, ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    filled.backup(tmp_path / "b.zip")
    restored(tmp_path / "b.zip", tmp_path / "new")

    assert next((tmp_path / "new").rglob("notes/one.md")).stat().st_mtime_ns == 1_600_000_000_123_456_789


def test_what_no_archive_holds_is_named(filled: LocalMemory, home: Path, tmp_path: Path) -> None:
    (wiki,) = home.glob("wiki/*/*")
    (wiki / "passwd.md").symlink_to("/etc/passwd")
    (wiki / "etc").symlink_to("/etc")
    (wiki / ".obsidian").mkdir()
    (wiki / ".obsidian" / "x.json").write_text("{}")
    (wiki / "notes" / "a\nb.md").write_text("x")
    Path(os.fsdecode(os.fsencode(wiki) + b"/notes/\xff.md")).write_text("x")
    (wiki / ".git" / "hooks").mkdir()
    (wiki / ".git" / "hooks" / "post-commit").write_text("#!/bin/sh")
    told = filled.backup(tmp_path / "b.zip")
    restored(tmp_path / "b.zip", tmp_path / "new")

    assert sorted(name.split("/", 3)[-1] for name in told.left_out) == [
        *(".obsidian/x.json", "etc", "notes/a\nb.md", "notes/\udcff.md", "passwd.md")
    ]
    assert told.files == len(files(tmp_path / "new"))


def test_a_home_with_a_memory_is_left_alone(filled: LocalMemory, archive: Path, home: Path) -> None:
    before = files(home)
    with pytest.raises(InputError, match="holds a memory already"):
        restored(archive, home)
    with pytest.raises(InputError, match="exists"):
        filled.backup(archive)
    with pytest.raises(InputError, match="lost together"):
        filled.backup(home / "b.zip")

    assert files(home) == before


def test_a_home_that_only_has_settings_and_events_keeps_them(archive: Path, work: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    for name in ("config.toml", "tokens.json", "bin/emit", "brief/x.json", "logs/emit.log", "sync/old.json"):
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        (new / name).write_text("mine")
    Player(new, work, "three", ago=10).start().prompt("a hook was quicker")
    (new / "tombstones.jsonl").write_text("gone\n")
    waiting = set(os.listdir(new / "spool"))
    done = restored(archive, new)

    assert (done.kept, done.tokens) == (("config.toml", "tokens.json"), ())
    assert (new / "config.toml").read_text() == "mine"
    assert (new / "bin" / "emit").exists()
    assert not (new / "brief" / "x.json").exists()
    assert os.listdir(new / "sync") == ["x.json"]
    assert waiting < set(os.listdir(new / "spool"))
    assert (new / "tombstones.jsonl").read_text() == "gone\n"
    assert not list(new.glob(".restore-*"))


def test_what_either_knows_to_be_gone_stays_gone(filled: LocalMemory, home: Path, tmp_path: Path) -> None:
    (home / "tombstones.jsonl").write_text("there\n")
    filled.backup(tmp_path / "b.zip")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "tombstones.jsonl").write_text("here\n")
    restored(tmp_path / "b.zip", tmp_path / "new")

    assert (tmp_path / "new" / "tombstones.jsonl").read_text().split() == ["here", "there"]


def test_a_dry_run_reads_all_and_writes_nothing(archive: Path, home: Path, tmp_path: Path) -> None:
    told = backup.restore(archive, tmp_path / "new", dry_run=True, progress=quiet)

    assert told.dry_run
    assert not (tmp_path / "new").exists()
    assert backup.restore(archive, home, dry_run=True, progress=quiet).files == told.files


def test_a_backup_while_agents_write_loses_nothing(memory: LocalMemory, home: Path, work: Path, here: Scope) -> None:
    """What was acknowledged before the backup began is in it, whatever goes on."""
    memory.write(here, Draft(title="First", body="x"))
    stop, began = threading.Event(), threading.Event()

    def write() -> None:
        mine, number = opened(str(home)), 0
        while not stop.is_set():
            number += 1
            Player(home, work, f"s{number}", pid=DEAD).start().prompt(f"number {number}").edits("a.py").ends()
            mine.ingest()
            mine.write(here, Draft(title=f"Page {number}", body="x"))
            began.set()
        mine.close()

    thread = threading.Thread(target=write)
    thread.start()
    began.wait(60)
    try:
        for number in range(3):
            before = {one.native_id: one.observations for one in opened(str(home)).sessions(here, limit=1000)}
            pages = {hit.path for hit in opened(str(home)).recent(here, limit=100)}
            file, new = home.with_name(f"{number}.zip"), home.with_name(str(number))
            memory.backup(file)
            restored(file, new)
            other = at(new, memory)
            after = {one.native_id: one.observations for one in other.sessions(here, limit=1000)}
            assert before.items() <= after.items()
            assert pages <= {hit.path for hit in other.recent(here, limit=100)}
            for row in other.sessions(here, limit=1000):
                seen = other.read(here, row.native_id, observations=True).observations
                assert len(seen) == len({one.id for one in seen})
            other.ingest()
            other.close()
            assert [git_problems(wiki) for wiki in wikis(new)] == [""]
    finally:
        stop.set()
        thread.join()


def test_a_line_that_is_being_written_is_not_packed(tmp_path: Path) -> None:
    log = tmp_path / "x.jsonl"
    log.write_bytes(b'{"a":1}\n' + b'{"b":"' + b"x" * 3_000_000 + b'"}\n{"torn')
    with open(tmp_path / "b.zip", "w+b") as file:
        packer = Packer(file)
        packer.add(log, "journal/x.jsonl", lines=True)
        packer.add(tmp_path / "gone", "journal/gone.jsonl", lines=True)
        packer.finish("1", datetime.now(timezone.utc))
    with Archive(tmp_path / "b.zip") as archive:
        (entry,) = archive.manifest.files
        archive.unpack(entry, tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == log.read_bytes()[: -len(b'{"torn')]


def test_two_at_once_are_one_after_the_other(filled: LocalMemory, archive: Path, home: Path, tmp_path: Path) -> None:
    with locked(home / "locks" / "backup.lock", timeout=1), pytest.raises(BusyError), backup.lock(home, 0.1):
        pass
    results: list[str] = []

    def run() -> None:
        try:
            results.append(restored(archive, tmp_path / "new").home)
        except InputError as error:
            results.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted("holds a memory already" in one for one in results) == [False, True]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small archive for what is tried hundreds of times."""
    folder = tmp_path_factory.mktemp("sample")
    with open(folder / "sample.zip", "w+b") as file:
        packer = Packer(file)
        for name in ("format", "config.toml", "journal/a/b.jsonl", f"{WIKI}/project.md", f"{WIKI}/.git/HEAD"):
            (folder / "x").write_text(f"{name}\n" * 30)
            packer.add(folder / "x", name)
        packer.finish("1", datetime.now(timezone.utc))
    return folder / "sample.zip"


# --- archives that are not what they say


def rewritten(source: Path, target: Path, change: Change) -> Path:
    """Write an archive anew after a change of its files and its manifest."""
    with zipfile.ZipFile(source) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name != "manifest.json"}
        manifest = json.loads(archive.read("manifest.json"))
    change(files, manifest)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr("manifest.json", json.dumps(manifest))
    return target


def added(*names: str) -> Change:
    """Add files under these names, and have the manifest say so."""

    def change(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        for name in names:
            files[name] = b"x"
            digest = hashlib.sha256(b"x").hexdigest()
            manifest["files"].append({"path": name, "size": 1, "mtime": 1, "sha256": digest})

    return change


def first(**values: Any) -> Change:
    """Change what the manifest says of its first file."""
    return lambda files, manifest: manifest["files"][0].update(values)


TRICKS: dict[str, Change] = {
    "absolute": added("/tmp/ai-memory-x"),
    "above": added(f"{WIKI}/../../../../x"),
    "above all": added("../x"),
    "dot": added(f"{WIKI}/./x"),
    "nothing between": added(f"{WIKI}//x"),
    "backslash": added(f"{WIKI}\\x"),
    "control": added(f"{WIKI}/a\nb"),
    "too long": added(f"{WIKI}/{'x' * 300}"),
    "too deep": added(f"{WIKI}/{'x/' * 600}x"),
    "unknown": added("bin/emit"),
    "index": added("index.db"),
    "a client's token": added("token"),
    "hidden": added(f"{WIKI}/.obsidian/plugins/x/main.js"),
    "hidden in the spool": added("spool/.x"),
    "no project's": added("wiki/x.md"),
    "hook": added(f"{WIKI}/.git/hooks/post-commit"),
    "hook in other letters": added(f"{WIKI}/.GIT/hooks/post-commit"),
    "hook by a short name": added(f"{WIKI}/GIT~1/hooks/post-commit"),
    "hook by what nobody sees": added(f"{WIKI}/.g\u200cit/hooks/post-commit"),
    "hook further down": added(f"{WIKI}/notes/.git/hooks/post-commit"),
    "other objects": added(f"{WIKI}/.git/objects/info/alternates"),
    "other settings": added(f"{WIKI}/.git/config.worktree"),
    "filters": added(f"{WIKI}/.git/info/attributes"),
    "another name of a setting": added("CONFIG.toml"),
    "a file where a folder is": added(f"{WIKI}/a", f"{WIKI}/a/b"),
    "changed": lambda files, manifest: files.update({"config.toml": b"[session]\nidle_minutes = 12\n"}),
    "longer": lambda files, manifest: files.update({"config.toml": files["config.toml"] + b"#"}),
    "more": lambda files, manifest: files.update({f"{WIKI}/more.md": b"x"}),
    "less": lambda files, manifest: files.pop("config.toml"),
    "twice": lambda files, manifest: manifest["files"].append(manifest["files"][0]),
    "newer": lambda files, manifest: manifest.update(format=formats.FORMAT + 1, what="ever"),
    "of another": lambda files, manifest: manifest.update(product="other"),
    "nonsense": lambda files, manifest: manifest.update(files=[{"path": 3}]),
    "huge": first(size=10**15),
    "no size": first(size=-1),
    "no time": first(mtime=-1),
    "no sum": first(sha256="x"),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_an_archive_that_is_not_what_it_says_is_refused(sample: Path, tmp_path: Path, trick: str) -> None:
    bad = rewritten(sample, tmp_path / "bad.zip", TRICKS[trick])
    (tmp_path / "new").mkdir()
    for dry_run in (True, False):
        with pytest.raises(InputError, match=r"Nothing was restored|upgrade"):
            backup.restore(bad, tmp_path / "new", dry_run=dry_run, progress=quiet)

    assert files(tmp_path / "new") == {}
    assert {path.name for path in tmp_path.iterdir()} == {"bad.zip", "new"}
    assert not Path("/tmp/ai-memory-x").exists()


def test_an_archive_as_it_is_passes_the_same_way(sample: Path, tmp_path: Path) -> None:
    """Otherwise the tricks might be refused for another reason."""
    for name in (f"{WIKI}/Ünï — 日本.md", f"{WIKI}/a:b.md", f"{WIKI}/notes/.gitignore", f"{WIKI}/.git/refs/x/y"):
        assert restored(rewritten(sample, tmp_path / "same.zip", added(name)), tmp_path / f"new{len(name)}").files


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFDIR])
def test_links_and_devices_are_refused(sample: Path, tmp_path: Path, mode: int) -> None:
    bad = shutil.copy(sample, tmp_path / "bad.zip")
    with zipfile.ZipFile(bad, "a") as opened:
        member = zipfile.ZipInfo(f"{WIKI}/x.md")
        member.external_attr = (mode | 0o777) << 16
        opened.writestr(member, b"/etc/passwd")
    with pytest.raises(InputError, match="no plain file"):
        restored(bad, tmp_path / "new")

    assert not (tmp_path / "new").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(sample: Path, tmp_path: Path) -> None:
    bad = shutil.copy(sample, tmp_path / "bad.zip")
    with zipfile.ZipFile(bad, "a") as opened:
        opened.writestr("config.toml", b"other")
    with pytest.raises(InputError, match="twice"):
        restored(bad, tmp_path / "new")


def test_names_that_differ_by_case_are_refused_where_the_disk_takes_them_for_one(sample: Path, tmp_path: Path) -> None:
    for names in (
        (f"{WIKI}/A.md", f"{WIKI}/a.md"),
        (f"{WIKI}/A/x.md", f"{WIKI}/a/y.md"),
        (f"{WIKI}/é", f"{WIKI}/e\u0301"),
    ):
        both = rewritten(sample, tmp_path / "both.zip", added(*names))
        with pytest.raises(InputError, match="beside each other"):
            Archive(both, caseless=True)
        with Archive(both) as opened:
            assert opened.manifest.files


def test_a_bomb_is_refused_by_the_sizes_that_it_tells(sample: Path, tmp_path: Path) -> None:
    data = bytearray(sample.read_bytes())
    place = data.rindex(b"config.toml")  # in the list at the end
    head = data.rindex(b"PK\x01\x02", 0, place)
    data[head + 24 : head + 28] = (4_000_000_000).to_bytes(4, "little")
    (tmp_path / "bomb.zip").write_bytes(data)
    with pytest.raises(InputError, match="as large as it says"):
        restored(tmp_path / "bomb.zip", tmp_path / "new")

    def grown(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        manifest["files"] = [{"path": f"{WIKI}/{n}", "size": 1, "mtime": 0, "sha256": "0" * 64} for n in range(99_999)]

    with pytest.raises(InputError, match="too large"):
        restored(rewritten(sample, tmp_path / "long.zip", grown), tmp_path / "new")

    def full(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        added("config.toml")(files, manifest)
        manifest["files"] = [one for one in manifest["files"] if one["path"] != "config.toml"]

    with pytest.raises(InputError, match="other files"):
        restored(rewritten(sample, tmp_path / "unnamed.zip", full), tmp_path / "new")


def test_files_that_share_their_bytes_are_refused(sample: Path, tmp_path: Path) -> None:
    """A bomb whose list has the same packed bytes under many names."""
    with zipfile.ZipFile(sample) as opened:
        (entry,) = [one for one in json.loads(opened.read("manifest.json"))["files"] if one["path"] == "config.toml"]
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w") as opened:
        opened.writestr("config.toml", b"x" * 100_000)
        (member,) = opened.infolist()
        manifest = {"product": "ai-memory-mcp", "format": 1, "version": "1", "made": "2026-01-01T00:00:00Z"}
        opened.writestr("manifest.json", json.dumps({**manifest, "files": [entry]}))
        for number in range(100):
            again = zipfile.ZipInfo(f"{WIKI}/{number}")
            for name in ("header_offset", "compress_size", "file_size", "CRC"):
                setattr(again, name, getattr(member, name))
            opened.filelist.append(again)
    with pytest.raises(InputError, match="over each other"):
        restored(tmp_path / "bomb.zip", tmp_path / "new")


def test_a_file_without_a_name_is_refused(sample: Path, tmp_path: Path) -> None:
    whole = sample.read_bytes()
    with zipfile.ZipFile(sample) as opened:
        name = opened.namelist()[0].encode()
    at = whole.rindex(name, 0, whole.rindex(b"PK\x05\x06"))
    (tmp_path / "nameless.zip").write_bytes(whole[:at] + b"\0" + whole[at + 1 :])  # a NUL ends a name
    with pytest.raises(InputError):
        restored(tmp_path / "nameless.zip", tmp_path / "new")

    assert files(tmp_path / "new") == {}


def test_what_does_not_fit_on_the_disk_is_refused_before_it_is_unpacked(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "ROOM", 1 << 60)  # what is to stay free
    with pytest.raises(InputError, match=r"has .* left"):
        restored(sample, tmp_path / "new")

    assert files(tmp_path / "new") == {}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_anywhere_is_an_error_or_changes_nothing_that_counts(sample: Path, data: st.DataObject) -> None:
    whole = sample.read_bytes()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(whole)))
        cut = data.draw(st.integers(0, 40))
        whole = whole[:start] + data.draw(st.binary(max_size=40)) + whole[start + cut :]
    bad = sample.with_name("damaged.zip")
    bad.write_bytes(whole)
    with suppress(InputError), Archive(bad) as opened:
        for entry in opened.manifest.files:
            opened.unpack(entry, None)
        with Archive(sample) as sound:
            assert sums(opened) == sums(sound)


def sums(archive: Archive) -> dict[str, str]:
    return {entry.path: entry.sha256 for entry in archive.manifest.files}


PARTS = ["wiki", "..", ".", ".git", "hooks", "config", "a", "", "\\", "~", "é", "objects", "refs"]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(PARTS), max_size=9).map("/".join))
def test_no_accepted_name_leads_out_of_the_folder_or_into_gits_hooks(name: str) -> None:
    for path in (name, f"{WIKI}/{name}", f"spool/{name}"):
        if not refusal(path):
            assert os.path.normpath(os.path.join("/home", path)) == f"/home/{path}"
            assert "hooks" not in path.lower().partition(".git/")[2].split("/")[:1]


LINES = """[core]|[CORE] fsmonitor = x|fsmonitor = x|\tsshCommand = x|[remote "a"]|[alias] s = !x|url = u\\|url = u
fetch = f|uploadpack = x|[include]|path = /x|[branch "b"]|merge = m|[remote "a\\"]|[user]|name = n|email = e # x
url = u\r fsmonitor = x
url = u\0|[filter "x"] |[remote "x"]url=u|[ remote "x"]|name="""
KEPT = re.compile(r'\[(remote|branch|user)( "[\w./ -]+")?\]|\t(url|fetch|remote|merge|name|email) = [^\\"#;\x00-\x1f]+')


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(re.split(r"[|\n]", LINES)) | st.text(max_size=20), max_size=12))
def test_gits_settings_keep_only_what_runs_nothing(lines: list[str]) -> None:
    told = tamed("\n".join(lines))

    assert told.startswith(tamed(""))
    assert [line for line in told.removeprefix(tamed("")).split("\n") if line and not KEPT.fullmatch(line)] == []


def test_git_reads_the_settings_that_were_kept(filled: LocalMemory, home: Path, tmp_path: Path) -> None:
    (config,) = home.glob("wiki/*/*/.git/config")
    marks = tmp_path / "ran"
    config.write_text(
        f"{config.read_text()}\tfsmonitor = touch {marks}\n[core] pager = touch {marks}\n[alias]\n\tst = !sh\n"
        '[remote "o"]\n\turl = /r\n\tfetch = +refs/heads/*:refs/remotes/o/*\n[include]\n\tpath = /etc/x\n'
    )
    filled.backup(tmp_path / "b.zip")
    restored(tmp_path / "b.zip", tmp_path / "new")
    (wiki,) = wikis(tmp_path / "new")
    told = subprocess.run(["git", "-C", wiki, "config", "--local", "-l"], capture_output=True, text=True, check=True)

    assert git_problems(wiki) == ""
    assert not marks.exists()
    assert [line for line in told.stdout.splitlines() if not line.startswith("core.")] == [
        *("remote.o.url=/r", "remote.o.fetch=+refs/heads/*:refs/remotes/o/*")
    ]
    assert {line.partition("=")[0] for line in told.stdout.splitlines() if line.startswith("core.")} == {
        *("core.repositoryformatversion", "core.filemode", "core.bare", "core.logallrefupdates", "core.autocrlf")
    }


# --- interrupted


@pytest.mark.parametrize("part", range(3))
def test_a_backup_that_is_killed_leaves_no_file_by_its_name(
    filled: LocalMemory, home: Path, tmp_path: Path, part: int
) -> None:
    filled.close()
    target, counted = tmp_path / "b.zip", tmp_path / "counted"
    process = child(backup_killed, str(home), str(target), 0, str(counted))
    process.join(60)
    assert process.exitcode == 0
    target.unlink()
    process = child(backup_killed, str(home), str(target), 1 + (2 * part + 1) * int(counted.read_text()) // 6, "")
    process.join(60)

    assert process.exitcode == -signal.SIGKILL
    assert not target.exists()
    for left in tmp_path.glob(".b.zip*"):
        os.utime(left, (1, 1))
    filled.backup(target)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert restored(target, tmp_path / "new").files


def half_restored(archive: Path, home: Path) -> None:
    """Leave a home as a restore does that is killed when the first folder is in its place."""
    with Archive(archive) as opened:
        stage = backup._unpack(opened, backup.private_dir(home), quiet)
        ready = backup._Ready(stage=stage.name, sum=opened.sum, told=backup._told(opened, home, stage))
    (home / formats.UNFINISHED).write_text(ready.model_dump_json())
    os.rename(stage / "journal", home / "journal")


def test_a_restore_that_was_killed_is_ended_by_the_next_command(
    filled: LocalMemory, archive: Path, here: Scope, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    other = at(new, filled)
    other.status(here)  # a server that was there before
    half_restored(archive, new)
    with pytest.raises(StorageError, match="not finished"):
        formats.version(new)

    assert said(other, here) == said(filled, here)
    assert not list(new.glob(".restore-*"))
    assert not (new / formats.UNFINISHED).exists()


def test_a_restore_that_was_killed_is_ended_by_the_next_restore(archive: Path, tmp_path: Path) -> None:
    half_restored(archive, tmp_path / "new")
    done = restored(archive, tmp_path / "new")
    assert done.files == len(files(tmp_path / "new"))

    other = rewritten(archive, tmp_path / "other.zip", added(f"{WIKI}/x.md"))
    half_restored(archive, tmp_path / "again")
    with pytest.raises(InputError, match="an earlier restore was ended"):
        restored(other, tmp_path / "again")
    assert len(files(tmp_path / "again")) == done.files


def test_what_came_to_be_meanwhile_is_put_aside(archive: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    half_restored(archive, new)
    (new / "wiki" / "x").mkdir(parents=True)
    (new / "wiki" / "x" / "y.md").write_text("z")
    done = restored(archive, new)

    assert [(Path(one) / "x" / "y.md").read_text() for one in done.aside] == ["z"]
    assert len(wikis(new)) == 1


def test_a_restore_that_was_killed_while_it_unpacked_leaves_nothing(
    filled: LocalMemory, archive: Path, here: Scope, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    with Archive(archive) as opened:
        backup._unpack(opened, backup.private_dir(new), quiet)
    memory = at(new, filled)
    assert memory.sessions(here) == ()
    memory.ingest()
    memory.close()

    assert not list(new.glob(".restore-*"))
    assert restored(archive, new).files


# --- by command


def test_by_command_a_memory_is_backed_up_and_restored_beside(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "m")
    work = repository(machine.user / "work")
    machine.run("write", "One", "--body", "okapi", cwd=work)
    machine.run("token", "create", "laptop")
    told = machine.json("backup", cwd=work)
    words = machine.run("restore", told["file"], "--into", str(tmp_path / "x"), cwd=work).stdout
    beside = machine.json("restore", told["file"], "--beside", cwd=work)
    refused = machine.run("restore", told["file"], cwd=work, code=1)

    assert Path(told["file"]).parent == machine.user
    assert "laptop" in words
    assert beside["home"].startswith(f"{machine.home}-restored-")
    assert beside["files"] == told["files"]
    assert "holds a memory already" in refused.stderr
    machine.env["AI_MEMORY_HOME"] = beside["home"]
    assert "okapi" in machine.run("search", "okapi", cwd=work).stdout
    client = Machine(tmp_path, "c", url="http://127.0.0.1:9")
    assert "run `ai-memory-mcp backup` there" in client.run("backup", code=1).stderr


def test_the_commands_say_what_they_do(archive: Path, tmp_path: Path) -> None:
    machine = Machine(tmp_path, "m")
    assert "all of it is right" in machine.run("restore", str(archive), "--dry-run").stdout
    assert "there is no file" in machine.run("restore", str(tmp_path / "no.zip"), code=1).stderr
    assert not machine.home.exists()
    machine.run("restore", str(archive))
    assert "ai-memory-" in machine.run("backup", str(tmp_path)).stdout
    assert len(list(tmp_path.glob("ai-memory-*.zip"))) == 1
    assert local(machine.home).projects()
