"""Edits of YAML text: our entries come and go, nothing else moves."""

import datetime
import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_memory_mcp.agents import yamledit
from ai_memory_mcp.agents.jsonedit import EditError

PATH = ("extensions", "aimemory")
ENTRY = {"type": "stdio", "cmd": "/opt/my tools/ai-memory-mcp", "args": ["serve"], "envs": {}, "timeout": 300}
BLOCK = """\
  aimemory:
    type: stdio
    cmd: "/opt/my tools/ai-memory-mcp"
    args: [serve]
    envs: {}
    timeout: 300
"""

GOOSE = """\
# my goose
GOOSE_PROVIDER: anthropic  # fast
GOOSE_MODEL: 'claude: 4'
extensions:
  developer:
    enabled: true
    type: builtin
    # seconds
    timeout: 300
    # display_name: off
  fetch: &fetch  # web
    cmd: uvx
    args:
    - mcp-server-fetch
    envs: {}

  # memory:
  #   enabled: false

# last
GOOSE_MODE: smart_approve
notes: |
  extensions:
    aimemory: no
"""

BEFORE = {
    "nothing": "",
    "byte order mark": "\ufeff",
    "comment": "# mine\n",
    "comment without line end": "# mine",
    "document start": "---\n# mine\n",
    "document start only": "---",
    "empty document": "{}\n",
    "null document": "# mine\n~\n# nothing\n",
    "goose": GOOSE,
    "crlf": GOOSE.replace("\n", "\r\n"),
    "byte order mark and crlf": "\ufeff" + GOOSE.replace("\n", "\r\n"),
    "document start and end": "%YAML 1.1\n---\n" + GOOSE + "...\n# theirs\n",
    "no final line end": "a: 1\nextensions:\n  x: [1,\n    2]",
    "wide indentation": "a:\n    b: 1\nextensions:\n    x:\n        y: 1\n",
    "indented document": "  a: 1\n  extensions:\n     x: 1\n",
    "no extensions": "a: 1\n\n# end\n",
    "no extensions nor line end": "a: 1 # one",
    "null parent": "extensions:\na: 1\n",
    "null parent with comments": "extensions: # mine\n  # none yet\n\n# other\na: 1\n",
    "null parent in a word": "extensions:  null  # none\n",
    "empty parent": "extensions: {}\n",
    "empty parent with space and comment": "extensions :   { }   # none\r\na: 1\r\n",
    "empty parent on the next line": "extensions: # mine\n  {}",
    "quoted parent": '"extensions":\n  x: 1\n',
    "block scalar last": "extensions:\n  x: >+\n    one\n\n    two\n\n\na: 1\n",
    "block scalar before a comment": "extensions:\n  x: |\n    one\n\n  # two\n    # three\n",
    "alias last": "b: &b {c: 1}\nextensions:\n  x: *b\n  y: # none\n",
    "merged parent": "b: &b {c: 1}\nextensions:\n  <<: *b\n",
    "complex key": "extensions:\n  x: &x !!str 1\n  ? y\n  : c\n",
    "odd values": "a: .nan\nb: 2024-01-01\nextensions:\n  1: [2, {3: '4'}]\n  true: ''\n",
}


def put(text, path, value):
    """Insert, and return with the text what it takes to undo that: the containers made, what empty ones held."""
    held = {path[:depth]: yamledit.inside(text, path[:depth]) for depth in range(len(path))}
    made = [above for above, inner in held.items() if inner is None]
    empty = {above: inner for above, inner in held.items() if inner is not None and not yamledit.get(text, above)}
    return yamledit.insert(text, path, value), made, empty


def undo(after, path, made, empty):
    """Remove the entry and the containers made for it."""
    for gone in (path, *reversed(made)):
        after = yamledit.remove(after, gone, *[empty[above] for above in [gone[:-1]] if above in empty])
    return after


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_an_entry_is_added_and_goes_without_a_trace(before):
    after, made, empty = put(before, PATH, ENTRY)

    assert yaml.safe_load(after)["extensions"]["aimemory"] == ENTRY
    assert undo(after, PATH, made, empty) == before


def test_the_entry_stands_behind_the_others_and_their_comments():
    comment = "  #   enabled: false\n"

    assert yamledit.insert(GOOSE, PATH, ENTRY) == GOOSE.replace(comment, comment + BLOCK)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "extensions:\n" + BLOCK),
        ("a: 1", "a: 1\nextensions:\n" + BLOCK[:-1]),
        ("a: 1\r\n", "a: 1\r\nextensions:\r\n" + BLOCK.replace("\n", "\r\n")),
        ("a:\n    b: 1\nextensions: {} # c\n", "a:\n    b: 1\nextensions: # c\n" + BLOCK.replace("  ", "    ")),
        ("extensions:\n # c\n x: 1\n", "extensions:\n # c\n x: 1\n" + BLOCK.replace("  ", " ")),
        ("extensions: ~\nb:\n  - 1\n", "extensions:\n" + BLOCK + "b:\n  - 1\n"),
    ],
)
def test_the_entry_follows_the_style_of_the_document(before, after):
    assert yamledit.insert(before, PATH, ENTRY) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a: 1\nb: 2 # two\n# end\n", "a: 1\n# end\n"),
        ("b: 2\na: 1\n", "a: 1\n"),
        ("\ufeffb: 2\r\na: 1", "\ufeffa: 1"),
        ("# mine\nb:\n- 1\n# inside\n- 2\n\n# theirs\na: 1\n", "# mine\n\n# theirs\na: 1\n"),
        ("a: 1\nb: |\n  x\n # y\nc: 1\n", "a: 1\n # y\nc: 1\n"),
        ("a: 1\n'b' :\n  c:\n    d: 1\n", "a: 1\n"),
        ("b: 2 # two\n", "{} # two\n"),
        ("---\nb:\n - 2\n", "---\n{}\n"),
    ],
)
def test_an_entry_leaves_with_its_lines_and_nothing_else(before, after):
    assert yamledit.remove(before, ("b",)) == after


