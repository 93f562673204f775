"""Runs commands in real processes and has the n-th change of a file go wrong: see `faults.c` for what is numbered.

`ACTS` are the operations under test: one line each. What must hold afterwards is in `check`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from children import opened
from invariants import events, git_problems, journals, leftovers, pages, rows_of, said, spooled, wikis
from playing import DEAD, Player, put, repository
from searching import traces

from ai_memory_mcp import backup
from ai_memory_mcp.book import Book
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Scope

LONGEST = 300  # seconds after which something is taken to hang
HERE = Path(__file__).resolve().parent
KILL, TORN, FULL, BROKEN = "kill", "torn", "full", "broken"
HOWS = (KILL, TORN, FULL, BROKEN)
WRITES = ("create", "write", "mkdir", "link", "symlink")  # what a full disk refuses
FAILS = (*WRITES, "open", "sync", "truncate", "rename")  # what a broken one refuses


@dataclass(frozen=True)
class Act:
    """An operation: the command, or "module:function" with arguments; {base} is the user's home.

    `whole`: it is done or not done, never in part. `state` names what it begins with, see `Stage`. `codes` are the exit
    statuses that it may have on a disk that refuses. `acks` finds in what it printed the ends of texts that are stored
    by then. `unsteady` finds the lines of an outcome that differ where something was done twice. `forgets`: what it is
    to take out are events, too. `erased` is a word that stands in what is erased: when that is done it is nowhere.
    `under` is the folder below the user's home in which changes of files are numbered, `home` the memory that is looked
    at. `tidies` is the command that removes what was left unfinished outside of a memory. `programs`: what other
    programs that it runs do to files is numbered as well. `served`: it is a client's, while `serve-http` serves that
    `home`; it is the server that goes wrong where it is its files that are numbered.
    """

    name: str
    words: str = ""
    call: tuple[str, ...] = ()
    given: str = ""
    state: str = "quiet"
    whole: bool = True
    codes: tuple[int, ...] = (0, 1)
    acks: str = ""
    unsteady: str = ""
    forgets: bool = False
    erased: str = ""
    under: str = "memory"
    home: str = "memory"
    tidies: str = ""
    programs: bool = False
    served: bool = False

    @property
    def on_server(self) -> bool:
        """Tell whether it is the server that goes wrong."""
        return self.served and self.under == self.home


def hook(event: str, **fields: Any) -> str:
    return json.dumps({"session_id": "hooked", "cwd": "{base}/work", "hook_event_name": event, **fields})


PROMPT, STOP = hook("UserPromptSubmit", prompt="hello"), hook("Stop", last_assistant_message="done")
START, END = hook("SessionStart", source="startup"), hook("SessionEnd", reason="other")


def streamed() -> str:
    """What a plugin sends: some events, each of which is answered when it is stored."""
    lines = []
    for number in range(4):
        payload = {
            "session_id": "streamed",
            "cwd": "{base}/work",
            "prompt": f"number {number}",
            "turn_id": f"t{number}",
        }
        line = {"event": "input", "seq": number, "at": NOW, "mark": "m", "payload": payload}
        lines.append(json.dumps(line))
    return "\n".join(lines) + "\n"


NOW = int(time.time() * 1000)
REASON = r"full|Input/output error|disk|No space left|git \w+ with .* failed: error:"  # git does not always say why
TWICE = r"duplicates|\"seen\"|agent-gone"
DELIVER = ("children:deliver", "{base}/work")
SERVED = "server/memory"
EXPORTED = "export {base}/earlier"
ACTS = (
    Act("emit", "emit claude-code UserPromptSubmit", given=PROMPT, codes=(0,)),
    Act("emit-first", "emit claude-code Stop", given=STOP, state="empty", codes=(0,)),
    Act("emit-start", "emit claude-code SessionStart", given=START, codes=(0,), whole=False, unsteady=TWICE),
    Act("emit-end", "emit claude-code SessionEnd", given=END, codes=(0,)),
    Act(
        "emit-stream",
        "emit --agent pi --stream",
        given=streamed(),
        codes=(0,),
        whole=False,
        acks=r'"seq":(\d)',
        unsteady=TWICE,
    ),
    Act("ingest", "ingest", state="spooled", whole=False),
    Act("write", "write Title --kind decision --body Words --supersedes decisions/old.md"),
    Act("write-first", "write Title --body Words --project general", state="empty", whole=False),
    Act("handoff-leave", "handoff leave --summary Where-things-stand --next-step Go-on"),
    Act("handoff-accept", "handoff accept"),
    Act("feedback", "feedback decisions/old.md stale --note No"),
    Act("consolidate", "consolidate", whole=False),
    Act("consolidate-model", call=("children:consolidate_newest", "{base}/memory", "{base}/work"), whole=False),
    Act("import", "import markdown {base}/docs", whole=False),
    Act("revert", "revert {commit}", whole=False),
    Act("sweep", "forget-sweep --yes", state="old", whole=False, forgets=True),
    Act("reindex", "reindex", whole=False),
    Act("purge-session", "purge-session killed --yes", erased="lexer"),
    Act("purge-project", "purge-project work --yes", erased="parse twice"),
    Act("scrub", "scrub lexer --yes", erased="lexer"),
    Act("token", "token create laptop"),
    Act("backup", "backup {base}/new.zip", under=""),
    Act("restore", "restore {base}/kept.zip", state="empty"),
    Act("export", "export {base}/out", under="", tidies="export {base}/out --force"),
    Act("export-tar", "export {base}/out.tar.gz", under="", tidies="export {base}/out.tar.gz --force"),
    Act("export-again", f"{EXPORTED} --force", state="exported", whole=False, under="", tidies=f"{EXPORTED} --force"),
    Act("export-over", f"{EXPORTED}.tgz --force", state="exported", under="", tidies=f"{EXPORTED}.tgz --force"),
    Act("rename", "rename-project work zoo"),
    Act("move", "move work zoo"),
    Act("merge", "merge-projects other work"),
    Act("sync", "sync --remote {base}/remote.git", state="shared", whole=False, programs=True),
    Act("sync-first", "sync --remote {base}/remote.git", whole=False, programs=True),
    Act("sync-erased", "sync --remote {base}/remote.git", state="erased", whole=False, programs=True, erased="zebra"),
    Act("embed", call=("children:embed_all", "{base}/memory"), whole=False),
    Act("deliver", call=DELIVER, state="client", whole=False, unsteady=TWICE, home=SERVED, served=True),
    Act("serve", call=DELIVER, state="client", whole=False, unsteady=TWICE, home=SERVED, under=SERVED, served=True),
    Act("read-edited", "read decisions/old.md", state="edited", whole=False),
)


@dataclass
class Done:
    """How a process ended, what it said, and the changes of files it had come to: (name, path)."""

    code: int
    out: str
    err: str
    passed: list[tuple[str, str]] = field(default_factory=list)


def compiled(folder: Path) -> Path:
    """Compile the library that is preloaded."""
    target = folder / "faults.so"
    compiler = shutil.which("cc") or "gcc"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", target, HERE / "faults.c"], check=True)
    return target


class Forge:
    """Forks a process for each command from one that has everything imported, so that thousands can be run.

    Without a library nothing goes wrong, and no change of a file is counted. `folder` is for its files, `modules` are
    imported as well.
    """

    def __init__(self, base: Path, folder: Path, library: Path | None, *modules: str) -> None:
        self.base = base
        self.folder = folder
        self.library = library
        env = {"PATH": os.environ["PATH"], "HOME": str(base), "AI_MEMORY_HOME": str(base / "memory")}
        env["PYTHONPATH"] = f"{HERE}{os.pathsep}{HERE.parent}"
        self.env = {**env, "LD_PRELOAD": str(library)} if library else env
        self.modules = modules
        self.process = self._begun()

    def _begun(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, str(HERE / "forking.py"), *self.modules],
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # what a buffer holds already, `select` does not see: a quick command would seem to hang
        )

    def start(
        self,
        words: str = "",
        *,
        call: tuple[str, ...] = (),
        given: str = "",
        at: int = 0,
        how: str = KILL,
        cwd: str = "",
        gone: bool = False,
        under: str = "memory",
        programs: bool = False,
        **env: str,
    ) -> int:
        """Start a command in the user's project, or in another folder, which may be `gone` by the time that it is run;
        its `at`-th change of a file goes wrong (0: none), those of `programs` that it runs counted as well. `env` are
        variables that it has. Returns its pid."""
        put_in = {"{base}": str(self.base)}
        (self.folder / "given").write_text(filled(given, put_in))
        for name in ("err", "log.room"):
            (self.folder / name).unlink(missing_ok=True)
        task = {
            "words": [filled(word, put_in) for word in words.split()],
            "act": [filled(word, put_in) for word in call],
            "cwd": cwd or str(self.base / "work"),
            "gone": gone,
            "env": env,
            "arm": [str(self.base / under), at, HOWS.index(how), str(self.folder / "log")] if self.library else [],
            "programs": programs,
            **{name: str(self.folder / name) for name in ("given", "out", "err")},
        }
        stdin: IO[bytes] = self.process.stdin  # type: ignore[assignment]
        stdin.write(json.dumps(task).encode() + b"\n")
        return self._number()

    def end(self) -> Done:
        """Wait for the command that was started."""
        code = self._number()
        names = ("out", "err", "log") if self.library else ("out", "err")
        told = {"log": ""} | {name: (self.folder / name).read_text(errors="replace") for name in names}
        passed = [line.split(" ", 2) for line in told["log"].splitlines()]
        return Done(code, told["out"], told["err"], [(one[1], one[2]) for one in passed])

    def says(self, pattern: str) -> str:
        """Wait until the command that was started says this on standard error; return its group, '' when it ended."""
        until = time.monotonic() + LONGEST
        while time.monotonic() < until:
            found = re.search(pattern, self._err())
            if found or select.select([self.process.stdout], [], [], 0.01)[0]:
                return found[1] if found else ""
        raise AssertionError(f"it does not say so: {self._err()}")

    def make_room(self) -> None:
        """Have the disk of the command that was started be no longer full."""
        (self.folder / "log.room").touch()

    def run(self, words: str = "", **told: Any) -> Done:
        """Run a command to its end, see `start`."""
        self.start(words, **told)
        return self.end()

    def close(self) -> None:
        with self.process:
            self.process.stdin.close()  # type: ignore[union-attr]

    def _number(self) -> int:
        stdout: IO[bytes] = self.process.stdout  # type: ignore[assignment]
        if not select.select([stdout], [], [], LONGEST)[0]:
            self.process.kill()
            self.process.wait()
            self.process = self._begun()
            raise AssertionError(f"it hangs: {self._err()}")
        return int(stdout.readline())

    def _err(self) -> str:
        path = self.folder / "err"
        return path.read_text(errors="replace") if path.exists() else ""


def filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text


class Stage:
    """A user's home, with a memory in one of several states that can be put back under the same path."""

    def __init__(self, folder: Path) -> None:
        self.base = folder / "user"
        self.home = self.base / "memory"
        self.kept = folder / "kept"
        work = repository(self.base / "work", remote="git@example.com:me/work.git")
        repository(self.base / "other", remote="git@example.com:me/other.git")
        (self.base / "docs").mkdir()
        for number in range(3):
            (self.base / "docs" / f"{number}.md").write_text(f"# Page {number}\n\nSee [[{number + 1}]].\n")
        self.home.mkdir(mode=0o700)
        for name in ("work", "other"):  # what the server calls so: clones
            shutil.copytree(self.base / name, self.base / "server" / name)
        subprocess.run(["git", "init", "-q", "--bare", "--template=", self.base / "remote.git"], check=True)
        self._keep("empty")
        self._delivering(work)
        self._keep("client")
        self.restore("empty")
        waiting = self._waiting(work)
        self._spool(work, waiting)
        self._keep("spooled")
        memory = opened(str(self.home))
        memory.ingest()
        memory.close()
        self._written(memory, work)
        self.commit = memory.history(Scope(cwd=str(work)), "decisions/old.md")[0].commit
        self._keep("quiet")
        memory.backup(self.kept / "empty" / "kept.zip")
        old = next((self.home / "wiki").rglob("decisions/old.md"))
        old.write_text(old.read_text() + "\nBy hand.\n")
        self._keep("edited")
        self.restore("quiet")
        self._exported(work)
        self._keep("exported")
        self.restore("quiet")
        self._aged(work)
        self._keep("old")
        self.restore("quiet")
        other = self._shared(work)
        self._keep("shared")
        other.forget(Scope(cwd=str(self.base / "server" / "work")), "notes/secret.md", for_good=True)
        other.sync(Scope(cwd=str(self.base / "server" / "work")), remote=str(self.base / "remote.git"))
        other.close()
        self._keep("erased")

    def restore(self, state: str) -> None:
        shutil.rmtree(self.base)
        shutil.copytree(self.kept / state, self.base, symlinks=True)

    def _delivering(self, work: Path) -> None:
        """What a client of a server has to give it. The server knows the project already."""
        Player(self.home, work, "first", ago=3000, pid=DEAD).start().prompt("Mend it").ends()
        # a whole sweep may take half an hour, in which it must not come to be over
        Player(self.home, self.base / "other", "second", agent="codex", ago=60, pid=DEAD).prompt("And that")
        Book(self.home, str(self.base)).machine()  # chosen at random
        server = opened(str(self.base / "server" / "memory"))
        server.write(Scope(cwd=str(self.base / "server" / "work")), Draft(title="Known", body="Words."))
        server.close()

    def _shared(self, work: Path) -> LocalMemory:
        """A remote, synced before, on which another machine has since changed pages, written one and removed one.
        Returns that machine's memory."""
        remote, here = str(self.base / "remote.git"), Scope(cwd=str(work))
        there = Scope(cwd=str(self.base / "server" / "work"))
        memory, other = opened(str(self.home)), opened(str(self.base / "server" / "memory"))
        for title, body in (("Going", "It goes."), ("Secret", "A zebra."), ("Both", "One.\n\nTwo.\n\nThree.")):
            memory.write(here, Draft(title=title, body=body))
        memory.sync(here, remote=remote)
        other.sync(there, remote=remote)
        other.write(there, Draft(title="Old", body="Thrice parse twice.", kind="decision"))
        other.write(there, Draft(title="New", body="From elsewhere."))
        other.write(there, Draft(title="Both", body="One.\n\nTwo.\n\nThree, there."))
        other.forget(there, "notes/going.md")
        other.sync(there, remote=remote)
        other.close()
        memory.write(here, Draft(title="Both", body="One, here.\n\nTwo.\n\nThree."))
        memory.write(here, Draft(title="Mine", body="From here."))
        memory.close()
        return other

    def _waiting(self, work: Path) -> str:
        Player(self.home, work, "first", ago=3000, pid=DEAD).start().works().ends()
        Player(self.home, work, "killed", ago=2000, pid=DEAD).start().works("the lexer")
        memory = opened(str(self.home))
        memory.ingest()
        found = memory.handoffs(Scope(cwd=str(work)))[0]
        memory.close()
        return found.id

    def _spool(self, work: Path, waiting: str) -> None:
        """Everything in it that ingest knows to handle."""
        second = Player(self.home, work, "second", ago=1000, pid=DEAD)
        second.send("SessionStart", source="startup", times=2).offered(waiting)
        second.send("UserPromptSubmit", prompt="go on", times=2).edits("docs/a.md")
        second.cwd = self.base / "other"
        second.prompt("and the other one").edits("b.py")
        second.cwd = work
        second.says("All is done.").ends()
        put(self.home, f"{int(second.now.timestamp() * 1e9):020d}-1-bad-0123456789abcdef.json", b'{"torn')

    def _written(self, memory: Any, work: Path) -> None:
        for kind, title, body in (
            ("rule", "Parser rule", "Never"),
            ("decision", "Old", "Once"),
            ("decision", "Old", "Twice"),
        ):
            memory.write(Scope(cwd=str(work)), Draft(title=title, body=f"{body} parse twice.", kind=kind))
        memory.close()

    def _exported(self, work: Path) -> None:
        """Exports of before a page was written."""
        here, memory = Scope(cwd=str(work)), opened(str(self.home))
        for name in ("earlier", "earlier.tgz"):
            memory.export(here, self.base / name)
        memory.write(here, Draft(title="Later", body="Not exported yet."))
        memory.close()

    def _aged(self, work: Path) -> None:
        """Everything in it that a sweep has to take out: a page, a session's observations and a large journal."""
        Player(self.home, work, "ancient", ago=400 * 86_400, pid=DEAD).start().works("the printer").ends()
        large = Player(self.home, work, "large", ago=60 * 86_400, pid=DEAD).start().works("the linker")
        for number in range(8):
            large.runs(f"make part{number}", f"part {number} is made " * 40)
        large.ends()
        memory = opened(str(self.home))
        memory.ingest()
        page = memory.write(Scope(cwd=str(work)), Draft(title="Unused", body="Nobody reads this."))
        file = next((self.home / "wiki").rglob(page.path))
        file.write_text(re.sub("^updated: .*$", "updated: 2020-01-01T00:00:00Z", file.read_text(), flags=re.M))
        memory.ingest()
        memory.close()

    def _keep(self, state: str) -> None:
        shutil.copytree(self.base, self.kept / state, symlinks=True)


