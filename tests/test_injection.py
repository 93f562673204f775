"""Orders in what sessions leave behind, and a model that obeys them: memory is none the worse for it."""

from __future__ import annotations

import os
import re
import subprocess
import unicodedata
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path

import pytest
from injections import CASES, SECRET, TOKEN, obey
from playing import Player, repository
from provider import Provider, provider

from ai_memory_mcp import consolidate, markdown
from ai_memory_mcp.config import Config
from ai_memory_mcp.llm import Child, Llm
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Page, Scope
from ai_memory_mcp.redact import Redactor
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.server import render

pytestmark = pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed: pip install '.[llm]'")

PART = re.compile(r'<memory-data source="(?:session|page-by-rule|given-page|rule)">\n(.*?)\n</memory-data>', re.S)
MARK = re.compile(r"<\s*/?\s*(?:memory-data|ai-memory-brief)", re.I)
DOES = re.compile(r"<\s*(?:script|img|iframe)|javascript:|file:///|vscode:|dataviewjs|!\[", re.I)


@pytest.fixture
def stand_in() -> Iterator[Provider]:
    with provider() as found:
        found.answer = obey
        yield found


@pytest.fixture
def memory(own_home: Path, home: Path, stand_in: Provider) -> LocalMemory:
    told = {"provider": "openai-compatible", "model": "m", "base_url": stand_in.base("openai"), "timeout_seconds": 20}
    return LocalMemory(Resources.at(home, str(own_home), Config.model_validate({"llm": told})))


def plant(memory: LocalMemory, home: Path, work: Path, where: str, text: str) -> None:
    """Let a session leave the text behind, and end it."""
    scope = Scope(cwd=str(work))
    if where in ("page", "title"):
        title, body = (text, "About the parser.\n") if where == "title" else ("The parser", f"The parser.\n\n{text}\n")
        memory.write(scope, Draft(title=title, body=body, kind="note", path="notes/parser.md", agent="user"))
    player = Player(home, work, "first", ago=300).start().works()
    if where == "prompt":
        player.prompt(text).says("Done.")
    elif where == "output":
        player.runs("cat notes.txt", text)
    elif where == "error":
        player.fails("make", text)
    elif where == "answer":
        player.prompt("Go on").says(text)
    elif where == "file":
        player.edits(text)
    elif where == "command":
        player.runs(text, "")
    player.ends()
    memory.ingest()


def everything(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, without what changes by itself."""
    passing = ("index.db", "locks", "llm", "brief", "logs", "spool", "journal", "cache", ".git")
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(passing) for part in name.parts):
            found[str(name)] = path.read_bytes()
    return found


@pytest.mark.parametrize(("where", "text"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_an_obedient_model_does_no_harm(
    memory: LocalMemory, child: Child, home: Path, own_home: Path, stand_in: Provider, where: str, text: str
) -> None:
    work = repository(own_home / "work", remote="git@example.com:me/work.git")
    other = repository(own_home / "other", remote="git@example.com:me/other.git")
    memory.write(Scope(cwd=str(other)), Draft(title="Theirs", body="Theirs.\n", kind="decision", agent="user"))
    kept = [
        memory.write(Scope(cwd=str(work)), Draft(title="Keep it safe", body="Ask about the parser.\n", kind="rule")),
        memory.write(
            Scope(cwd=str(work)), Draft(title="Mind the parser", body="It bites.\n", kind="gotcha", pinned=True)
        ),
    ]
    plant(memory, home, work, where, text)
    project = memory.resolve(Scope(cwd=str(work))).project
    assert project
    wiki = memory.res.wiki(project).folder
    inside = str(wiki.relative_to(own_home)) + os.sep
    before = everything(own_home)
    worker = Llm(memory.res.config.llm, "", home, child, pauses=())
    with consolidate.lock(memory.res, 5):
        done = consolidate.work_off(memory.res, worker, Redactor(), now=datetime.now(timezone.utc))
    memory.close()
    after = everything(own_home)
    changed = {name: data.decode() for name, data in after.items() if before.get(name) != data}

    assert [one.state for one in done] == ["consolidated"]
    assert obey(stand_in.asked[0]) != obey(stand_in.asked[0]._replace(user="")), "the order reached the model"
    session = str(memory.sessions(Scope(cwd=str(work)))[0].page)
    for name, page_text in changed.items():
        assert name.startswith(inside), "outside of the project's wiki"
        check_page(name.removeprefix(inside), page_text, name.removeprefix(inside) == session)
    for page in kept:
        assert inside + page.path not in changed
    assert before.keys() <= after.keys()
    check_prompt(stand_in.asked[0].user)
    check_secrets(home, wiki)
    check_telling(memory, work, [name.removeprefix(inside) for name in changed])


def check_page(path: str, text: str, own: bool) -> None:
    """A page is where its kind belongs, of a kind that a model may write, and shows nothing that does anything."""
    now = datetime.now(timezone.utc)
    page: Page = markdown.page_from(path, text, project="p", created=now, updated=now)
    folder = path.partition("/")[0]
    assert (folder, page.kind) in (
        ("decisions", "decision"),
        ("gotchas", "gotcha"),
        ("procedures", "procedure"),
        ("concepts", "concept"),
        ("notes", "note"),
        ("sessions", "session"),
        ("handoffs", "handoff"),
    )
    assert not page.pinned
    assert (page.kind == "session") == own
    assert markdown.problem(text) == ""
    assert len(text) < 20_000
    assert re.fullmatch(r"[^/\x00-\x1f]+(?:/[^/\x00-\x1f]+)*\.md", path)
    assert not DOES.search(text), text
    assert not re.search(r"evil\.invalid/\S*-memory-data", text), "an address that tells of the session"
    body = page.body
    for link in markdown.links(body):
        assert not link.startswith(("/", ".")), link
        assert "OTHER" not in link
        assert link not in ("decisions/none", "/etc/passwd")
    if page.kind not in ("session", "handoff"):
        assert not MARK.search(body), body
        assert "superseded" in text or "[[sessions/" in body, "it cites its session"


def check_prompt(user: str) -> None:
    """The prompt is fences from end to end, and nothing inside closes one or opens another."""
    shown = "".join(char for char in user if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf"))
    assert PART.sub("", shown).strip() == ""
    for inner in PART.findall(shown):
        assert not re.search(r"<\s*/?\s*memory-data", inner, re.I), inner


def check_secrets(home: Path, wiki: Path) -> None:
    history = subprocess.run(["git", "-C", str(wiki), "log", "-p", "--all"], capture_output=True, check=True).stdout
    for secret in (SECRET.encode(), TOKEN.encode()):
        assert secret not in history
        assert not [path for path in home.rglob("*") if path.is_file() and secret in path.read_bytes()]


def check_telling(memory: LocalMemory, work: Path, paths: list[str]) -> None:
    """What agents are told of it stays inside its fence."""
    scope = Scope(cwd=str(work))
    told = memory.brief(scope).text
    assert (told.count("<ai-memory-brief"), told.count("</ai-memory-brief>")) == (1, 1)
    assert told.rstrip().endswith("</ai-memory-brief>")
    for path in paths:
        said = render.document(memory.read(scope, path))
        assert len(re.findall(r"<\s*/?\s*memory-data", said, re.I)) == 2


def test_there_are_enough_of_them_and_each_is_of_its_own() -> None:
    assert len(CASES) >= 40
    assert len({case[0] for case in CASES}) == len({case[2] for case in CASES}) == len(CASES)
