"""Naming projects: what exists is found by its name, what does not is an error with a hint."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from ai_memory_mcp import registry
from ai_memory_mcp.config import Config
from ai_memory_mcp.errors import ProjectError
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Project, Query, Scope
from ai_memory_mcp.project import named_id, workspace_id
from ai_memory_mcp.resources import Resources

NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)


def project(name: str, workspace: str = "default") -> Project:
    return Project(id=named_id(workspace, name), name=name, workspace=workspace, workspace_id=workspace_id(workspace))


KNOWN = [project("api"), project("web-client"), project("api", "acme"), project("Billing", "acme")]


def test_a_project_is_found_by_name_workspace_or_id() -> None:
    assert registry.by_name("web-client", "", KNOWN).name == "web-client"
    assert registry.by_name("acme/api", "", KNOWN).workspace == "acme"
    assert registry.by_name("api", "acme", KNOWN).workspace == "acme"
    assert registry.by_name("default/api", "acme", KNOWN).workspace == "default"
    assert registry.by_name(KNOWN[2].id, "", KNOWN) == KNOWN[2]


@pytest.mark.parametrize(
    ("name", "workspace", "hint"),
    [
        ("web-cleint", "", "did you mean web-client?"),
        ("billing", "", "did you mean Billing?"),
        ("Billing", "default", "did you mean acme/Billing?"),
        ("api", "", "default/api or acme/api"),
        ("acmee/api", "", "workspace 'acmee'; did you mean acme?"),
        ("api", "Acme", "workspace 'Acme'; did you mean acme?"),
        ("nowhere/general", "", "there is no workspace 'nowhere'"),
        ("zzz", "", "`ai-memory-mcp projects`"),
        ("/home/user/api", "", "there is no project"),
    ],
)
def test_an_unknown_or_ambiguous_name_is_an_error_with_a_hint(name: str, workspace: str, hint: str) -> None:
    with pytest.raises(ProjectError) as error:
        registry.by_name(name, workspace, KNOWN)

    assert hint in str(error.value)


def test_every_workspace_has_its_own_general() -> None:
    ids = {registry.by_name(name, "", KNOWN).id for name in ("general", "default/general", "acme/general")}

    assert ids == {named_id("default", "general"), named_id("acme", "general")}


@pytest.fixture
def memory(tmp_path: Path) -> LocalMemory:
    memory = LocalMemory(Resources.at(tmp_path / "memory", user_home=str(tmp_path), config=Config()))
    memory.resolve(Scope())
    for one in KNOWN:
        registry.record(memory.res, one, now=NOW)
    return memory


def test_a_write_to_a_name_that_does_not_exist_lands_nowhere(memory: LocalMemory, tmp_path: Path) -> None:
    folder = tmp_path / "somewhere"
    folder.mkdir()
    with pytest.raises(ProjectError, match="did you mean web-client"):
        memory.write(Scope(cwd=str(folder), project="webclient"), Draft(title="T", body="needle"))

    assert memory.search(Scope(), Query(text="needle", everywhere=True)).hits == ()


def test_a_named_project_goes_before_the_folder(memory: LocalMemory, tmp_path: Path) -> None:
    folder = tmp_path / "somewhere"
    folder.mkdir()
    page = memory.write(Scope(cwd=str(folder), project="web-client"), Draft(title="T", body="needle"))

    assert page.project == named_id("default", "web-client")
    assert memory.search(Scope(cwd=str(folder)), Query(text="needle")).hits == ()


def test_a_named_workspace_goes_before_the_folder(memory: LocalMemory, tmp_path: Path) -> None:
    folder = tmp_path / "somewhere"
    folder.mkdir()
    scope = Scope(cwd=str(folder), workspace="acme")
    page = memory.write(scope, Draft(title="T", body="needle"))

    assert page.project == named_id("acme", "general")
    assert [hit.project for hit in memory.search(scope, Query(text="needle")).hits] == ["general"]
    assert memory.search(Scope(workspace="default"), Query(text="needle")).hits == ()


def test_the_front_page_is_all_that_the_registry_needs() -> None:
    known = project("api", "acme").model_copy(
        update={"roots": ("/w/api", '/w/odd "name": [x]'), "remotes": ("github.com/acme/api",)}
    )
    text = registry.front_page(known, "", now=NOW)

    assert registry.from_front_page(text, known.id, known.workspace_id) == known


def test_words_that_a_person_adds_to_the_front_page_stay() -> None:
    text = registry.front_page(project("api"), "", now=NOW) + "\nOur own words.\n"
    changed = project("api").model_copy(update={"roots": ("/w/api",)})

    assert registry.front_page(changed, text, now=NOW).endswith("\nOur own words.\n")


def test_a_workspace_that_does_not_exist_is_an_error(memory: LocalMemory, tmp_path: Path) -> None:
    for cwd in ("", str(tmp_path)):
        with pytest.raises(ProjectError, match="did you mean acme"):
            memory.resolve(Scope(cwd=cwd, workspace="acmee"))


def test_a_project_whose_front_page_is_gone_gets_it_back(memory: LocalMemory, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    scope = Scope(cwd=str(folder))
    page = memory.write(scope, Draft(title="T", body="b"))
    front = memory.res.home / "wiki" / workspace_id("default") / page.project / registry.FRONT_PAGE
    front.unlink()

    assert memory.write(scope, Draft(title="U", body="b")).project == page.project
    assert front.exists()
