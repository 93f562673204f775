"""Finds secrets in text, importing nothing but their tables: the hook process runs this on every event.

`redact` replaces what `assigned`, `marked`, `bearers` and `userinfo` find, so the two can never disagree.
Every rule gives the same verdict on a text and on its JSON-escaped form (`\\"`, `\\n`): that is what makes
`may_hold_secret` sound on a payload that is still JSON. User patterns (`extra`) are unknown here: with any of
them configured the caller must always take the slow path.
"""

from ai_memory_mcp.secretwords import (
    ALNUM,
    AUTH,
    B64,
    BENIGN_HEADS,
    BENIGN_TAILS,
    CODE_STARTS,
    COOKIE,
    DIGITS,
    DOTTED,
    EXACT,
    FILLING,
    FOREIGN_STARTS,
    GENERIC,
    HEX,
    HINTS,
    KEY_HEADS,
    KEYS,
    LONG_SCHEMES,
    LOWER,
    MARKS,
    NEUTRAL_TAILS,
    NO_PASSWORDS,
    NOT,
    PASSWORD,
    PASSWORDS,
    PLACEHOLDER_STARTS,
    PLACEHOLDERS,
    PLAIN_MARKS,
    RARE_WORDS,
    SCHEMES,
    SPOKEN_HEADS,
    STRONG,
    TAILS,
    TOKEN,
    UPPER,
    WEAK,
    WORDS,
)

TYPE_CHECKING = False  # known to type checkers by its name; importing typing would cost more than the scan
if TYPE_CHECKING:
    from collections.abc import Iterator

Span = tuple[int, int, str]  # start, end, label

_CODE_OR_PROSE = CODE_STARTS + FOREIGN_STARTS
_NAME_MAX = 48  # characters looked at on either side of a secret word
_VALUE_MAX = 8192  # how far a closing quote is looked for
_WORD_TABLE = bytes(code if chr(code) in B64 + ":,@\\[" else 32 for code in range(256))


def may_hold_secret(text: str) -> bool:
    """False only when `redact` would leave `text` (or the texts inside it, when it is JSON) unchanged.

    It knows nothing of user patterns: with `extra` configured, skip this and redact.
    """
    return _may_hold_secret(text) or ("\\u" in text and _may_hold_secret(_unescaped(text)))


def _unescaped(text: str) -> str:
    """The text with the characters that JSON writes as `\\u0000`: such digits would pass for a part of what follows."""
    first, *parts = text.split("\\u")
    return first + "".join(
        "\\u" + part if len(part) < 4 or part[:4].lower().strip(HEX) else chr(int(part[:4], 16)) + part[4:]
        for part in parts
    )


def _may_hold_secret(text: str) -> bool:
    low = lowered(text)
    return (
        "private>" in low
        or "private\\u003e" in low
        or ("PRIVATE KEY" in text and "BEGIN" in text)
        or "Private-Lines:" in text
        or any(hinted(low, hint) for hint in HINTS)
        or _any_jwt(text)
        or _any_discord(text)
        or next(userinfo(text), None) is not None
        or "FlyV1 " in text
        or next(marked(_long_words(text)), None) is not None
        or next(tailed(text), None) is not None
        or next(bearers(text, low), None) is not None
        or next(assigned(text, low), None) is not None
    )


def hinted(low: str, hint: "tuple[str, ...]") -> bool:
    """Whether all parts of a hint are in a text in lower case."""
    return hint[0] in low and (len(hint) == 1 or all(part in low for part in hint[1:]))


def _long_words(text: str) -> str:
    """The words of 18 characters and more: no mark with its tail is shorter, and few words are that long."""
    words = text.encode("utf-8", "replace").translate(_WORD_TABLE).split()
    return b" ".join([word for word in words if len(word) >= 18]).decode("ascii")


