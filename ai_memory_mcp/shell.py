"""Reading shell commands the way a colleague does: what ran, on what, which files it wrote, what it committed.

Pure and approximate: quotes, pipes, `&&` and here-documents are understood, expansion is not. Words with `$`, `*` or
a substitution are never taken for a path.
"""

# ruff: noqa: E501 - patterns, word lists and tables of them are easier to check on one line
from __future__ import annotations

import posixpath
import re
from functools import lru_cache
from typing import Literal, NamedTuple

PARSE_LIMIT = 4_000  # characters of a command that are looked at; what matters stands in front

Verb = Literal["created", "edited", "deleted", "restored"]
Purpose = Literal["test", "build", "lint", "deploy", "install", "run", "look"]


class Step(NamedTuple):
    """One simple command of a line: its words without wrappers; `piped` when it reads another one's output."""

    words: tuple[str, ...]
    piped: bool


_HEREDOC = re.compile(r"<<-?[ \t]*(['\"]?)(\w+)\1([^\n]*)\n.*?(?:\n[ \t]*\2[ \t]*(?=\n|$|\))|\Z)", re.S)
_TOKEN = re.compile(
    r"""(?P<quoted>'[^']*'|"(?:\\.|[^"\\])*")|(?P<escape>\\.)|(?P<redirect>\d?>>?&?\d?|&>>?)"""
    r"""|(?P<cut>&&|\|\|?|;|\n|&)|(?P<space>[ \t\r]+)|(?P<plain>[^\s'"\\;|&<>]+|.)""",
    re.S,
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_NUMBER = re.compile(r"[\d.]+[smhd]?$")
_WRAPPERS = {
    "sudo",
    "env",
    "time",
    "nohup",
    "command",
    "exec",
    "stdbuf",
    "xvfb-run",
    "nice",
    "npx",
    "bunx",
    "uvx",
    "then",
    "do",
}
_RUNNERS = {("uv", "run"), ("poetry", "run"), ("pipenv", "run"), ("bundle", "exec"), ("pnpm", "exec"), ("yarn", "exec"), ("hatch", "run"), ("pdm", "run"), ("rye", "run")}  # fmt: skip
_SHELLS = {"bash", "sh", "zsh", "dash"}
_SILENT = {"cd", "source", ".", "export", "set", "pushd", "popd", "true", "echo", "printf", "sleep", "mkdir", "wait", "unset", "fi", "done", "exit", "if", "for", "while", "["}  # fmt: skip
_LOOKING = {"cat", "less", "more", "head", "tail", "sed", "awk", "grep", "egrep", "fgrep", "rg", "ag", "ack", "find", "fd", "ls", "tree", "wc", "nl", "bat", "jq", "yq", "sort", "uniq", "cut", "diff", "stat", "file", "which", "type", "pwd", "strings", "xxd", "journalctl", "echo", "printf", "ps", "du", "df", "env", "test", "tr", "column", "whereis", "man", "date", "history", "readlink", "realpath", "basename", "dirname", "pgrep", "lsof", "kill", "pkill", "id", "whoami", "uname", "hostname"}  # fmt: skip
_LOOKING_PAIRS = {("git", x) for x in ("log", "show", "diff", "blame", "grep", "status", "branch", "reflog", "ls-files", "rev-parse", "remote", "config", "cat-file", "ls-tree", "describe", "shortlog", "stash")} | {("docker", "logs"), ("docker", "ps"), ("kubectl", "logs"), ("kubectl", "get"), ("kubectl", "describe"), ("npm", "ls"), ("npm", "view"), ("pip", "show"), ("pip", "list"), ("pip", "index"), ("gh", "issue"), ("gh", "run"), ("gh", "api"), ("cargo", "tree")}  # fmt: skip
_SUBCOMMANDS = {"git", "cargo", "go", "npm", "pnpm", "yarn", "bun", "deno", "docker", "kubectl", "gh", "pip", "pip3", "uv", "poetry", "make", "just", "terraform", "helm", "dotnet", "mvn", "gradle", "gradlew", "mix", "swift", "rails", "rake", "bundle", "composer", "flutter", "dart", "conda", "brew", "apt", "apt-get", "alembic", "prisma", "vercel", "fly", "flyctl", "firebase", "gcloud", "aws", "az", "nx", "turbo", "playwright", "cypress", "zig", "cdk", "glab", "ruff", "vite", "next", "task"}  # fmt: skip
_TWO_WORDS = {("npm", "run"), ("pnpm", "run"), ("yarn", "run"), ("bun", "run"), ("docker", "compose"), ("gh", "pr"), ("gh", "release"), ("prisma", "migrate"), ("uv", "pip"), ("npm", "exec")}  # fmt: skip
_INLINE = {"-c", "-e", "-p", "-"}
_INTERPRETER = re.compile(r"(?:python[\d.]*|node|ruby|perl|php|deno|ts-node|tsx|bun)$")

_PURPOSES: tuple[tuple[Purpose, re.Pattern[str]], ...] = (
    (
        "test",
        re.compile(
            r"(?:pytest|py\.test|unittest|tox|nox|jest|vitest|mocha|ava|karma|rspec|phpunit|ctest|bats|nextest)\b"
            r"|(?:npm|pnpm|yarn|bun|go|cargo|dotnet|swift|mix|deno|make|just|zig|flutter|dart|mvn|gradle|gradlew|playwright|rake|rails|nx|turbo|hatch|task) (?:run )?(?:\S*test\S*|check|verify|llvm-cov|nextest|coverage)(?: |$)"
            r"|cypress run|python \S*(?:runtests|test_\w+|_test)\.py|\S*manage\.py test|python \S*manage\.py test|\S*/runtests\.py"
        ),
    ),
    (
        "lint",
        re.compile(
            r"(?:ruff|flake8|eslint|mypy|pyright|black|prettier|golangci-lint|pylint|rubocop|shellcheck|stylelint|biome|isort|pre-commit|vue-tsc|ty)\b"
            r"|cargo (?:clippy|fmt)|go vet|gofmt|tsc --noEmit|(?:npm|pnpm|yarn|bun|make|just|task|nx) (?:run )?\S*(?:lint|format|typecheck|type-check|fmt)\S*"
        ),
    ),
    (
        "deploy",
        re.compile(
            r"git push|gh (?:pr create|pr merge|release create)|glab mr|vercel|fly(?:ctl)? deploy|firebase deploy|kubectl (?:apply|rollout)"
            r"|helm (?:install|upgrade)|terraform apply|docker push|(?:npm|pnpm|yarn|cargo) publish|twine upload|uv publish|cdk deploy|serverless deploy"
            r"|gcloud \S+ deploy|ansible-playbook|alembic (?:upgrade|downgrade)|prisma migrate|(?:python )?\S*manage\.py migrate|(?:npm|pnpm|yarn) run \S*deploy\S*|make deploy"
        ),
    ),
    (
        "install",
        re.compile(
            r"(?:pip3?|uv pip|pipx|apt|apt-get|brew|gem|conda|cargo|dnf|apk) (?:-\S+ )*(?:install|add)\b|uv (?:add|sync)|poetry (?:add|install)"
            r"|(?:npm|pnpm|yarn|bun) (?:install|i|add|ci)\b|cargo add|go get|composer require|dotnet add|bundle install|pdm add|mix deps\.get"
        ),
    ),
    (
        "build",
        re.compile(
            r"(?:tsc|webpack|cmake|ninja|rustc|javac|gcc|g\+\+|clang\S*|bazel|meson|esbuild|rollup)\b|make\b|(?:vite|next|go|cargo|docker|dotnet|swift|python -m|hatch|uv|mvn|gradle|gradlew|nx|turbo|zig|flutter|just|task) (?:build|check|package|compile|install|assemble|bootJar)\b"
            r"|docker compose (?:up|build)|(?:npm|pnpm|yarn|bun) (?:run )?\S*(?:build|compile)\S*|configure\b|mvn\b"
        ),
    ),
)


@lru_cache(maxsize=4096)
def steps(command: str) -> tuple[Step, ...]:
    """Return the simple commands of a command line, wrappers (`sudo`, `uv run`, `bash -lc '…'`, `X=1`) taken off."""
    found: list[Step] = []
    for words, piped in _split(_HEREDOC.sub(r" <<\2\3", command[:PARSE_LIMIT])):
        bare = _unwrap(words)
        if len(bare) > 2 and bare[0] in _SHELLS and bare[1].startswith("-") and "c" in bare[1]:
            found += steps(bare[2])
        elif bare:
            found.append(Step(tuple(bare), piped))
    return tuple(found)


def _split(command: str) -> list[tuple[list[str], bool]]:
    lines: list[tuple[list[str], bool]] = [([], False)]
    word, open_word = "", False
    for token in _TOKEN.finditer(command):
        kind, text = token.lastgroup, token.group()
        if kind in ("quoted", "plain", "escape"):
            word += text[1:-1] if kind == "quoted" else text[1:].replace("\n", "") if kind == "escape" else text
            open_word = True
            continue
        if open_word:
            lines[-1][0].append(word)
            word, open_word = "", False
        if kind == "redirect":
            lines[-1][0].append(text)
        elif kind == "cut":
            lines.append(([], text == "|"))
    if open_word:
        lines[-1][0].append(word)
    return [(words, piped) for words, piped in lines if words]


def _unwrap(words: list[str]) -> list[str]:
    while words:
        first = posixpath.basename(words[0].lstrip("("))
        if first in _WRAPPERS or _ASSIGNMENT.match(words[0]):
            words = words[1:]
        elif first == "timeout":
            words = [w for i, w in enumerate(words) if i and not (i < 4 and (w.startswith("-") or _NUMBER.match(w)))]
        elif (first, *words[1:2]) in _RUNNERS:
            words = words[2:]
        elif _INTERPRETER.match(first) and words[1:2] == ["-m"] and len(words) > 2:
            return ["python", "-m", *words[2:]] if words[2] == "build" else words[2:]
        else:
            return [re.sub(r"^python[\d.]+$", "python", first), *words[1:]]
    return words


def main_step(command: str) -> Step | None:
    """Return the step that a person would name the command by: the first with a purpose, else the first that acts."""
    acting = [step for step in steps(command) if step.words[0] not in _SILENT and not step.piped]
    ranked = [step for step in acting if purpose_of(step) in ("test", "build", "lint", "deploy", "install")]
    return next(iter(ranked or acting), None)


def purpose_of(step: Step) -> Purpose:
    """Say what a step is for."""
    line = " ".join(step.words)
    for purpose, pattern in _PURPOSES:
        if pattern.match(line):
            return purpose
    looking = step.words[0] in _LOOKING or step.words[:2] in _LOOKING_PAIRS
    return "look" if looking and "-i" not in step.words[1:2] else "run"


def family_of(step: Step) -> str:
    """Return a short name under which repeated runs of the same thing meet: `pytest`, `cargo test`, `npm run build`."""
    words = step.words
    plain = [w for w in words[1:] if not w.startswith("-")]
    if _INTERPRETER.match(words[0]):
        inline = len(words) < 2 or words[1] in _INLINE or words[1].startswith("<")
        return f"{words[0]} (inline)" if inline else f"{words[0]} {plain[0] if plain else words[1]}"
    if words[0] in _SUBCOMMANDS and plain:
        depth = 2 if (words[0], plain[0]) in _TWO_WORDS else 1
        return " ".join([words[0], *plain[:depth]])
    return words[0]


def targets_of(step: Step) -> frozenset[str]:
    """Return the paths a step is pointed at (`tests/test_a.py`), without pytest's `::name`."""
    return frozenset(
        w.split("::")[0].rstrip("/") for w in step.words[1:] if not w.startswith("-") and ("/" in w or "::" in w or re.search(r"\.\w{1,5}$", w))
    )  # fmt: skip


def only_looks(command: str) -> bool:
    """Return whether every step just shows something, so that words in its output say nothing about success."""
    acting = [step for step in steps(command) if step.words[0] not in _SILENT and not step.piped]
    return all(purpose_of(step) == "look" for step in acting)


def masks_status(command: str) -> bool:
    """Return whether the exit status of the line may hide the failure of a part (pipe, `;`, `|| true`)."""
    return "|" in command or ";" in command or "\n" in command.strip()


def writes(command: str) -> list[tuple[str, Verb]]:
    """Return the files a command plainly writes or removes, in order: (path as written, what happens to it)."""
    found: list[tuple[str, Verb]] = []
    for step in steps(command):
        found += [(path, verb) for path, verb in _step_writes(list(step.words)) if _is_path(path)]
    return list(dict.fromkeys(found))


def _step_writes(words: list[str]) -> list[tuple[str, Verb]]:
    found: list[tuple[str, Verb]] = []
    for at, word in enumerate(words[:-1]):
        if word in (">", "1>", "&>"):
            found.append((words[at + 1], "created"))
        elif word in (">>", "1>>", "&>>"):
            found.append((words[at + 1], "edited"))
    cut = next((at for at, word in enumerate(words) if ">" in word or word.startswith("<")), len(words))
    plain = [w for w in words[1:cut] if not w.startswith("-")]
    first, second = words[0], plain[0] if plain else ""
    if first == "rm" or (first == "git" and second == "rm"):
        found += [(w, "deleted") for w in plain if not (first == "git" and w == "rm")]
    elif first == "tee":
        found += [(w, "edited" if "-a" in words else "created") for w in plain]
    elif first in ("sed", "perl") and any(re.match(r"-\w*i", w) for w in words[1:]):
        found += [(w, "edited") for w in plain[1:]]
    elif first == "mv" or (first == "git" and second == "mv"):
        pair = plain[-2:]
        found += [(pair[0], "deleted"), (pair[1], "created")] if len(pair) == 2 and _suffix(pair[1]) else []
    elif first == "touch":
        found += [(w, "created") for w in plain]
    elif first == "git" and (second == "restore" or (second == "checkout" and "--" in words)):
        after = words[words.index("--") + 1 :] if "--" in words else plain[1:]
        found += [(w, "restored") for w in after if "--staged" not in words]
    return found


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1]


