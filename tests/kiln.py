"""A small git repository of a made-up project, whose files and history tell something."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

FILES = {
    "README.md": "# Kiln\n\n[![build](x.svg)](x)\n\nKiln fires clay pots from Python, with a curve for every glaze.\n\n"
    "## Running tests\n\n```sh\n$ pip install -e '.[dev]'\n$ pytest -n 2   # quick\n$ pip install numpy\n```\n\n"
    "See [the guide](docs/guide.md).\n",
    "AGENTS.md": "Never fire above cone ten.\n",
    "docs/guide.md": "# Glazes\n\nHow to choose a glaze for a pot that holds water.\n\n## Celadon\n\n## Tenmoku\n",
    "docs/adr/0002-curves.md": "# Curves are data\n\nWe keep curves in TOML, so that potters can edit them.\n",
    "pyproject.toml": '[project]\nname = "kiln"\ndescription = "Fires pots"\nrequires-python = ">=3.10"\n'
    'dependencies = ["click>=8"]\n[tool.pytest.ini_options]\n',
    "kiln/__init__.py": '"""Fires pots."""\n',
    "kiln/curve.py": '"""Curves: temperature over time, read from TOML."""\n\nclass Curve:\n    pass\n',
    "Makefile": "release: ## upload it\n\ttwine upload\n",
}


def git(folder: Path, *words: str, at: int = 0) -> str:
    """Run git as somebody, at a time (days after 2026-01-01)."""
    when = f"{1767225600 + 86400 * at} +0000"
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in
           (("NAME", "Ada"), ("EMAIL", "ada@example.org"), ("DATE", when))}  # fmt: skip
    env = {"PATH": os.environ["PATH"], "HOME": str(folder.parent), "GIT_CONFIG_NOSYSTEM": "1", **who}
    done = subprocess.run(["git", *words], cwd=folder, env=env, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout


def commit(folder: Path, files: Mapping[str, str], message: str, at: int) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message, at=at)
    return git(folder, "rev-parse", "HEAD").strip()


def kiln(folder: Path) -> Path:
    """Make the repository in a new folder."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    git(folder, "remote", "add", "origin", "git@example.org:ada/kiln.git")
    commit(folder, FILES, "Begin", 0)
    commit(
        folder,
        {"kiln/curve.py": FILES["kiln/curve.py"] + "X = 1\n"},
        "Read curves from TOML\n\nWe chose TOML instead of YAML because potters edit curves by hand.",
        1,
    )
    bad = commit(folder, {"kiln/fast.py": "Y = 1\n"}, "Fire twice as fast\n\nSaves gas.", 2)
    (folder / "kiln/fast.py").unlink()
    commit(folder, {}, f'Revert "Fire twice as fast"\n\nThis reverts commit {bad}.\n\nThe pots burst.', 3)
    commit(
        folder,
        {"kiln/curve.py": FILES["kiln/curve.py"] + "X = 2\n"},
        "Fix a crash with empty curves\n\n" + "It turns out that a file without points gave None. " * 7,
        4,
    )
    return folder
