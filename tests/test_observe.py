"""From hook payloads to observations: recorded payloads of the agents, and hostile ones."""

# ruff: noqa: E501 - recorded words stand on the line they came on
from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_memory_mcp import clipping, shell
from ai_memory_mcp.agents.spec import find_spec, pick
from ai_memory_mcp.model import Event, Observation
from ai_memory_mcp.observe import FENCE_CLOSE, FENCE_OPEN, TEXT_LIMIT, is_real_prompt, observe, relative_path
from ai_memory_mcp.verdict import Counted, count_tests, error_line, judge_shell, read_report

AT = datetime(2026, 3, 2, 9, 0, tzinfo=timezone.utc)
PAYLOADS = Path(__file__).parent / "payloads"
RECORDED = sorted(PAYLOADS.glob("*/*.json"))


def seen(name: str, payload: dict[str, Any], agent: str = "claude-code", at: datetime = AT) -> Observation:
    event = Event(id="e1", at=at, agent=agent, event=name, cwd="/p/sub", root="/p", payload=payload)
    return observe(event, find_spec(agent), "s1")


def called(
    tool: str, given_: Any, answer: Any = "", agent: str = "claude-code", name: str = "PostToolUse"
) -> Observation:
    payload = {"tool_name": tool, "tool_input": given_, "tool_response": answer, "tool_use_id": "t1"}
    return seen(name, payload, agent)


def prompt(text: str, **more: Any) -> Observation:
    return seen("UserPromptSubmit", {"prompt": text, **more})


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_recorded_payload_becomes_the_kind_its_description_says(path: Path) -> None:
    spec = find_spec(path.parent.name)
    for payload in json.loads(path.read_text(encoding="utf-8")):
        found = observe(Event(id="e", at=AT, agent=spec.name, event=path.stem, payload=payload), spec, "s1")
        known = spec.events.get(path.stem)
        assert found.kind == (known.kind if known else "other")
        assert found.source_event == path.stem
        assert found.title
        assert found.turn == (pick(payload, spec.fields.get("turn", ())) or "")


def recorded(agent: str, name: str, number: int = 0) -> Observation:
    payload = json.loads((PAYLOADS / agent / f"{name}.json").read_text(encoding="utf-8"))[number]
    return seen(name, payload, agent)


def test_a_shell_call_has_its_command_and_its_answer() -> None:
    for agent in ("claude-code", "codex"):
        found = recorded(agent, "PostToolUse")
        assert (found.title, found.family, found.text) == (
            "$ echo hi-from-shell",
            "shell",
            "echo hi-from-shell",
        )
        assert found.output.strip() == "hi-from-shell"
    assert recorded("claude-code", "PostToolUse").ok is True
    assert recorded("codex", "PostToolUse").ok is None


def test_a_failure_event_is_a_failure_with_its_error() -> None:
    found = recorded("claude-code", "PostToolUseFailure")
    assert found.ok is False
    assert "No such file or directory" in found.output


@pytest.mark.parametrize(
    ("agent", "name", "number", "command", "output", "ok"),
    [
        ("gemini", "AfterTool", 0, "echo hi-from-shell", "hi-from-shell", True),
        ("gemini", "AfterTool", 1, None, "Exit code 3\nsome text", False),
        ("gemini", "AfterTool", 2, "ls /nonexistent-dir", "Exit code 2\nls: cannot access '/nonexistent-dir': No such file or directory", False),
        ("gemini", "AfterTool", 3, "kill -9 $$", "Exit code 137\n", False),
        ("gemini", "BeforeTool", 0, "ls /nonexistent-dir", "", None),
        ("qwen", "PostToolUse", 0, "echo hi-from-shell", "hi-from-shell", True),
        ("qwen", "PostToolUse", 1, "true", "", True),
        ("qwen", "PostToolUseFailure", 0, None, "Exit code 3\nsome text", False),
        ("qwen", "PostToolUseFailure", 1, "kill -9 $$", "Exit code 137\n", False),
        ("copilot", "PostToolUse", 0, "echo hi-from-shell", "hi-from-shell", True),
        ("copilot", "PostToolUse", 1, None, "Exit code 3\nsome text", False),
        ("copilot", "PostToolUse", 2, "ls /nonexistent-dir", "Exit code 2\nls: cannot access '/nonexistent-dir': No such file or directory", False),
    ],
)  # fmt: skip
def test_what_a_command_printed_is_taken_out_of_the_report_around_it(
    agent: str, name: str, number: int, command: str | None, output: str, ok: bool | None
) -> None:
    found = recorded(agent, name, number)
    assert found.text == (command or "python3 -c \"import sys; print('some text'); sys.exit(3)\"")
    assert (found.family, found.output, found.ok) == ("shell", output, ok)


