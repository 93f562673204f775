"""Did it work? Judging a tool's answer by its words, for agents that keep the exit status to themselves.

Conservative: words count where a failing program puts them (start of a line, its own error form), and not at all in
the output of commands that only show things, whose content proves nothing.
"""

# ruff: noqa: E501 - patterns, word lists and tables of them are easier to check on one line
from __future__ import annotations

import re
from typing import NamedTuple

from ai_memory_mcp import shell

SCAN_LIMIT = 20_000  # characters looked at: head and tail
COUNT_LIMIT = 8_000  # characters at the end of an output, where runners sum up
WIDE = 600  # characters of a line that are looked at
LINE_LIMIT = 240  # characters of an error line


class Counted(NamedTuple):
    """Counts of one test run, as the runner printed them."""

    passed: int
    failed: int


# The exit status, where an agent writes it in front of the output or at the end of it.
_STATUS = re.compile(
    r"^(?:Exit code:? ?|Process exited with code |exit status |\(exit(?:ed with)? (?:code|status)?:? ?|Command exited with (?:code|status) |\[exit code:? ?)(-?\d+)",
    re.I | re.M,
)
_REFUSED = re.compile(
    r"^(?:Exit code: \d+\n)?(?:exec_command failed|failed in sandbox|execution error|command timed out|command was (?:automatically )?cancelled)",
    re.I,
)
# What the shell or the looking command itself says when it cannot do it.
_COMPLAINT = re.compile(
    r"^(?:\S*(?:bash|sh|zsh|dash): (?:line )?.*(?:not found|No such file or directory|Permission denied|syntax error.*)"
    r"|zsh: .*|command not found: .*|\S+: command not found"
    r"|(?:ls|cat|head|tail|sed|awk|grep|rg|find|stat|wc|diff|cp|mv|rm|mkdir|cd|touch|chmod|tee|sort|file|jq|fd): .*(?:No such file or directory|Permission denied|Is a directory|Not a directory|cannot|can't|invalid|unknown|unrecognized).*"
    r")$"
)
_FAILURE = re.compile(
    r"^(?:Traceback \(most recent call last\)|(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception)(?:: |\s*$)|error(?:\[\w+\])?: |ERROR[: \]]|\[ERROR\]|Error: |FATAL[: ]|fatal: |panic: |thread '.*' panicked"
    r"|npm (?:ERR!|error)|make(?:\[\d+\])?: \*\*\* .*|FAILED(?: \(| \S+::|$)|FAIL(?:\s|$|:)|--- FAIL: |BUILD FAILED|FAILURE: |\* What went wrong|Segmentation fault|Killed$"
    r"|\S+: command not found|.*error TS\d+: |\S+:\d+:\d+: (?:fatal )?error: |ninja: build stopped|error Command failed|ELIFECYCLE|E: |Uncaught |SyntaxError: |\S+: error: |✖ |CMake Error)"
)
_NOT_FAILURE = re.compile(r"^(?:error: 0\b|FAIL: 0|FAILED: 0|errors?: 0\b|ERROR:? 0\b|FAIL\s+0$)", re.I)

_COUNTS: tuple[re.Pattern[str], ...] = (
    re.compile(r"^test result: \w+\. (?P<passed>\d+) passed; (?P<failed>\d+) failed", re.M),  # cargo, one per binary
    re.compile(r"^[ \t]*Tests:?[ \t]+(?=.*\d+ (?:passed|failed))(?:.*?(?P<failed>\d+) failed)?(?:.*?(?P<passed>\d+) passed)?", re.M),
    re.compile(r"^=* ?(?=.*\d+ (?:passed|failed|error).*\bin [\d.:]+ ?s)(?:.*?(?P<failed>\d+) failed)?(?:.*?(?P<passed>\d+) passed)?(?:.*?(?P<errors>\d+) errors?)?", re.M),
    re.compile(r"Tests run: (?P<total>\d+), Failures: (?P<failed>\d+), Errors: (?P<errors>\d+)"),
    re.compile(r"^(?P<total>\d+) tests completed, (?P<failed>\d+) failed", re.M),
    re.compile(r"^(?P<total>\d+) (?:examples?|runs), (?:\d+ assertions, )?(?P<failed>\d+) failures?(?:, (?P<errors>\d+) errors)?", re.M),
    re.compile(r"Failed:\s+(?P<failed>\d+), Passed:\s+(?P<passed>\d+)"),
    re.compile(r"^OK \((?P<passed>\d+) tests?, ", re.M),
)  # fmt: skip
_UNITTEST = re.compile(r"^Ran (\d+) tests? in .*?^(OK|FAILED)\b(?: \(([^)]*)\))?", re.M | re.S)
_MOCHA = re.compile(r"^[ \t]*(\d+) (passing|failing)\b", re.M)
_NODE = re.compile(r"^(?:#|ℹ) (pass|fail) (\d+)$", re.M)
_GO = re.compile(r"^(ok|FAIL|--- FAIL:|--- PASS:)\s+(\S+)", re.M)