def _is_path(word: str) -> bool:
    plain = bool(word) and not re.search(r"[$*?`{}()<>|\s\"'\\=]", word)
    return plain and word not in (".", "..", "/") and not word.startswith(("/dev/", "&", "~"))


_MESSAGE = re.compile(
    r"""\bgit\b[^\n;&|]*?\bcommit\b[^\n]*?(?:-\w*m|--message)[ =]?\s*(?:"\$\(cat <<-?\s*['"]?\w+['"]?\s*\n\s*(?P<here>[^\n]+)|"(?P<double>(?:\\.|[^"\\])+)"|'(?P<single>[^']+)'|(?P<bare>[^\s"']+))"""
)
_RECORDED = re.compile(r"^\[[^\]\n]*?\b[0-9a-f]{7,40}\] (.+)$", re.M)


def commits(command: str, output: str) -> list[str]:
    """Return the subject lines of the commits a command made; git's own words in the output win over the command's."""
    if not re.search(r"\bgit\b.*\bcommit\b", command):
        return []
    recorded = [line.strip() for line in _RECORDED.findall(output)]
    if recorded:
        return recorded
    found = []
    for match in _MESSAGE.finditer(command[:PARSE_LIMIT]):
        message = next((text for text in match.groups() if text), "")
        found.append(message.replace("\\n", "\n").split("\n")[0].strip())
    return [subject for subject in found if subject and not subject.startswith("$(")]


def packages(step: Step) -> list[str]:
    """Return the packages an install step names (none for `npm ci`, `-r requirements.txt` and the like)."""
    if purpose_of(step) != "install":
        return []
    verbs = {"install", "add", "i", "get", "require", "pip", "package", "ci", "sync"}
    plain, skip = [], False
    for word in step.words[1:]:
        if skip or ">" in word:
            if ">" in word:
                break
            skip = False
        elif word in ("-r", "-c", "-e", "--index-url", "-i", "--target", "-t", "--features", "-F"):
            skip = True
        elif not word.startswith("-") and word not in verbs:
            plain.append(word)
    return [word for word in plain if not re.search(r"[$*`(){}]|^\.|/$|^/", word)]