@pytest.mark.parametrize(
    ("answer", "report"),
    [
        ("Output: a\n\nb\nProcess Group PGID: 7", ("a\n\nb", 0)),
        ("Output: (empty)\nError: spawn failed\nProcess Group PGID: 7", ("spawn failed", 0)),
        ("Output: Exit Code: 9\nExit Code: 1\nBackground PIDs: 4, 5\nProcess Group PGID: 7\n", ("Exit code 1\nExit Code: 9", 1)),
        ("Command: a\nb\nDirectory: (root)\nOutput: x\nError: (none)\nExit Code: 0\nSignal: (none)", ("x", 0)),
        ("Command moved to background (PID: 7).", ("Command moved to background (PID: 7).", None)),
        ("Output: of a program, nothing else", ("Output: of a program, nothing else", None)),
        ("Exit Code: 3", ("Exit Code: 3", None)),
        ("x\n<command with shellId: 4 exited with exit code 1>", ("Exit code 1\nx", 1)),
        ("", ("", None)),
    ],
)  # fmt: skip
def test_reports_on_commands_are_told_from_plain_output(answer: str, report: tuple[str, int | None]) -> None:
    assert read_report(answer) == report


def test_a_command_that_was_cancelled_has_failed() -> None:
    for why in ("was cancelled by user before it could complete.", "was automatically cancelled because it exceeded"):
        answer = {"llmContent": f"<untrusted_context>\nCommand {why} ...\n</untrusted_context>"}
        assert called("run_shell_command", {"command": "make"}, answer, "gemini", "AfterTool").ok is False


def test_a_status_of_zero_is_believed_unless_the_command_hides_one() -> None:
    answer = {"llmContent": "Output: error: it broke\nProcess Group PGID: 7"}
    assert called("run_shell_command", {"command": "./x"}, answer, "gemini", "AfterTool").ok is True
    assert called("run_shell_command", {"command": "./x | tail"}, answer, "gemini", "AfterTool").ok is False


def test_an_error_inside_the_answer_is_a_failure_with_its_words() -> None:
    found = recorded("gemini", "AfterTool", 5)
    assert (found.family, found.ok, found.paths) == ("edit", False, ("/home/dev/project/hello.txt",))
    assert found.output.startswith("Could not find an exact match")
    assert recorded("gemini", "AfterTool", 6).ok is True
    assert recorded("gemini", "AfterTool", 7).paths == ("/home/dev/project",)


def test_the_same_tools_of_different_agents_are_one_family() -> None:
    numbers = {"gemini": ("AfterTool", 6), "qwen": ("PostToolUse", 2), "copilot": ("PostToolUse", 4)}
    for agent, (name, number) in numbers.items():
        found = recorded(agent, name, number)
        assert (found.family, found.title, found.ok) == ("edit", "edit /home/dev/project/hello.txt", True)
        assert found.text.endswith("/hello.txt\n- line two\n+ line 2")
    todo = recorded("gemini", "AfterTool", 8)
    assert [(item.text, item.state) for item in todo.todos] == [
        ("first thing", "completed"),
        ("second thing", "in_progress"),
        ("third", "completed"),
    ]


