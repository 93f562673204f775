"""The shape of the house, as checks: layers, one door per dependency, start-up imports, documented commands."""

import argparse
import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ai_memory_mcp.agents.spec import all_specs
from ai_memory_mcp.agents.support import markdown, support
from ai_memory_mcp.cli.main import build_parser

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ai_memory_mcp"

# A module may import from its own layer and from those before it. What is not named here is an error.
LAYERS = (
    (
        "vocabulary",
        """errors model memory endpoints place alive secretwords secretscan secretglance clipping redact markdown terms
        entities language ranking scoring passages prose shell verdict briefparts alike merging""",
    ),
    (
        "resources",
        """config project spool journal gitlog joining wiki wiki_git wiki_index wiki_rewrite wiki_others index files
        processes agents.spec resources link tokens away llm llm_child llm_meter llm_queue embedding
        gitremote tombstones repolog sizes slow formats archive""",
    ),
    (
        "operations",
        """observe digest digest_model digest_commands digest_words digest_page handoff pages registry sessions ledger
        ingest settle brief recall reindex writing history related feedback importing importing_files importing_places
        book deliver sending consolidate consolidate_model consolidate_prompt consolidate_check
        consolidate_pages reverting contradictions evicting erasing scrubbing lint lint_rules retention unstored figures
        sync sync_state sync_erased transcripts bootstrap bootstrap_sources bootstrap_commands bootstrap_history
        bootstrap_excerpts enriching enriching_prompt making backup renaming embed meaning peers peers_pages
        peers_basic_memory peers_claude_mem peers_server_memory exporting""",
    ),
    ("composition", "local local_base local_model local_embedding remote"),
    (
        "surfaces",
        """emit emit_rare emit_stream hooksettings hookbrief importing_sessions bootstrapping doctor trying upgrade
        waking agents cli server __main__""",
    ),
)

# Who may import what. The heavy and the dangerous have one door each.
DOORS = {
    "sqlite3": ("index",),
    "sqlite_utils": ("index",),
    "dulwich": ("wiki",),
    "mcp": ("server",),
    "mcp_types": ("server",),
    "anyio": ("server",),
    "starlette": ("server",),
    "uvicorn": ("server",),
    "http": ("link",),
    "filelock": ("files",),
    "yaml": ("markdown", "agents.yamledit"),
    "litellm": ("llm_child",),
    "jinja2": ("server.web.templates",),
    "markupsafe": ("server.web.templates", "server.web.markup"),
    "markdown_it": ("server.web.markup",),
    "pygments": ("server.web.markup",),
    "nh3": ("server.web.markup",),
}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below it ('' for the package itself)."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def layer_of(module: str) -> int:
    """The layer of a module: that of the longest name in LAYERS that is it or holds it."""
    best, layer = "", -1
    for number, (_, names) in enumerate(LAYERS):
        for name in names.split():
            if (module == name or module.startswith(name + ".")) and len(name) > len(best):
                best, layer = name, number
    return layer


