"""The first look at an event: could there be a secret at all? Runs on every event, so it is a few passes in C.

It must say True wherever `redact` would change something (the tests hold it to that); wherever it says True for
nothing, `secretscan` looks closely, which costs about as much as the rest of the hook. User patterns are unknown here.
"""

_SIGNS = (
    "private>",
    "private\\u003e",
    "private key",
    "private-lines:",
    "bearer ",
    "flyv1 ",
    "mnemonic",
    "phrase",
    "sig=",
    ".sid",
    "jwt",
    "api key",
    "access key",
    "account key",
    "encryption key",
    "redis-cli",
    "smbclient",
    "identified ",
    "securestring",
    ":5432:",
    "kty",
    "psk",
    "_pw",
    "dockerconfigjson",
)
_NAMES = (b"pass", b"pwd", b"secret", b"token", b"key", b"cred", b"auth", b"cookie", b"sess", b"signature", b"_pat")
# names that hold one of the above and never name a secret, spelt as they are common
_HARMLESS = frozenset(
    b"bypassPermissions session_crons session_id sessionId session sessions Session transcript_path"
    b" agent_transcript_path file_path filePath notebook_path path_pattern passed PASSED Passed passes"
    b" passing bypass author authors Author authored authentication authenticated key keys Key Keys"
    b" KeyError keyword keywords keyboard keyof KEY tokens tokenize tokenizer max_tokens input_tokens"
    b" output_tokens total_tokens cache_read_input_tokens cache_creation_input_tokens KeyboardInterrupt"
    b" primary_key sort_key".split()
)
# every mark of `secretwords.MARKS` begins with one of these, and with its tail is at least so many characters long
_MARKS = (
    (
        18,
        b"sk- ya29. GOCSPX- 1//0 AKIA ASIA ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- gldt- glrt- glptt- glcbt-"
        b" glsoat- glft- xox xapp- sk_live_ rk_live_ sk_test_ rk_test_ whsec_ shpat_ shpca_ shppa_ shpss_ lin_api_"
        b" hvs. hvb. fw_ tvly- sb_secret_ NRAK- dckr_ glimt- glffct- GR1348941 lin_oauth_ sq0atp- sm_aat_ sm_pat_"
        b" sm_sat_ LTAI ATBB API- rnd_".split(),
    ),
    (
        33,
        b"lsv2_ AIza hooks.slack.com/ /api/webhooks/ /webhookb2/ npm_ pypi-AgE hf_ :AA SG. SK key- dop_v1_ doo_v1_"
        b" dor_v1_ secret_ ntn_ dapi dp.pt. dp.st. gsk_ xai- pplx- r8_ nvapi- fm2_ ATATT3x ATCTT3x AGE-SECRET-KEY-1"
        b" sq0csp- sbp_ glsa_ glc_eyJ PMAK- pul- rubygems_ .atlasv1. sntrys_ sntryu_ figd_ xkeysib- re_ EZAK tfp_"
        b" CFPAT- sdk- Q~ aimem_ gloas- glagent- CLOJARS_ api_org_ fo1_ fio-u- FLWSECK HRKU- ico- s-s4t2 napi_ nfp_"
        b" pscale_ NRII- sha256~ phx_ pnu_ rdme_ tk-us- shippo_live_ shippo_test_ squ_ sqp_ sqa_ sgp_ tskey- AQVN p8e-"
        b" bkua_ CCIPAT_ duffel_live_ duffel_test_ jina_ A3- dt0c01. cmVmd EZTK ABSK bedrock-api-key-".split(),
    ),
    (58, b"EAA pat AKCp ops_eyJ sl. sat. v1.0- pcsk_".split()),
)
# the same of marks that are part of many words: looked for in words without a dot or slash
_SHORT_MARKS = (36, b"sk_ pa- 4b1d oy2 -us _mmk".split())

_NAME = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-"


def _only(kept: bytes) -> bytes:
    """Return a table for `bytes.translate` that leaves `kept` alone and makes all else blank."""
    others = bytes(range(256)).translate(None, kept)
    return bytes.maketrans(others, b" " * len(others))


_ONLY_NAMES = _only(_NAME)
_ONLY_WORDS = _only(_NAME + b".+/=~%:,@\\[")
_URL_ENDS = b" \"'`\\<>|,;" + bytes(range(32))
_ONLY_URLS = bytes.maketrans(_URL_ENDS, b" " * len(_URL_ENDS))


def may_hold_secret(text: str) -> bool:
    """False only when `redact` would leave `text` (or the texts inside it, when it is JSON) unchanged."""
    low = text.lower()
    for sign in _SIGNS:
        if sign in low:
            return True
    if "eyJ" in text or ("curl" in low and ("-u" in low or "-b" in low)):
        return True
    if " -p" in low and ("mysql" in low or "mariadb" in low or " login " in low):
        return True
    if "\u212a" in text:  # the KELVIN SIGN is a k in lower case
        return True
    data = text.encode("utf-8", "replace")
    return _secret_name(data) or _mark(data) or ("://" in text and "@" in text and _userinfo(data))


def _secret_name(data: bytes) -> bool:
    found = b" ".join(set(data.translate(_ONLY_NAMES).split()) - _HARMLESS).lower()
    return any(name in found for name in _NAMES)


def _mark(data: bytes) -> bool:
    words = list(set(data.translate(_ONLY_WORDS).split()))
    least, marks = _SHORT_MARKS
    long = b" ".join([word for word in words if len(word) >= least])
    named = b" ".join([word for word in long.translate(_ONLY_NAMES).split() if len(word) >= least])
    if named and any(mark in named for mark in marks):
        return True
    for least, marks in _MARKS:
        words = [word for word in words if len(word) >= least]
        joined = b" ".join(words)
        for mark in marks:
            if mark in joined:
                return True
    # a Discord token, 58 characters and more: two dots with 6 characters between them
    return any(len(part) == 6 for word in words for part in word.split(b".")[1:-1])


def _userinfo(data: bytes) -> bool:
    return any(b"://" in word and b"@" in word for word in data.translate(_ONLY_URLS).split())