def test_equal_calls_of_an_agent_without_ids_are_told_apart_and_doubled_hooks_are_not() -> None:
    payload = {
        "tool_name": "run_shell_command",
        "tool_input": {"command": "make"},
        "timestamp": "2026-11-25T20:16:05.609Z",
    }
    again = {**payload, "timestamp": "2026-11-25T20:16:05.664Z"}
    for agent, name in (("gemini", "AfterTool"), ("copilot", "PostToolUse")):
        assert seen(name, payload, agent).key == seen(name, payload, agent).key
        assert seen(name, payload, agent).key != seen(name, again, agent).key
        ends = [seen("SessionEnd", {"reason": "exit", "timestamp": at["timestamp"]}, agent) for at in (payload, again)]
        assert ends[0].key == ends[1].key  # it may be told twice, some milliseconds apart


def test_an_mcp_answer_is_read_from_its_content_parts() -> None:
    found = recorded("codex", "PostToolUse", 1)
    assert found.family == "mcp"
    assert found.output == "RESULT_memory_search"
    found = recorded("gemini", "AfterTool", 4)
    assert found.family == "mcp"
    assert found.output.startswith("Nothing found in project")


@pytest.mark.parametrize("agent", ["antigravity", "cursor", "kiro", "windsurf"])
def test_a_shell_call_is_read_whatever_an_agent_calls_its_arguments(agent: str) -> None:
    found = recorded(
        agent, "post_run_command" if agent == "windsurf" else "postToolUse" if agent == "cursor" else "PostToolUse"
    )
    assert (found.title, found.family, found.text) == ("$ echo hi-from-shell", "shell", "echo hi-from-shell")


def test_an_answer_that_is_json_text_is_read_as_what_it_holds() -> None:
    first, failed, written, read, asked = (recorded("cursor", "postToolUse", number) for number in range(5))
    assert (first.output.strip(), first.ok) == ("hi-from-shell", True)
    assert (failed.output.strip(), failed.ok) == ("2 failed", False)
    assert (written.family, written.title) == ("edit", "edit /home/dev/project/src/parser.py")
    assert read.family == "read"
    assert (asked.family, asked.output, asked.ok) == ("mcp", "RESULT one", True)


def test_arguments_that_are_json_texts_are_read_as_what_they_hold() -> None:
    found = recorded("antigravity", "PostToolUse", 1)
    assert (found.title, found.paths) == ("edit /home/dev/project/src/parser.py", ("/home/dev/project/src/parser.py",))
    assert "x = 1" in found.text
    assert '"' not in found.text


def test_what_only_looks_like_json_stays_as_it_is() -> None:
    call = {"name": "run_command", "args": {"CommandLine": '"a b/run" --x "1"'}}
    assert seen("PostToolUse", {"toolCall": call, "stepIdx": 1}, "antigravity").text == '"a b/run" --x "1"'
    told = {"tool_name": "Shell", "tool_input": {"command": "echo {"}, "tool_output": "{ no json"}
    assert seen("postToolUse", told, "cursor").output == "{ no json"


def test_a_call_that_names_an_error_has_failed_and_one_without_a_tool_is_kept() -> None:
    failed = recorded("antigravity", "PostToolUse", 2)
    assert (failed.ok, failed.output) == (False, "exit status 2")
    assert recorded("antigravity", "PostToolUse").ok is not False
    assert recorded("antigravity", "PostToolUse", 3).title == "post-tool"


def test_a_message_is_the_text_of_a_stop() -> None:
    found = recorded("codex", "Stop")
    assert (found.kind, found.text) == ("stop", "FINAL-ANSWER second.")


@pytest.mark.parametrize(
    ("tool", "given_", "title", "paths"),
    [
        ("Edit", {"file_path": "/p/src/app.py", "old_string": "a", "new_string": "b"}, "edit src/app.py", ("src/app.py",)),
        ("Write", {"file_path": "rel.py", "content": "x"}, "edit sub/rel.py", ("sub/rel.py",)),
        ("Read", {"file_path": "/etc/hosts"}, "read /etc/hosts", ("/etc/hosts",)),
        ("Grep", {"pattern": "foo", "path": "/p/src"}, 'search "foo" in src', ("src",)),
        ("Bash", {"command": "pytest -q\necho x"}, "$ pytest -q", ()),
        ("Bash", {"command": "sed -i s/a/b/ ../a.txt > out.log"}, "$ sed -i s/a/b/ ../a.txt > out.log", ("sub/out.log", "a.txt")),
        ("WebFetch", {"url": "https://x.org", "prompt": "p"}, "web https://x.org", ()),
        ("mcp__db__query", {"sql": "select 1"}, "mcp__db__query: sql: select 1", ()),
        ("Unheard", {}, "Unheard", ()),
    ],
)  # fmt: skip
def test_titles_say_at_a_glance_what_was_done(tool: str, given_: Any, title: str, paths: tuple[str, ...]) -> None:
    found = called(tool, given_)
    assert (found.title, found.paths) == (title, paths)