def lowered(text: str) -> str:
    """Lower case of the same length (`İ` alone would become two characters and shift every index)."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(c if len(c.lower()) > 1 else c.lower() for c in text)


def marked(text: str) -> "Iterator[Span]":
    """Tokens that announce themselves by a fixed prefix (`MARKS`)."""
    if len(text) < 18:  # no mark with its tail is shorter
        return
    for label, literal, alphabet, least, edge in [mark for mark in MARKS if mark[1] in text]:
        at = text.find(literal)
        while at >= 0:
            tail = at + len(literal)
            end = tail
            if not edge or _at_edge(text, at):
                end = run_end(text, tail, alphabet)
                if end - tail >= least and _made(text[tail:end], literal, edge):
                    start = at
                    if literal == ":AA" or literal == "Q~" or literal[0] == ".":
                        start = run_start(text, at, DIGITS if literal[0] == ":" else DOTTED)
                    if (literal[0] != ":" or 7 <= at - start <= 12) and (literal != "Q~" or text[at - 1] in DIGITS):
                        yield start, end, label
            at = text.find(literal, end)


def tailed(text: str) -> "Iterator[Span]":
    """Tokens that announce themselves by what stands at their end (`TAILS`)."""
    for label, literal, alphabet, length in TAILS:
        at = text.find(literal)
        while at >= 0:
            start = at - length
            end = run_end(text, at + len(literal), DIGITS)
            if start >= 0 and not text[start:at].strip(alphabet) and _at_edge(text, start):
                yield start, end, label
            at = text.find(literal, end)


def _made(tail: str, literal: str, edge: bool) -> bool:
    """Whether a machine made what follows a mark. Made-up keys (`ghp_aaaa…`) are as good as real ones here."""
    if not tail.strip(HEX) and literal in ("4b1d", "ico-"):  # a sum, or an icon with one in its name
        return False
    if len(tail) != EXACT.get(literal, len(tail)):
        return False
    if literal == "hf_" and tail.isalpha() and len(set(tail)) > 5:
        return _mixed(tail)
    if _random(tail) and not (edge and _wordy(tail)):
        return True
    sure = literal in PLAIN_MARKS or (not edge and literal[-1] in "-_")
    longest = max(tail.replace("-", "_").replace(".", "_").split("_"), key=len)
    return sure and len(longest) >= 16 and longest.strip(FILLING) != ""


def bearers(text: str, low: str) -> "Iterator[Span]":
    """`Bearer <token>` wherever it stands; headers with other schemes are found by name in `assigned`."""
    at = low.find("bearer ")
    while at >= 0:
        start = at + 7
        while text[start : start + 1] == " ":
            start += 1
        end = run_end(text, start, B64)
        if end - start >= 16 and _random(text[start:end]):
            yield start, end, "bearer"
        at = low.find("bearer ", end)


def userinfo(text: str) -> "Iterator[Span]":
    """The password in `scheme://user:password@host`, or a long token in `scheme://token@host`."""
    at = text.find("://")
    while at >= 0:
        start = at + 3
        at = text.find("://", start)
        most = min(2048, (at if at >= 0 else len(text)) - start)
        if text.find("@", start, start + most) >= 0:
            span = _userinfo_span(text[start : _stop(text, start, " \"'`\\<>|,;", most)])
            if span:
                yield start + span[0], start + span[1], "url-password"


def _userinfo_span(part: str) -> "tuple[int, int] | None":
    authority = part[: _stop(part, 0, "/?#", len(part))]
    if "[REDACTED" in authority or authority[:1] == "[":  # an IPv6 address
        return None
    user, colon, rest = authority.partition(":")
    if "@" in authority:
        at = authority.rfind("@")
    elif colon and not rest.isdigit() and "@" not in user and rest:
        at = part.find("@")  # a password holding / ? or # unescaped
    else:
        return None
    secret_from = len(user) + 1 if colon and len(user) < at else 0
    secret = part[secret_from:at]
    if secret_from:
        if len(user) >= 20 and _random(user) and _plain_token(user):  # `token:x-oauth-basic@`
            return 0, at
        return None if _placeholder(secret) else (secret_from, at)
    return (0, at) if len(secret) >= 20 and _random(secret) and _plain_token(secret) else None


def _plain_token(value: str) -> bool:
    return not value.strip(DOTTED)


def assigned(text: str, low: str) -> "Iterator[Span]":
    """Values given to a secret's name: `KEY=…`, `"key": "…"`, `--key …`, `Header: …`, name/value pairs."""
    for word in WORDS + tuple(w for w in RARE_WORDS if w in low):
        at = low.find(word)
        while at >= 0:
            end = at + len(word) - (word[-1] == "=")
            stop = end
            where = None
            if not _is_prose(text, at, end):
                stop = _name_end(text, end)
                where = None if text.startswith("=(", stop) else _separator(text, at, stop)
            if where is not None:
                span = _assigned_value(text, at, stop, where)
            else:
                span = _told_value(text, at, stop)
                end = max(end, stop)
            if span is not None:
                yield span
            at = low.find(word, end)


