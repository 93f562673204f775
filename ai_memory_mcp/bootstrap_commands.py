"""What a repository's manifests, task files, workflows and documents say is to be run, and what for.

Pure but for the given reader of files. Each value says which file it is from; nothing is run, or tried.
"""

# ruff: noqa: E501 - patterns are easier to check on one line
from __future__ import annotations

import json
import posixpath
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ai_memory_mcp.verdict import shell_purpose

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Read = Callable[[str], str]  # a file's name -> its text, '' for none

WORKFLOWS = 6
MANIFESTS = 17
PURPOSES = ("install", "build", "test", "lint", "run", "deploy")
_FENCE = re.compile(r"^```[ \t]*(\w*)[^\n]*\n(.*?)^```", re.M | re.S)
_LITERAL = re.compile(
    r"^\.\. (?:code-block|sourcecode|code):: *(?:sh|bash|shell|console|text)\s*\n((?:\n|[ \t]+[^\n]*\n?)+)", re.M
)
_SHELLS = frozenset(("sh", "bash", "shell", "console", "zsh", "shell-session", "terminal", ""))
_PROGRAM = re.compile(
    r"^(?:[\w./~-]*/)?(?:python3?|pip3?|pipx|uvx?|poetry|pdm|hatch|tox|nox|pytest|npm|npx|pnpm|yarn|bun|deno|node|cargo|go|make|just|task|cmake|ninja|meson|gradle|gradlew|mvn|mvnw|sbt|mix|bundle|rake|rails|gem|composer|php|dotnet|swift|docker|podman|docker-compose|kubectl|terraform|ruff|mypy|black|eslint|tsc|vitest|jest|pre-commit|bazel|nix|brew|nix-env|apt-get|apt|sh|bash|conda|flask|uvicorn|gunicorn|alembic|manage\.py)\b"
)
_RUN = re.compile(r"^[ \t]*-?[ \t]*(?:run|script):[ \t]*(?:([|>])[-+]?[ \t]*)?([^\n]*)\n", re.M)
_TARGET = re.compile(r"^([A-Za-z][\w.-]*)[ \t]*:(?![:=])[^\n#]*(?:##[ \t]*([^\n]*))?$", re.M)
_RECIPE = re.compile(
    r"^(?:#[ \t]*([^\n]*)\n)?(?:\[[^\n]*\]\n)*@?([A-Za-z][\w-]*)(?:[ \t]+[^:\n=]*)?:(?!=)[^\n]*$", re.M
)
_INSTALL = re.compile(
    r"^(?:\S*/)?(?:pip3?|python3? -m pip|uv pip|uv|pipx|npm|pnpm|yarn|bun|cargo|gem|go|brew|apt|apt-get|conda|composer|nix-env|dnf)\s+(?:install|add|i|get|require|binstall|-\w+|--install)\b(.*)$"
)
_FLOW = re.compile(r"^(?:\.github/workflows/[^/]+\.ya?ml|\.gitlab-ci\.yml|\.circleci/config\.yml|\.ci/[^/]+)$")
_TELLING = re.compile(
    r"contribut|develop|build|test|install|setup|quick.?start|getting.?started|hacking|(?:^|/)readme|agents\.md|claude\.md|gemini\.md|rules|instructions",
    re.I,
)


class Command(NamedTuple):
    """A command that somebody is told to run, what it is for, and where that stands."""

    line: str
    purpose: str
    source: str
    note: str = ""


class Manifest(NamedTuple):
    """What a manifest says of the package that it is of: (what, value) pairs to show, and its commands."""

    source: str
    name: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    commands: tuple[Command, ...]


# --- manifests