def imports(path: Path, *, typing: bool = False, top: bool = False) -> set[str]:
    """Modules that a file imports: anywhere in it or at its `top`; those for the type checker only on request."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if top and isinstance(node, ast.FunctionDef):
            skipped |= set(ast.walk(node))
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped |= {inner for child in node.body for inner in ast.walk(child)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped and not typing:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(path: Path, *, top: bool = False) -> set[str]:
    """The modules of ours that a file imports, by their names below the package."""
    known = set(modules())
    found = set()
    for name in imports(path, top=top):
        if name.startswith("ai_memory_mcp."):
            short = name.removeprefix("ai_memory_mcp.")
            found.add(short if short in known else short.rpartition(".")[0])
    return found - {""}


def test_every_module_has_a_layer() -> None:
    """A new module says where it belongs."""
    assert [name for name in modules() if name and layer_of(name) < 0] == []


def test_imports_point_down_only() -> None:
    """No module imports from a layer above its own."""
    up = [
        f"{name} imports {other}"
        for name, path in modules().items()
        if name
        for other in sorted(ours(path))
        if layer_of(other) > layer_of(name)
    ]

    assert up == []


def test_no_import_cycles() -> None:
    """Modules can be read in an order. (Inside a function the hook's modules import each other when needed.)"""
    graph = {name: ours(path, top=True) - {name} for name, path in modules().items() if name}
    while free := [name for name, others in graph.items() if not others & set(graph)]:
        for name in free:
            del graph[name]

    assert graph == {}


def test_each_dependency_has_one_door() -> None:
    """sqlite3 only in index, dulwich only in wiki, mcp only in server …"""
    intruders = [
        f"{name} imports {other}"
        for name, path in modules().items()
        for other in sorted(imports(path, typing=True))
        if (top := other.split(".")[0]) in DOORS and not name.startswith(DOORS[top] or ("nobody",))
    ]

    assert intruders == []


def calls_and_attributes(path: Path) -> set[str]:
    """What a file calls by plain name (`print()`) and which `os` attributes it touches (`os.environ`)."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found.add(f"{node.func.id}()")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            found.add(f"os.{node.attr}")
    return found


def test_the_environment_is_read_at_the_ways_in_only() -> None:
    """`os.environ` belongs to config, to the hook and to the start of the stdio server."""
    touched = {name for name, path in modules().items() if {"os.environ", "os.getenv"} & calls_and_attributes(path)}

    assert touched == {"config", "emit", "emit_rare", "server.stdio"}


def test_nothing_prints_but_render() -> None:
    """Commands return data; how it looks is decided in one module."""
    assert [name for name, path in modules().items() if "print()" in calls_and_attributes(path)] == []


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running code."""
    code = f"import sys; sys.path.append({str(ROOT)!r})\n{code}\nprint('\\n'.join(sys.modules))"
    command = [sys.executable, "-I", "-S", "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return set(told.stdout.split())


def test_the_hook_imports_nothing_that_costs() -> None:
    """`emit` starts on built-in modules alone; each of these would double its start."""
    bare = loaded_by("")
    costly = {"json", "re", "os", "pathlib", "socket", "subprocess", "uuid", "typing", "pydantic", "tomllib", "logging"}

    assert (loaded_by("import ai_memory_mcp.emit") - bare) & costly == set()


def test_the_server_answers_before_anything_heavy_is_loaded() -> None:
    """The handshake needs neither the SDK nor pydantic nor our own values."""
    heavy = {"mcp", "pydantic", "asyncio", "anyio", "sqlite3", "dulwich", "ai_memory_mcp.model"}

    assert loaded_by("import ai_memory_mcp.server.stdio") & heavy == set()


def test_looking_something_up_needs_no_git_and_no_mcp() -> None:
    """A command that reads does not pay for what only writers and servers use."""
    code = "import site; site.main(); import ai_memory_mcp.local, ai_memory_mcp.cli.use"

    assert loaded_by(code) & {"dulwich", "mcp", "sqlite_utils", "filelock", "asyncio", "tomlkit", "litellm"} == set()


def commands(parser: argparse.ArgumentParser | None = None) -> dict[str, argparse.ArgumentParser]:
    """The parser of every command (`import markdown` is one)."""
    found = {}
    for action in (parser or build_parser())._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                found |= {f"{name} {more}": one for more, one in commands(command).items()} or {name: command}
    return found


def test_every_command_is_documented() -> None:
    """The README's table and the parser name the same commands."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("## Commands")[1].split("## ")[0]

    assert set(re.findall(r"^\| `([a-z-]+)", table, re.M)) == {name.split()[0] for name in commands()}


def test_every_option_has_help() -> None:
    """`--help` explains every option that is not plain from its name."""
    bare = {
        f"{name} {action.option_strings[0]}"
        for name, command in commands().items()
        for action in command._actions
        if action.option_strings and not action.help and action.nargs == 0
    }

    assert bare == set()


def test_the_readme_has_the_support_matrix() -> None:
    """Its table is what the descriptions say, to the letter: `ai-memory-mcp agents --markdown` prints it."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Agents")[1].split("## ")[0]
    table = "".join(line for line in section.splitlines(keepends=True) if line.startswith("|"))

    assert table == markdown(map(support, all_specs().values()))


def test_the_changelog_is_in_order() -> None:
    """Keep a Changelog: an Unreleased section with known headings."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^### (.+)$", text, re.M))

    assert "## [Unreleased]" in text
    assert headings <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_recorded_payloads_are_json() -> None:
    """Test data stays readable by anything."""
    for path in (ROOT / "tests" / "payloads").rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_wheel_holds_agent_configs_and_hook_scripts(tmp_path: Path) -> None:
    """What is installed from a wheel finds its data like a checkout does."""
    import zipfile

    command = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-index", "--no-deps"]
    command += ["--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())

    for spec in all_specs():
        assert f"ai_memory_mcp/agent_configs/{spec}/agent.toml" in names
    assert "ai_memory_mcp/hook_scripts/emit.sh" in names
    assert {f"ai_memory_mcp/server/web/{name}" for name in ("static/style.css", "templates/page.html")} <= names
    assert not [name for name in names if name.startswith(("tests/", "shared"))]


@pytest.mark.parametrize(
    "command",
    [
        "from ai_memory_mcp.emit import main; main(['claude-code', 'UserPromptSubmit'])",
        "import site; site.main(); from ai_memory_mcp.cli.main import main; main(['search', 'parser'])",
        "import site; site.main(); from ai_memory_mcp.local import open_local; memory = open_local(); memory.tick()",
        "import ai_memory_mcp.server.stdio",
    ],
    ids=["emit", "search", "tick", "serve"],
)
def test_a_language_model_that_is_set_up_is_loaded_by_nobody_who_does_not_ask_it(
    command: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not litellm, not what starts it, and not the client libraries that it brings."""
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text(
        '[llm]\nprovider = "openai"\nmodel = "m"\napi_key_env = "MINE"\n[embedding]\nprovider = "openai"\nmodel = "m"\n'
    )
    monkeypatch.setenv("AI_MEMORY_LLM_PROVIDER", "openai")
    monkeypatch.setenv("AI_MEMORY_EMBEDDING_PROVIDER", "openai")
    told = loaded_by(command)

    clients = {"litellm", "openai", "httpx", "http.client", "ssl"}
    mine = {f"ai_memory_mcp.{name}" for name in ("llm", "llm_child", "embedding", "embed", "meaning", "link")}
    assert told & (clients | mine) == set()
