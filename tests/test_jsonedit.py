"""Edits of JSON text: what is added, and that nothing else moves."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_memory_mcp.agents import jsonedit
from ai_memory_mcp.agents.jsonedit import EditError

INSERTIONS = {
    "empty object": ("{}", '{\n  "a": 1\n}'),
    "two spaces": ('{\n  "b": 2\n}\n', '{\n  "b": 2,\n  "a": 1\n}\n'),
    "tabs": ('{\n\t"b": 2\n}', '{\n\t"b": 2,\n\t"a": 1\n}'),
    "crlf": ('{\r\n    "b": 2\r\n}\r\n', '{\r\n    "b": 2,\r\n    "a": 1\r\n}\r\n'),
    "minified": ('{"b":2}', '{"b":2,"a":1}'),
    "one spaced line": ('{"b": 2}', '{"b": 2, "a": 1}'),
    "byte order mark": ('\ufeff{"b":2}', '\ufeff{"b":2,"a":1}'),
    "comment behind the last": ('{\n  "b": 2 // two\n}', '{\n  "b": 2, // two\n  "a": 1\n}'),
    "trailing comma": ('{\n  "b": 2, // two\n}', '{\n  "b": 2, // two\n  "a": 1,\n}'),
    "only a comment": ("{\n  // nothing yet\n}", '{\n  // nothing yet\n  "a": 1\n}'),
    "unicode": ('{\n "é": "\\ud83d\\ude00"\n}', '{\n "é": "\\ud83d\\ude00",\n "a": 1\n}'),
    "duplicate keys": ('{\n "b": 1,\n "b": 2\n}', '{\n "b": 1,\n "b": 2,\n "a": 1\n}'),
}


@pytest.mark.parametrize(("before", "after"), INSERTIONS.values(), ids=INSERTIONS)
def test_a_member_is_added_in_the_style_of_the_document(before, after):
    assert jsonedit.insert(before, ("a",), 1) == after


@pytest.mark.parametrize("before", [before for before, _ in INSERTIONS.values()], ids=INSERTIONS)
def test_removing_what_was_added_gives_the_same_text(before):
    inner = jsonedit.inside(before, ())

    after = jsonedit.insert(before, ("a",), {"x": [1, {}]})

    assert jsonedit.remove(after, ("a",), "" if inner.strip() else inner) == before


def test_missing_objects_and_arrays_are_made_on_the_way():
    after = jsonedit.insert('{\n "z": 0\n}', ("hooks", "Stop", 0), {"k": "v"})

    assert json.loads(after) == {"z": 0, "hooks": {"Stop": [{"k": "v"}]}}
    assert after.startswith('{\n "z": 0,\n "hooks": {\n  "Stop": [\n   {\n    "k": "v"\n')


def test_an_item_is_appended_behind_the_others():
    assert jsonedit.insert('{"l":[1,2]}', ("l", 2), 3) == '{"l":[1,2,3]}'


def test_the_last_of_duplicate_keys_is_the_one_edited():
    assert jsonedit.replace('{"a": 1, "a": 2}', ("a",), 3) == '{"a": 1, "a": 3}'


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        ('{\n  "a": 1,\n  "b": 2\n}', ("a",), '{\n  "b": 2\n}'),
        ('{\n  "a": 1,\n  "b": 2\n}', ("b",), '{\n  "a": 1\n}'),
        ('{\n  "a": 1,\n  "b": 2,\n  "c": 3\n}', ("b",), '{\n  "a": 1,\n  "c": 3\n}'),
        ('{"a":1,"b":2}', ("a",), '{"b":2}'),
        ('{ // why\n "a": 1}', ("a",), "{ // why\n }"),
        ('{"l": [1, // one\n 2]}', ("l", 1), '{"l": [1 // one\n ]}'),
        ('{"a": 1 /* , */ , "b": 2}', ("b",), '{"a": 1 /* , */ }'),
    ],
)
def test_an_entry_leaves_with_its_comma_and_nothing_else(before, path, after):
    assert jsonedit.remove(before, path) == after


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{\n  "a": oops\n}', "line 2, column 8"),
        ('{"a": 1', "line 1, column 8"),
        ('{"a" 1}', "line 1, column 6"),
        ('{"a": 1} {', "line 1, column 10"),
        ("{'a': 1}", "line 1, column 2"),
        ('{"a": "\\q"}', "line 1, column 7"),
        ('{"a": "' + "\n" + '"}', "line 1, column 7"),
        ("{,}", "line 1, column 2"),
    ],
)
def test_a_text_that_does_not_parse_is_refused_with_its_place(text, where):
    with pytest.raises(EditError, match=where):
        jsonedit.insert(text, ("b",), 1)


def test_a_place_that_holds_something_else_is_refused():
    with pytest.raises(EditError, match=r"line 2, column 12: expected an object"):
        jsonedit.insert('{\n  "hooks": []\n}', ("hooks", "Stop", 0), 1)
    with pytest.raises(EditError, match="expected an array"):
        jsonedit.insert('{"hooks": {"Stop": {}}}', ("hooks", "Stop", 0), 1)
    with pytest.raises(EditError, match="already there"):
        jsonedit.insert('{"a": 1}', ("a",), 1)


def test_very_deep_nesting_is_refused():
    with pytest.raises(EditError, match="too deeply"):
        jsonedit.scan("[" * 100_000)


def test_a_blank_text_gets_an_object_and_loses_it_again():
    for text in ("", "\ufeff", "\n", "// only a comment\n"):
        assert jsonedit.is_blank(text)
        assert jsonedit.scan(jsonedit.add_root(text)).value == {}
        assert jsonedit.drop_root(jsonedit.add_root(text)) == text


gaps = st.sampled_from(["", " ", "\n", "\t", "\n  ", "\r\n\t", " /* , } */ ", " // ] ,\n", "\n\n"])
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def documents(draw, value=None, top=True):
    """JSONC text with gaps, comments and trailing commas anywhere they may be."""
    value = draw(st.dictionaries(st.text(), values, max_size=3)) if top else value
    if not isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=draw(st.booleans()))
    parts = []
    for item in value.items() if isinstance(value, dict) else ((None, item) for item in value):
        key = "" if item[0] is None else json.dumps(item[0]) + draw(gaps) + ":" + draw(gaps)
        parts.append(draw(gaps) + key + draw(documents(item[1], top=False)) + draw(gaps))
    trail = "," + draw(gaps) if parts and draw(st.booleans()) else ""
    body = ",".join(parts) + trail if parts else draw(gaps)
    text = "{" + body + "}" if isinstance(value, dict) else "[" + body + "]"
    return draw(gaps) + text + draw(gaps) if top else text


@settings(max_examples=150, deadline=None)
@given(documents(), st.text(min_size=1), values)
def test_insert_then_remove_is_the_identity_for_any_document(text, key, value):
    key = "\x00" + key
    inner = jsonedit.inside(text, ())
    expected = {**jsonedit.scan(text).value, key: value}

    after = jsonedit.insert(text, (key,), value)

    assert jsonedit.scan(after).value == expected
    assert jsonedit.remove(after, (key,), "" if inner.strip() else inner) == text


@settings(max_examples=100, deadline=None)
@given(documents(), st.data())
def test_removing_any_member_leaves_the_others_as_they_are(text, data):
    before = jsonedit.scan(text)
    if not before.value:
        return
    key = data.draw(st.sampled_from(sorted(before.value)))

    after = jsonedit.scan(jsonedit.remove(text, (key,))).value

    assert after == {name: value for name, value in before.value.items() if name != key}