def manifests(names: Sequence[str], read: Read) -> list[Manifest]:
    """Read the manifests, those nearest to the root first."""
    readers = {
        "pyproject.toml": _pyproject,
        "package.json": _package_json,
        "Cargo.toml": _cargo,
        "go.mod": _go_mod,
        "composer.json": _composer,
    }
    known = set(names)
    places = sorted(
        (name for name in names if posixpath.basename(name) in readers), key=lambda name: (name.count("/"), name)
    )
    found = []
    for name in places[:MANIFESTS]:
        try:
            one = readers[posixpath.basename(name)](name, read(name), known)
        except (ValueError, TypeError, AttributeError):  # a template, a broken file: it tells nothing
            continue
        inner = "/" in name and posixpath.basename(name) in known  # what to run is told by the one at the root
        found.append(one._replace(commands=()) if inner else one)
    return found


def _pyproject(name: str, text: str, names: set[str]) -> Manifest:
    told = tomllib.loads(text)
    project = _dict(told.get("project")) or _dict(_dict(told.get("tool")).get("poetry"))
    tools = _dict(told.get("tool"))
    extras = _dict(project.get("optional-dependencies")) or _dict(told.get("dependency-groups"))
    facts = [
        ("Python", str(project.get("requires-python") or "")),
        ("depends on", _names(project.get("dependencies"))),
        ("extras", ", ".join(extras)),
        ("installs the commands", ", ".join(_dict(project.get("scripts")))),
        ("configures", ", ".join(sorted(tools))),
        ("built with", str(_dict(told.get("build-system")).get("build-backend") or "")),
    ]
    here = posixpath.dirname(name)
    commands = []
    if "pytest" in tools or any(one.startswith(posixpath.join(here, "tests/test_")) for one in names):
        commands.append(Command("pytest", "test", name, "configured there" if "pytest" in tools else "tests/ is there"))
    for table, runner in (("poe", "poe"), ("taskipy", "task"), ("pdm", "pdm run")):
        tasks = _dict(_dict(tools.get(table)).get("scripts" if table == "pdm" else "tasks"))
        commands += [_named(f"{runner} {task}", task, name, _value(value)) for task, value in tasks.items()]
    for env, about in _dict(_dict(tools.get("hatch")).get("envs")).items():
        prefix = "hatch run " + ("" if env == "default" else f"{env}:")
        scripts = _dict(_dict(about).get("scripts"))
        commands += [_named(prefix + task, task, name, _value(value)) for task, value in scripts.items()]
    return _manifest(name, project, facts, commands)


def _package_json(name: str, text: str, names: set[str]) -> Manifest:
    told = _dict(json.loads(text))
    here = posixpath.dirname(name)
    locks = {"pnpm-lock.yaml": "pnpm", "yarn.lock": "yarn", "bun.lock": "bun", "bun.lockb": "bun"}
    runner = next((tool for lock, tool in locks.items() if {lock, posixpath.join(here, lock)} & names), "npm")
    runner = str(told.get("packageManager") or runner).partition("@")[0]
    bins = told.get("bin")
    facts = [
        ("engines", ", ".join(f"{key} {value}" for key, value in _dict(told.get("engines")).items())),
        ("depends on", _names(told.get("dependencies"))),
        ("develops with", _names(told.get("devDependencies"))),
        ("workspaces", ", ".join(map(str, _list(told.get("workspaces"))))),
        ("installs the commands", ", ".join(_dict(bins))),
    ]
    prefix = f"{runner} --prefix {here}" if here and runner == "npm" else runner
    short = ("test", "start") if runner != "bun" else ()
    commands = [
        _named(f"{prefix} {task}" if task in short else f"{prefix} run {task}", task, name, _value(value))
        for task, value in _dict(told.get("scripts")).items()
    ]
    return _manifest(name, told, facts, commands)