def _is_prose(text: str, at: int, end: int) -> bool:
    """A cheap first look at what follows the word; most occurrences end here."""
    after = text[end : end + 1]
    if after == " ":
        return text[end + 1 : end + 2].isalnum() and text.rfind("--", max(0, at - _NAME_MAX), at) < 0
    if after == "s" and text[end - 1] not in "dDsS":  # plural (but not creds): no name of one secret
        return not (text[end + 1 : end + 2].isalnum() or text[end + 1 : end + 2] in ("_", "-"))
    return not after or after in ".)<>;!?+*/&|{}#%$~^"


def _told_value(text: str, at: int, stop: int) -> "Span | None":
    """The value in `password is X`, `aws_secret_access_key X`, `setPassword("X")` or `auth=("a", "X")`."""
    after = text[stop : stop + 1]
    if after == " ":
        return _spoken_value(text, at, stop)
    if after == "(" or text[stop : stop + 2] == "=(":
        return _called_value(text, at, stop + (after == "="))
    return None


def _spoken_value(text: str, at: int, stop: int) -> "Span | None":
    begin = stop + 1
    for verb in ("is ", "was "):
        if text.startswith(verb, begin):
            begin += len(verb)
    begin += _run(text[begin : begin + 64], "\\")
    begin += text[begin : begin + 1] in ("'", '"', "`")
    end = _stop(text, begin, " \t\"'`\\\r\n<>()[]{},;|", 512)
    while end > begin and text[end - 1] in ".:!?":
        end -= 1
    value = text[begin:end]
    if len(value) < 8 or not any(char in DIGITS for char in value) or _placeholder(value):
        return None
    name = text[_name_start(text, at) : stop]
    kind = name_kind(name)
    if kind == PASSWORD:
        capital = value != value.lower() and value != value.upper()
        strange = any(char in "!@#$%^&*+~?=" for char in value)
        found = (capital or strange) and "/" not in value and "://" not in value and not _wordy(value)
    else:
        found = kind in (WEAK, STRONG) and (_high_entropy(value) or (name == "_authToken" and _uuid(value)))
    return (begin, end, _label(name)) if found else None


def _called_value(text: str, at: int, here: int) -> "Span | None":
    name = text[_name_start(text, at) : here].rstrip("=")
    words = _split(name)
    begin, end = _quoted(text, here + 1)
    if words[-1:] == ["auth"]:  # a user and a password
        here = end + _run(text[end : end + 64], "\\") + 1
        here += _run(text[here : here + 16], " ")
        if begin < 0 or text[here : here + 1] != ",":
            return None
        here += 1 + _run(text[here + 1 : here + 16], " ")
        begin, end = _quoted(text, here + 5 * text.startswith("Some(", here))
        return (begin, end, "password") if end > begin and _secret_text(PASSWORD, text[begin:end], "=") else None
    kind = name_kind(name)
    if end <= begin or kind not in (WEAK, STRONG, PASSWORD):
        return None
    value = text[begin:end]
    given = words[0] in ("set", "with", "add", "use") or (kind == PASSWORD and len(words) == 1)
    found = _secret_text(kind, value, "=") if given else _high_entropy(value)
    return (begin, end, _label(name)) if found else None


def _quoted(text: str, here: int) -> "tuple[int, int]":
    """Where the text in quotes that starts here begins and ends, (-1, -1) when none does."""
    slashes = _run(text[here : here + 64], "\\")
    quote = text[here + slashes : here + slashes + 1]
    if quote not in ('"', "'", "`"):
        return -1, -1
    begin = here + slashes + 1
    return begin, _closing(text, begin, quote, slashes)


def _name_end(text: str, at: int) -> int:
    return at + _run(text[at : at + _NAME_MAX], TOKEN)