def test_a_mapping_that_loses_its_last_entry_stays_a_mapping():
    assert yamledit.remove("a:\n  # mine\n  b: 1\nc: 2\n", ("a", "b")) == "a: {}\n  # mine\nc: 2\n"
    assert yamledit.remove("a: # mine\n  b: 1\n", ("a", "b"), "") == "a: # mine\n"


def test_an_entry_is_replaced_where_it_stands():
    old = "  aimemory: # ours\n    cmd: old\n    args:\n    - x\n"
    text = GOOSE.replace("  fetch:", old + "  # next\n  fetch:")

    assert yamledit.replace(text, PATH, ENTRY) == text.replace(old, BLOCK)
    assert yamledit.replace("a: {b: 1} # c\n", ("a",), [1, "x y"]) == 'a: [1, "x y"] # c\n'


def test_any_way_a_text_reads_back_is_told():
    assert yamledit.get(GOOSE, ("extensions", "fetch", "args")) == ["mcp-server-fetch"]
    assert yamledit.get(GOOSE, ("extensions", "none", "args")) is None
    assert yamledit.get(GOOSE, ("notes", "extensions")) is None
    assert yamledit.get("# nothing", PATH) is None


def test_words_and_numbers_are_quoted_where_a_reader_may_take_them_for_something_else():
    words = [
        "no",
        "Y",
        "Null",
        "~",
        "1e3",
        "0o7",
        "1:30",
        "2024-01-01",
        "a: b",
        "a #b",
        "- x",
        "",
        " x",
        "*a",
        "x\ny\u2028",
    ]
    written = yamledit.insert("", ("a",), {word: [word] for word in words})

    assert yaml.safe_load(written) == {"a": {word: [word] for word in words}}
    assert all(line.startswith('  "') for line in written.splitlines()[1:])
    assert yamledit.insert("", ("a",), {"x-y": "/a/b.c"}) == "a:\n  x-y: /a/b.c\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("extensions: {x: 1}\n", r"line 1, column 1: expected a mapping in block style"),
        ("a: 1\nextensions:\n- x\n", r"line 2, column 1: expected a mapping"),
        ("extensions: []\n", "expected a mapping"),
        ('extensions: ""\n', "expected a mapping"),
        ("- extensions\n", "expected a mapping"),
        ("{a: 1}\n", "expected a mapping"),
        ("b: &b {}\nextensions: *b\n", "line 2, column 1: expected a mapping"),
        ("b: &b\n  c: 1\nextensions: *b\n", "line 3, column 1: expected a mapping"),
        ("extensions: &b\n  c: 1\nb: *b\n", "by hand:\n  aimemory:\n    type: stdio"),
        ("extensions: &b {}\nb: *b\n", "by hand"),
        ("extensions:\n  x: 1\nextensions:\n  y: 1\n", "line 3, column 1: extensions is there twice"),
        ("extensions:\n  x: 1\n  'x': 1\n", "line 3, column 3: x is there twice"),
        ("extensions:\n  aimemory:\n", "extensions.aimemory is already there"),
        ("b: &b {aimemory: 1}\nextensions:\n  <<: *b\n", "already there"),
        ("? extensions\n: x: 1\n", "already there"),
        ("a: 1\n---\nb: 1\n", "line 2, column 1: but found another document"),
        ("a: 1\n...\n---\n", "another document"),
        ("--- {}\n", "by hand"),
        ("{} # none\n", "line 1, column 3: expected the end of the line"),
        ("extensions:\n  x: |\n    no line end", "by hand"),
        ("extensions:\n\tx: 1\n", "line 2, column 1: found character"),
        ("a: 1\nb: [\n", "line 3, column 1"),
        ("a: !mine 1\n", "line 1, column 4: could not determine"),
        ("a: !!int x\n", "invalid literal"),
        ("a: !!bool x\n", "x"),
        ("a: !!timestamp x\n", "group"),
        ("a: \x00\n", "not allowed"),
        ("[" * 5000, "recursion"),
    ],
)
def test_what_cannot_be_edited_safely_is_refused(text, why):
    with pytest.raises(EditError, match=why):
        yamledit.insert(text, PATH, ENTRY)