def test_an_edit_shows_old_and_new_and_only_the_patch_of_the_answer() -> None:
    answer = {
        "filePath": "/p/a.py",
        "originalFile": "SECRET" * 999,
        "structuredPatch": [{"lines": ["-a", "+b"]}],
    }
    found = called("Edit", {"file_path": "/p/a.py", "old_string": "a", "new_string": "b"}, answer)
    assert found.text == "/p/a.py\n- a\n+ b"
    assert found.output == "-a\n+b"


def test_a_patch_names_all_its_files() -> None:
    patch = "*** Begin Patch\n*** Add File: new.py\n+x\n*** Update File: /p/old.py\n*** Move to: moved.py\n*** Delete File: gone.py\n*** End Patch"
    for tool in ("apply_patch", "Bash"):
        found = called(tool, {"command": patch}, "Success", "codex")
        assert found.family == "edit"
        assert found.paths == ("sub/new.py", "old.py", "sub/moved.py", "sub/gone.py")


def test_to_do_lists_are_read_from_both_agents() -> None:
    todos = [
        {"content": "a", "status": "completed", "activeForm": "A"},
        {"content": "b", "status": "in_progress"},
    ]
    found = called("TodoWrite", {"todos": todos})
    assert [(todo.text, todo.state) for todo in found.todos] == [("a", "completed"), ("b", "in_progress")]
    assert found.title == "todo: 1/2 done"
    plan = called("update_plan", {"plan": [{"step": "x", "status": "pending"}]}, "Plan updated", "codex")
    assert [(todo.text, todo.state) for todo in plan.todos] == [("x", "pending")]


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("ls /nonexistent-dir", "ls: cannot access '/nonexistent-dir': No such file or directory\n"),
        ("cat gone.txt", "cat: gone.txt: No such file or directory"),
        ("frobnicate", "bash: line 1: frobnicate: command not found"),
        ("python app.py", "Traceback (most recent call last):\n  File 'a'\nValueError: bad"),
        ("pytest -q", "F.\n1 failed, 1 passed in 0.02s"),
        ("python -m unittest", "Ran 2 tests in 0.1s\n\nFAILED (failures=1)"),
        ("npm ci", "npm ERR! code ENOENT"),
        ("cargo build", "error[E0425]: cannot find value"),
        ("make all", "cc -o x\nmake: *** [all] Error 2"),
        ("git push", "fatal: no upstream"),
        ("./run.sh", "Process exited with code 2\nOutput:\nhm"),
        ("./run.sh", "Exit code: 1\nWall time: 1 s\nOutput:\n"),
        ("go test ./...", "--- FAIL: TestX (0.0s)\nFAIL\texample.com/x\t0.1s"),
        ("npx tsc", "src/a.ts(1,2): error TS2304: Cannot find name"),
        ("npx jest", "Tests:       1 failed, 5 passed, 6 total"),
    ],
)
def test_words_of_failure_are_recognised(command: str, output: str) -> None:
    assert called("Bash", {"command": command}, output, "codex").ok is False


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("grep -rn error src", "src/a.py:1: error: x\nsrc/b.py:9: raise ValueError: no"),
        ("cat log.txt", "ERROR: it broke\nTraceback (most recent call last):"),
        ("git log --oneline", "1a2b3c4 fatal: error handling\nerror: fix it"),
        ("cat log | grep -i fatal | head -3", "fatal: x"),
        ("sed -n 1,9p a.sh", "echo 'bash: command not found'"),
        ("cat a b", "text of a\ncat: b: No such file or directory"),
        ("echo ok", "ok"),
        ("pytest -q", "12 passed, 1 warning in 0.5s"),
        ("npm run build", "built in 3s, 0 errors"),
        ("", ""),
    ],
)
def test_words_in_what_is_shown_are_no_failure(command: str, output: str) -> None:
    assert called("Bash", {"command": command}, output, "codex").ok is not False