def _name_start(text: str, at: int) -> int:
    chunk = text[max(0, at - _NAME_MAX) : at]
    start = at - len(chunk) + len(chunk.rstrip(TOKEN))
    if start == at or not start or text[start - 1] != "\\":
        return start
    # `\npassword` in escaped text: the n belongs to the escape
    return start + 1 if text[start] in "nrtbf" else min(start + 5, at) if text[start] == "u" else start


def _separator(text: str, at: int, stop: int) -> "tuple[int, str, bool] | None":
    """Where the value begins; what stands before it: = : , space (a flag) or v (name/value); blanks."""
    here = stop
    size = len(text)
    quoted = False
    follows = text[stop : stop + 1]
    if not follows or follows not in "=:\"'`]\\ \t,\r\n":
        return None
    while here < size:
        char = text[here]
        if char in "\"'`]":
            quoted = True
        elif char == "\\":
            if text[here + 1 : here + 2] == "t":
                here += 1
        elif char not in " \t":
            break
        here += 1
    if here >= size:
        return None
    char = text[here]
    after = text[here + 1 : here + 2]
    if char == "=" and after not in ("=", "~"):
        here += 2 if after == ">" else 1
    elif char == ":" and after != ":":
        here += 2 if after == "=" else 1
    elif char == ",":
        pair = _pair_value(text, here)
        if pair:
            return pair, "v", True
        if not quoted:
            return None
        here += 1
    elif here > stop and text[stop] == " " and text.startswith("--", _name_start(text, at)):
        return here, " ", True
    elif quoted and char in "vV":  # <add key="…" value="…" />
        pair = _pair_value(text, here)
        return (pair, "v", True) if pair else None
    elif quoted and char == ">":  # <string name="…">…</string>
        return here + 1, ">", False
    elif char in "\r\nnr" and (char in "\r\n" or text[here - 1] == "\\"):
        pair = _pair_value(text, stop)
        return (pair, "v", True) if pair else None
    else:
        return None
    begin = _skip_blank(text, here)
    return begin, char, begin > here


def _skip_blank(text: str, here: int) -> int:
    while True:
        char = text[here : here + 1]
        if char in (" ", "\t"):
            here += 1
            continue
        if char == "\\":
            slashes = _run(text[here : here + 16], "\\")
            if text[here + slashes : here + slashes + 1] == "t":
                here += slashes + 1
                continue
        return here


def _pair_value(text: str, here: int) -> int:
    """The value in `name: X⏎ value: …` and `"name": "X", "value": "…"`, or 0."""
    at = text.find("alue", here, here + 200)
    if at < 0 or text[at - 1] not in "vV":
        return 0
    between = text[here : at - 1].replace("\\n", "").replace("\\r", "").replace("\\t", "")
    if between.strip(" \t\r\n\"'\\,"):
        return 0
    rest = at + 4 + _run(text[at + 4 : at + 12], "\"'\\ ")
    return _skip_blank(text, rest + 1) if text[rest : rest + 1] in (":", "=") else 0


def _assigned_value(text: str, at: int, stop: int, where: "tuple[int, str, bool]") -> "Span | None":
    begin, sep, spaced = where
    start = _name_start(text, at)
    name = text[start:stop]
    kind = name_kind(name)
    if kind == NOT and sep in (":", "="):  # `API key: …`
        head = text[run_start(text, start - 1, LOWER + UPPER) : start - 1] if text[start - 1 : start] == " " else ""
        kind = name_kind(f"{head}_{name}") if head.lower() in SPOKEN_HEADS else NOT
    if kind == NOT or text.endswith("[REDACTED:", 0, start):  # the label of what was redacted before
        return None
    if sep == ":" and spaced:
        begin = _past_type(text, begin)
    opening = begin
    while opening - begin < 2 and text[opening : opening + 1] in (
        "f",
        "b",
        "r",
        "u",
        "F",
        "B",
        "R",
        "@",
        "$",
    ):
        opening += 1
    slashes = _run(text[opening : opening + 64], "\\")
    if sep == "," and name.startswith("--"):
        sep = " "
    if text[opening + slashes : opening + slashes + 1] in ('"', "'", "`"):
        return _quoted_value(text, kind, name, sep, stop, opening, slashes)
    if sep == ",":
        return None
    return _bare_value(text, kind, name, sep, spaced, start, begin)