# Answers that wrap what a command printed: in lines "Output: …", "Exit Code: …", or with a last line about its shell.
_LABEL = re.compile(r"(Error|Exit Code|Signal|Background PIDs|Process Group PGID): (.*)")
_PRINTED = re.compile(r"(?:Command: .*?\n)?(?:Directory: .*?\n)?Output: (.*)", re.S)
_SHELL_LINE = re.compile(r"\n?<(?:[a-z ]+ with )?shellId: \S+ (?:completed|exited) with exit code (-?\d+)>\s*\Z")


def read_report(answer: str) -> tuple[str, int | None]:
    """Return what a command printed and its exit status, None where the answer has not the form of a report.

    A status other than 0 stands in front of the output as "Exit code N"; of a signal it is 128 and its number.
    """
    told = _SHELL_LINE.search(answer)
    if told:
        return _with_status(answer[: told.start()], int(told[1]))
    lines = answer.rstrip("\n").split("\n")
    facts: dict[str, str] = {}
    while lines and (label := _LABEL.fullmatch(lines[-1])) and label[1] not in facts:
        facts[label[1]] = "" if label[2] == "(none)" else label[2]
        lines.pop()
    printed = _PRINTED.match("\n".join(lines))
    if not printed or not facts:
        return answer, None
    output = "\n".join(part for part in (printed[1], facts.get("Error", "")) if part not in ("", "(empty)"))
    status = _number(facts.get("Exit Code", ""))
    if not status and facts.get("Signal"):
        status = 128 + _number(facts["Signal"])
    return _with_status(output, status)


def _with_status(output: str, status: int) -> tuple[str, int]:
    return (f"Exit code {status}\n{output}" if status else output), status


def _number(word: str) -> int:
    return int(word) if re.fullmatch(r"-?\d{1,9}", word) else 0


def judge_shell(command: str, output: str) -> bool | None:
    """Return False when the words point to failure, True when a status or a test runner says success, else None."""
    text = _scan(output)
    status = _STATUS.search(text[:400]) or _STATUS.search(text[-200:])
    if status and not shell.only_looks(command):
        return status.group(1) == "0"
    if _REFUSED.match(text):
        return False
    if shell.only_looks(command):
        return False if _only_complaints(text, command.lstrip().startswith("git ")) else None
    tests = count_tests(text)
    if tests is not None and shell_purpose(command) == "test":
        return tests.failed == 0
    return False if any(is_error_line(line) for line in text.splitlines()) else None


def shell_purpose(command: str) -> shell.Purpose:
    """Say what a whole command line is for."""
    step = shell.main_step(command)
    return shell.purpose_of(step) if step else "look"


def is_error_line(line: str) -> bool:
    """Return whether a line has the form in which programs report that they failed."""
    plain = line.strip()
    return bool(_FAILURE.match(plain) or _COMPLAINT.match(plain)) and not _NOT_FAILURE.match(plain)


def _only_complaints(text: str, git: bool) -> bool:
    # `cat a b` with one missing still showed b: only an answer that is nothing but complaints is a failure.
    lines = [line for line in text.splitlines() if line.strip()]
    return bool(lines) and all(
        _COMPLAINT.match(line.strip()) or _STATUS.match(line) or (git and line.startswith("fatal: ")) for line in lines
    )


