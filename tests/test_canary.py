"""A secret given through every way in is in no byte of AI_MEMORY_HOME: files, names, database, unpacked git objects."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from playing import repository
from test_import_sessions import FILES, bring, recorded

from ai_memory_mcp import emit
from ai_memory_mcp.agents.spec import find_spec, pick
from ai_memory_mcp.cli.main import main
from ai_memory_mcp.errors import AiMemoryError
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Scope
from ai_memory_mcp.server.caller import Caller
from ai_memory_mcp.server.handlers import run_tool
from ai_memory_mcp.server.tools import TOOLS

CANARY = "q7Zx9Kp2Lm4Vn8Rt6Wy3Bc5Df1Gh0Js2Ab4C"
SAID = (
    f"use ghp_{CANARY}",
    f"DB_PASSWORD={CANARY}",
    f'{{"client_secret": "{CANARY}"}}',
    f"curl -H 'Authorization: Bearer {CANARY}' https://ann:{CANARY}@example.com/",
    f"mysql -u root -p{CANARY} shop",
)
PAYLOADS = sorted((Path(__file__).parent / "payloads").glob("*/*.json"))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all texts in a payload."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))


def planted(payload: dict[str, Any], place: tuple[Any, ...], text: str) -> dict[str, Any]:
    whole = deepcopy(payload)
    inner: Any = whole
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = f"{inner[place[-1]]} {text}"
    return whole


def found_below(home: Path) -> list[str]:
    """Where the canary is, in whatever case."""
    needle = CANARY.lower().encode()
    found = []
    for path in home.rglob("*"):
        if CANARY.lower() in path.name.lower():
            found.append(f"the name {path}")
        if path.is_file():
            data = path.read_bytes()
            data = gzip.decompress(data) if path.suffix == ".gz" else data
            at = data.lower().find(needle)
            if at >= 0:
                found.append(f"{path}: {data[max(0, at - 60) : at + 8]!r}")
        if path.name == ".git" or path.suffix == ".git":
            batch = ["git", f"--git-dir={path}", "cat-file", "--batch", "--batch-all-objects"]
            told = subprocess.run(batch, capture_output=True, check=True).stdout
            found += [f"an object of {path}"] * (needle in told.lower())
    return found


def test_what_is_planted_is_found(tmp_path: Path) -> None:
    """The search itself sees files, names, packed objects and compressed ones."""
    work = tmp_path / "home" / "wiki"
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    (work / "a").write_text(CANARY.upper())
    (work / CANARY).write_text("")
    (work / "old.jsonl.gz").write_bytes(gzip.compress(CANARY.encode()))
    for command in ("add -A", "-c user.name=u -c user.email=u@x commit -qm x", "rm -q --cached a", "gc -q --prune=now"):
        subprocess.run(["git", "-C", str(work), *command.split()], check=True, capture_output=True)

    assert len(found_below(tmp_path / "home")) >= 4


@pytest.mark.slow
def test_no_field_of_any_hook_brings_a_secret_in(home: Path, own_home: Path, memory: LocalMemory) -> None:
    """Every text of every recorded payload, but where the agent works: that folder has to be found again."""
    work = repository(own_home / "work", remote="git@example.com:me/work.git")
    env = {"HOME": str(own_home), "AI_MEMORY_HOME": str(home), "PATH": os.environ["PATH"]}
    for path in PAYLOADS:
        fields = find_spec(path.parent.name).fields
        for payload in json.loads(path.read_text(encoding="utf-8"))[:2]:
            told = json.loads(json.dumps(payload).replace("/home/dev/project", str(work)))
            places = list(leaves(told))
            for names in ({"tool_name", "hook_event_name", "toolName"}, set()):  # by these it is told what it is
                whole = told
                for number, place in enumerate(places):
                    more = planted(whole, place, SAID[number % len(SAID)])
                    moved = pick(more, fields.get("cwd", ("cwd",))) != pick(told, fields.get("cwd", ("cwd",)))
                    whole = whole if moved or place[-1] in names else more
                emit.store_event(str(home), env, path.parent.name, path.stem, whole, "")
    assert len(list((home / "spool").glob("*.json"))) > 150
    assert found_below(home) == []

    memory.ingest()

    assert memory.status(Scope(cwd=str(work))).counts.observations > 100
    assert found_below(home) == []


def test_input_that_is_no_json_brings_no_secret_in(home: Path, own_home: Path, memory: LocalMemory) -> None:
    env = {"HOME": str(own_home), "AI_MEMORY_HOME": str(home), "PATH": os.environ["PATH"]}
    for text in SAID:
        for raw in (text, f'{{"cwd": "{own_home}", "prompt": {json.dumps(text)}', f"[{json.dumps(text)}]"):
            emit.handle(str(home), env, "claude-code", "UserPromptSubmit", raw.encode())
    memory.ingest()

    assert found_below(home) == []


def test_no_argument_of_any_tool_brings_a_secret_in(home: Path, own_home: Path, memory: LocalMemory) -> None:
    work = repository(own_home / "work", remote="git@example.com:me/work.git")
    memory.write(Scope(cwd=str(work)), Draft(title="Here", body="Something to talk about."))
    fine = {"ref": "Here", "verdict": "stale", "query": "here", "title": "T", "body": "B", "action": "leave"}
    for tool in TOOLS:
        schema: Any = tool["inputSchema"]
        needed = {name: fine[name] for name in schema.get("required", ())}
        for name, kind in schema["properties"].items():
            listed = kind["type"] == "array"
            if "enum" in kind or (not listed and kind["type"] != "string") or (listed and "enum" in kind["items"]):
                continue
            for number, text in enumerate(SAID):
                more = {"summary": f"Try {number}"} if tool["name"] == "memory.handoff" else {}
                given = {**needed, **more, name: [text] if listed else text}
                caller = Caller("claude-code", f"s ghp_{CANARY}", "")
                with suppress(AiMemoryError):
                    run_tool(memory, caller, Scope(cwd=str(work)), tool, given)
    memory.reindex()

    counts = memory.status(Scope(cwd=str(work))).counts
    assert counts.pages > 5
    assert counts.handoffs > 30
    assert found_below(home) == []


def test_the_command_line_brings_no_secret_in(home: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = repository(own_home / "work", remote="git@example.com:me/work.git")
    monkeypatch.chdir(work)
    for text in SAID:
        for words in (
            ["write", "--title", "T", "--body", text, "--tags", text],
            ["write", "--title", text, "--body", "B"],
            ["search", text],
            ["read", text],
            ["handoff", "leave", text],
            ["feedback", "T", "wrong", "--note", text],
            ["search", text, "--project", text],
        ):
            with suppress(SystemExit):
                main(words)

    assert found_below(home) == []


def test_imported_pages_bring_no_secret_in(home: Path, own_home: Path, memory: LocalMemory) -> None:
    folder = own_home / "docs"
    folder.mkdir()
    for number, text in enumerate(SAID):
        told = json.dumps(text)
        front = f"---\ntitle: {told}\ntags: [{told}]\nsummary: {told}\nother: {told}\n---\n"
        (folder / f"{number}.md").write_text(f"{front}{text}\n\n```sh\n{text}\n```\n\n[[{text}]] [a]({text})\n")
    (folder / f"ghp_{CANARY}.md").write_text("Its name is the secret.\n")

    memory.import_markdown(Scope(project="general"), folder)

    assert memory.status(Scope(project="general")).counts.pages >= len(SAID)
    assert found_below(home) == []


@pytest.mark.parametrize("agent", [agent for agent in FILES if agent != "opencode"])
def test_imported_sessions_bring_no_secret_in(agent: str, home: Path, own_home: Path, memory: LocalMemory) -> None:
    work = repository(own_home / "project")
    path = recorded(own_home, agent)
    lines = []
    for number, line in enumerate(path.read_text().splitlines()):
        told = json.loads(line)
        for place in list(leaves(told)):
            if place[-1] in ("text", "content", "command", "output", "stdout", "arguments", "message", "cmd", "result"):
                told = planted(told, place, SAID[number % len(SAID)])
        lines.append(json.dumps(told))
    stamp = path.stat().st_mtime
    path.write_text("\n".join(lines) + "\n")
    os.utime(path, (stamp, stamp))

    report = bring(memory, work)

    assert memory.sessions(Scope(cwd=str(work))), report
    assert found_below(home) == []