UNSTEADY = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d{4}-\d\d-\d\d[T ][\d:.]+(?:Z|\+00:00)?"
    r"|\d{19,20}-\d+-[0-9a-z]+|\b[0-9a-f]{8}(?=\.md)|(?<=-)[0-9a-f]{8}\b|\b[0-9a-f]{64}\b|\d\d:\d\d\b"
)


def outcome(home: Path) -> str:
    """Return all that a user or an agent could see, and the raw journal and pages behind it, as text."""
    memory = opened(str(home))
    told: dict[str, Any] = {"projects": [one.model_dump(mode="json") for one in memory.projects()]}
    for name in ("work", "other"):
        scope = Scope(cwd=str(home.parent / name))
        told[name] = {
            "sessions": [one.model_dump(mode="json") for one in memory.sessions(scope)],
            "handoffs": [one.model_dump(mode="json") for one in memory.handoffs(scope, every=True)],
            "status": memory.status(scope, figures=False).model_dump(mode="json"),
            "brief": memory.brief(scope).text,
        }
    memory.close()
    told["journal"] = {str(path.relative_to(home)): found for path in journals(home) if (found := records(path))}
    told["pages"] = dict(sorted(pages(home).items()))
    told["waits"] = sorted(path.name for path in (home / "spool").rglob("[!.]*"))
    told["embedded"] = vectors(home)
    tokens = home / "tokens.json"
    told["tokens"] = tokens.read_text() if tokens.exists() else ""
    told["backups"] = sorted(
        backup.restore(file, home, dry_run=True, progress=lambda *_: None).files for file in home.parent.glob("*.zip")
    )
    told["exports"] = exports(home.parent)
    return json.dumps(told, indent=1, sort_keys=True)


