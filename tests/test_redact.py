"""Redaction: nothing of a secret survives, and ordinary text does."""

import json
import time

import labelled_harmless
import labelled_secrets
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from secret_corpus import LOOKALIKES, PEM_BODY, TOKENS, pem, secrets

from ai_memory_mcp.clipping import clip
from ai_memory_mcp.errors import ConfigError
from ai_memory_mcp.redact import PATTERNS, Redactor, redact_and_clip
from ai_memory_mcp.secretglance import may_hold_secret as glance
from ai_memory_mcp.secretscan import may_hold_secret
from ai_memory_mcp.secretwords import HINTS

redactor = Redactor()
CORPUS = secrets()
neighbours = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="ab1 =:\"'\\/\n,;{}[]<>-_.@?&$", max_size=60),
    st.sampled_from(LOOKALIKES),
)


def test_the_corpus_is_large_enough():
    assert len(CORPUS) >= 150
    assert len({what for what, _ in TOKENS}) >= 50
    assert len(set(LOOKALIKES)) >= 120


def measure(seed: int, nested: int) -> tuple[list[str], list[str], int]:
    """Returns what was missed, the harmless texts that changed, and how many secrets there are."""
    kinds: dict[str, list[bool]] = {}
    missed, changed = [], []
    for case in labelled_secrets.cases(seed):
        text = escaped(case.text, nested)
        kinds.setdefault(case.format, []).append(not case.found_in(redactor.text(text)))
        missed += [f"{case.format}: {text}"] * (not kinds[case.format][-1])
    for what, text in labelled_harmless.texts(seed):
        text = escaped(text, nested)
        kept = redactor.text(text) == text
        kinds.setdefault(f"harmless: {what}", []).append(kept)
        changed += [f"{what}: {text}"] * (not kept)
    for name, right in kinds.items():
        print(f"{sum(right):3} of {len(right):3}  {name}")  # noqa: T201  pytest shows it with -rP
    total = sum(len(right) for name, right in kinds.items() if not name.startswith("harmless: "))
    hits = total - len(missed)
    print(f"recall {hits / total:.4f}, precision {hits / (hits + len(changed)):.4f}")  # noqa: T201
    return missed, changed, total


def escaped(text: str, nested: int) -> str:
    return escaped(json.dumps(text, ensure_ascii=False)[1:-1], nested - 1) if nested else text


def test_the_labelled_texts_are_many_and_of_many_formats():
    cases = labelled_secrets.cases(1)
    assert len({case.text for case in cases}) == len(cases) >= 600
    assert len({case.format for case in cases}) >= 150
    assert len({text for _, text in labelled_harmless.texts(1)}) >= 400


@pytest.mark.parametrize(("seed", "nested"), [(1, 0), (2, 1), (3, 2)])
def test_recall_is_99_percent_and_precision_97_on_labelled_texts(seed, nested):
    missed, changed, total = measure(seed, nested)
    hits = total - len(missed)
    assert hits >= 0.99 * total, missed
    assert hits >= 0.97 * (hits + len(changed)), changed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 30))
def test_recall_and_precision_hold_for_other_secrets_of_the_same_formats(seed):
    missed, changed, total = measure(seed, seed % 3)
    hits = total - len(missed)
    assert hits >= 0.99 * total, missed
    assert hits >= 0.97 * (hits + len(changed)), changed


def test_labelled_secrets_are_announced_by_the_scan_and_gone_after_one_pass():
    for case in labelled_secrets.cases(4):
        whole = json.dumps({"a": [case.text]}, ensure_ascii=False)
        assert glance(whole), case
        assert may_hold_secret(whole), case
        once = redactor.text(case.text)
        assert redactor.text(once) == once, case


def test_the_scan_has_few_harmless_texts_looked_at_closely():
    texts = [text for _, text in labelled_harmless.texts(4)]
    assert sum(may_hold_secret(json.dumps({"a": text}, ensure_ascii=False)) for text in texts) <= 0.05 * len(texts)


def test_every_pattern_is_tried_by_the_scan():
    assert {hint for _, hint, _ in PATTERNS} == set(HINTS)


