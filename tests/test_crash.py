"""Killed at any line, ingest is made up for by the next run: the outcome is that of a run nobody disturbed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from children import child, ingest_killed, opened
from playing import DEAD, Player, put, repository

from ai_memory_mcp.model import Query, Scope

POINTS = 10


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A memory with a waiting handoff, and a spool with everything in it that ingest knows to handle."""
    base = tmp_path_factory.mktemp("template") / "user"
    home = base / "memory"
    work = repository(base / "work", remote="git@example.com:me/work.git")
    repository(base / "other", remote="git@example.com:me/other.git")
    Player(home, work, "first", ago=3000, pid=DEAD).start().works().ends()
    Player(home, work, "killed", ago=2000, pid=DEAD).start().works("the lexer")
    memory = opened(str(home))
    memory.ingest()
    waiting = memory.handoffs(Scope(cwd=str(work)))[0]
    memory.close()
    second = Player(home, work, "second", ago=1000, pid=DEAD)
    second.send("SessionStart", source="startup", times=2).offered(waiting.id)
    second.send("UserPromptSubmit", prompt="go on", times=2).edits("docs/a.md")
    second.cwd = base / "other"
    second.prompt("and the other one").edits("b.py")
    second.cwd = work
    second.says("All is done.").ends()
    put(home, f"{int(second.now.timestamp() * 1e9):020d}-1-bad-0123456789abcdef.json", b'{"torn')
    shutil.copytree(base, base.parent / "kept")
    return base


def restore(template: Path) -> Path:
    """Put everything back to before the ingest, under the same paths."""
    shutil.rmtree(template)
    shutil.copytree(template.parent / "kept", template)
    return template / "memory"


def outcome(home: Path) -> dict[str, Any]:
    """Return all that a user or an agent could see, and the raw journal and wiki behind it."""
    memory = opened(str(home))
    told: dict[str, Any] = {}
    for name in ("work", "other"):
        scope = Scope(cwd=str(home.parent / name))
        told[name] = {
            "sessions": [one.model_dump(mode="json") for one in memory.sessions(scope)],
            "handoffs": [one.model_dump(mode="json") for one in memory.handoffs(scope, every=True)],
            "status": memory.status(scope).model_dump(mode="json"),
            "search": memory.search(scope, Query(text="parser docs lexer")).model_dump(mode="json"),
            "brief": memory.brief(scope).text,
        }
    memory.close()
    told["journal"] = {
        path.parent.name + path.name: sorted(journal_ids(path)) for path in (home / "journal").rglob("*.jsonl")
    }
    told["pages"] = {path: text for path, text in pages(home).items() if not path.endswith("project.md")}
    told["spool"] = sorted(path.name for path in (home / "spool").rglob("[!.]*"))
    told["wikis"] = [git_problems(path.parent) for path in sorted((home / "wiki").glob("*/*/.git"))]
    return json.loads(json.dumps(told))  # type: ignore[no-any-return]


def journal_ids(path: Path) -> list[str]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [f"{one['type']} {one.get('id', '')}" for one in records if one["type"] != "close"]


def pages(home: Path) -> dict[str, str]:
    found = (path for path in (home / "wiki").rglob("*.md") if ".git" not in path.parts)
    return {str(path.relative_to(home)): path.read_text() for path in found}


def git_problems(wiki: Path) -> str:
    """Return what git finds wrong or uncommitted, '' when all is well."""
    checks = (["fsck", "--strict", "--no-dangling"], ["status", "--porcelain"])
    done = [subprocess.run(["git", "-C", wiki, *one], capture_output=True, text=True, check=False) for one in checks]
    return "".join(one.stdout + one.stderr for one in done if one.stdout.strip() or one.returncode)


def killed_at(template: Path, line: int) -> dict[str, Any]:
    home = restore(template)
    process = child(ingest_killed, str(home), line, str(template.parent / "counted"))
    process.join(60)
    assert process.exitcode == (-9 if line else 0)
    memory = opened(str(home))
    memory.ingest()
    memory.close()
    return outcome(home)


@pytest.fixture(scope="module")
def undisturbed(template: Path) -> tuple[dict[str, Any], int]:
    """The outcome of a run that nobody killed, and how many lines it took."""
    found = killed_at(template, 0)
    return found, int((template.parent / "counted").read_text())


def test_the_undisturbed_run_does_everything(undisturbed: tuple[dict[str, Any], int]) -> None:
    """The comparison is only worth something when there is something to compare."""
    found, lines = undisturbed
    assert lines > 1000
    assert sorted(one["state"] for one in found["work"]["handoffs"]) == ["accepted", "open", "open"]
    assert {one["native_id"]: one["state"] for one in found["work"]["sessions"]} == {
        "first": "closed",
        "killed": "closed",
        "second": "closed",
    }
    assert len(found["other"]["handoffs"]) == 1
    assert found["work"]["status"]["capture"]["duplicates"] == 2
    assert found["work"]["status"]["spool"] == {"pending": 0, "set_aside": 1}
    assert found["wikis"] == ["", ""]


@pytest.mark.parametrize("point", range(POINTS))
def test_killed_at_any_line_the_next_run_makes_up_for_it(
    template: Path, undisturbed: tuple[dict[str, Any], int], point: int
) -> None:
    expected, lines = undisturbed
    line = 1 + (2 * point + 1) * lines // (2 * POINTS)
    assert killed_at(template, line) == expected, f"killed at line {line} of {lines}"


@pytest.mark.slow
@pytest.mark.parametrize("point", range(40))
def test_killed_at_many_more_lines(template: Path, undisturbed: tuple[dict[str, Any], int], point: int) -> None:
    expected, lines = undisturbed
    line = 1 + point * lines // 40
    assert killed_at(template, line) == expected, f"killed at line {line} of {lines}"


def test_a_rebuilt_index_tells_the_same(template: Path, undisturbed: tuple[dict[str, Any], int]) -> None:
    home = restore(template)
    memory = opened(str(home))
    memory.ingest()
    memory.close()
    (home / "index.db").unlink()

    assert outcome(home) == undisturbed[0]