def _cargo(name: str, text: str, names: set[str]) -> Manifest:
    told = tomllib.loads(text)
    package, workspace = _dict(told.get("package")), _dict(told.get("workspace"))
    shared = _dict(workspace.get("package"))
    version = package.get("rust-version") or shared.get("rust-version")
    edition = package.get("edition") or shared.get("edition")
    facts = [
        ("Rust", version if isinstance(version, str) else ""),
        ("edition", edition if isinstance(edition, str) else ""),
        ("workspace of", ", ".join(map(str, _list(workspace.get("members"))))),
        ("depends on", _names(told.get("dependencies"))),
        ("features", ", ".join(_dict(told.get("features")))),
    ]
    where = f" --manifest-path {name}" if "/" in name else ""
    every = " --workspace" if workspace.get("members") else ""
    commands = [Command(f"cargo {task}{every}{where}", task, name) for task in ("test", "build")]
    return _manifest(name, package, facts, commands)


def _go_mod(name: str, text: str, names: set[str]) -> Manifest:
    module = re.search(r"^module\s+(\S+)", text, re.M)
    version = re.search(r"^go\s+(\S+)", text, re.M)
    required = re.findall(r"^\s*(?:require\s+)?([\w.-]+\.[\w.-]+/\S+)\s+v\S+(?!.*// indirect)$", text, re.M)
    facts = [("Go", version[1] if version else ""), ("depends on", ", ".join(required[:30]))]
    commands = [Command("go test ./...", "test", name), Command("go build ./...", "build", name)]
    return _manifest(name, {"name": module[1] if module else ""}, facts, [] if "/" in name else commands)


def _composer(name: str, text: str, names: set[str]) -> Manifest:
    told = _dict(json.loads(text))
    tasks = [_named(f"composer {task}", task, name, _value(v)) for task, v in _dict(told.get("scripts")).items()]
    return _manifest(name, told, [("depends on", _names(told.get("require")))], tasks)


def _manifest(
    name: str, about: dict[str, Any], facts: Iterable[tuple[str, str]], commands: Iterable[Command]
) -> Manifest:
    shown = tuple((what, value) for what, value in facts if value)
    title, summary = (value if isinstance(value, str) else "" for value in map(about.get, ("name", "description")))
    return Manifest(name, title, summary, shown, tuple(commands))


def _named(line: str, task: str, source: str, does: str) -> Command:
    return Command(line, _purpose(task, does), source, does)


def _purpose(task: str, does: str) -> str:
    """Say what a task is for, by its name, else by what it does."""
    for purpose, words in (
        ("lint", ("lint", "format", "fmt", "type", "mypy", "style", "ruff", "eslint", "prettier")),
        ("test", ("test", "spec", "e2e", "coverage")),
        ("lint", ("check",)),
        ("build", ("build", "compile", "bundle", "dist", "docs", "generate")),
        ("run", ("start", "serve", "dev", "run", "watch")),
        ("install", ("install", "setup", "bootstrap", "deps", "init")),
        ("deploy", ("deploy", "release", "publish", "upload")),
    ):
        if any(word in task.lower() for word in words):
            return purpose
    told = shell_purpose(does) if does else "look"
    return told if told in PURPOSES else "run"


# --- commands


def commands(names: Sequence[str], read: Read, documents: Iterable[str], packages: Iterable[str]) -> list[Command]:
    """Return the commands in task files, in the shell examples of documents that tell how to work here, and in
    workflows. `packages` are the names of what is made here: what only installs something else is left out."""
    found = [*_of_task_files(set(names), read)]
    ours = {name.lower() for name in packages if name}
    for name in documents:
        if _TELLING.search(name):
            found += [one for line in _examples(read(name)) if (one := _classified(line, name, ours))]
    for name in sorted(name for name in names if _FLOW.match(name))[:WORKFLOWS]:
        lines = read(name).split("\n") if name.startswith(".ci/") else _runs(read(name))
        found += [one for line in lines if (one := _classified(line.strip(), name, ours))]
    return found


