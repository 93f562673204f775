"""A git remote, through the `git` command: what the user's own git can reach (ssh keys and their agent, ~/.ssh/config,
credential helpers, proxies, certificates), we can.

Nothing here ever asks anybody: without a terminal and an answer git fails, and it is ended after a while. Addresses
are shown without what may be a secret in them.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from ai_memory_mcp import processes
from ai_memory_mcp.errors import SyncError
from ai_memory_mcp.files import private_dir

FETCHED = "refs/ai-memory/fetched"
LIST_LIMIT = 60.0  # seconds
MOVE_LIMIT = 600.0  # seconds for a fetch or a push
SMALL = 1_000_000  # bytes of a front page
LARGEST = "16m"  # of one file that is taken from a remote
_HEAD = "refs/heads/"
_US = (("NAME", "ai-memory"), ("EMAIL", "ai-memory@localhost"))
_PLACES = frozenset(  # where a git hook that starts us would have git work instead
    """GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_NAMESPACE
    GIT_COMMON_DIR GIT_PREFIX GIT_QUARANTINE_PATH GIT_TRACE GIT_TRACE_CURL GIT_TRACE_PACKET""".split()
)
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.fsckObjects": "true",  # no `..`, no `.git`, nothing malformed ever gets into the wiki's repository
    "fetch.recurseSubmodules": "false",
    "push.followTags": "false",
    "push.gpgSign": "false",
    "push.recurseSubmodules": "no",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "core.fsync": "committed",
}


class Remote:
    """One remote repository. `env` is the environment to run git in; `stopped` is asked whether to give up."""

    def __init__(self, url: str, env: Mapping[str, str], stopped: Callable[[], bool] = lambda: False) -> None:
        self.url = url
        self.shown = shown(url)
        self._stopped = stopped
        self._env = _silent(env)
        self._ssh = ""

    def branches(self) -> dict[str, str]:
        """Return branch -> id of its commit. Raises SyncError, as all of these do."""
        told = self._run(None, LIST_LIMIT, "ls-remote", "--heads", "--", self.url)
        lines = (line.split("\t") for line in told.splitlines())
        return {pair[1][len(_HEAD) :]: pair[0] for pair in lines if len(pair) == 2 and pair[1].startswith(_HEAD)}

    def fetch(self, folder: Path, branch: str, *, shallow: bool = False) -> str:
        """Fetch a branch into the repository in a git folder, its commit under FETCHED; return the commit's id."""
        what = f"+{_HEAD}{branch}:{FETCHED}"
        depth = ["--depth=1"] if shallow else []
        flags = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", *depth]
        self._run(folder, MOVE_LIMIT, "fetch", *flags, "--", self.url, what)
        return self._run(folder, LIST_LIMIT, "rev-parse", "--verify", FETCHED).strip()

    def push(self, folder: Path, commit: str, branch: str, *, instead_of: str = "") -> str:
        """Push a commit to a branch that it goes on from, or that is `instead_of` another commit and still is at that;
        return '' or what git says against it."""
        force = [f"--force-with-lease={_HEAD}{branch}:{instead_of}"] if instead_of else []
        flags = ["--quiet", "--no-verify", *force]
        try:
            self._run(folder, MOVE_LIMIT, "push", *flags, "--", self.url, f"{commit}:{_HEAD}{branch}")
        except SyncError as error:
            return str(error)
        return ""

    def erasures(self, folder: Path, commit: str) -> str:
        """Return the messages of those commits that tell of something erased, see `tombstones.erasures`."""
        if not commit:
            return ""
        return self._run(folder, MOVE_LIMIT, "log", "--format=%B", "--grep=^Erasure: ", commit)

    def grave(self, folder: Path, message: str, when: datetime) -> str:
        """Make a commit of nothing, with no history; return its id."""
        tree = self._run(folder, LIST_LIMIT, "write-tree").strip()
        at = f"{int(when.timestamp())} +0000"
        who = {f"GIT_{one}_{what}": told for one in ("AUTHOR", "COMMITTER") for what, told in (*_US, ("DATE", at))}
        return self._run(folder, LIST_LIMIT, "commit-tree", "-m", message, tree, env=who).strip()

    def large(self, folder: Path, commit: str, known: str) -> frozenset[str]:
        """Return the ids of files in the commits not `known` ('' for all) that are larger than LARGEST."""
        omit = [f"--filter=blob:limit={LARGEST}", "--filter-print-omitted", "--objects", "--no-object-names"]
        told = self._run(folder, MOVE_LIMIT, "rev-list", *omit, commit, *([f"^{known}"] if known else []))
        return frozenset(line[1:] for line in told.splitlines() if line.startswith("~"))

    def text(self, folder: Path, commit: str, path: str) -> str:
        """Return a small file of a commit, '' where there is none."""
        try:
            if int(self._run(folder, LIST_LIMIT, "cat-file", "-s", f"{commit}:{path}")) <= SMALL:
                return self._run(folder, LIST_LIMIT, "cat-file", "blob", f"{commit}:{path}")
        except SyncError:
            return ""
        return ""

    def scratch(self, folder: Path) -> Path:
        """Return a bare repository to look at unknown branches in."""
        if not (folder / "HEAD").exists():
            private_dir(folder)
            self._run(None, LIST_LIMIT, "init", "--quiet", "--bare", "--template=", str(folder))
        return folder

    def _run(
        self, folder: Path | None, limit: float, command: str, *args: str, env: Mapping[str, str] | None = None
    ) -> str:
        settings = [word for key, value in _SETTINGS.items() for word in ("-c", f"{key}={value}")]
        where = [f"--git-dir={folder}"] if folder else []
        line = ["git", *where, *settings, command, *args]
        try:
            done = processes.run(line, env={**self._environment(), **(env or {})}, limit=limit, stopped=self._stopped)
        except subprocess.TimeoutExpired:
            why = "the server stops" if self._stopped() else f"it took longer than {limit:g} s"
            raise SyncError(f"git {command} with {self.shown} was ended: {why}") from None
        except OSError as error:
            raise SyncError(f"git cannot be run ({error.strerror}); sync needs the git command on the path") from error
        if done.returncode:
            raise SyncError(f"git {command} with {self.shown} failed: {self._said(done.stderr)}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        """Have ssh fail instead of asking, in whatever way the user has git start it."""
        if "GIT_SSH" in self._env and "GIT_SSH_COMMAND" not in self._env:
            return self._env
        if not self._ssh:
            configured = ["git", "config", "--get", "core.sshCommand"]
            try:
                told = processes.run(configured, env=self._env, limit=LIST_LIMIT).stdout.strip()
            except (OSError, subprocess.TimeoutExpired):
                told = ""
            self._ssh = self._env.get("GIT_SSH_COMMAND") or told or "ssh"
        quiet = "-o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15"
        return {**self._env, "GIT_SSH_COMMAND": f"{self._ssh} {quiet}"}

    def _said(self, text: str) -> str:
        lines = [line.strip() for line in text.replace(self.url, self.shown).splitlines() if line.strip()]
        words = " ".join(line for line in lines if not line.startswith(("hint:", "remote: hint")))
        return re.sub(r"(\w+://)[^/@\s]+@", r"\1", words)[-500:] or "it says nothing"


def shown(url: str) -> str:
    """Return an address without user, password and query, except the user of ssh."""
    plain = re.sub(r"[?#].*\Z", "", url)
    name = re.match(r"(ssh|git\+ssh)://([\w.-]{1,32})(?::[^@/]*)?@", plain)
    if name:
        return f"{name[1]}://{name[2]}@{plain[name.end() :]}"
    return re.sub(r"\A(\w[\w+.-]*://)(?:[^/@]*@)+", r"\1", plain)


def _silent(env: Mapping[str, str]) -> dict[str, str]:
    told = {name: value for name, value in env.items() if name not in _PLACES and not name.startswith("AI_MEMORY_")}
    return told | {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "SSH_ASKPASS_REQUIRE": "never",
        "GCM_INTERACTIVE": "never",
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
        "LC_ALL": "C",
    }