def _scan(text: str) -> str:
    if len(text) > SCAN_LIMIT:
        text = text[: SCAN_LIMIT // 2] + "\n" + text[-SCAN_LIMIT // 2 :]
    # A program's verdict stands in short lines; the patterns look ahead along a line and must not meet a long one.
    return "\n".join(line[:WIDE] for line in text.splitlines())


def count_tests(output: str) -> Counted | None:
    """Return the counts of a test run, or None where no known runner printed any.

    Known: pytest, unittest, cargo, jest, vitest, mocha, node, go (packages), maven, gradle, rspec, dotnet, phpunit.
    """
    text = _scan(output[-COUNT_LIMIT:])
    for number, pattern in enumerate(_COUNTS):
        found = list(pattern.finditer(text))
        if found:
            runs = [_numbers(match) for match in (found if number == 0 else found[-1:])]
            return Counted(sum(run.passed for run in runs), sum(run.failed for run in runs))
    unittest = list(_UNITTEST.finditer(text))
    if unittest:
        total, _, detail = unittest[-1].groups()
        failed = sum(int(n) for n in re.findall(r"(?:failures|errors)=(\d+)", detail or ""))
        return Counted(int(total) - failed, failed)
    return _worded(text)


def _numbers(match: re.Match[str]) -> Counted:
    got = {name: int(value) for name, value in match.groupdict().items() if value}
    failed = got.get("failed", 0) + got.get("errors", 0)
    return Counted(got.get("passed", max(got.get("total", 0) - failed, 0)), failed)


def _worded(text: str) -> Counted | None:
    mocha = {word: int(number) for number, word in _MOCHA.findall(text)}
    if mocha:
        return Counted(mocha.get("passing", 0), mocha.get("failing", 0))
    node = {word: int(number) for word, number in _NODE.findall(text)}
    if node:
        return Counted(node.get("pass", 0), node.get("fail", 0))
    marks = [mark for mark, name in _GO.findall(text) if mark in ("ok", "FAIL") and ("/" in name or "." in name)]
    return Counted(marks.count("ok"), marks.count("FAIL")) if marks else None


# In order of how much they say; where a pattern has no group, the whole line is taken.
_BEST = (
    re.compile(r"^E\s{2,}(\S.*)"),
    re.compile(r"^FAILED \S+"),
    re.compile(r"^(?:[\w.]{1,80}\.)?[A-Z]\w{0,60}(?:Error|Exception|Interrupt)\b"),
    re.compile(r"\b(error(?:\[\w+\])?: .*)|\berror TS\d+: "),
    re.compile(r"^(?:thread '.*' panicked|panic: |fatal: |Error: |ERROR:? |--- FAIL: )"),
    re.compile(r"command not found|No such file or directory|Permission denied|timed out"),
)
_RAISED = 2  # of chained exceptions the last one is the one that was not handled
_DULL = re.compile(r"^(?:Exit code:? ?-?\d+|Wall time.*|Output:|Chunk ID.*|Process exited.*|Original token.*|[-=_~*#\s.]*|npm (?:ERR!|error) (?:code|A complete log|Lifecycle).*|Total output lines.*)$", re.I)  # fmt: skip


def error_line(output: str) -> str:
    """Return the one line that says best what went wrong ('' when there is none), cut to LINE_LIMIT."""
    lines = [line.strip() for line in _scan(output).splitlines()]
    for number, pattern in enumerate(_BEST):
        hits = [
            (match.lastindex and match.group(1)) or line
            for line in lines
            if (match := pattern.search(line)) and not line.endswith("Error:")
        ]
        if hits:
            return _cut(hits[-1] if number == _RAISED else hits[0])
    erring = [line for line in lines if is_error_line(line) and not line.startswith("Traceback")]
    telling = [line for line in lines if not _DULL.match(line)]
    return _cut((erring or telling[-1:] or [""])[0])


def _cut(line: str) -> str:
    line = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line).strip()
    return line if len(line) <= LINE_LIMIT else line[: LINE_LIMIT - 1].rstrip() + "…"
