"""Replaces secrets in texts and JSON values with `[REDACTED:<what>]`, before anything is stored or cut.

What is a secret by name or prefix is decided in `secretscan`; shapes that need a regular expression are here.
All findings are spans on the original text, replaced in one pass. Where one is glued to more of a word, that may be a
token or a name of its own once it stands alone: what is left is looked at again, so that twice is the same as once.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

from ai_memory_mcp import secretscan
from ai_memory_mcp.clipping import clip, left_out
from ai_memory_mcp.errors import ConfigError
from ai_memory_mcp.secretscan import Span
from ai_memory_mcp.secretwords import DOTTED

WHOLE = 262_144  # a string up to this size is searched as a whole, a larger one only around what is kept
MARGIN = 16_384  # searched on either side beyond what is kept of a larger one
LOOKS = 8  # at what is left of such words
PEM_MAX = 65_536  # characters between BEGIN and END; the largest PGP keys have about 20,000

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

_EDGE = r"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrtbf])|(?<=\[\dm)|(?<=\[\d\dm))"

_JWT = _EDGE + r"(?<!\bpk\.)eyJ[\w-]{8,}\.(?:[\w-]{8,}|\.)[\w.-]*"
_DISCORD = _EDGE + r"[MNO][\w-]{22,27}\.[\w-]{6}\.[\w-]{27,}"
_WITHIN = r"\b[^\n|;&]{0,300}?\s"  # of the same command
_LOGIN = r"\b(?:docker|podman|helm|nerdctl|buildah|skopeo|oras|az|oc|argocd)\s[^\n|;&]{0,80}?\blogin" + _WITHIN
_OPEN = r"\\*[\"']?(?![$<{*-])"  # perhaps a quote; then no variable, placeholder or option
_GAP = r"(?:\s|\\[nrt])+"
_CURL = r"curl\b(?:[^\n]|(?<=\\)\n){0,400}?\s"  # it may go on over lines that end with a backslash
_CURL_USER = _CURL + (
    r"(?:-u|--user|--proxy-user)[ =]{0,4}\\*[\"']?[^\s:\"'\\$]{0,100}:\\*[\"']?(?![$<{*])([^\s\"'\\]{3,})"
)
_CURL_KEY = _CURL + r"(?:-u|--user)[ =]{0,4}\\*[\"']?(?P<strict>)([^\s:\"'\\$]{8,}):(?=[\s\"'\\])"  # and no password
_CURL_COOKIE = _CURL + r"(?:-b|--cookie)[ =]?[\"']?([\w.-]{1,80}=(?![$<{*])[^\s\"'\\]{4,})"
_ELEMENT = (
    r"<(?:[\w.:-]{0,40}(?:password|passphrase)|[\w.:-]{0,40}(?P<strict>secret|token|api-?_?key))>"
    r"(?![\s$<{*%\[])([^<\\\n]{3,4000})</"
)
_MYSQL = r"(?:mysql|mariadb)[\w-]*" + _WITHIN + r"-p(?!ort|rotocol|lugin)[\"']?(?![$<{*-])([^\s\"'\\;|]{4,})"
_WORD = r"([^\s\"'\\;|]{4,})"

# label, what must be in the text in lower case (`secretwords.HINTS`), pattern: its last group is the secret, and one
# named `strict` says that it must look made by a machine. Compiled when first needed: all cost as much as the hook.
PATTERNS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    *(("password", ("curl", flag), _CURL_USER) for flag in (" -u", "--user", "--proxy-user")),
    *(("password", ("curl", flag), _CURL_KEY) for flag in (" -u", "--user")),
    *(("cookie", ("curl", flag), _CURL_COOKIE) for flag in (" -b", "--cookie")),
    *(("password", (f"{name}>", "</"), _ELEMENT) for name in ("password", "secret", "token", "key")),
    *(("password", (command, " -p"), _MYSQL) for command in ("mysql", "mariadb")),
    ("password", ("sshpass", " -p"), r"sshpass\s+-p\s*" + _OPEN + _WORD),
    ("password", (" login ", " -p"), _LOGIN + "-p[ =]?" + _OPEN + r"(?![\d.:]+(?:/\w+)?(?:\s|$))" + _WORD),
    ("password", ("redis-cli", " -a"), "redis-cli" + _WITHIN + r"-a\s*" + _OPEN + _WORD),
    (
        "password",
        ("smbclient", " -u"),
        "smbclient" + _WITHIN + r"-U[ =]?\\*[\"']?[^\s%\"'\\$]{1,100}%(?![$<{*])([^\s\"'\\;|]{3,})",
    ),
    ("password", ("htpasswd", " -"), r"htpasswd\s+-[a-z]*b[a-z]*\s+\S{1,200}\s+\S{1,100}\s+" + _OPEN + _WORD),
    (
        "password",
        ("echo ", "--password-stdin"),
        r"echo\s+(?:-n\s+)?" + _OPEN + r"([^\s\"'$\\|]{4,})\\*[\"']?\s*\|[^\n|]{0,200}?--password-stdin",
    ),
    ("secret", ("secret set ", "--body"), r"secret set\s[^\n|;&]{0,200}?--body[ =]" + _OPEN + _WORD),
    ("password", ("requirepass ",), r"\brequirepass\s+(?P<strict>)" + _OPEN + r"([^\s\"'\\]{6,})"),
    (
        "password",
        ("machine ", "login", "password"),
        r"\bmachine\s+\S{1,200}?"
        + _GAP
        + "login"
        + _GAP
        + r"\S{1,200}?"
        + _GAP
        + r"password(?:\s|\\t)+"
        + _OPEN
        + _WORD,
    ),
    (
        "password",
        ("identified ", "by "),
        r"\bidentified\s+(?:with\s+[\w'\"]{1,60}\s+)?by\s+(?:password\s+)?\\*[\"'](?![$<{*])([^\"'\n\\]{4,200})",
    ),
    ("password", ("password '",), r"\b(?:user|role|login)\s[^\n;]{0,200}?\bpassword\s+'(?![$<{*])([^'\n\\]{4,200})'"),
    ("password", ("securestring ",), r"securestring\s+(?:-string\s+)?\\*[\"'](?![$<{*])([^\"'\n\\]{4,200})"),
    (
        "password",
        (":5432:",),
        r"(?:^|(?<=[\s\"'])|(?<=\\n))[\w.*-]{1,100}:5432:[\w*-]{1,64}:[\w*.-]{1,64}:(?![$<{*])([^\s\"'\\]{4,})",
    ),
    ("private-key", ("kty", ":"), r"\\*[\"'](?:d|p|q|dp|dq|qi|k)\\*[\"']\s*:\s*\\*[\"']([\w-]{16,})"),
)
_PRIVATE = re.compile(r"(?:<|\\u003c)(/?)private\s*(?:>|\\u003e)", re.I)
_PEM = re.compile(r"-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}|Private-Lines: ?\d+")
_PEM_END = re.compile(r"-{4,5} ?END [A-Z0-9 ]{0,40}-{4,5}|Private-MAC: ?[0-9a-f]*")
_PEM_BODY = re.compile(
    r"(?:[\s>|+→,\"'-]+|\\+[nrt]|\d{1,6}[→|:]|(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset):[^\n\\]{0,200}"
    r"|[A-Za-z0-9+/=]{16,})*(?:[A-Za-z0-9+/=]+(?=\s*(?:\Z|\n|\\+[nr])))?"
)
_PEM_RUN = re.compile(r"[A-Za-z0-9+/=]{8,}")
_RUN = re.compile(r"[\w.+/=~%-]*", re.A)


class Redactor:
    """Built-in rules plus the user's: `extra` regular expressions, `allow` substrings that keep a match.

    Raises ConfigError when an `extra` pattern is not a valid regular expression. With `extra`, do not ask
    `may_hold_secret` first: it does not know them.
    """

    def __init__(self, extra: Sequence[str] = (), allow: Sequence[str] = ()) -> None:
        self._extra = tuple(_user_pattern(pattern) for pattern in extra)
        self._allow = tuple(text for text in allow if text)

    def text(self, text: str) -> str:
        """`text` without its secrets; doing it twice changes nothing more."""
        return _replace(text, self.spans(text))

    def spans(self, text: str, blocks: bool = True) -> list[Span]:
        """Where the secrets are, in order; `blocks=False` leaves out PEM keys and `<private>` parts."""
        found = self._look(text, blocks)
        for _ in range(LOOKS):
            if not any(_glued(text, start, end) for start, end, _ in found):
                break
            more = _merge([*found, *_behind(self._look(_replace(text, found), blocks), found)])
            if more == found:
                break
            found = more
        return found

    def _look(self, text: str, blocks: bool) -> list[Span]:
        found = [*_find(text), *self._user(text)]
        if self._allow:
            found = [span for span in found if not any(part in text[span[0] : span[1]] for part in self._allow)]
        return _merge([*found, *_blocks(text)] if blocks else found)

    def value(self, obj: Json, limit: int | None = None) -> Json:
        """The same for every string in a JSON value, keys too; `limit` also cuts each string to that length.

        The value under a key that names a secret (`password`, `api_key`) is replaced whole.
        """
        return _walk(obj, lambda text: self.text(text) if limit is None else redact_and_clip(text, limit, self))

    def _user(self, text: str) -> Iterator[Span]:
        for pattern in self._extra:
            for match in pattern.finditer(text):
                if match.end() > match.start() and "[REDACTED" not in match.group():
                    yield match.start(), match.end(), "custom"


def redact_and_clip(text: str, limit: int, redactor: Redactor) -> str:
    """Redact, then cut. Of a string over 256 KiB only what is kept (and a margin around it) is searched."""
    if len(text) <= WHOLE:
        return clip(redactor.text(text), limit)
    room = max(2, limit - len(left_out(len(text))))
    blocks = _merge(list(_blocks(text)))
    head = _head(text, room - room // 2, blocks, redactor)
    tail = _tail(text, room // 2, blocks, redactor)
    return head + left_out(len(text) - len(head) - len(tail)) + tail


def _head(text: str, keep: int, blocks: list[Span], redactor: Redactor) -> str:
    spans = _merge([*redactor.spans(text[: keep + MARGIN], blocks=False), *blocks])
    return _replace(text, spans, 0, keep)[:keep]


def _tail(text: str, keep: int, blocks: list[Span], redactor: Redactor) -> str:
    start = len(text) - keep - MARGIN
    run = _RUN.match(text, start)
    cut = run.end() if run else start  # an unbroken run may be the rest of a token that began before the window
    spans = [(a + start, b + start, label) for a, b, label in redactor.spans(text[start:], blocks=False)]
    return _replace(text, _merge([*spans, *blocks]), max(len(text) - keep, cut), len(text))[-keep:]


def _find(text: str) -> Iterator[Span]:
    low = secretscan.lowered(text)
    yield from secretscan.userinfo(text)
    yield from secretscan.marked(text)
    yield from secretscan.tailed(text)
    yield from secretscan.bearers(text, low)
    yield from secretscan.assigned(text, low)
    for label, needle, source in (("jwt", "eyJ", _JWT), ("discord-token", ".", _DISCORD)):
        if needle in text:
            yield from ((match.start(), match.end(), label) for match in re.finditer(source, text, re.A))
    for label, hint, source in PATTERNS:
        if secretscan.hinted(low, hint):
            yield from _matches(label, re.compile(source, re.I | re.A), text)


def _matches(label: str, pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    for match in pattern.finditer(text):
        secret = pattern.groups
        strict = "strict" in pattern.groupindex and match["strict"] is not None
        if secretscan.fits(match.group(secret), strict):
            yield match.start(secret), match.end(secret), label


def _blocks(text: str) -> Iterator[Span]:
    if "PRIVATE KEY" in text or "Private-Lines:" in text:
        yield from _pem(text)
    if "private" in secretscan.lowered(text):
        yield from _private(text)


def _pem(text: str) -> Iterator[Span]:
    begin = _PEM.search(text)
    while begin:
        following = _PEM.search(text, begin.end())
        until = min(following.start() if following else len(text), begin.end() + PEM_MAX)
        end = _PEM_END.search(text, begin.end(), until)
        body = None if end else _PEM_BODY.match(text, begin.end(), until)
        stop = end.end() if end else body.end() if body else begin.end()
        if _PEM_RUN.search(text, begin.end(), stop):
            yield begin.start(), stop, "private-key"
        begin = following


def _private(text: str) -> Iterator[Span]:
    depth = start = 0
    for tag in _PRIVATE.finditer(text):
        if not tag.group(1):
            start = start if depth else tag.start()
            depth += 1
        elif depth:
            depth -= 1
            if not depth:
                yield start, tag.end(), "private"
    if depth:
        yield start, len(text), "private"


def _merge(spans: list[Span]) -> list[Span]:
    """In order, overlapping ones joined under the label of the first."""
    out: list[Span] = []
    for start, end, label in sorted(spans, key=lambda span: (span[0], -span[1])):
        if out and start < out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]), out[-1][2])
        else:
            out.append((start, end, label))
    return out


def _replace(text: str, spans: list[Span], start: int = 0, stop: int | None = None) -> str:
    """`text[start:stop]` with the spans replaced; one that reaches over either end is replaced whole."""
    stop = len(text) if stop is None else stop
    out = []
    for begin, end, label in spans:
        if end <= start or begin >= stop:
            continue
        out += [text[start:begin], f"[REDACTED:{label}]"]
        start = end
    return "".join([*out, text[start:stop]])


def _glued(text: str, start: int, end: int) -> bool:
    """Tell whether a word goes on before or after a span."""
    return (start > 0 and text[start - 1] in DOTTED) or (end < len(text) and text[end] in DOTTED)


def _behind(spans: list[Span], found: list[Span]) -> Iterator[Span]:
    """Give what spans of a text in which `found` is replaced cover of the text itself: of a mark all that it hides."""
    marks: list[tuple[int, int]] = []  # where each stands
    shift = 0
    for start, end, label in found:
        length = len(f"[REDACTED:{label}]")
        marks.append((start + shift, start + shift + length))
        shift += length - (end - start)
    begins = [begin for begin, _ in marks]
    for start, end, label in spans:
        first, last = bisect_right(begins, start) - 1, bisect_right(begins, end - 1) - 1
        begin = found[first][1] + start - marks[first][1] if first >= 0 else start
        stop = found[last][1] + end - marks[last][1] if last >= 0 else end
        inside_first = first >= 0 and start < marks[first][1]
        inside_last = last >= 0 and end <= marks[last][1]
        yield found[first][0] if inside_first else begin, found[last][1] if inside_last else stop, label


def _walk(obj: Json, text: Callable[[str], str]) -> Json:
    if isinstance(obj, str):
        return text(obj)
    if isinstance(obj, list):
        return [_walk(item, text) for item in obj]
    if not isinstance(obj, dict):
        return obj
    out: dict[str, Json] = {}
    named = ""
    for key, item in obj.items():
        if isinstance(item, str):
            label = _label(named if named and key == "value" else key, item)
            out[text(key)] = f"[REDACTED:{label}]" if label else text(item)
            named = item if key in ("name", "key", "header") else ""
        else:
            out[text(key)] = _walk(item, text)
            named = ""
    return out


def _label(key: str, value: str) -> str:
    """The label of a value that its key makes a secret, else ''. Asks the scanner, as JSON, so both agree."""
    probe = f'"{_escaped(key)}":"'
    text = probe + _escaped(value[:1024]) + '"'
    for start, _, label in secretscan.assigned(text, secretscan.lowered(text)):
        if start >= len(probe) and not value.startswith("[REDACTED") and label != "authorization":
            return label
    return ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def _user_pattern(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"[redact] extra: {pattern!r} is not a valid regular expression ({error}); correct or remove it"
        ) from error