def exports(folder: Path) -> dict[str, dict[str, str]]:
    """Return the files of every export in a folder, of one that was put aside without the time at which it was."""
    found = {}
    for index in sorted(folder.glob("[!.]*/index.md")):
        name = re.sub(r"before-[\d-]+$", "before", index.parent.name)
        found[name] = {str(path.relative_to(index.parent)): path.read_text() for path in index.parent.rglob("*.md")}
    for file in sorted([*folder.glob("[!.]*.tar.gz"), *folder.glob("[!.]*.tgz")]):
        with tarfile.open(file) as tar:
            members = [(one.name, tar.extractfile(one)) for one in tar]
            found[file.name] = {name: inner.read().decode() for name, inner in members if inner}
    return found


def vectors(home: Path) -> list[int]:
    """Return how many vectors are kept, and how many pieces of the index's rows have their signs."""
    with closing(sqlite3.connect(home / "index.db")) as db:
        tables = ("passages_signs", "observations_signs")
        found = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
    if (home / "vectors.db").exists():
        with (
            closing(sqlite3.connect(home / "vectors.db")) as db,
            suppress(sqlite3.OperationalError),
        ):  # it was just made
            found += db.execute("SELECT count(*) FROM vectors").fetchone()
    return found


def records(path: Path) -> list[str]:
    """Return what a journal file says, each thing once: a session is closed again where that was cut short."""
    found = [json.loads(line) for line in said(path).splitlines()]
    return sorted({json.dumps(one, sort_keys=True) for one in found})