def _past_type(text: str, begin: int) -> int:
    """The value in `name: &str = "…"`, or in a YAML block (`name: |⏎  …`); else `begin`."""
    if text[begin : begin + 1] in ("|", ">"):
        here = begin + 1 + (text[begin + 1 : begin + 2] in ("-", "+"))
        line = 1 if text[here : here + 1] == "\n" else _run(text[here : here + 64], "\\") + 1
        if line > 1 and text[here + line - 1 : here + line] != "n":
            return begin
        blank = _skip_blank(text, here + line)
        return blank if blank > here + line else begin
    kind, equals, _ = text[begin : begin + 48].partition(" = ")
    return begin + len(kind) + 3 if equals and not kind.strip(ALNUM + "_&.:<>[]| ?*'") else begin


def _quoted_value(text: str, kind: int, name: str, sep: str, stop: int, opening: int, slashes: int) -> "Span | None":
    begin = opening + slashes + 1
    end = _closing(text, begin, text[begin - 1], slashes)
    if end <= begin:
        return None
    first = text[begin : _stop(text, begin, "\"'`\\\r\n", 512)]
    if kind >= AUTH:
        return _header_span(kind, first, begin, end)
    named = stop < opening and text[stop] in "\"'`\\"
    if not named and first.startswith((")", ",", ";", "]", "}", " +", " %", " .")):
        return None  # `print("password: " + x)`: that quote closed a string, it opened none
    cut_short = named and len(first) < 4 and begin + len(first) < end  # a quote or backslash early in the value
    if not (cut_short and kind >= STRONG) and not _secret_text(kind, first, sep):
        return None
    return begin, end, _label(name)


def _closing(text: str, begin: int, quote: str, slashes: int) -> int:
    """Where the quoted value ends (before the closing quote and its backslashes); unclosed: the line's end.

    At nesting level L of JSON a closing quote has 2^L-1 backslashes before it (modulo 2^(L+1), for a value
    that ends in backslashes); any other number is a quote inside the value.
    """
    unit = slashes + 1
    limit = begin + len(text[begin : begin + _VALUE_MAX].partition("\n")[0])
    here = text.find(quote, begin, limit)
    while here >= 0:
        before = here
        while before > begin and text[before - 1] == "\\":
            before -= 1
        count = here - before
        if count < slashes or count % (2 * unit) == slashes:
            return max(before, here - slashes)
        here = text.find(quote, here + 1, limit)
    return limit


def _bare_value(text: str, kind: int, name: str, sep: str, spaced: bool, start: int, begin: int) -> "Span | None":
    if kind >= AUTH:
        end = _stop(text, begin, "\"'`\\\r\n", _VALUE_MAX)
        span = _header_span(kind, text[begin:end], begin, end)
        if span and text[begin:end].split(" ", 1)[0].lower() in LONG_SCHEMES:
            return begin, _stop(text, begin, "\\\r\n", _VALUE_MAX), span[2]
        return span
    before = text[start - 1 : start]
    query = before in ("?", "&", ";") and before != ""
    env = sep == "=" and not spaced and name == name.upper() and not query
    end = _stop(text, begin, " \t\"'`\\\r\n,;&<>(){}[]|", 512)
    value = text[begin:end]
    following = text[end : end + 1]
    sure = env or query or sep == " " or (sep == "v" and kind == PASSWORD)
    if sep == ">":
        return (begin, end, _label(name)) if following == "<" and _high_entropy(value) else None
    if following == "(" and not env:  # `token = Some("…")`
        begin, end = _quoted(text, end + 1)
        return (begin, end, _label(name)) if end > begin and _high_entropy(text[begin:end]) else None
    if sep == ":" and before == ":" and not spaced:  # arn:aws:…:secret:prod/db
        return None
    if not value or (following in ("(", "[", "<", "{") and not (env and value[-1] != "$")):
        return None
    if name.endswith("hrase") and kind == PASSWORD:  # a seed of twelve words and more
        line = _stop(text, begin, "\"'`\\\r\n.,;", 512)
        if text[begin:line].count(" ") >= 10:
            return begin, line, _label(name)
    if value.lower() == name.lower():
        return None
    if name.upper() in ("PWD", "OLDPWD") and value[0] in "/~":
        return None
    if not sure and _looks_like_code(kind, value, name):
        return None
    found = _secret_text(kind, value, sep if sure else "bare")
    found = found or (query and _git_like(value) and name.lower().endswith("signature"))
    if found or (kind == PASSWORD and _yaml_word(text, value, sep, spaced, start, end)):
        return begin, _bare_end(text, end, env), _label(name)
    return None


