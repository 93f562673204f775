"""Settings: what is wrong is said with its place, and every key is explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ai_memory_mcp.config import Config, home_folder, load_config, user_home
from ai_memory_mcp.errors import ConfigError

KEYS = [(section, key) for section, model in Config() for key in type(model).model_fields]


def settings(folder: Path, text: str) -> Path:
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return folder


def test_without_a_file_the_defaults_count(tmp_path: Path) -> None:
    assert load_config(tmp_path, {}) == Config()


def test_the_file_and_the_environment_are_read_and_the_environment_wins(tmp_path: Path) -> None:
    home = settings(tmp_path, "[capture]\nmax_text = 1000\ntools = false\n[session]\nidle_minutes = 3\n")
    config = load_config(home, {"AI_MEMORY_CAPTURE__MAX_TEXT": "2000", "AI_MEMORY_HOME": "/x", "PATH": "/bin"})

    assert (config.capture.max_text, config.capture.tools, config.session.idle_minutes) == (2000, False, 3)


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_key_is_also_a_variable(tmp_path: Path, section: str, key: str) -> None:
    default = getattr(getattr(Config(), section), key)
    words = "a b" if isinstance(default, str) else ("near",) if section == "search" else ("a b",)
    other = not default if isinstance(default, bool) else default - 1 if isinstance(default, int) else words
    if isinstance(default, str):
        other = "openai" if key == "provider" else "http://localhost"
    if isinstance(default, dict):
        other = {"work/app": "file:///srv/app.git"}
        told = '{"work/app" = "file:///srv/app.git"}'
    else:
        told = other[0] if isinstance(other, tuple) else str(other).lower()

    config = load_config(tmp_path, {f"AI_MEMORY_{section}__{key}".upper(): told})

    assert getattr(getattr(config, section), key) == other
    assert other != default


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("secrets/**", ("secrets/**",)),
        ("secrets/**, *.pem", ("secrets/**", "*.pem")),
        ('["a,b", "c"]', ("a,b", "c")),
        ("", ()),
        ("5", ("5",)),
    ],
)
def test_a_list_in_a_variable_needs_no_quotes(tmp_path: Path, told: str, meant: tuple[str, ...]) -> None:
    assert load_config(tmp_path, {"AI_MEMORY_CAPTURE__IGNORE_PATHS": told}).capture.ignore_paths == meant


@pytest.mark.parametrize("told", ["true", "True", " TRUE "])
def test_yes_and_no_are_read_in_any_case(tmp_path: Path, told: str) -> None:
    home = settings(tmp_path, "[capture]\ntools = false\n")

    assert load_config(home, {"AI_MEMORY_CAPTURE__TOOLS": told}).capture.tools is True


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[capture\n", "cannot be read"),
        ("[captura]\ntools = true\n", "captura: there is no such setting; did you mean capture?"),
        ("[capture]\nmax_txt = 5\n", "capture.max_txt: there is no such setting; did you mean max_text?"),
        ("[capture]\nqqq = 5\n", "known are enabled, prompts"),
        ("[capture]\nmax_text = 5\n", "capture.max_text: Input should be greater than or equal to 256"),
        ('[capture]\ntools = "perhaps"\n', "capture.tools: Input should be a valid boolean"),
        ("capture = 5\n", "capture: Input should be"),
        ('[redact]\npatterns = ["("]\n', "redact.patterns: Value error, '(' is not a regular expression"),
        ("[brief]\nmax_chars = 20000\n", "brief.max_chars"),
        ("[capture]\nqqq = 5\n[brief]\nmax_chars = 1\n", "brief.max_chars"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_its_place(tmp_path: Path, text: str, fault: str) -> None:
    home = settings(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_config(home, {})

    assert str(home / "config.toml") in str(error.value)
    assert fault in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("AI_MEMORY_CAPTURE__MAX_TEXT", "many", "AI_MEMORY_CAPTURE__MAX_TEXT: Input should be a valid integer"),
        ("AI_MEMORY_CAPTURE__MAX_TXT", "5", "AI_MEMORY_CAPTURE__MAX_TXT: there is no such setting"),
        ("AI_MEMORY_HANDOFF__EXPIRES_DAYS", "0", "AI_MEMORY_HANDOFF__EXPIRES_DAYS"),
    ],
)
def test_what_is_wrong_in_the_environment_is_said_with_the_variable(
    tmp_path: Path, name: str, value: str, fault: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path, {name: value})

    assert fault in str(error.value)
    assert "config.toml" not in str(error.value)


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    assert (
        load_config(tmp_path, {"AI_MEMORY_TOKEN": "x", "AI_MEMORY_OTHER__KEY": "1", "CAPTURE__TOOLS": "5"}) == Config()
    )


@pytest.mark.parametrize("kind", ["folder", "bytes"])
def test_a_file_that_cannot_be_read_is_an_error_not_the_defaults(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        (tmp_path / "config.toml").mkdir()
    else:
        (tmp_path / "config.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"config\.toml cannot be read"):
        load_config(tmp_path, {})


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xef\xbb\xbf[capture]\ntools = false\n")

    assert load_config(tmp_path, {}).capture.tools is False


def test_the_readme_explains_every_key_with_its_default(tmp_path: Path) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    example = readme.partition("```toml\n")[2].partition("```")[0]

    assert load_config(settings(tmp_path, example), {}) == Config()
    for section, key in KEYS:
        assert re.search(rf"^{key} = .+  # \w", example.partition(f"[{section}]\n")[2], re.MULTILINE), key


def test_the_memory_needs_a_place() -> None:
    assert home_folder({"AI_MEMORY_HOME": "/x/../y"}) == Path("/y")
    assert home_folder({"HOME": "/home/u"}).is_absolute()
    assert user_home({"USERPROFILE": "C:\\u"}) == "C:\\u"
    with pytest.raises(ConfigError, match="AI_MEMORY_HOME"):
        home_folder({})