def test_only_what_is_there_is_replaced_or_removed():
    for text in ("", "a: 1\n", "extensions:\n", "extensions:\n  x: 1\n"):
        with pytest.raises(EditError, match=r"extensions\.aimemory is not there"):
            yamledit.remove(text, PATH)
        with pytest.raises(EditError, match="is not there"):
            yamledit.replace(text, PATH, ENTRY)


def test_a_value_that_cannot_be_written_as_it_was_is_left_to_the_user():
    text = "extensions:\n  aimemory:\n    since: 2024-01-01\n"

    with pytest.raises(EditError, match="change it by hand to:"):
        yamledit.replace(text, PATH, {**ENTRY, **yamledit.get(text, PATH)})


@pytest.mark.parametrize(
    "text", ["a: &a 1\nb: *a\n", "b: |\n  x\na: 1\n  # a comment only as long as `a` is above it\n"]
)
def test_an_entry_that_others_hang_on_is_not_removed(text):
    with pytest.raises(EditError, match="take it out by hand"):
        yamledit.remove(text, ("a",))


def test_types_and_times_are_told_apart_in_the_proof():
    data = yamledit.parse("a: 1\nb: 2024-01-01\nc: .nan\nd: true\n")

    assert (data["a"], data["b"], data["d"]) == (1, datetime.date(2024, 1, 1), True)
    assert math.isnan(data["c"])


names = st.sampled_from(["a", "b-c", "'it''s'", '"x: y"', "é", "extensions", "10", "no"])
DEEP = "\n" + " " * 60
leaves = st.sampled_from(
    [
        *("plain words", "'it''s # no'", '"a: \\"b\\""', "12", "~", "[1, {a: b}, ']']"),
        *("2024-01-01", "!!str 1", ".inf", f"[one,{DEEP}# two{DEEP}three]", f"two{DEEP}lines"),
        *(f"|-{DEEP}# no comment\n{DEEP}last", f">-{DEEP}first{DEEP}  more"),
    ]
)
trees = st.recursive(leaves, lambda inner: st.dictionaries(names, inner, max_size=3), max_leaves=10)
gaps = st.sampled_from(["", "", "", "\n", "# c: d\n", "      # - e\n", "\n  # f\n\n"])
tails = st.sampled_from(["", "", " # g", "  # h"])


def lines(draw, tree, column, step):
    """The entries of a mapping in block style, with blank lines and comments anywhere between."""
    for name, value in tree.items():
        head = draw(gaps) + " " * column + name + draw(st.sampled_from([":", " :"]))
        if isinstance(value, dict) and value:
            yield head + draw(tails) + "\n"
            yield from lines(draw, value, column + step, step)
        elif isinstance(value, dict):
            yield head + draw(st.sampled_from(["", " {}", "  { }", " null"])) + draw(tails) + "\n"
        elif value[0] in "|>" or "\n" in value:
            yield f"{head} {value}\n"
        else:
            yield f"{head} {value}{draw(tails)}\n"


@st.composite
def documents(draw):
    """A YAML text in block style."""
    tree = draw(st.dictionaries(names, trees, max_size=3))
    start = draw(st.sampled_from(["", "\ufeff", "---\n", "# top\n"]))
    text = start + "".join(lines(draw, tree, 0, draw(st.sampled_from([1, 2, 4])))) + draw(gaps)
    if draw(st.booleans()):
        text = text.removesuffix("\n")
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return text


def mappings(data, path=()):
    """The paths of the mappings, and of what may become one."""
    yield path
    for key, value in data.items() if isinstance(data, dict) else ():
        if isinstance(key, str) and (value is None or isinstance(value, dict)):
            yield from mappings(value, (*path, key))


scalars = st.none() | st.booleans() | st.integers() | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(documents(), st.text(min_size=1), values, st.data())
def test_insert_then_remove_is_the_identity_for_any_document(text, key, value, data):
    before = yaml.safe_load(text)
    path = (
        *data.draw(st.sampled_from(list(mappings(before)))),
        *data.draw(st.sampled_from([(), ("new",)])),
        "\x00" + key,
    )

    after, made, empty = put(text, path, value)

    assert yamledit.get(after, path) == value
    assert undo(after, path, made, empty) == text


@settings(max_examples=150, deadline=None)
@given(documents(), st.data())
def test_removing_any_entry_is_one_cut_that_leaves_the_others_as_they_are(text, data):
    before = yaml.safe_load(text)
    keys = [
        (*path, key) for path in mappings(before) for key in (yamledit.get(text, path) or {}) if isinstance(key, str)
    ]
    if not keys:
        return
    path = data.draw(st.sampled_from(keys))
    left = {key: item for key, item in yamledit.get(text, path[:-1]).items() if key != path[-1]}

    after = yamledit.remove(text, path)

    assert yamledit.get(after, path[:-1]) == left
    if left:
        kept = next(at for at in range(len(after) + 1) if after[:at] == text[:at] and text.endswith(after[at:]))
        assert after == text[:kept] + after[kept:]