def test_no_labelled_secret_survives_at_a_clip_border():
    size, limit = 300_000, 16_384
    filler = ("lorem ipsum dolor sit amet\n" * (size // 27 + 1))[:size]
    for number, case in enumerate(labelled_secrets.cases(5)[::9]):
        border = (limit // 2, limit // 2 + 16384, size - limit // 2, size - limit // 2 - 16384)[number % 4]
        at = border - len(case.text) * (1 + number % 3) // 4
        out = redact_and_clip(filler[:at] + "\n" + case.text + "\n" + filler[at:], limit, redactor)
        assert not case.found_in(out), case


def test_every_secret_of_the_corpus_is_removed():
    assert [text for text, secret in CORPUS if secret in redactor.text(text)] == []


@pytest.mark.parametrize(
    ("mark", "tail"),
    [
        *(
            ("sk-" + "ant-api03-", "A" * 80),
            ("gh" + "p_", "a1B2" * 9),
            ("gh" + "p_", "a" * 36),
            ("AK" + "IA", "A" * 16),
        ),
        *(("AI" + "za", "b" * 35), ("gl" + "pat-", "a" * 20), ("np" + "m_", "c" * 36), ("h" + "f_", "d" * 34)),
        *(("sk_" + "live_", "abcd" * 6), ("xo" + "xb-", "1-1-" + "a" * 24), ("github" + "_pat_", "B" * 82)),
    ],
)
def test_a_made_up_key_behind_an_unmistakable_mark_is_removed_too(mark, tail):
    assert redactor.text(f"use {mark}{tail} here").startswith("use [REDACTED:")
    assert glance(mark + tail)
    assert may_hold_secret(mark + tail)


def test_words_and_filling_behind_a_mark_stay():
    text = "set gh" + "p_" + "x" * 36 + " or sk-" + "ant-your-api-key-goes-here"
    assert redactor.text(text) == text


def test_look_alikes_stay_as_they_are():
    assert [text for text in LOOKALIKES if redactor.text(text) != text] == []


def test_look_alikes_stay_as_they_are_inside_json():
    changed = [text for text in LOOKALIKES if redactor.value({"content": text}) != {"content": text}]
    assert changed == []


def test_redacting_twice_changes_nothing_more():
    once = [redactor.text(text) for text, _ in CORPUS]
    assert [text for text in once if redactor.text(text) != text] == []


def test_what_is_redacted_was_announced_by_the_scan():
    for text, _ in CORPUS:
        for level in (text, json.dumps({"a": text}, ensure_ascii=False), json.dumps(json.dumps([text]))):
            assert may_hold_secret(level), text
            assert glance(level), text


@settings(max_examples=200, deadline=None)
@given(
    neighbours,
    st.sampled_from([token for _, token in TOKENS]),
    neighbours,
    st.sampled_from([" ", "\n", '"', "="]),
)
def test_a_token_never_survives_among_random_neighbours(before, token, after, gap):
    text = before + gap + token + gap + after
    assert token not in redactor.text(text)
    assert may_hold_secret(json.dumps({"a": text}, ensure_ascii=False))
    assert glance(json.dumps({"a": text}, ensure_ascii=False))


@settings(max_examples=200, deadline=None)
@given(neighbours, st.sampled_from(CORPUS), neighbours)
def test_a_secret_on_its_own_lines_never_survives(before, case, after):
    text, secret = case
    whole = f"{before}\n{text}\n{after}"
    if secret not in before + after:
        assert secret not in redactor.text(whole)
        assert secret not in json.dumps(redactor.value({"a": [whole]}))


@settings(max_examples=300, deadline=None)
@given(neighbours, st.sampled_from([("", ""), *CORPUS]), neighbours, st.integers(0, 300))
@example("\x1f", ("ASIAT9W4Y6U1P3S5D8F0", ""), "", 0)
def test_the_scan_sees_whatever_redaction_would_change(before, case, after, cut):
    text = (before + case[0] + after)[cut % 80 :]
    value = {text[:30]: after, "password": before}
    for look in (may_hold_secret, glance):
        for escaped in (False, True):
            if redactor.text(text) != text:
                assert look(text)
                assert look(json.dumps({"a": text}, ensure_ascii=escaped))
            if redactor.value(value) != value:
                assert look(json.dumps(value, ensure_ascii=escaped))


@settings(max_examples=200, deadline=None)
@example("Authorization:0", (pem("EC PRIVATE KEY"), ""), "")
@example("Password: 0", ("$password = 'S3cr3t-Passw0rd!';", ""), "")
@given(neighbours, st.sampled_from([("", ""), *CORPUS]), neighbours)
def test_redaction_is_idempotent_on_random_texts(before, case, after):
    once = redactor.text(before + case[0] + after)
    assert redactor.text(once) == once


@settings(max_examples=300, deadline=None)
@example("", "rubygems_" + "0f1e2d3c4b5a6978" * 3, "cacheKey=", "Zm9vYmFyMTIzNDU2Nzg5MHF1eA")
@example("", "AK" + "IAQ7R2T9W4Y6U1P3S5", "", "gl" + "sa_aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY_0f1e2d3c")
@given(
    neighbours,
    st.sampled_from([token for _, token in TOKENS]),
    st.sampled_from(["", "cacheKey=", "def_password=", "beef:", "_api_key: ", "x", "."]),
    st.sampled_from([token for _, token in TOKENS]) | neighbours,
)
def test_redaction_is_idempotent_where_tokens_and_names_are_glued_to_each_other(before, token, name, after):
    once = redactor.text(before + token + name + after)
    assert redactor.text(once) == once


def test_a_value_under_a_secret_key_is_replaced_whole():
    value = {
        "user": "ann",
        "password": "two words\nand a line",
        "nested": [{"apiKey": "abc123", "max_tokens": 5}],
    }
    assert redactor.value(value) == {
        "user": "ann",
        "password": "[REDACTED:password]",
        "nested": [{"apiKey": "[REDACTED:secret]", "max_tokens": 5}],
    }


def test_a_secret_in_a_key_is_redacted_too():
    assert redactor.value({TOKENS[0][1]: 1}) == {"[REDACTED:anthropic-key]": 1}


def test_other_json_values_are_kept():
    value = [None, True, 1, 2.5, "plain", {}, []]
    assert redactor.value(value) == value


def test_what_stands_around_a_secret_is_kept():
    assert redactor.text("A=1\nDB_PASSWORD=hunter2\nB=2") == "A=1\nDB_PASSWORD=[REDACTED:password]\nB=2"
    assert redactor.text("postgres://app:hunter2@db:5432/x") == "postgres://app:[REDACTED:url-password]@db:5432/x"
    assert redactor.text('{\\"password\\":\\"a\\\\\\"b\\",\\"x\\":1}') == (
        '{\\"password\\":\\"[REDACTED:password]\\",\\"x\\":1}'
    )


def test_a_string_that_ends_after_a_name_is_not_the_start_of_a_value():
    text = 'log("password: " + user.pw1)\nprint("token=") or f("abc123")\n'
    assert redactor.text(text) == text


def test_patterns_of_the_user_are_applied():
    assert Redactor(extra=[r"ACME-\d{6}"]).text("id ACME-123456.") == "id [REDACTED:custom]."


def test_an_invalid_pattern_of_the_user_is_a_config_error():
    with pytest.raises(ConfigError, match="extra"):
        Redactor(extra=["(unclosed"])


def test_an_allowed_text_is_left_alone():
    token = TOKENS[14][1]
    assert Redactor(allow=[token[:12]]).text(token) == token
    assert redactor.text(token) != token


def test_clip_keeps_head_and_tail_and_says_how_much_is_missing():
    text = "x" * 500 + "y" * 500
    cut = clip(text, 200)
    assert len(cut) <= 200
    assert cut.startswith("xxx")
    assert cut.endswith("yyy")
    assert f"[{1000 - cut.count('x') - cut.count('y')} characters left out]" in cut


def test_clip_leaves_short_texts_alone():
    assert clip("abc", 3) == "abc"


def pieces(secret, size=8):
    return {secret[i : i + size] for i in range(len(secret) - size + 1)}


@pytest.mark.parametrize("limit", [2000, 16384])
@pytest.mark.parametrize("size", [50_000, 1_000_000])
def test_no_part_of_a_secret_survives_at_a_clip_border(limit, size):
    filler = ("lorem ipsum dolor sit amet\n" * (size // 27 + 1))[:size]
    cases = [*CORPUS[::190], *((token, token) for _, token in TOKENS[::14])]
    borders = (limit // 2, limit // 2 + 16384, size - limit // 2, size - limit // 2 - 16384)
    for text, secret in cases:
        for border in borders:
            for shift in (len(text) // 2, 25):
                at = max(0, border - shift)
                whole = filler[:at] + "\n" + text + "\n" + filler[at:]
                out = redact_and_clip(whole, limit, redactor)
                assert len(out) <= limit
                assert not [piece for piece in pieces(secret) if piece in out and piece not in filler], text


def test_blocks_that_begin_in_the_omitted_middle_are_removed_at_the_end():
    filler = "word " * 60_000
    private = filler + "<private>" + filler[:20_000] + "my house number is twelve"
    assert "twelve" not in redact_and_clip(private, 2000, redactor)
    key = filler + pem("RSA PRIVATE" + " KEY") + "\nthe end"
    for limit in range(100, 900, 40):
        out = redact_and_clip(key, limit, redactor)
        assert not [line for line in PEM_BODY if any(piece in out for piece in pieces(line))]
    assert out.endswith("the end")


def test_the_rest_of_a_token_longer_than_the_margin_is_dropped():
    text = "word " * 60_000 + "eyJ" + "aB3dE5fG7h" * 5_000
    assert "aB3dE5fG7h" not in redact_and_clip(text, 2000, redactor)


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "a",
            "=",
            '"',
            "\\",
            "eyJ",
            "-----BEGIN",
            "://",
            "a@",
            "password",
            "password=",
            'token=\\"',
            "<private>",
        ),
        *("-----BEGIN PRIVATE" + " KEY-----", "curl -u ", "key: ", "://a:", "://a@", "bearer ", " ", "\n"),
        *("--token ", "eyJa.", "AKIA", ".", "sk-", "password '", "setPassword(", "machine a login b password ", "-us"),
    ],
)
def test_hostile_input_takes_linear_time(unit):
    named = unit in ("a", "=", '"', "\\", "eyJ", "-----BEGIN")
    text = unit * ((1_000_000 if named else 200_000) // len(unit))
    start = time.process_time()
    redactor.text(text)
    whole = time.process_time() - start
    redact_and_clip(text, 16384, redactor)
    may_hold_secret(text)
    assert whole < 3, whole
    assert time.process_time() - start < 10