def _bare_end(text: str, end: int, env: bool) -> int:
    """In a settings file a value may hold characters that end it elsewhere: it runs on to the next blank."""
    if not env or text[end : end + 2] in ("&&", "||") or text[end : end + 1] in (";", "|", ")"):
        return end
    return _stop(text, end, " \t\"'`\\\r\n", 512)


def _yaml_word(text: str, value: str, sep: str, spaced: bool, start: int, end: int) -> bool:
    """`password: swordfish` alone on its line: a value, though a plain word."""
    if sep != ":" or not spaced or len(value) < 6 or _placeholder(value) or value != value.lower():
        return False
    if text[end : end + 1] not in ("", "\n", "\r", "\\", '"') or not value.replace("-", "").replace("_", "").isalpha():
        return False
    left = text[max(0, start - 64) : start].rstrip(" \t-")
    return not left or left[-1] in "\n\"'`" or (left[-1] in "nrt" and left[-2:-1] == "\\")


def _header_span(kind: int, value: str, begin: int, end: int) -> "Span | None":
    if kind == COOKIE:
        name, equals, rest = value.partition("=")
        if not equals or " " in name.strip() or len(rest) < 4 or _placeholder(rest.split(";")[0]):
            return None
        return begin, end, "cookie"
    scheme, _, rest = value.lstrip().partition(" ")
    if scheme.lower() in SCHEMES:
        skip = len(value) - len(rest.lstrip())
        rest = rest.strip()
        if len(rest) < 4 or _placeholder(rest) or (rest.isalpha() and rest == rest.lower() and len(rest) < 16):
            return None
        return begin + skip, end, "authorization"
    return (begin, end, "authorization") if _secret_text(WEAK, _unredacted(value).strip(), ":") else None


def _unredacted(value: str) -> str:
    """A value without the marks of what was redacted before: they are no part of a secret."""
    first, *parts = value.split("[REDACTED:")
    for part in parts:
        label, end, rest = part.partition("]")
        first += rest if end and not label.strip(LOWER + "-") else "[REDACTED:" + part
    return first


def name_kind(name: str) -> int:
    """How strongly a name speaks of a secret: 0 not at all (`max_tokens`, `public_key`), more is stronger."""
    words = _split(name)
    for index in range(len(words) - 1, -1, -1):
        kind = _core(words, index)
        if kind == NOT:
            continue
        tails = words[index + 1 :]
        if any(tail in BENIGN_TAILS for tail in tails):
            return NOT
        if index and words[index - 1] in (BENIGN_HEADS if kind <= STRONG else NO_PASSWORDS):
            return NOT
        known = all(tail in NEUTRAL_TAILS or tail.isdigit() for tail in tails)
        return kind if known else GENERIC
    return NOT


def _core(words: "list[str]", index: int) -> int:
    word = words[index]
    head = words[index - 1] if index else ""
    if word.endswith(PASSWORDS):
        return PASSWORD
    if word in ("pass", "pswd"):
        return WEAK if not head else NOT if head in BENIGN_HEADS else PASSWORD
    if word == "phrase":
        return PASSWORD if head in ("seed", "recovery", "pass", "secret") else NOT
    if word.endswith("secret"):
        return STRONG
    if word.endswith("token") and word != "jsonwebtoken":
        return STRONG if head or word != "token" else WEAK
    if word == "psk" or (word == "pw" and head):
        return PASSWORD
    if word == "dockerconfigjson":
        return STRONG
    if word == "key":
        return STRONG if head in KEY_HEADS else GENERIC if head else NOT
    if word.endswith(KEYS):
        return STRONG
    if word == "authorization":
        return AUTH
    if word == "cookie":
        return COOKIE if head in ("", "set", "http", "request", "document") else GENERIC
    if word in (
        "cred",
        "creds",
        "credential",
        "credentials",
        "auth",
        "sessid",
        "phpsessid",
        "jsessionid",
        "signature",
    ):
        return GENERIC
    return GENERIC if word in ("sig", "sid", "pat", "jwt", "sessionid") else NOT