def _of_task_files(known: set[str], read: Read) -> Iterator[Command]:
    for name in ("Makefile", "makefile", "GNUmakefile"):
        if name in known:
            yield from _makefile(name, read(name))
    for name in ("justfile", "Justfile", ".justfile"):
        if name in known:
            for told in _RECIPE.finditer(read(name)):
                yield Command(f"just {told[2]}", _purpose(told[2], ""), name, told[1] or "")
    for name, line, purpose in (
        ("tox.ini", "tox", "test"),
        ("noxfile.py", "nox", "test"),
        (".pre-commit-config.yaml", "pre-commit run --all-files", "lint"),
    ):
        if name in known:
            yield Command(line, purpose, name)


def _makefile(name: str, text: str) -> Iterator[Command]:
    for told in _TARGET.finditer(text):
        if told[1] not in ("PHONY", "all", "default", "help") and not told[1].endswith((".o", ".c", ".py", ".md")):
            yield Command(f"make {told[1]}", _purpose(told[1], ""), name, (told[2] or "").strip())


def _runs(text: str) -> Iterator[str]:
    """Yield the commands of a workflow, by the lines alone."""
    for told in _RUN.finditer(text):
        if not told[1]:
            yield told[2].strip().strip("'\"")
            continue
        lines, indent = [], None
        for line in text[told.end() :].split("\n"):
            depth = len(line) - len(line.lstrip())
            indent = depth if indent is None else indent
            if line.strip() and (depth < indent or depth == 0):
                break
            lines.append(line.strip())
        yield from _joined("\n".join(lines)).split("\n")


def _examples(text: str) -> Iterator[str]:
    blocks = [told[2] for told in _FENCE.finditer(text) if told[1].lower() in _SHELLS]
    for block in [*blocks, *(told[1] for told in _LITERAL.finditer(text))]:
        for line in _joined(block).split("\n"):
            yield re.sub(r"^[$%>#] ", "", line.strip())


def _joined(text: str) -> str:
    return re.sub(r"[ \t]*\\\n\s*", " ", text)


def _classified(line: str, source: str, ours: set[str]) -> Command | None:
    """Return a line of an example as a command, unless it is none, needs what only its service knows, or is about
    something else than this repository."""
    line = re.sub(r"\s+#\s.*$", "", line).strip()
    if any(mark in line for mark in ("${{", "<", "…", "`", "\\", "$(", "://")) or not 3 < len(line) <= 160:
        return None
    bare = re.sub(r"^(?:sudo |\w+=\S+\s+)+", "", line)
    if not _PROGRAM.match(bare) or re.match(r"apt(?:-get)? update|brew update", bare) or _installs_another(bare, ours):
        return None
    purpose: str = shell_purpose(bare)
    if re.search(r"pytest|-m unittest|\b(?:tox|nox)\b", bare):
        purpose = "test"
    elif _INSTALL.match(bare):
        purpose = "install"
    elif re.match(r"cargo (?:check|clippy|fmt)\b", bare) or "pre-commit run" in bare:
        purpose = "lint"
    return Command(line, purpose, source) if purpose in PURPOSES else None


def _installs_another(line: str, ours: set[str]) -> bool:
    told = _INSTALL.match(line)
    named = [word for word in told[1].split() if not word.startswith("-")] if told else []
    return (
        bool(named)
        and not any(
            word.startswith((".", "'.", '".', "/")) or re.split(r"[\[=<>@~!'\"]", word.lower().strip("'\""))[0] in ours
            for word in named
        )
        and not re.search(r"(?:-r|--requirement|-e|--editable|--path|--group)\b", line)
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _value(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("cmd") or value.get("shell") or value.get("command") or ""
    return " && ".join(map(str, value)) if isinstance(value, list) else str(value)


def _names(dependencies: Any) -> str:
    listed = list(_dict(dependencies)) or _list(dependencies)
    plain = [re.split(r"[\s<>=!~;\[(]", str(one), maxsplit=1)[0] for one in listed]
    return ", ".join(plain[:30]) + (f" and {len(plain) - 30} more" if len(plain) > 30 else "")
