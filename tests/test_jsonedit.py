"""Edits of JSON text: what is added, and that nothing else moves."""

import json
import math
import re

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
    "a block comment like a line comment": ("{ /* // */ }", '{ /* // */\n  "a": 1 }'),
    "json5": ("{\n\tb: 'two', // ü\n}", "{\n\tb: 'two', // ü\n\t\"a\": 1,\n}"),
    "json5 on a line": ("{b:.5}", '{b:.5,"a":1}'),
    "json5 with odd line ends": ("{// b\u2028}", '{// b\u2028\n  "a": 1}'),
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
        ("{a: 0x1F, 'b': 2}", ("b",), "{a: 0x1F}"),
        ("{'it\\'s': 1, \\u0062: +2,}", ("it's",), "{ \\u0062: +2,}"),
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
        ("{'a\": 1}", "line 1, column 2"),
        ('{"a": "\\u12"}', "line 1, column 7"),
        ('{"a": "\\01"}', "line 1, column 7"),
        ("{a: 'x\n'}", "line 1, column 5"),
        ("{a-b: 1}", "line 1, column 3"),
        ("{1a: 1}", "line 1, column 2"),
        ("{\u200da: 1}", "line 1, column 2"),
        ("{a: 012}", "line 1, column 6"),
        ("{a: 0x}", "line 1, column 6"),
        ("{a: .}", "line 1, column 5"),
        ("{a: 1 /* }", "line 1, column 7"),
        ('{"a": "' + "\n" + '"}', "line 1, column 7"),
        ("{,}", "line 1, column 2"),
    ],
)
def test_a_text_that_does_not_parse_is_refused_with_its_place(text, where):
    with pytest.raises(EditError, match=where):
        jsonedit.insert(text, ("b",), 1)


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("'\"it\\'s\"'", '"it\'s"'),
        (r"'\x41\u00e9\v\0\a\/'", "A\u00e9\v\0a/"),
        (r"'\ud83d\uDE00'", "\U0001f600"),
        ("'one\\\r\ntwo\\\nthree\\\u2028'", "onetwothree"),
        ('"tab\there, and \u2028"', "tab\there, and \u2028"),
        ("0xdecaf", 0xDECAF),
        ("-0XF", -15),
        ("+1", 1),
        ("5.", 5.0),
        (".5e1", 5.0),
        ("-Infinity", -math.inf),
        ("+NaN", math.nan),
    ],
)
def test_json5_values_are_understood(literal, value):
    read = jsonedit.get(f"{{a: [{literal},],}}", ("a",))

    assert read == [value]
    assert type(read[0]) is type(value)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{\n  "a": 1, b: 2}', "line 2, column 11"),
        ("{null: 1}", "line 1, column 2"),
        ("{truefalse: 1}", "line 1, column 2"),
        ("{true: {}}", "line 1, column 2"),
        ("{'a': 1}", "line 1, column 2"),
        ("{\"a\": 'b'}", "line 1, column 7"),
        ('{"a": "\\q"}', "line 1, column 7"),
        ('{"a": "\t"}', "line 1, column 7"),
        ('{"a": "\\\n"}', "line 1, column 7"),
        ('{"a": +1}', "line 1, column 7"),
        ('{"a": .5}', "line 1, column 7"),
        ('{"a": 5.}', "line 1, column 8"),
        ('{"a": 0x1}', "line 1, column 8"),
        ('{"a": NaN}', "line 1, column 7"),
        ('{"a": -Infinity}', "line 1, column 7"),
        ('{"a":\u00a01}', "line 1, column 6"),
        ("\ufeff\ufeff{}", "line 1, column 2"),
        ("// nothing \u2028", "line 1, column 12"),
    ],
)
def test_what_only_json5_has_is_refused_where_the_agent_does_not_read_it(text, where):
    if not jsonedit.is_blank(text):
        jsonedit.scan(text)
    for require in (jsonedit.require_jsonc, jsonedit.require_strict):
        with pytest.raises(EditError, match=f"{where}: this is JSON5"):
            require(text)


def test_comments_and_trailing_commas_are_refused_by_strict_json_only():
    for text in ('{"a": [1,]}', '{"a": 1} // one', "/* */", '\ufeff{"a": null /* none */, "b": true\n//\n, }'):
        jsonedit.require_jsonc(text)
        with pytest.raises(EditError, match="comments and trailing commas"):
            jsonedit.require_strict(text)
    for text in ("", "\ufeff", ' {"a": [-1.5e3, "\\u00e9\u2028", true, false, null, {}]}\r\n', "9" * 5000):
        jsonedit.require_strict(text)


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
    for text in ("", "\ufeff", "\n", "// only a comment\n", "// one\r", "/* // */", "\u00a0\u2028"):
        assert jsonedit.is_blank(text)
        assert jsonedit.scan(jsonedit.add_root(text)).value == {}
        assert jsonedit.drop_root(jsonedit.add_root(text)) == text