def test_a_status_hidden_by_a_pipe_is_looked_for_in_the_words() -> None:
    answer = {"stdout": "2 failed, 3 passed in 1.0s", "stderr": "", "interrupted": False}
    assert called("Bash", {"command": "pytest 2>&1 | tail -3"}, answer).ok is False
    assert called("Bash", {"command": "pytest --version"}, answer).ok is True


@pytest.mark.parametrize(
    ("answer", "ok"),
    [
        ({"stdout": "x", "stderr": "", "interrupted": True}, False),
        ({"output": "x", "metadata": {"exit_code": 1}}, False),
        ('{"output":"x","metadata":{"exit_code":0,"duration_seconds":0.1}}', True),
        ({"output": "x", "exit_code": 3}, False),
    ],
)
def test_flags_in_the_answer_decide(answer: Any, ok: bool) -> None:
    assert called("Bash", {"command": "./x"}, answer, "codex").ok is ok


@pytest.mark.parametrize(
    ("output", "passed", "failed"),
    [
        ("===== 2 failed, 10 passed, 1 skipped in 3.21s =====", 10, 2),
        ("1 passed in 0.01s", 1, 0),
        ("=== 3 errors in 0.5s ===", 0, 3),
        ("Ran 5 tests in 0.002s\n\nOK", 5, 0),
        ("Ran 5 tests in 0.002s\n\nFAILED (failures=1, errors=1)", 3, 2),
        (
            "test result: ok. 29 passed; 0 failed; 0 ignored\ntest result: ok. 5 passed; 0 failed; 0 ignored",
            34,
            0,
        ),
        ("Test Files  1 failed (1)\n      Tests  1 failed | 4 passed (5)", 4, 1),
        ("Tests:       6 passed, 6 total", 6, 0),
        ("  12 passing (30ms)\n  1 failing", 12, 1),
        ("# tests 3\n# pass 2\n# fail 1", 2, 1),
        ("ok  \texample.com/a\t0.1s\nFAIL\texample.com/b\t0.2s", 1, 1),
        ("Tests run: 4, Failures: 1, Errors: 1, Skipped: 0", 2, 2),
        ("8 examples, 1 failure", 7, 1),
    ],
)
def test_counts_of_the_common_runners_are_read(output: str, passed: int, failed: int) -> None:
    assert count_tests(output) == Counted(passed, failed)


def test_text_without_counts_has_none() -> None:
    assert count_tests("all 3 passed the gate in time") is None


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("Exit code 1\nx\nTraceback (most recent call last):\n  File 'a'\nKeyError: 'id'", "KeyError: 'id'"),
        ("E       assert 1 == 2\nFAILED t.py::x", "assert 1 == 2"),
        ("warning: y\nerror[E0382]: borrow of moved value", "error[E0382]: borrow of moved value"),
        ("Exit code 127\n/bin/sh: 1: foo: not found", "/bin/sh: 1: foo: not found"),
        ("", ""),
    ],
)
def test_the_line_that_says_what_went_wrong_is_found(output: str, line: str) -> None:
    assert error_line(output) == line


BRIEF = f'{FENCE_OPEN} id="x">\nold handoff\n# Goal\n{FENCE_CLOSE}'


@pytest.mark.parametrize(
    "text",
    [
        f"{BRIEF}\nFix the bug",
        f"Fix the bug\n<hook_context>{BRIEF}</hook_context>",
        f"Fix the bug\n{BRIEF.removesuffix(FENCE_CLOSE)}",
        f"<hook_context>\n{BRIEF.removesuffix(FENCE_CLOSE)}</hook_context>\nFix the bug",
    ],
)
def test_our_own_brief_is_never_stored(text: str) -> None:
    assert prompt(text).text == "Fix the bug"


