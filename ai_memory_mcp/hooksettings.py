"""Settings as the hook reads them: TOML files through a compiled copy in cache/, and the capture rules in them.

Part of `emit`, imported only where there are settings. Privacy goes first: rules that cannot be read are taken to
forbid, unless it is known what they said before they broke. `tomllib` costs 2.8 times a bare start, hence the copy.
"""

from __future__ import annotations

import os
import sys

from ai_memory_mcp import emit
from ai_memory_mcp.emit_rare import make_folder, texts
from ai_memory_mcp.place import drive_path, path_key

BROKEN = "broken"  # stands in the settings instead of what could not be read
_TOOLS = ("pre-tool", "post-tool", "tool-failure")
_ANSWERS = ("assistant-message", "stop", "subagent-stop")
Settings = dict[str, object]


def rules(
    home: str, env: dict[str, str], place: tuple[str, str, str], spec: Settings, kind: str, payload: Settings
) -> tuple[Settings, str]:
    """Return the user's settings, and which capture rule drops this event ('' if none).

    `place` is (cwd, root, marker). The project's rules may only narrow the user's.
    """
    own = user_settings(home, env)
    reason = ""
    for settings in (own, settings_from(home, place[2]) if place[2] else {}):
        reason = reason or refused(settings, kind) or ignored(settings, place, spec, kind, payload)
    return own, reason


def user_settings(home: str, env: dict[str, str]) -> Settings:
    """Return config.toml with AI_MEMORY_<SECTION>__<KEY> of the environment over it, as `config` reads them."""
    settings = dict(settings_from(home, home + "/config.toml"))
    for name, value in env.items():
        table, double, key = name[10:].lower().partition("__")
        if name.startswith("AI_MEMORY_") and double:
            settings[table] = {**emit.section(settings, table), key: _typed(value)}
    return settings


def _typed(value: str) -> object:
    parsed = emit.parse(f'{{"value":{value}}}'.encode("utf-8", "replace"))
    return parsed["value"] if parsed else value


def refused(settings: Settings, kind: str) -> str:
    """Say which switch of [capture] drops events of this kind ('' if none)."""
    capture = settings.get("capture", {})
    if settings.get(BROKEN) or not isinstance(capture, dict):
        return "settings do not parse"
    for switch, kinds, reason in (
        ("enabled", (kind,), "capture is off"),
        ("prompts", ("user-prompt",), "prompts are off"),
        ("tools", _TOOLS, "tools are off"),
        ("assistant", _ANSWERS, "assistant messages are off"),
    ):
        if capture.get(switch, True) is not True and kind in kinds:
            return reason
    return ""


# --- ignored paths


def ignored(settings: Settings, place: tuple[str, str, str], spec: Settings, kind: str, payload: Settings) -> str:
    """Say that a tool was given a path which [capture] ignore_paths names ('' if not).

    Patterns as in .gitignore, relative to the project (`secrets/`, `*.pem`, `config/**/prod.*`). Commands are
    looked at word by word, so `cat secrets/key.pem` counts; what a command printed is not looked at.
    """
    patterns = emit.section(settings, "capture").get("ignore_paths", [])
    if patterns != texts(patterns):
        return "settings do not parse"
    if not patterns or kind == "user-prompt":
        return ""
    cwd, root, marker = place
    bases = [base for base in (root, marker.rpartition("/")[0], cwd) if base]
    told = emit.field(spec, payload, "input")
    for text in _texts_in(payload if told is None else told):
        for word in text.replace('"', " ").replace("'", " ").replace("=", " ").split():
            if any(_matches(path, texts(patterns)) for path in _paths(word.rstrip(",;:)"), cwd, bases)):
                return "ignored path"
    return ""


def ignores(settings: Settings, root: str, name: str) -> bool:
    """Tell whether [capture] ignore_paths names a file, told by its path below `root`; rules that cannot be read do."""
    patterns = emit.section(settings, "capture").get("ignore_paths", [])
    if patterns != texts(patterns):
        return True
    return bool(patterns) and any(_matches(path, texts(patterns)) for path in _paths(name, root, [root]))


def _paths(word: str, cwd: str, bases: list[str]) -> list[str]:
    """Return what a word may be called: relative to each base below which it lies, and as it stands."""
    if sys.platform == "win32":
        word = drive_path(word)
    word, whole, *bases = (_plain(path) for path in (word, os.path.normpath(os.path.join(cwd, word)), *bases))
    return [word.removeprefix("./"), whole, *(whole[len(base) + 1 :] for base in bases if whole.startswith(base + "/"))]