gaps = st.sampled_from(["", " ", "\n", "\t", "\n  ", "\r\n\t", " /* , } */ ", " /* // */", " // ] ,\n", "\n\n"])
json5_gaps = gaps | st.sampled_from(
    ["\v", "\f", "\r", "\xa0", "\ufeff", "\u2003", "\u2028", "// '\r", "// \xa0\u2028\n"]
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
keys = st.text() | st.sampled_from(["a", "$b_1", "true", "NaN", "\u00e9", "it's"])


def values_of(scalars):
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    )


values = values_of(scalars)
json5_values = values_of(scalars | st.sampled_from([math.nan, math.inf, -math.inf]))


def json_scalar(draw, value):
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


def json5_scalar(draw, value):
    """A number or string in one of the forms that only JSON5 has, or as in JSON."""
    forms = [json.dumps(value)]
    if isinstance(value, int) and not isinstance(value, bool):
        forms += [f"{value:+#x}", f"{value:+}"]
    if isinstance(value, float) and math.isfinite(value):
        plain = repr(value)
        forms += [f"{value:+}", plain.replace("0.", ".", 1) if abs(value) < 1 else re.sub(r"\.0$", ".", plain)]
    if isinstance(value, str):
        escaped = re.sub(r"(['\\\n\r])", lambda found: f"\\x{ord(found[0]):02x}", value)
        forms += [f"'{escaped}'", f"'\\\r\n{escaped}\\\n'"]
    return draw(st.sampled_from(forms))


def json5_key(draw, key):
    bare = re.fullmatch(r"[^\W\d][\w$]*|\$\w*", key) and key.isascii()
    return key if bare and draw(st.booleans()) else json5_scalar(draw, key)


def written(draw, value, gaps, key, scalar):
    """The value with gaps, comments and trailing commas anywhere they may be."""
    if not isinstance(value, dict | list):
        return scalar(draw, value)
    parts = []
    for name, item in value.items() if isinstance(value, dict) else ((None, item) for item in value):
        label = "" if name is None else key(draw, name) + draw(gaps) + ":" + draw(gaps)
        parts.append(draw(gaps) + label + written(draw, item, gaps, key, scalar) + draw(gaps))
    trail = "," + draw(gaps) if parts and draw(st.booleans()) else ""
    body = ",".join(parts) + trail if parts else draw(gaps)
    return "{" + body + "}" if isinstance(value, dict) else "[" + body + "]"


@st.composite
def documents(draw):
    """A JSONC text."""
    value = draw(st.dictionaries(keys, values, max_size=3))
    return draw(gaps) + written(draw, value, gaps, json_scalar, json_scalar) + draw(gaps)


@st.composite
def json5_documents(draw):
    """A JSON5 text and its value."""
    value = draw(st.dictionaries(keys, json5_values, max_size=3))
    text = written(draw, value, json5_gaps, json5_key, json5_scalar)
    return draw(json5_gaps) + text + draw(json5_gaps), value


@settings(max_examples=100, deadline=None)
@given(documents())
def test_what_every_jsonc_agent_reads_is_not_taken_for_json5(text):
    jsonedit.require_jsonc(text)


@settings(max_examples=150, deadline=None)
@given(json5_documents())
def test_any_json5_document_is_read_as_it_was_meant(document):
    text, value = document

    assert jsonedit.scan(text).value == value


@settings(max_examples=150, deadline=None)
@given(documents() | json5_documents().map(lambda document: document[0]), st.text(min_size=1), values)
def test_insert_then_remove_is_the_identity_for_any_document(text, key, value):
    key = "\x00" + key
    inner = jsonedit.inside(text, ())
    expected = {**jsonedit.scan(text).value, key: value}

    after = jsonedit.insert(text, (key,), value)

    assert jsonedit.scan(after).value == expected
    assert jsonedit.remove(after, (key,), "" if inner.strip() else inner) == text


@settings(max_examples=100, deadline=None)
@given(documents() | json5_documents().map(lambda document: document[0]), st.data())
def test_removing_any_member_leaves_the_others_as_they_are(text, data):
    before = jsonedit.scan(text)
    if not before.value:
        return
    key = data.draw(st.sampled_from(sorted(before.value)))

    after = jsonedit.scan(jsonedit.remove(text, (key,))).value

    assert after == {name: value for name, value in before.value.items() if name != key}
