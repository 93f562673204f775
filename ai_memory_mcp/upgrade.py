"""How this program was installed, what its installer has to offer, and the commands that upgrade it.

The network is the installer's business: it knows its index and its proxy. What it offers is unpacked into a
throw-away folder and looked at before anything is replaced, because an index may hold another program of our name.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ai_memory_mcp.errors import UpgradeError
from ai_memory_mcp.processes import run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = "ai-memory-mcp"  # of the distribution and of the command that it brings
REFRESH = f"{NAME} setup --refresh"
LOOK_SECONDS = 60.0  # one small wheel; an installer that cannot reach its index tries for long
ASK_SECONDS = 30.0


@dataclass(frozen=True)
class Installation:
    """One installed copy. `manager` is pip, pipx, uv, "uv tool", another installer's name, or "" for a checkout;
    `installer` (pip or uv) is what the manager lets do the work.

    `origin` is the folder, file or address it came from, "" for a package index; where its manager cannot be told
    to upgrade it, `by_hand` says what does. `options` are the index options that the manager has on record.
    """

    version: str
    manager: str
    python: str
    environment: str
    installer: str = ""
    origin: str = ""
    by_hand: str = ""
    options: tuple[str, ...] = ()


def installation(version: str, package: Path, prefix: Path, python: str) -> Installation:
    """Tell how the package in this folder was installed; `prefix` is its environment, `python` the interpreter."""
    found = next(iter(distributions(name=NAME, path=[str(package.parent)])), None)
    if found is None:
        checkout = package.parent
        by_hand = f"git -C {shlex.quote(str(checkout))} pull && {REFRESH}"
        return Installation(version, "", python, prefix.name, origin=str(checkout), by_hand=by_hand)
    installer = (found.read_text("INSTALLER") or "").strip()
    manager, options = _manager(prefix, installer)
    origin, by_hand = _elsewhere(_parsed(found.read_text("direct_url.json")), manager, python)
    if not by_hand and manager not in ("pip", "pipx", "uv", "uv tool"):
        by_hand = f"upgrade it with {manager or 'what installed it'}, then run {REFRESH}"
    return Installation(version, manager, python, prefix.name, installer, origin, by_hand, options)


def _manager(prefix: Path, installer: str) -> tuple[str, tuple[str, ...]]:
    """Return who looks after the environment, and the index options it has on record."""
    for name, file in (("pipx", "pipx_metadata.json"), ("uv tool", "uv-receipt.toml")):
        try:
            text = (prefix / file).read_text(encoding="utf-8")
        except OSError:
            continue
        if name == "pipx":
            options = _parsed(text).get("main_package", {}).get("pip_args") or []
            return name, tuple(str(word) for word in options)
        return name, tuple(_uv_options(tomllib.loads(text).get("tool", {}).get("options", {})))
    return installer, ()


def _uv_options(recorded: Mapping[str, Any]) -> Iterator[str]:
    """The options of a uv receipt as `uv pip` takes them."""
    for name, value in recorded.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):  # an index
                yield f"--{'default-' if item.get('default') else ''}index={item.get('url')}"
            elif item is True:
                yield f"--{name}"
            elif item is not False:
                yield f"--{name}={item}"


def _parsed(text: str | None) -> dict[str, Any]:
    try:
        data = json.loads(text or "{}")
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _elsewhere(direct: dict[str, Any], manager: str, python: str) -> tuple[str, str]:
    """Return where an installation that is not from an index came from, and the command line that renews it."""
    url = str(direct.get("url", ""))
    if not url:
        return "", ""
    install, again = {
        "pipx": ("pipx install --force", ""),
        "uv tool": ("uv tool install --reinstall", ""),
        "uv": (f"uv pip install --python {shlex.quote(python)} --reinstall-package {NAME}", ""),
    }.get(manager, (f"{shlex.quote(python)} -m pip install", " --force-reinstall"))
    if "vcs_info" in direct:
        revision = direct["vcs_info"].get("requested_revision")
        origin = f"{direct['vcs_info'].get('vcs', 'git')}+{url}{'@' + revision if revision else ''}"
        return origin, f"{install}{again} {shlex.quote(origin)} && {REFRESH}"
    parts = urlsplit(url)
    origin = url2pathname(parts.path) if parts.scheme == "file" else url
    if "dir_info" not in direct:
        return origin, f"{install} NEWER-FILE && {REFRESH}"
    folder = shlex.quote(origin)
    pull = f"git -C {folder} pull && " if Path(origin, ".git").exists() else ""
    return origin, f"{pull}{install} {folder} && {REFRESH}"


def newest(here: Installation, env: Mapping[str, str]) -> str:
    """Return the newest version that the installer finds on its index. Raises UpgradeError, also when that is no
    release of this program."""
    with tempfile.TemporaryDirectory(prefix="ai-memory-look-") as folder:
        found = Path(folder, "found")
        command = _look(here, found)
        quick = {"PIP_RETRIES": "1", "UV_HTTP_RETRIES": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        try:
            done = run(command, env={**quick, **env}, cwd=Path(folder), limit=LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            raise UpgradeError(
                f"{here.installer} did not say within {LOOK_SECONDS:.0f} seconds which version is available; "
                "look at your network and try again"
            ) from None
        except OSError as error:
            raise UpgradeError(cannot_run(command[0], error)) from error
        offered = next(iter(distributions(name=NAME, path=[str(found)])), None)
        if done.returncode or offered is None:
            raise UpgradeError(
                f"{here.installer} finds no release of {NAME}. If your network is down, try again later. "
                f"It says: {complaint(done.stderr)}"
            )
        if not _brings_our_command(offered):
            raise UpgradeError(
                f"what {here.installer} finds as {NAME} {offered.version} is another program of that name, without "
                "our command; nothing was changed. Have it look where you got this one: PIP_INDEX_URL, UV_INDEX"
            )
        return offered.version


def cannot_run(name: str, error: OSError) -> str:
    """Say that an installer is not to be found, and what to do."""
    return f"{name} cannot be run ({error.strerror}); it installed this program: have it on the PATH and try again"


def _look(here: Installation, folder: Path) -> list[str]:
    """The command that unpacks the newest wheel into a folder: a wheel, because anything else is run to be built."""
    what = ["--target", str(folder), "--no-deps", "--only-binary=:all:", "--quiet", *here.options, NAME]
    if here.installer == "uv":
        return ["uv", "pip", "install", "--python", here.python, *what]
    return [here.python, "-m", "pip", "install", *what]


def upgrade_command(here: Installation) -> list[str]:
    """Return the command that upgrades this installation where it is."""
    if here.manager == "pipx":
        return ["pipx", "upgrade", here.environment]
    if here.manager == "uv tool":
        return ["uv", "tool", "upgrade", here.environment]
    if here.manager == "uv":
        return ["uv", "pip", "install", "--python", here.python, "--upgrade", NAME]
    return [here.python, "-m", "pip", "install", "--upgrade", NAME]


def version_of(program: Sequence[str], env: Mapping[str, str]) -> str:
    """Ask an installed program for its version. Raises UpgradeError when it does not tell."""
    try:
        done = run([*program, "--version"], env=env, limit=ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UpgradeError(f"{program[0]} cannot be run any more: {error}; install {NAME} again") from error
    name, _, version = done.stdout.strip().partition(" ")
    if name != NAME or not version:
        raise UpgradeError(
            f"{program[0]} does not tell its version any more: {complaint(done.stderr)}; install {NAME} again"
        )
    return version


def is_newer(version: str, than: str) -> bool:
    """Compare two version numbers; a pre-release comes before its release."""
    return _order(version) > _order(than)


def _order(version: str) -> tuple[list[int], bool, list[int]]:
    match = re.match(r"v?(\d+(?:\.\d+)*)(.*)", version.strip().lower())
    if match is None:
        return [], False, []
    release = [int(number) for number in match[1].split(".")]
    while release and release[-1] == 0:
        release.pop()
    final = not re.match(r"[-_.]?(a|b|c|rc|alpha|beta|pre|preview|dev)", match[2])
    return release, final, [int(number) for number in re.findall(r"\d+", match[2])]


def _brings_our_command(offered: Distribution) -> bool:
    return any(entry.group == "console_scripts" and entry.name == NAME for entry in offered.entry_points)


def complaint(text: str) -> str:
    """Return the line of a program's standard error that says what is wrong: the first error, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["(nothing)"]
    return next((line for line in lines if line.lower().startswith("error")), lines[-1])[:300]