def test_a_brief_that_comes_back_escaped_before_the_prompt_is_not_stored() -> None:
    """As recorded: Gemini CLI without a terminal puts what it was told at the start before the prompt."""
    for name, text in (("BeforeAgent", "PROMPT with a brief"), ("AfterAgent", "FINAL-ANSWER")):
        assert recorded("gemini", name, 1).text == text


def test_of_a_prompt_so_long_that_the_end_of_the_brief_was_cut_out_the_rest_is_kept() -> None:
    echoed = f"<hook_context>{BRIEF.replace('<', '&lt;').replace('>', '&gt;')}</hook_context>\n\n"
    cut = clipping.clip(
        echoed.replace("old handoff", "old handoff " * 900) + "look at this log: " + "x" * 30_000 + " Why?", TEXT_LIMIT
    )
    found = prompt(cut)
    assert "handoff" not in found.text
    assert found.text.endswith("x Why?")
    assert is_real_prompt(found)


def test_a_brief_alone_is_no_prompt() -> None:
    assert not is_real_prompt(prompt(BRIEF))


@pytest.mark.parametrize(
    "text", ["Fix it", "/fix-bug 123 login", "/home/x is broken", "继续", "<b> is not closed, why?"]
)
def test_a_persons_words_are_a_real_prompt(text: str) -> None:
    assert is_real_prompt(prompt(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "/clear",
        "/compact keep the plan",
        "/exit",
        "<command-name>/model</command-name>",
        "<local-command-stdout>ok</local-command-stdout>",
        "<task-notification>done</task-notification>",
        "[Request interrupted by user for tool use]",
        "Stop hook feedback:\n[x]: y",
        "Caveat: The messages below were generated by the user while running local commands.",
        "<system-reminder>be nice</system-reminder>",
    ],
)
def test_commands_and_scaffolding_are_no_real_prompt(text: str) -> None:
    assert not is_real_prompt(prompt(text))


def test_prompts_of_machines_and_sub_agents_are_not_real() -> None:
    assert is_real_prompt(prompt("Go on with it", source="sdk"))
    assert not is_real_prompt(prompt("Go on with it", source="loop_wakeup"))
    assert not is_real_prompt(prompt("Go on with it", agent_id="a1"))
    assert not is_real_prompt(recorded("claude-code", "Stop"))


def test_a_double_delivery_has_the_same_key_and_another_event_has_not() -> None:
    call = {"tool_name": "Bash", "tool_input": {"command": "x"}, "tool_use_id": "t1", "prompt_id": "p"}
    one = seen("PostToolUse", call)
    assert one.key == seen("PostToolUse", call, at=AT + timedelta(seconds=60)).key
    assert one.key != seen("PostToolUse", call | {"tool_use_id": "t2"}).key
    assert one.key != seen("PreToolUse", call).key
    assert prompt("a", prompt_id="1").key == prompt("a", prompt_id="1").key
    assert prompt("a", prompt_id="1").key != prompt("a", prompt_id="2").key
    assert len(one.key) == 24


def test_an_event_without_ids_is_known_by_its_words() -> None:
    first = seen("SessionEnd", {"reason": "other"}, "codex")
    assert first.key == seen("SessionEnd", {"reason": "other"}, "codex", AT + timedelta(seconds=1)).key
    assert first.key != seen("SessionEnd", {"reason": "clear"}, "codex").key


def test_an_unknown_event_is_kept_as_other() -> None:
    found = seen("Brandnew", {"message": "hello"})
    assert (found.kind, found.source_event, found.text) == ("other", "Brandnew", "hello")


def test_long_answers_are_clipped_in_the_middle() -> None:
    found = called("Bash", {"command": "cat big"}, "a" * 50_000 + "END")
    assert len(found.output) < TEXT_LIMIT + 100
    assert found.output.endswith("END")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KEYS = ("prompt", "tool_name", "tool_input", "tool_response", "tool_use_id", "error", "source", "last_assistant_message", "agent_id", "compact_summary")  # fmt: skip