def _plain(path: str) -> str:
    """Return a path, or a pattern of paths, as it is compared: on Windows neither case nor kind of slash counts."""
    return path.replace("\\", "/").lower() if sys.platform == "win32" else path


def _matches(path: str, patterns: list[str]) -> bool:
    from fnmatch import fnmatchcase

    for pattern in patterns:
        glob = _plain(pattern).rstrip("/").removesuffix("/**").removeprefix("./")
        names = path.split("/") if "/" not in glob else ()
        for form in (glob, glob.removeprefix("/"), glob.replace("**/", "")):
            if fnmatchcase(path, form) or fnmatchcase(path, form + "/*") or any(fnmatchcase(n, form) for n in names):
                return True
    return False


def _texts_in(value: object) -> list[str]:
    """Return every text in a JSON value, however deep."""
    found: list[str] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, (dict, list)):
            waiting += item.values() if isinstance(item, dict) else item
    return found


# --- files


def settings_from(home: str, path: str) -> Settings:
    """Return a TOML file as a dict; {} when there is none, its last good reading when it does not parse now.

    A file that never parsed gives {"broken": true}.
    """
    try:
        stat = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    except OSError as error:
        emit.complain(home, error)
        return {BROKEN: True}
    stamp = f"{stat.st_mtime_ns}-{stat.st_size}"
    copy = f"{home}/cache/{path_key(path)}.json"
    kept = read_json(copy) or {}
    good = emit.section(kept, "settings")
    if kept.get("path") == path and kept.get("stamp") == stamp:
        return good
    try:
        toml = _read_toml(path)
    except Exception as error:  # any failure to read the rules means that the rules are unknown
        emit.complain(home, f"{type(error).__name__} in {path}: its rules are not known")
        return good if kept.get("path") == path else {BROKEN: True}
    _keep(home, copy, {"path": path, "stamp": stamp, "settings": toml})
    return toml


def _keep(home: str, copy: str, told: Settings) -> None:
    import json

    try:
        make_folder(home + "/cache")
        temporary = f"{copy}.{os.getpid()}"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(json.dumps(told, default=str).encode())
        os.replace(temporary, copy)
    except OSError as error:
        emit.complain(home, error)


def _read_toml(path: str) -> Settings:
    """Parse a TOML file; on Python 3.10 with tomli, which the hook's bare start does not see at first."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError:
            import site

            site.main()
            import tomli as tomllib
    with open(path, "rb") as file:
        return tomllib.load(file)


def read_json(path: str) -> Settings | None:
    """Read a JSON object of ours, None when there is none."""
    try:
        with open(path, "rb") as file:
            return emit.parse(file.read())
    except (OSError, ValueError):
        return None


# --- agents


def find_agent(home: str, agent: str) -> Settings:
    """Return what emit needs to know of an agent, by its name or an alias; {} for an unknown one."""
    package = os.path.dirname(os.path.abspath(__file__))
    for folder in (package, os.path.dirname(package)):  # installed, or in a checkout
        configs = f"{folder}/agent_configs"
        if not os.path.isdir(configs):
            continue
        names = os.listdir(configs)
        for name in [agent] if agent in names else names:
            found = settings_from(home, f"{configs}/{name}/agent.toml")
            aliases = found.get("aliases")
            if found and (name == agent or (isinstance(aliases, list) and agent in aliases)):
                return described(found)
    return {}


def described(toml: Settings) -> Settings:
    """Return the part of an agent's description that emit needs: kinds of its events and when they are ours, places
    of fields, the agents that run its hooks too, brief, transcript, the answer of a hook that has nothing to say."""
    events = {name: emit.section(emit.section(toml, "events"), name) for name in emit.section(toml, "events")}
    fields = emit.section(toml, "fields")
    return {
        "name": toml.get("name"),
        "events": {name: event.get("kind") for name, event in events.items()},
        "when": {name: event["when"] for name, event in events.items() if "when" in event},
        "fields": {name: fields[name] for name in ("session", "cwd", "subagent", "input") if name in fields},
        "foreign": emit.section(toml, "foreign"),
        "brief": emit.section(toml, "brief"),
        "transcript": emit.section(toml, "transcript"),
        "answer": emit.section(toml, "hooks").get("answer"),
    }
