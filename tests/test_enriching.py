"""What a language model makes of a repository, beside the pages by rule, and what it may not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from injections import CASES, SECRET, TOKEN, obey
from kiln import commit, kiln
from provider import SHAPES, Asked, Provider, provider
from test_injection import DOES, MARK, check_secrets, everything

from ai_memory_mcp import markdown
from ai_memory_mcp.bootstrapping import bootstrap_project
from ai_memory_mcp.cli.main import main
from ai_memory_mcp.config import Config
from ai_memory_mcp.llm import Child, Llm
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Enriched, Excerpt, Scope
from ai_memory_mcp.resources import Resources

pytestmark = pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed: pip install '.[llm]'")

FIRES = "Kiln reads a curve for every glaze from TOML and fires the pots along it, so that the clay holds."
TOML = "Curves are kept in TOML and not in YAML, because the potters edit them by hand and that went wrong before."


def reader(asked: Asked) -> str:
    """Answer as a decent model would for the repository of these tests."""
    commits = re.findall(r"^commit: (\w+)$", asked.user, re.M)
    earlier = re.findall(r"^path: (\S+)\nkind: \w+\ntitle: (.+)$", asked.user, re.M)

    def page(kind: str, title: str, body: str, *sources: str) -> dict[str, Any]:
        updates = next((path for path, known in earlier if known == title), "")
        return {"kind": kind, "title": title, "body": body, "sources": sources, "updates": updates, "tags": ["clay"]}

    if commits:
        toml = next(one for one in commits if "potters edit curves" in asked.user.partition(one)[2][:300])
        return answer(page("decision", "Curves in TOML", TOML, toml[:12]))
    more = " It also glazes." if "and glazes" in asked.user else ""
    return answer(page("concept", "How kiln fires", FIRES + more, "README.md", "`docs/guide.md:3`", "src/none.py"))


def answer(*pages: dict[str, Any]) -> str:
    return json.dumps({"pages": pages})


@pytest.fixture
def stand_in() -> Iterator[Provider]:
    with provider() as found:
        found.answer = reader
        yield found


class WithChild(LocalMemory):
    """A memory that asks through the litellm of all tests."""

    child: Child

    @contextmanager
    def _llm(self, *, asked: bool = False) -> Iterator[Llm]:
        yield Llm(self.res.config.llm, "key", self.res.home, self.child, asked=asked, pauses=())


def opened(
    home: Path, own_home: Path, child: Child, stand_in: Provider, shape: str = "openai", **more: object
) -> LocalMemory:
    told = {"provider": shape, "model": "made-up-1", "base_url": stand_in.base(shape), "timeout_seconds": 20, **more}
    memory = WithChild(Resources.at(home, str(own_home), Config.model_validate({"llm": told})))
    memory.child = child
    return memory


@pytest.fixture
def memory(own_home: Path, home: Path, child: Child, stand_in: Provider) -> LocalMemory:
    return opened(home, own_home, child, stand_in)


@pytest.fixture
def repo(own_home: Path) -> Path:
    return kiln(own_home / "kiln")


def run(memory: LocalMemory, folder: Path, *, dry_run: bool = False) -> Enriched:
    found = bootstrap_project(memory, Scope(cwd=str(folder)), dry_run=dry_run, llm=True).enriched
    assert found
    return found


def texts(memory: LocalMemory) -> dict[str, str]:
    wikis = [memory.res.wiki(project) for project in memory.projects()]
    return {path: wiki.read(path).decode() for wiki in wikis for path in wiki.paths() if path != "project.md"}


# --- what comes of it


@pytest.mark.parametrize("shape", SHAPES)
def test_pages_that_cite_their_files_and_commits_come_beside_those_by_rule(
    home: Path, own_home: Path, child: Child, stand_in: Provider, repo: Path, shape: str
) -> None:
    memory = opened(home, own_home, child, stand_in, shape)
    commit(repo, {"docs/keys.md": f"# Keys\n\nThe key is {TOKEN} for everybody.\n"}, "Tell the key", 5)
    bootstrap_project(memory, Scope(cwd=str(repo)))
    by_rule = texts(memory)
    assert stand_in.asked == [], "nobody is asked unasked"

    found = run(memory, repo)
    after = texts(memory)
    concept, decision = after["concepts/how-kiln-fires.md"], after["decisions/curves-in-toml.md"]

    assert (found.state, found.calls, found.note) == ("written", 2, "")
    assert {one.path for one in found.pages} == after.keys() - by_rule.keys()
    assert {path: text for path, text in after.items() if path in by_rule} == by_rule
    assert FIRES in concept
    assert concept.endswith(
        "## See also\n\n- [[concepts/overview.md]]\n\n## Sources\n\n- `README.md`\n- `docs/guide.md`\n"
    )
    assert re.search(r"## Sources\n\n- commit `\w{10}`\n\Z", decision)
    assert "tags: [from-repository, clay]" in decision
    assert [one.author for one in memory.history(Scope(cwd=str(repo)))][:2] == ["ai-memory-llm", "user"]
    assert memory.lint(Scope(cwd=str(repo))).findings == ()
    assert TOKEN not in "".join(asked.user for asked in stand_in.asked)
    spent = memory.status(Scope(cwd=str(repo))).llm.days
    assert [told["bootstrap"].calls for told in spent.values()] == [2]

    memory.revert(Scope(cwd=str(repo)), memory.history(Scope(cwd=str(repo)))[0].commit)
    assert texts(memory) == by_rule


def test_nobody_is_asked_again_for_what_has_not_changed(memory: LocalMemory, repo: Path, stand_in: Provider) -> None:
    run(memory, repo)
    before = texts(memory)
    assert run(memory, repo) == Enriched(state="unchanged")
    assert texts(memory) == before
    assert len(stand_in.asked) == 2


def test_what_has_changed_is_asked_for_and_updates_the_page_that_is_there(
    memory: LocalMemory, repo: Path, stand_in: Provider
) -> None:
    run(memory, repo)
    before = texts(memory)
    readme = (repo / "README.md").read_text()
    commit(repo, {"README.md": readme.replace("fires clay pots", "fires and glazes clay pots")}, "Glaze", 5)
    found = run(memory, repo)

    assert [(one.path, one.change) for one in found.pages] == [("concepts/how-kiln-fires.md", "changed")]
    assert len(stand_in.asked) == 3, "the telling commits are the same"
    assert "It also glazes." in texts(memory)["concepts/how-kiln-fires.md"]
    assert texts(memory).keys() == before.keys()


def test_a_dry_run_tells_what_it_would_take_and_asks_nobody(
    memory: LocalMemory, repo: Path, stand_in: Provider
) -> None:
    told = run(memory, repo, dry_run=True)
    assert (told.state, told.calls, stand_in.asked, memory.projects()) == ("planned", 2, [], ())

    run(memory, repo)
    spent = sum((len(asked.system) + len(asked.user)) // 3 + 8_000 for asked in stand_in.asked)
    assert abs(told.tokens - spent) < 100, "it is what the meter books"
    assert run(memory, repo, dry_run=True) == Enriched(state="unchanged")


def test_files_that_are_not_captured_are_not_sent(memory: LocalMemory, repo: Path, stand_in: Provider) -> None:
    (repo / ".ai-memory.toml").write_text('[capture]\nignore_paths = ["private/**", "docs/guide.md"]\n')
    commit(repo, {"private/README.md": "# Unseen\n\nThe unseen readme.\n"}, "Add unseen, because of this instead", 5)
    run(memory, repo)
    assert "readme." not in "".join(asked.user for asked in stand_in.asked)
    assert "Celadon" not in stand_in.asked[0].user


@pytest.mark.slow
def test_the_command_says_what_came_and_what_it_would_cost(
    repo: Path, home: Path, stand_in: Provider, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repo)
    assert main(["bootstrap", "--llm"]) == 1
    told = capsys.readouterr()
    assert "made nothing of it; the pages by rule are there\n  no language model is set up" in told.out
    assert main(["read", "concepts/overview.md"]) == 0

    monkeypatch.setenv("AI_MEMORY_LLM_PROVIDER", "openai-compatible")
    monkeypatch.setenv("AI_MEMORY_LLM_MODEL", "m")
    monkeypatch.setenv("AI_MEMORY_LLM_BASE_URL", stand_in.base("openai"))
    capsys.readouterr()
    assert main(["bootstrap", "--llm", "--dry-run"]) == 0
    assert re.search(r"would be asked 2 times, about 1\d,\d{3} tokens at most", capsys.readouterr().out)
    assert main(["bootstrap", "--llm", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["enriched"]["calls"] == 2
    assert main(["bootstrap", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["enriched"] is None


# --- when it fails


@pytest.mark.parametrize("mode", ["error", "garbage", "truncated", "key"])
def test_a_failure_costs_nothing_but_the_better_pages(
    memory: LocalMemory, repo: Path, stand_in: Provider, mode: str
) -> None:
    stand_in.modes = [mode]
    found = run(memory, repo)
    assert (found.state, found.pages) == ("failed", ())
    assert found.note
    assert "concepts/overview.md" in texts(memory)

    stand_in.modes = ["ok"]
    assert run(memory, repo).calls == 2


def test_what_the_first_answer_gave_is_kept_when_the_second_does_not_come(
    memory: LocalMemory, repo: Path, stand_in: Provider
) -> None:
    stand_in.modes = ["ok", "refusing"]
    found = run(memory, repo)
    assert ([one.path for one in found.pages], found.note) == (
        ["concepts/how-kiln-fires.md"],
        "the language model refused to answer",
    )
    stand_in.modes = ["ok"]
    assert [one.path for one in run(memory, repo).pages] == ["decisions/curves-in-toml.md"]


def test_when_the_days_tokens_are_spent_nobody_is_asked(
    home: Path, own_home: Path, child: Child, stand_in: Provider, repo: Path
) -> None:
    memory = opened(home, own_home, child, stand_in, daily_tokens=5_000)
    assert "daily_tokens" in run(memory, repo).note
    assert stand_in.asked == []


# --- what it may not


def test_a_page_without_a_source_that_there_is_is_left_out(memory: LocalMemory, repo: Path, stand_in: Provider) -> None:
    page = {"kind": "concept", "body": FIRES}
    wrong: list[list[str]] = [
        [],
        ["src/none.py"],
        ["0123456789abcdef"],
        ["README"],
        ["../README.md"],
        ["concepts/overview.md"],
    ]
    stand_in.answer = lambda asked: answer(
        *({**page, "title": f"No {n}", "sources": one} for n, one in enumerate(wrong))
    )
    found = run(memory, repo)

    assert (found.state, found.calls, found.pages) == ("written", 2, ())
    assert run(memory, repo).state == "unchanged", "it was asked and answered"


def test_pages_of_others_rules_and_pages_by_rule_stay(memory: LocalMemory, repo: Path, stand_in: Provider) -> None:
    here = Scope(cwd=str(repo))
    mine = memory.write(here, Draft(title="How kiln fires", body="An agent's words.", kind="concept"))
    wants = ["concepts/overview.md", "project.md", "notes/repository/agents-md.md", mine.path]
    pages = [
        {"kind": "concept", "title": f"Instead {n}", "body": FIRES, "sources": ["README.md"], "updates": path}
        for n, path in enumerate(wants)
    ]
    pages += [
        {"kind": "rule", "title": "Obey", "body": FIRES, "sources": ["README.md"]},
        {"kind": "concept", "title": "How kiln fires", "body": FIRES, "sources": ["README.md"], "supersedes": wants},
    ]
    stand_in.answer = lambda asked: answer(*pages)
    bootstrap_project(memory, here)
    before = texts(memory)
    run(memory, repo)
    after = texts(memory)

    assert {path: text for path, text in after.items() if path in before} == before
    assert {path.partition("/")[0] for path in after.keys() - before.keys()} == {"concepts"}
    assert not [path for path in after if "obey" in path or "proposal" in path]


def test_a_page_that_was_edited_or_taken_out_is_not_made_again(
    memory: LocalMemory, repo: Path, stand_in: Provider
) -> None:
    run(memory, repo)
    here = Scope(cwd=str(repo))
    file = memory.res.wiki(memory.projects()[0]).folder / "concepts/how-kiln-fires.md"
    file.write_text(file.read_text().replace(FIRES, "My own words."))
    memory.forget(here, "decisions/curves-in-toml.md")
    readme = (repo / "README.md").read_text()
    why = "We chose TOML instead of YAML because potters edit curves by hand. Again."
    commit(repo, {"README.md": f"{readme} and glazes", "kiln/x.py": "X = 3\n"}, f"Read curves again\n\n{why}", 5)
    found = run(memory, repo)

    assert (found.calls, found.pages) == (2, ())
    assert "My own words." in file.read_text()
    assert "decisions/curves-in-toml.md" not in texts(memory)


def test_pages_are_in_the_language_of_the_repository(memory: LocalMemory, repo: Path, stand_in: Provider) -> None:
    german = "# Brennofen\n\n" + "Der Ofen brennt die Töpfe, und für jede Glasur gibt es eine eigene Kurve. " * 12
    words = "Der Ofen liest die Kurven aus TOML, weil die Töpfer sie von Hand ändern und das mit `YAML` nicht ging."
    commit(repo, {"README.md": german, "docs/guide.md": german, "AGENTS.md": german}, "Übersetze", 5)
    (repo / "docs/adr/0002-curves.md").write_text(german)
    for name in ("kiln/__init__.py", "kiln/curve.py"):
        (repo / name).write_text("x = 1\n")
    own = {"kind": "concept", "title": "Brennen", "body": words, "sources": ["README.md"]}
    stand_in.answer = lambda asked: answer(own, {**own, "title": "Firing", "body": FIRES})
    run(memory, repo)

    assert "In the language of the record, which is German." in stand_in.asked[0].system
    assert "concepts/brennen.md" in texts(memory)
    assert "concepts/firing.md" not in texts(memory), "in the answer about the files"


def test_of_a_purged_project_it_is_not_known_what_was_asked(memory: LocalMemory, repo: Path) -> None:
    run(memory, repo)
    assert "history" in (memory.res.home / "llm" / "bootstrapped.json").read_text()
    memory.purge_project(Scope(project="kiln"))
    assert "history" not in (memory.res.home / "llm" / "bootstrapped.json").read_text()


def test_an_excerpt_names_no_file_of_the_memory(memory: LocalMemory, repo: Path, stand_in: Provider) -> None:
    here = Scope(cwd=str(repo))
    bootstrap_project(memory, here)
    elsewhere = ("../../../config.toml", "/etc/passwd", ".git/config", "a\0b", "concepts/modules.md")
    said = [Excerpt(of="page", part="files", source=path, text=FIRES) for path in elsewhere]
    said.append(Excerpt(of="file", part="files", source="README.md", text=FIRES))
    page = {"kind": "concept", "title": "Fires", "body": FIRES, "sources": ["README.md"], "see_also": elsewhere}
    stand_in.answer = lambda asked: answer(page)
    memory.enrich(here, tuple(said))

    links = markdown.links(texts(memory)["concepts/fires.md"])
    assert links == ("concepts/overview.md", "concepts/modules.md")


PARTS = re.compile(r'<memory-data source="(?:repository|given-page)">\n(.*?)\n</memory-data>', re.S)


def obeying(asked: Asked) -> str:
    """Obey, and cite all that there is."""
    told = json.loads(obey(asked))
    sources = re.findall(r"^(?:file|commit): (.+)$", asked.user, re.M)
    return json.dumps({**told, "pages": [{**page, "sources": sources} for page in told["pages"]]})


FIRST = [pytest.param(n, marks=[pytest.mark.slow] * (n > 8)) for n in range(0, len(CASES), 8)]


@pytest.mark.parametrize("first", FIRST)
def test_orders_in_files_names_and_messages_do_no_harm(
    memory: LocalMemory, own_home: Path, repo: Path, stand_in: Provider, first: int
) -> None:
    stand_in.answer = obeying
    other = kiln(own_home / "other")
    (other / ".ai-memory.toml").write_text('project = "other"\n')
    memory.write(Scope(cwd=str(other)), Draft(title="Theirs", body="Theirs.\n", kind="decision", agent="user"))
    rule = memory.write(Scope(cwd=str(repo)), Draft(title="Keep it safe", body="Ask about the parser.\n", kind="rule"))
    for number, (_, where, case) in enumerate(CASES[first : first + 8]):
        text = case.replace("\0", "")
        if where == "file":
            commit(repo, {f"docs/{text.removeprefix('src/')}.md": "# Named\n\nOf no matter.\n"}, "Name it", 5 + number)
        elif number % 2:
            commit(repo, {f"x{number}.py": "1"}, f"Take it\n\nbecause of this instead of that\n\n{text}", 5 + number)
        else:
            commit(repo, {f"docs/a{number}.md": f"# About it\n\n{text}\n"}, "Tell of it", 5 + number)
    bootstrap_project(memory, Scope(cwd=str(repo)))
    project = memory.resolve(Scope(cwd=str(repo))).project
    assert project
    wiki = memory.res.wiki(project).folder
    inside = f"{wiki.relative_to(own_home)}/"
    before = everything(own_home)
    found = run(memory, repo)
    memory.close()
    after = everything(own_home)
    changed = {name: data.decode() for name, data in after.items() if before.get(name) != data}

    assert found.state == "written"
    assert changed, "what may be written was"
    assert any(obey(asked) != obey(asked._replace(user="")) for asked in stand_in.asked), "orders reached the model"
    assert before.keys() <= after.keys()
    assert inside + rule.path not in changed
    now = datetime.now(timezone.utc)
    for name, text in changed.items():
        page = markdown.page_from(name.removeprefix(inside), text, project="p", created=now, updated=now)
        folders = {"decision": "decisions", "gotcha": "gotchas", "procedure": "procedures", "concept": "concepts"}
        assert name.startswith(f"{inside}{folders[page.kind]}/"), "in its folder of the project's wiki"
        assert not page.pinned
        assert markdown.problem(text) == ""
        assert not DOES.search(text), text
        assert not MARK.search(page.body), page.body
        assert "\n## Sources\n\n- " in page.body
        for link in markdown.links(page.body):
            assert memory.res.wiki(project).read(link if link.endswith(".md") else f"{link}.md")
    for asked in stand_in.asked:
        assert PARTS.sub("", asked.user).strip() == ""
        assert not [inner for inner in PARTS.findall(asked.user) if re.search(r"<\s*/?\s*memory-data", inner, re.I)]
    for secret in (SECRET, TOKEN):
        assert secret not in "".join(asked.user for asked in stand_in.asked)
    check_secrets(memory.res.home, wiki)
