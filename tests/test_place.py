"""Where things are, told without imports."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ai_memory_mcp.place import default_home, find_root, path_key, place_key, real

ROOT = str(Path(__file__).resolve().parent.parent)


def test_it_imports_nothing_but_built_in_modules() -> None:
    program = (
        "import sys; before = set(sys.modules); import ai_memory_mcp.place\nprint(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", f"import sys; sys.path.insert(0, {ROOT!r})\n{program}"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["ai_memory_mcp", "ai_memory_mcp.place"]


def test_the_root_is_the_nearest_repository_and_the_marker_the_nearest_marker(tmp_path: Path) -> None:
    outer, inner, deep = tmp_path / "outer", tmp_path / "outer/inner", tmp_path / "outer/inner/a/b"
    deep.mkdir(parents=True)
    (outer / ".ai-memory.toml").touch()
    (outer / ".git").mkdir()
    (inner / ".git").touch()

    assert find_root(str(deep), "") == (str(inner), str(outer / ".ai-memory.toml"))
    assert find_root(str(deep) + "/", str(outer)) == (str(inner), "")
    assert find_root(str(deep), str(inner)) == (str(deep), "")
    assert find_root(str(outer), str(inner)) == ("", "")


def test_a_marker_alone_makes_its_folder_the_root(tmp_path: Path) -> None:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "sub" / ".ai-memory.toml").touch()

    assert find_root(str(tmp_path / "sub" / "deep"), "")[0] == str(tmp_path / "sub")


def test_links_circles_and_what_is_gone_have_a_real_path(tmp_path: Path) -> None:
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "absolute").symlink_to(tmp_path / "real")
    (tmp_path / "relative").symlink_to("absolute/../real")
    (tmp_path / "circle").symlink_to("circle")
    base = str(tmp_path)
    for told in ("absolute/sub", "relative/sub", "real/./sub/", "real//sub", "absolute/sub/../sub", "gone/../real/sub"):
        assert real(f"{base}/{told}") == f"{base}/real/sub", told
    assert real(f"{base}/relative/gone/deep") == f"{base}/real/gone/deep"
    assert real(f"{base}/circle/x").startswith(base)
    assert real("") == real("with\0nul") == ""
    assert real("/..") == real("/") == real("//") == "/"


def test_a_relative_path_counts_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert real(".") == real(str(tmp_path)) == str(tmp_path)
    assert real("sub/deep") == str(tmp_path / "sub" / "deep")


def test_odd_names_are_no_error(tmp_path: Path) -> None:
    for name in ("\udcff", "日本", "a\nb", "x" * 5000):
        assert find_root(f"{tmp_path}/{name}", "/home/user")[0] == f"{tmp_path}/{name}"


def test_what_macos_calls_temporary_is_no_project() -> None:
    assert find_root("/private/var/folders/zz/abc/T", "/Users/u") == ("", "")
    assert find_root("/private/var/folders/zz/abc/T/work", "/Users/u") == ("/private/var/folders/zz/abc/T/work", "")


def test_the_memory_is_where_platformdirs_puts_data(monkeypatch: pytest.MonkeyPatch) -> None:
    import platformdirs

    for env in (
        {"HOME": "/home/u"},
        {"HOME": "/home/u", "XDG_DATA_HOME": "/data"},
        {"HOME": "/u", "XDG_DATA_HOME": "x"},
    ):
        monkeypatch.setenv("HOME", env["HOME"])
        monkeypatch.setenv("XDG_DATA_HOME", env.get("XDG_DATA_HOME", ""))
        if not env.get("XDG_DATA_HOME", "/").startswith("/"):
            assert default_home(env) == "/u/.local/share/ai-memory"  # relative ones are to be ignored
        else:
            assert default_home(env) == platformdirs.user_data_dir("ai-memory")
    assert default_home({}) == ""
    assert default_home({"AI_MEMORY_HOME": "/x", "HOME": "/u"}) == "/x"


def test_keys_tell_places_apart() -> None:
    keys = {place_key("/a", ""), place_key("/b", ""), place_key("/a", "/a/.ai-memory.toml"), path_key("\udcff")}

    assert len(keys) == 4
    assert all(len(key) == 16 for key in keys)


@pytest.mark.skipif(sys.platform == "win32", reason="its paths are not walked by hand")
def test_it_agrees_with_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "up").symlink_to("..")
    (tmp_path / "d" / "self").symlink_to(tmp_path / "d")
    for told in ("d/self/self", "up", "d/self/../up", "no/such", "d/self/no"):
        assert real(f"{tmp_path}/{told}") == os.path.realpath(f"{tmp_path}/{told}"), told


def test_it_takes_no_noticeable_time(tmp_path: Path) -> None:
    deep = tmp_path / "1/2/3/4"
    deep.mkdir(parents=True)
    started = time.perf_counter()
    for _ in range(100):
        find_root(str(deep), "/home/user")

    assert (time.perf_counter() - started) / 100 < 0.002  # about 0.05 ms; the bound is against regressions of kind