def _split(name: str) -> "list[str]":
    """`clientSecret2` -> client, secret, 2; `API_KEY` -> api, key; `X-Auth-Token` -> x, auth, token."""
    out = []
    word = ""
    for index, char in enumerate(name):
        if char in "_-":
            out.append(word)
            word = ""
            continue
        last = word[-1:]
        if last and (
            (char.isupper() and (last.islower() or name[index + 1 : index + 2].islower()))
            or char.isdigit() != last.isdigit()
        ):
            out.append(word)
            word = ""
        word += char
    out.append(word)
    return [part.lower() for part in out if part]


def _secret_text(kind: int, value: str, sep: str) -> bool:
    """Whether `value` (up to its first quote or backslash) is a secret when given to a name of this kind."""
    value = value.strip()
    if len(value) < 4 or _placeholder(value):
        return False
    digit = any(char in DIGITS for char in value) or _mixed(value)
    sure = sep not in ("bare", ",")
    if sep == "," or kind == GENERIC:
        return _high_entropy(value) and (sep != "," or kind > GENERIC)
    if kind == PASSWORD:
        return sure or digit or any(char in "@!#$%^&*+~?=" for char in value)
    number = not value.strip(DIGITS + ".,-+_eE%")
    if number and len(value) < 14:
        return False
    if kind == WEAK:
        return " " not in value and len(value) >= 8 and (digit or len(value) >= 24)
    if not sure:
        return digit and len(value) >= 6
    return " " not in value or (digit and value.count(" ") < 3)


def _high_entropy(value: str) -> bool:
    if len(value) < 16 or " " in value or value[0] in ".~" or "://" in value:
        return False
    slashes = value.count("/")  # base64 has one every 64 characters, a path has more
    if (slashes > 4 or value[0] == "/") and len(value) < 16 * slashes:
        return False
    if not _random(value) or _uuid(value):
        return False
    stem, dot, suffix = value.rpartition(".")
    if dot and len(suffix) <= 5 and stem:
        return False
    parts = value.replace("_", "-").replace("/", "-").replace(".", "-").replace(":", "-").split("-")
    names = all((part.isalpha() and not _mixed(part)) or part.isdigit() or len(part) < 5 for part in parts)
    return not names and not _git_like(value)


def _mixed(value: str) -> bool:
    """Capitals all over the place, and no words: made by a machine though there is no digit."""
    if len(value) < 12 or value == value.lower() or not value.isalpha():
        return False
    rises = sum(one.islower() and two.isupper() for one, two in zip(value, value[1:]))  # noqa: B905,RUF007
    if rises < 2 or 4 * sum(char.isupper() for char in value) < len(value):
        return False
    low = value.lower()
    for vowel in "eiou":
        low = low.replace(vowel, "a")
    return len(max(low.split("a"), key=len)) >= 4


def _git_like(value: str) -> bool:
    return len(value) in (40, 64) and not value.strip(HEX)


def fits(value: str, strict: bool = False) -> bool:
    """Whether a value found by its place can be a secret: no placeholder; when `strict`, it looks made by a machine."""
    return _secret_text(STRONG, value, "bare") if strict else len(value) > 2 and not _placeholder(value)


def _uuid(value: str) -> bool:
    return len(value) == 36 and value.count("-") == 4 and not value.lower().strip(HEX + "-")


def _random(value: str) -> bool:
    """Mixed enough to be made by a machine: not `xxxxxxxx`, not words."""
    if len(set(value)) < 6:
        return False
    if value.strip(LOWER + "_-."):
        return any(char in DIGITS for char in value) or (value != value.lower() and value != value.upper())
    return False