INNER = (
    "command",
    "file_path",
    "todos",
    "plan",
    "edits",
    "content",
    "stdout",
    "structuredPatch",
    "type",
    "text",
)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(["UserPromptSubmit", "PreToolUse", "PostToolUse", "PostToolUseFailure", "Stop", "PostCompact", "X"]),
    tool=st.sampled_from(["Bash", "Edit", "Read", "Grep", "TodoWrite", "WebFetch", "apply_patch", "update_plan", "mcp__a__b"]),
    payload=st.dictionaries(st.sampled_from(KEYS), JSON | st.dictionaries(st.sampled_from(INNER), JSON, max_size=5)),
    agent=st.sampled_from(["claude-code", "codex"]),
)  # fmt: skip
def test_no_payload_makes_it_raise(name: str, tool: str, payload: dict[str, Any], agent: str) -> None:
    found = seen(name, {"tool_name": tool, **payload}, agent)
    assert "\n" not in found.title
    assert len(found.title) <= 120
    assert isinstance(is_real_prompt(found), bool)


@settings(max_examples=150, deadline=None)
@given(command=st.text(alphabet="ab '\"\\;|&<>$()`\n-=./E", max_size=60), output=st.text(max_size=60))
def test_no_command_line_is_too_odd_to_be_read(command: str, output: str) -> None:
    assert judge_shell(command, output) in (True, False, None)
    assert all(path for path, _ in shell.writes(command))
    assert isinstance(shell.commits(command, output), list)


@pytest.mark.parametrize(
    ("command", "family", "purpose"),
    [
        ("cd app && FOO=1 python3 -m pytest -q tests/a.py 2>&1 | tail", "pytest", "test"),
        ("bash -lc 'uv run pytest -x'", "pytest", "test"),
        ("timeout 60 cargo test --all", "cargo test", "test"),
        ("npm run test:unit -- --watch=false", "npm run test:unit", "test"),
        ("make", "make", "build"),
        ("npx tsc --noEmit", "tsc", "lint"),
        ("git status; git log", "git status", "look"),
        ("python3 - <<'EOF'\nimport pytest\nEOF", "python (inline)", "run"),
        ("pip install -q requests==2.0", "pip install", "install"),
    ],
)
def test_commands_are_named_as_people_name_them(command: str, family: str, purpose: str) -> None:
    step = shell.main_step(command)
    assert step is not None
    assert (shell.family_of(step), shell.purpose_of(step)) == (family, purpose)


@pytest.mark.parametrize(
    ("command", "output", "subjects"),
    [
        ('git commit -m "Fix login"', "", ["Fix login"]),
        ("git add -A && git commit -m \"$(cat <<'EOF'\nAdd parser\n\nbody\nEOF\n)\"", "", ["Add parser"]),
        ("git commit -am x", "[main (root-commit) 93bff95] Real subject\n 1 file", ["Real subject"]),
        ("git log --grep commit", "[main 93bff95] no", ["no"]),
        ("echo commit", "[main 93bff95] no", []),
    ],
)
def test_commit_subjects_are_found(command: str, output: str, subjects: list[str]) -> None:
    assert shell.commits(command, output) == subjects


def test_written_files_are_read_from_the_command() -> None:
    command = "cat > a.py <<'EOF'\nrm evil > not.txt\nEOF\nrm -rf old && git mv b.py c.py; echo x >> log.md; cp $A d"
    assert shell.writes(command) == [
        ("a.py", "created"),
        ("old", "deleted"),
        ("b.py", "deleted"),
        ("c.py", "created"),
        ("log.md", "edited"),
    ]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/p/a/b.py", "a/b.py"),
        ("/q/x", "/q/x"),
        ("C:\\w\\a.py", "C:/w/a.py"),
        ("./a.py", "s/a.py"),
        ("/p", "."),
        ("", ""),
    ],
)
def test_paths_are_shown_from_the_project_root(path: str, shown: str) -> None:
    assert relative_path(path, "/p", "/p/s") == shown