def steady(text: str, known: str) -> str:
    """Return the text without ids and times that are new since `known`."""
    old = set(UNSTEADY.findall(known))
    return UNSTEADY.sub(lambda found: found[0] if found[0] in old else "…", text)


class Trial:
    """One operation on a stage: what it does undisturbed, and whether all holds when something goes wrong."""

    def __init__(self, stage: Stage, forge: Forge, servers: Forge, act: Act) -> None:
        self.stage, self.forge, self.servers, self.act = stage, forge, servers, act
        self.home = stage.base / act.home
        stage.restore(act.state)
        self.kept = spooled(stage.home) | set(events(stage.home))
        self.known = self._recovered("") if act.state != "spooled" else ""
        self.before = self._steady(self.known)
        stage.restore(act.state)
        assert not act.erased or traces(stage.home, act.erased)
        done = self._run()
        assert done.code == 0, done
        self.passed = done.passed
        self.after = self._outcome()
        if act.forgets:
            self.kept &= set(events(self.home))
        if act.whole:
            assert self.after != self.before, "it changes nothing that is looked at"

    def points(self, how: str) -> list[int]:
        """Return the numbers of the operations that can go wrong in this way; the first only of those by which SQLite
        lays out the file in which its readers meet."""
        kinds = {KILL: None, TORN: ("write",), FULL: WRITES, BROKEN: FAILS}[how]
        again = {
            number
            for number, (before, this) in enumerate(pairwise(self.passed), 2)
            if before == this and this[1].endswith("-shm")
        }
        return [
            number
            for number, (name, _) in enumerate(self.passed, 1)
            if number not in again and (kinds is None or name in kinds)
        ]

    def around(self, pattern: str) -> list[int]:
        """Return the number of the first operation that is so ("NAME PATH"), with those beside it: what SQLite does
        changes a little from run to run."""
        found = next(n for n, told in enumerate(self.passed, 1) if re.search(pattern, " ".join(told)))
        return [found - 1, found, found + 1]

    def check(self, at: int, how: str, *, deep: bool = True) -> None:
        """Let the operation go wrong at this point and assert that nothing is lost and everything goes on."""
        act, home = self.act, self.home
        self.stage.restore(act.state)
        done = self._run(at, how)
        where = f"{act.name} {how} at {at} of {len(self.passed)}: {done.passed[at - 1 : at]} {done.code} {done.err}"
        if how in (KILL, TORN):
            assert done.code == -signal.SIGKILL or len(done.passed) < at, where
        else:
            assert done.code in act.codes, where
            assert "Traceback" not in done.err, where
            assert "unexpected" not in done.err, where
            said = done.err + done.out
            assert done.code == 0 or re.search(REASON, said), where
        found = self._outcome(where)
        for text in re.findall(act.acks, done.out) if act.acks else ():
            assert f"number {text}" in found, where
        if act.whole:
            assert found in (self.before, self.after), where + difference(found, self.after)
            if done.code == 0 and act.codes != (0,):
                assert found == self.after, where + difference(found, self.after)
        if found != self.after:
            again = self._run()
            assert again.code == 0, f"{where}\nthen {again}"
            found = self._outcome(where)
            assert found == self.after, where + difference(found, self.after)
        stored = events(home)
        assert not [one for one, count in stored.items() if count > 1], where
        if act.erased and found == self.after:
            assert traces(home, act.erased) == [], where
        else:
            waiting = spooled(home) | spooled(self.stage.home)
            assert not self.kept - set(stored) - waiting - set_aside(home), where
        if deep:
            self._deep(where)

    def _deep(self, where: str) -> None:
        home = self.home
        long_ago = time.time() - 2 * 86_400
        if self.act.tidies:
            for left in self.stage.base.glob(".*"):
                os.utime(left, (long_ago, long_ago))
            assert self.forge.run(self.act.tidies).code == 0, where
            assert list(self.stage.base.glob(".*")) == [], where
        for at in {home, self.stage.home}:
            for left in leftovers(at):
                os.utime(left, (long_ago, long_ago))
            assert self._ingest(at).code == 0, where
            assert [str(path.relative_to(at)) for path in leftovers(at) if not harmless(path)] == [], where
        assert [git_problems(wiki) for wiki in wikis(home)] == [""] * len(wikis(home)), where
        for name in ("work", "other"):
            opened(str(home)).history(
                Scope(cwd=str(home.parent / name))
            )  # commits are told to the index when asked for
        grown = rows_of(home)
        anew = self.forge.run("reindex", **env_of(home))
        assert anew.code == 0, where
        for table, rows in rows_of(home).items():
            assert rows == grown[table], f"{where}\n{table}"

    def _run(self, at: int = 0, how: str = KILL) -> Done:
        act, wrong = self.act, {"at": at, "how": how, "under": self.act.under, "programs": self.act.programs}
        told: dict[str, Any] = {"call": act.call, "given": act.given}
        words = act.words.replace("{commit}", self.stage.commit)
        if not act.served:
            return self.forge.run(words, **told, **wrong)
        server = self.servers
        pid = server.start("serve-http --port 0", **env_of(self.home), **(wrong if act.on_server else {}))
        client = again = Done(0, "", "")
        try:
            if url := server.says(r"serving .* at (http://\S+)"):
                told["AI_MEMORY_SERVER_URL"] = url
                client = self.forge.run(words, **told, **({} if act.on_server else wrong))
                if act.on_server and how in (FULL, BROKEN) and client.code:
                    server.make_room()
                    again = self.forge.run(words, **told)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            served = server.end()
        assert again.code == 0, f"{act.name} {how} at {at}: {client}\nthen the same server: {again}"
        passed = served.passed if act.on_server else client.passed
        return Done(served.code or client.code, client.out, client.err + served.err, passed)

    def _outcome(self, where: str = "") -> str:
        return self._steady(self._recovered(where))

    def _steady(self, found: str) -> str:
        found = steady(found, self.known)
        unsteady = re.compile(self.act.unsteady or "(?!)")
        return "\n".join(line.rstrip(",") for line in found.splitlines() if not unsteady.search(line))

    def _recovered(self, where: str) -> str:
        done = self._ingest(self.home)
        assert done.code == 0, f"{where}\nthen ingest: {done}"
        return outcome(self.home)

    def _ingest(self, home: Path) -> Done:
        return self.forge.run("ingest", **env_of(home))


def env_of(home: Path) -> dict[str, str]:
    """Return the environment of a user whose memory this is."""
    return {"HOME": str(home.parent), "AI_MEMORY_HOME": str(home)}


def harmless(path: Path) -> bool:
    """Tell whether it is the mark of a lock's holder: whoever holds that lock next removes it."""
    return path.name.endswith(".holder")


def set_aside(home: Path) -> set[str]:
    return {path.name.rpartition("-")[0] for path in (home / "spool" / "set-aside").glob("*.json")}


def difference(found: str, wanted: str) -> str:
    """Return how two outcomes differ."""
    lines = difflib.unified_diff(wanted.splitlines(), found.splitlines(), "wanted", "found", lineterm="", n=0)
    return "\n" + "\n".join(list(lines)[:40])


def spread(points: list[int], count: int) -> list[int]:
    """Return about `count` of the points, evenly apart."""
    return [points[(2 * number + 1) * len(points) // (2 * count)] for number in range(min(count, len(points)))]