def _placeholder(value: str) -> bool:
    low = value.strip(" \t").rstrip(",;.?!>").lower()
    if low in PLACEHOLDERS or not low.strip("x*•.-_#?0 …") or 3 * low.count("x") > 2 * len(low):
        return True
    if _masked(low) or low.startswith(_CODE_OR_PROSE):
        return True
    if low[0] == "$":
        return low[1:2] in ("{", "(") or not low.strip("$" + LOWER + "_.:->")
    if low[0] == "%" and low[-1] == "%":
        return True
    if low[0] in "/~." and "/" in low:
        return not any(len(part) >= 16 and _random(part) for part in low.split("/"))
    if any(char in DIGITS for char in low):
        return False
    return low.startswith(PLACEHOLDER_STARTS) or "your" in low.replace("-", "_").split("_")


def _masked(low: str) -> bool:
    """`sk-...`, `ghp_xxxxxxxx`: a prefix without digits, then nothing but filling."""
    head, _, rest = low.replace("_", "-").rpartition("-")
    return not rest.strip("x*•.…") and not any(char in DIGITS for char in head) and len(head) < 12


def _looks_like_code(kind: int, value: str, name: str) -> bool:
    """An unquoted identifier, dotted name or the name itself (`token=token1`), as in source code."""
    stem = value.strip("&*?!.:").lower()
    if not stem or (stem.rstrip(DIGITS + "_") in ("", name.lower()) and kind != PASSWORD):
        return True
    parts = stem.split(".")
    if len(parts) > 1 and all(
        part[:1].isalpha() and part.replace("_", "").isalnum() and len(part) < 24 for part in parts
    ):
        return True
    return kind != PASSWORD and stem.replace("_", "").isalpha() and not _mixed(value)


def _label(name: str) -> str:
    return "password" if name_kind(name) == PASSWORD else "secret"


def _any_jwt(text: str) -> bool:
    at = text.find("eyJ")
    while at >= 0:
        if run_end(text, at, TOKEN) - at >= 11:
            return True
        at = text.find("eyJ", at + 3)
    return False


def _any_discord(text: str) -> bool:
    at = text.find(".")
    while at >= 0:
        if text[at + 7 : at + 8] == "." and _run(text[at + 8 : at + 35], TOKEN) == 27:
            return True
        at = text.find(".", at + 1)
    return False


def _wordy(value: str) -> bool:
    """`pattern_with-many.words_2`: words and numbers, as in names."""
    parts = value.replace("-", "_").replace(".", "_").replace("/", "_").split("_")
    return len(parts) > 2 and all(
        len(part) < 5 or part.isdigit() or (part.isalpha() and (part[1:].islower() or part.isupper())) for part in parts
    )


def _at_edge(text: str, at: int) -> bool:
    """No word character before, or one that belongs to an escape (`\\n`, `\\u001f`) or a terminal colour (`[32m`)."""
    before = text[at - 1 : at] if at else ""
    if not before or before not in ALNUM:
        return before != "+" or text[at - 2 : at - 1] not in ALNUM  # base64
    if before in "nrtbf" and text[at - 2 : at - 1] == "\\":
        return True
    if at > 5 and text[at - 6 : at - 4] == "\\u" and not text[at - 4 : at].lower().strip(HEX):
        return True
    return before == "m" and at > 1 and text[at - 2] in DIGITS and "[" in text[max(0, at - 8) : at]


def run_end(text: str, at: int, alphabet: str) -> int:
    """The index after the longest run of `alphabet` characters that starts at `at`."""
    while True:
        length = _run(text[at : at + 1024], alphabet)
        at += length
        if length < 1024:
            return at


def run_start(text: str, at: int, alphabet: str) -> int:
    """Where the run of `alphabet` characters that ends before `at` begins (128 characters back at most)."""
    chunk = text[max(0, at - 128) : at]
    return at - len(chunk) + len(chunk.rstrip(alphabet))


def _run(chunk: str, alphabet: str) -> int:
    return len(chunk) - len(chunk.lstrip(alphabet))


def _stop(text: str, at: int, ends: str, most: int) -> int:
    """The first character of `ends`, or control character (JSON escapes those), within `most`."""
    chunk = text[at : at + most]
    for end in ends:
        cut = chunk.find(end)
        if cut >= 0:
            chunk = chunk[:cut]
    if not chunk.isprintable():
        for index, char in enumerate(chunk):
            if char < " ":
                return at + index
    return at + len(chunk)
