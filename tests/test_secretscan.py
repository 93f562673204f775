"""The scan that runs in the hook: free of imports, sound, and quiet on ordinary events."""

import ast
import json
import time
from pathlib import Path

from secret_corpus import LOOKALIKES, secrets

from ai_memory_mcp import secretglance, secretscan, secretwords
from ai_memory_mcp.redact import Redactor

CODE = '''from app.keys import sort_key
def tokenise(text: str, max_tokens: int = 4096) -> list[str]:
    """Split into tokens; the password field is never a token."""
    return sorted(set(text.split()), key=len)[:max_tokens]

class Lexer:
    def next_token(self) -> "Token":
        token = self.tokens[self.at]
        self.at += 1
        return token  # see https://docs.example.com/lexer#tokens
'''
EVENTS = [
    {
        "session_id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        "transcript_path": "/home/u/.claude/projects/-home-u-app/3f2504e0-4f89-41d3-9a0c-0305e82c3301.jsonl",
        "cwd": "/home/u/app",
        "hook_event_name": "PostToolUse",
        "tool_name": tool,
        "tool_use_id": "toolu_01A09q90qw90lq917835lq9",
        "tool_input": {"file_path": "/home/u/app/lexer.py", "command": command, "content": CODE},
        "tool_response": {"stdout": CODE + output, "stderr": "", "interrupted": False},
    }
    for tool, command, output in (
        ("Bash", "git log -3 && pytest -q", "commit 0f1e2d3c4b5a69788796a5b4c3d2e1f00a1b2c3d"),
        ("Write", "", "keyboard monkey author authentication passed 12 passed in 1.2s"),
        ("Edit", "npm run build -- --max-tokens 4096", '"usage": {"input_tokens": 12, "output_tokens": 6}'),
        ("Read", "sed -n 1,20p auth.ts", "if (token === null) throw new Error('Unexpected token: ' + token)"),
        ("Grep", "rg -n 'api_key|password' src", "src/a.py:3:def login(user: str, password: str) -> Token:"),
    )
]  # fmt: skip


def test_the_scan_imports_nothing_but_its_tables():
    for module, imported in ((secretscan, [secretwords.__name__]), (secretglance, []), (secretwords, [])):
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        found = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert [getattr(node, "module", "") for node in found] == imported


def test_every_mark_begins_as_the_first_look_expects():
    for label, literal, _, least, _ in secretwords.MARKS:
        known = [
            part
            for length, parts in (*secretglance._MARKS, secretglance._SHORT_MARKS)
            for part in parts
            if part in literal.encode() and len(literal) + least >= length
        ]
        assert known or literal.lower() in secretglance._SIGNS, label


def test_names_that_the_first_look_passes_over_name_no_secret():
    for word in secretglance._HARMLESS:
        name = word.decode()
        behind_an_escape = name[1:] if name[0] in "nrtbf" else name[5:] if name[0] == "u" else name
        assert secretscan.name_kind(name) == 0, name
        assert secretscan.name_kind(behind_an_escape) == 0, name


def test_every_secret_word_is_known_to_the_first_look():
    words = [*secretwords.WORDS, *secretwords.RARE_WORDS]
    signs = [*secretglance._SIGNS, *(name.decode() for name in secretglance._NAMES)]
    assert [word for word in words if word not in signs] == []


def test_the_first_look_lets_an_ordinary_tool_event_through():
    line = "tests/test_parser.py::test_tabs PASSED, and one more line of quite ordinary output\n"
    event = {**EVENTS[0], "tool_input": {"command": "pytest -q"}, "tool_response": {"stdout": line * 18}}
    assert not secretglance.may_hold_secret(json.dumps(event, ensure_ascii=False))


def test_ordinary_events_are_let_through():
    texts = [json.dumps(event, ensure_ascii=False) for event in EVENTS]
    assert [text for text in texts if secretscan.may_hold_secret(text)] == []
    assert min(map(len, texts)) > 1200


def test_most_look_alikes_are_let_through():
    flagged = [text for text in LOOKALIKES if secretscan.may_hold_secret(json.dumps({"a": text}))]
    assert len(flagged) <= len(LOOKALIKES) * 0.05, flagged


def test_every_secret_of_the_corpus_is_seen():
    assert [text for text, _ in secrets() if not secretscan.may_hold_secret(text)] == []


def test_letters_whose_lower_case_is_longer_shift_nothing():
    assert Redactor().text("İİİİ password=hunter2 x") == "İİİİ password=[REDACTED:password] x"


def test_a_typical_event_costs_little():
    text = json.dumps(EVENTS[0], ensure_ascii=False)
    start = time.process_time()
    for _ in range(200):
        secretscan.may_hold_secret(text)
    assert (time.process_time() - start) / 200 < 0.002  # measured: about a tenth of this
