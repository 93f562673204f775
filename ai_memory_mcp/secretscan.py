"""Finds secrets in text without importing anything: the hook process runs this on every event.

`redact` replaces what `assigned`, `marked`, `bearers` and `userinfo` find, so the two can never disagree.
Every rule gives the same verdict on a text and on its JSON-escaped form (`\\"`, `\\n`): that is what makes
`may_hold_secret` sound on a payload that is still JSON. User patterns (`extra`) are unknown here: with any of
them configured the caller must always take the slow path.
"""

TYPE_CHECKING = False  # known to type checkers by its name; importing typing would cost more than the scan
if TYPE_CHECKING:
    from collections.abc import Iterator

Span = tuple[int, int, str]  # start, end, label

_LOWER = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
_HEX = _DIGITS + "abcdef"
_UPPER = _LOWER.upper() + _DIGITS
_ALNUM = _LOWER + _UPPER
_TOKEN = _ALNUM + "_-"
_DOTTED = _TOKEN + "."
_B64 = _DOTTED + "+/=~%"
_NAME_MAX = 48  # characters looked at on either side of a secret word
_VALUE_MAX = 8192  # how far a closing quote is looked for

_WORD_TABLE = bytes(code if chr(code) in _B64 + ":,@\\[" else 32 for code in range(256))

# label, literal, alphabet of the tail, least length of the tail, must a non-word character stand before it
MARKS: tuple[tuple[str, str, str, int, bool], ...] = (
    ("anthropic-key", "sk-ant-", _TOKEN, 16, False),
    ("openai-key", "sk-proj-", _TOKEN, 16, False),
    ("openai-key", "sk-svcacct-", _TOKEN, 16, False),
    ("openai-key", "sk-admin-", _TOKEN, 16, False),
    ("openrouter-key", "sk-or-", _TOKEN, 16, False),
    ("elevenlabs-key", "sk_", _HEX, 40, True),
    ("langsmith-key", "lsv2_", _TOKEN, 32, True),
    ("langfuse-key", "sk-lf-", _TOKEN, 16, False),
    ("openai-key", "sk-", _ALNUM, 20, True),
    ("google-key", "AIza", _TOKEN, 30, False),
    ("google-oauth", "ya29.", _DOTTED, 20, True),
    ("google-oauth", "GOCSPX-", _TOKEN, 16, False),
    ("google-refresh", "1//0", _TOKEN, 20, True),
    ("aws-key-id", "AKIA", _UPPER, 16, True),
    ("aws-key-id", "ASIA", _UPPER, 16, True),
    ("aws-bedrock-key", "ABSK", _B64, 100, True),
    ("aws-bedrock-key", "bedrock-api-key-", _B64, 40, False),
    ("alibaba-key-id", "LTAI", _ALNUM, 20, True),
    ("yandex-key", "AQVN", _TOKEN, 35, True),
    ("ai-memory-token", "aimem_", _TOKEN, 40, True),
    ("github-token", "ghp_", _ALNUM, 20, False),
    ("github-token", "gho_", _ALNUM, 20, False),
    ("github-token", "ghu_", _ALNUM, 20, False),
    ("github-token", "ghs_", _DOTTED, 20, False),
    ("github-token", "ghr_", _ALNUM, 20, False),
    ("github-token", "github_pat_", _TOKEN, 20, False),
    ("gitlab-token", "glpat-", _DOTTED, 16, False),
    ("gitlab-token", "gldt-", _TOKEN, 16, True),
    ("gitlab-token", "glrt-", _DOTTED, 16, True),
    ("gitlab-token", "glptt-", _TOKEN, 16, True),
    ("gitlab-token", "glcbt-", _TOKEN, 16, True),
    ("gitlab-token", "glsoat-", _TOKEN, 16, True),
    ("gitlab-token", "glft-", _TOKEN, 16, True),
    ("gitlab-token", "glimt-", _TOKEN, 20, True),
    ("gitlab-token", "gloas-", _HEX, 60, True),
    ("gitlab-token", "glagent-", _TOKEN, 40, True),
    ("gitlab-token", "glffct-", _TOKEN, 16, True),
    ("gitlab-token", "GR1348941", _TOKEN, 20, True),
    ("slack-token", "xox", _DOTTED, 16, True),
    ("slack-token", "xapp-", _TOKEN, 16, False),
    ("slack-webhook", "hooks.slack.com/", _TOKEN + "/", 24, False),
    ("discord-webhook", "/api/webhooks/", _TOKEN + "/", 24, False),
    ("teams-webhook", "/webhookb2/", _TOKEN + "/@", 24, False),
    ("stripe-key", "sk_live_", _ALNUM, 10, False),
    ("stripe-key", "rk_live_", _ALNUM, 10, False),
    ("stripe-key", "sk_test_", _ALNUM, 10, False),
    ("stripe-key", "rk_test_", _ALNUM, 10, False),
    ("webhook-secret", "whsec_", _B64, 16, False),
    ("npm-token", "npm_", _ALNUM, 30, True),
    ("pypi-token", "pypi-AgE", _TOKEN, 32, False),
    ("nuget-key", "oy2", _LOWER + _DIGITS, 43, True),
    ("clojars-token", "CLOJARS_", _HEX, 60, True),
    ("huggingface-token", "hf_", _ALNUM, 30, True),
    ("huggingface-token", "api_org_", _ALNUM, 30, True),
    ("telegram-token", ":AA", _TOKEN, 33, False),
    ("sendgrid-key", "SG.", _DOTTED, 40, True),
    ("twilio-key", "SK", _HEX, 32, True),
    ("mailgun-key", "key-", _HEX, 32, True),
    ("digitalocean-token", "dop_v1_", _HEX, 32, False),
    ("digitalocean-token", "doo_v1_", _HEX, 32, False),
    ("digitalocean-token", "dor_v1_", _HEX, 32, False),
    ("shopify-token", "shpat_", _ALNUM, 24, False),
    ("shopify-token", "shpca_", _ALNUM, 24, False),
    ("shopify-token", "shppa_", _ALNUM, 24, False),
    ("shopify-token", "shpss_", _ALNUM, 24, False),
    ("linear-key", "lin_api_", _ALNUM, 24, False),
    ("linear-key", "lin_oauth_", _ALNUM, 24, False),
    ("notion-token", "secret_", _ALNUM, 40, True),
    ("notion-token", "ntn_", _ALNUM, 40, True),
    ("databricks-token", "dapi", _HEX + "-", 32, True),
    ("vault-token", "hvs.", _TOKEN, 20, True),
    ("vault-token", "hvb.", _TOKEN, 20, True),
    ("doppler-token", "dp.pt.", _ALNUM, 30, False),
    ("doppler-token", "dp.st.", _DOTTED, 30, False),
    ("dynatrace-token", "dt0c01.", _DOTTED, 80, False),
    ("dropbox-token", "sl.", _TOKEN + "=", 120, True),
    ("groq-key", "gsk_", _ALNUM, 30, True),
    ("xai-key", "xai-", _ALNUM, 30, True),
    ("perplexity-key", "pplx-", _ALNUM, 30, True),
    ("replicate-token", "r8_", _ALNUM, 30, True),
    ("fireworks-key", "fw_", _ALNUM, 22, True),
    ("tavily-key", "tvly-", _TOKEN, 20, True),
    ("nvidia-key", "nvapi-", _TOKEN, 40, True),
    ("fly-token", "FlyV1 ", _B64 + ",", 20, False),
    ("fly-token", "fm2_", _B64, 40, True),
    ("fly-token", "fo1_", _TOKEN, 40, True),
    ("frameio-token", "fio-u-", _TOKEN, 60, True),
    ("flutterwave-key", "FLWSECK", _HEX + "TES_-X", 32, True),
    ("harness-token", "sat.", _DOTTED, 60, True),
    ("heroku-key", "HRKU-", _TOKEN, 50, True),
    ("infracost-key", "ico-", _ALNUM, 32, True),
    ("intra42-secret", "s-s4t2", _HEX + "u-", 60, True),
    ("atlassian-token", "ATATT3x", _TOKEN + "=", 40, False),
    ("atlassian-token", "ATCTT3x", _TOKEN + "=", 40, False),
    ("bitbucket-password", "ATBB", _ALNUM, 28, True),
    ("age-key", "AGE-SECRET-KEY-1", _UPPER, 30, False),
    ("meta-token", "EAA", _ALNUM, 60, True),
    ("square-token", "EAAA", _TOKEN, 56, True),
    ("square-token", "sq0csp-", _TOKEN, 30, False),
    ("square-token", "sq0atp-", _TOKEN, 22, False),
    ("airtable-token", "pat", _DOTTED, 68, True),  # Harness begins its personal tokens so too
    ("supabase-token", "sbp_", _HEX, 32, True),
    ("supabase-key", "sb_secret_", _TOKEN, 20, True),
    ("neon-key", "napi_", _ALNUM, 40, True),
    ("netlify-token", "nfp_", _ALNUM, 36, True),
    ("pinecone-key", "pcsk_", _ALNUM + "_", 60, True),
    ("planetscale-token", "pscale_", _DOTTED, 30, False),
    ("grafana-token", "glsa_", _TOKEN, 30, True),
    ("grafana-token", "glc_eyJ", _B64, 30, True),
    ("newrelic-key", "NRAK-", _ALNUM, 20, True),
    ("newrelic-key", "NRII-", _TOKEN, 30, True),
    ("octopus-key", "API-", _UPPER, 26, True),
    ("openshift-token", "sha256~", _TOKEN, 43, True),
    ("posthog-key", "phx_", _ALNUM, 40, True),
    ("prefect-key", "pnu_", _ALNUM, 36, True),
    ("readme-key", "rdme_", _ALNUM, 60, True),
    ("render-key", "rnd_", _ALNUM, 28, True),
    ("scalingo-token", "tk-us-", _TOKEN, 40, True),
    ("settlemint-token", "sm_aat_", _ALNUM, 16, True),
    ("settlemint-token", "sm_pat_", _ALNUM, 16, True),
    ("settlemint-token", "sm_sat_", _ALNUM, 16, True),
    ("shippo-token", "shippo_live_", _HEX, 40, True),
    ("shippo-token", "shippo_test_", _HEX, 40, True),
    ("sonar-token", "squ_", _HEX, 40, True),
    ("sonar-token", "sqp_", _HEX, 40, True),
    ("sonar-token", "sqa_", _HEX, 40, True),
    ("sourcegraph-token", "sgp_", _ALNUM + "_", 40, True),
    ("tailscale-key", "tskey-", _TOKEN, 30, True),
    ("voyage-key", "pa-", _TOKEN, 43, True),
    ("adobe-secret", "p8e-", _LOWER + _DIGITS, 32, True),
    ("buildkite-token", "bkua_", _HEX, 40, True),
    ("circleci-token", "CCIPAT_", _ALNUM + "_", 60, True),
    ("clickhouse-key", "4b1d", _ALNUM, 38, True),
    ("cloudflare-key", "v1.0-", _HEX + "-", 170, True),
    ("duffel-token", "duffel_live_", _TOKEN + "=", 40, False),
    ("duffel-token", "duffel_test_", _TOKEN + "=", 40, False),
    ("jina-key", "jina_", _ALNUM, 50, True),
    ("onepassword-key", "A3-", _UPPER + "-", 32, True),
    ("postman-key", "PMAK-", _TOKEN, 40, True),
    ("pulumi-token", "pul-", _HEX, 32, True),
    ("rubygems-key", "rubygems_", _HEX, 32, True),
    ("dockerhub-token", "dckr_pat_", _TOKEN, 20, False),
    ("dockerhub-token", "dckr_oat_", _TOKEN, 20, False),
    ("terraform-token", ".atlasv1.", _B64, 40, False),
    ("sentry-token", "sntrys_", _B64, 30, True),
    ("sentry-token", "sntryu_", _HEX, 32, True),
    ("figma-token", "figd_", _TOKEN, 30, True),
    ("brevo-key", "xkeysib-", _TOKEN, 40, True),
    ("resend-key", "re_", _TOKEN, 30, True),
    ("artifactory-key", "AKCp", _ALNUM, 60, True),
    ("artifactory-key", "cmVmd", _ALNUM, 59, True),
    ("easypost-key", "EZAK", _ALNUM, 40, True),
    ("easypost-key", "EZTK", _ALNUM, 40, True),
    ("typeform-token", "tfp_", _TOKEN, 40, True),
    ("contentful-token", "CFPAT-", _TOKEN, 30, True),
    ("launchdarkly-key", "sdk-", _HEX + "-", 36, True),
    ("onepassword-token", "ops_eyJ", _TOKEN, 60, True),
    ("azure-ad-secret", "Q~", _DOTTED + "~", 31, False),
)

# label, literal that stands behind the secret, alphabet and length of what stands before it
TAILS: tuple[tuple[str, str, str, int], ...] = (
    ("maxmind-key", "_mmk", _ALNUM + "_", 36),
    ("mailchimp-key", "-us", _HEX, 32),
)

# marks that nothing else begins with: what follows need not look random, it only must not be words or filling
_PLAIN_MARKS = frozenset(("AIza", "AKIA", "ASIA", "npm_", "hf_", "xox", "gldt-", "glrt-", "gsk_", "r8_"))
_FILLING = "xX*.•_-0"
_EXACT = {"API-": 26, "oy2": 43, "4b1d": 38, "pa-": 43}  # marks of few letters, whose tails have a known length

# kinds of names, weakest first: what a value must look like to be taken for a secret depends on them
_NOT, _GENERIC, _WEAK, _STRONG, _PASSWORD, _AUTH, _COOKIE = range(7)
_WORDS = ("pass", "pwd", "secret", "token", "key", "cred", "auth", "cookie", "sess", "signature")
_RARE_WORDS = ("mnemonic", "phrase", "sig=", ".sid", "_pat", "jwt", "psk", "_pw", "dockerconfigjson")
_PASSWORDS = ("password", "passwd", "passphrase", "passwort", "passcode", "pwd", "mnemonic")
# what a text must hold, in lower case, for a pattern of `redact.PATTERNS` to be tried
HINTS: tuple[tuple[str, ...], ...] = (
    ("curl", " -u"),
    ("curl", "--user"),
    ("curl", "--proxy-user"),
    ("curl", " -b"),
    ("curl", "--cookie"),
    ("password>", "</"),
    ("secret>", "</"),
    ("token>", "</"),
    ("key>", "</"),
    ("mysql", " -p"),
    ("mariadb", " -p"),
    ("sshpass", " -p"),
    (" login ", " -p"),
    ("redis-cli", " -a"),
    ("smbclient", " -u"),
    ("htpasswd", " -"),
    ("echo ", "--password-stdin"),
    ("secret set ", "--body"),
    ("requirepass ",),
    ("machine ", "login", "password"),
    ("identified ", "by "),
    ("password '",),
    ("securestring ",),
    (":5432:",),
    ("kty", ":"),
)
_KEY_HEADS = frozenset(
    "api secret access private account auth encryption encrypt signing master service shared client app "
    "application consumer hmac storage subscription admin developer license anon role".split()
)
_SPOKEN_HEADS = frozenset("api secret access private account encryption auth seed recovery".split())
_KEYS = (
    "apikey",
    "secretkey",
    "accesskey",
    "privatekey",
    "accountkey",
    "authkey",
    "encryptionkey",
    "masterkey",
)
_BENIGN_HEADS = frozenset(
    "max min num n total count next prev previous current page sort primary foreign public pub cache "
    "partition idempotency continuation pad eos bos unk sep mask cls stop special start end first second "
    "last one two single multi peek lookahead input output prompt completion per map dict hash object "
    "group order unique composite row column col range lookup translation i18n react route registry s3 "
    "cursor bypass forgot reset change no ignore invalid missing expired bad wrong unexpected non "
    "publishable".split()
)
_NO_PASSWORDS = frozenset("forgot forgotten show hide invalid missing wrong bad weak toggle".split())
_BENIGN_TAILS = frozenset(
    "count counts type types name names field fields length len limit limits budget url uri path file "
    "files id ids index idx ref refs policy rule rules hint label error errors message min max size "
    "expiry expires expiration ttl age at in usage stdin required enabled visible manager provider store "
    "service class cls format regex pattern strength reset input form view page link header headers "
    "placeholder column col fn func callback handler info metadata scanner scan version endpoint location "
    "prefix suffix is has kind mode status state level".split()
)
_NEUTRAL_TAILS = frozenset(
    "prod production dev development staging stage test testing live sandbox main default old new current "
    "next prev previous value raw b64 base64 plain plaintext text string confirm confirmation again "
    "repeat base primary secondary admin user root db app api local ci backup".split()
)
_SCHEMES = frozenset(
    "bearer basic token digest negotiate apikey api-key key bot oauth hawk aws4-hmac-sha256 splunk "
    "sso-key ntlm genie-key sharedkey".split()
)
_LONG_SCHEMES = frozenset(["digest", "oauth", "hawk", "aws4-hmac-sha256"])
_PLACEHOLDERS = frozenset(
    "string str bytes int integer float number bool boolean any text object true false null none nil "
    "undefined unknown void never required optional password passwd pass pwd passphrase secret token key "
    "apikey api_key api-key credential credentials hidden masked redacted removed changeme change_me "
    "change-me placeholder example sample dummy fake todo tbd empty missing invalid valid expired include "
    "omit same-origin bearer basic value self prompt inherit default auto yes no on off ok n/a not and or "
    "is was to for from with the a an of in if else flag option argument arg parameter param field file "
    "stdin env input output secretstr varchar char uuid hash date array list map dict mutable immutable "
    "instead must should may can will has have here this that it user admin_password db_password "
    "my_password my_token my_secret my-token my-secret your_password mytoken mysecret mypassword &str "
    "&[u8] i32 u32 i64 u64 usize f64 std::string json yaml bcrypt argon2 scrypt sha256 plaintext "
    "passwort kennwort contraseña contrasena senha parola wachtwoord пароль 密码 密碼 パスワード 비밀번호".split()
)
_PLACEHOLDER_STARTS = (
    *("your", "insert", "enter", "replace", "example", "placeholder", "changeme", "dummy", "fake", "sample"),
    *(
        "put-",
        "put_",
        "some-",
        "some_",
        "paste",
        "type ",
        "choose",
        "please",
        "must ",
        "should ",
        "the ",
        "redacted",
    ),
)
_FOREIGN_STARTS = ("passwort ", "kennwort ", "mot de passe", "contraseña ", "senha ", "wachtwoord ")
_CODE_STARTS = (
    *(
        "process.env",
        "import.meta",
        "os.environ",
        "os.getenv",
        "env.",
        "env:",
        "secrets.",
        "vars.",
        "var.",
        "config.",
    ),
    *(
        "settings.",
        "self.",
        "this.",
        "args.",
        "opts.",
        "options.",
        "arn:",
        "op://",
        "vault:",
        "ref+",
        "file:",
        "http:",
    ),
    *(
        "https://",
        "keyring:",
        "!vault",
        "!secret",
        "!ref",
        "!sub",
        "!getatt",
        "!importvalue",
        "pk_live_",
        "pk_test_",
        "id=",
        "type=",
        "deno.env",
        "bun.env",
        "%(",
        "{",
        "<",
        "[",
        "%s",
    ),
)


def may_hold_secret(text: str) -> bool:
    """False only when `redact` would leave `text` (or the texts inside it, when it is JSON) unchanged.

    It knows nothing of user patterns: with `extra` configured, skip this and redact.
    """
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
                        start = run_start(text, at, _DIGITS if literal[0] == ":" else _DOTTED)
                    if (literal[0] != ":" or 7 <= at - start <= 12) and (literal != "Q~" or text[at - 1] in _DIGITS):
                        yield start, end, label
            at = text.find(literal, end)


def tailed(text: str) -> "Iterator[Span]":
    """Tokens that announce themselves by what stands at their end (`TAILS`)."""
    for label, literal, alphabet, length in TAILS:
        at = text.find(literal)
        while at >= 0:
            start = at - length
            end = run_end(text, at + len(literal), _DIGITS)
            if start >= 0 and not text[start:at].strip(alphabet) and _at_edge(text, start):
                yield start, end, label
            at = text.find(literal, end)


def _made(tail: str, literal: str, edge: bool) -> bool:
    """Whether a machine made what follows a mark. Made-up keys (`ghp_aaaa…`) are as good as real ones here."""
    if not tail.strip(_HEX) and literal in ("4b1d", "ico-"):  # a sum, or an icon with one in its name
        return False
    if len(tail) != _EXACT.get(literal, len(tail)):
        return False
    if literal == "hf_" and tail.isalpha() and len(set(tail)) > 5:
        return _mixed(tail)
    if _random(tail) and not (edge and _wordy(tail)):
        return True
    sure = literal in _PLAIN_MARKS or (not edge and literal[-1] in "-_")
    longest = max(tail.replace("-", "_").replace(".", "_").split("_"), key=len)
    return sure and len(longest) >= 16 and longest.strip(_FILLING) != ""


def bearers(text: str, low: str) -> "Iterator[Span]":
    """`Bearer <token>` wherever it stands; headers with other schemes are found by name in `assigned`."""
    at = low.find("bearer ")
    while at >= 0:
        start = at + 7
        while text[start : start + 1] == " ":
            start += 1
        end = run_end(text, start, _B64)
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
    return not value.strip(_DOTTED)


def assigned(text: str, low: str) -> "Iterator[Span]":
    """Values given to a secret's name: `KEY=…`, `"key": "…"`, `--key …`, `Header: …`, name/value pairs."""
    for word in _WORDS + tuple(w for w in _RARE_WORDS if w in low):
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
                end = max(end, span[1])
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
    if len(value) < 8 or not any(char in _DIGITS for char in value) or _placeholder(value):
        return None
    name = text[_name_start(text, at) : stop]
    kind = name_kind(name)
    if kind == _PASSWORD:
        capital = value != value.lower() and value != value.upper()
        strange = any(char in "!@#$%^&*+~?=" for char in value)
        found = (capital or strange) and "/" not in value and "://" not in value and not _wordy(value)
    else:
        found = kind in (_WEAK, _STRONG) and (_high_entropy(value) or (name == "_authToken" and _uuid(value)))
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
        return (begin, end, "password") if end > begin and _secret_text(_PASSWORD, text[begin:end], "=") else None
    kind = name_kind(name)
    if end <= begin or kind not in (_WEAK, _STRONG, _PASSWORD):
        return None
    value = text[begin:end]
    given = words[0] in ("set", "with", "add", "use") or (kind == _PASSWORD and len(words) == 1)
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
    return at + _run(text[at : at + _NAME_MAX], _TOKEN)


def _name_start(text: str, at: int) -> int:
    chunk = text[max(0, at - _NAME_MAX) : at]
    start = at - len(chunk) + len(chunk.rstrip(_TOKEN))
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
    if kind == _NOT and sep in (":", "="):  # `API key: …`
        head = text[run_start(text, start - 1, _LOWER + _UPPER) : start - 1] if text[start - 1 : start] == " " else ""
        kind = name_kind(f"{head}_{name}") if head.lower() in _SPOKEN_HEADS else _NOT
    if kind == _NOT or text.endswith("[REDACTED:", 0, start):  # the label of what was redacted before
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
    return begin + len(kind) + 3 if equals and not kind.strip(_ALNUM + "_&.:<>[]| ?*'") else begin


def _quoted_value(text: str, kind: int, name: str, sep: str, stop: int, opening: int, slashes: int) -> "Span | None":
    begin = opening + slashes + 1
    end = _closing(text, begin, text[begin - 1], slashes)
    if end <= begin:
        return None
    first = text[begin : _stop(text, begin, "\"'`\\\r\n", 512)]
    if kind >= _AUTH:
        return _header_span(kind, first, begin, end)
    named = stop < opening and text[stop] in "\"'`\\"
    if not named and first.startswith((")", ",", ";", "]", "}", " +", " %", " .")):
        return None  # `print("password: " + x)`: that quote closed a string, it opened none
    cut_short = named and len(first) < 4 and begin + len(first) < end  # a quote or backslash early in the value
    if not (cut_short and kind >= _STRONG) and not _secret_text(kind, first, sep):
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
    if kind >= _AUTH:
        end = _stop(text, begin, "\"'`\\\r\n", _VALUE_MAX)
        span = _header_span(kind, text[begin:end], begin, end)
        if span and text[begin:end].split(" ", 1)[0].lower() in _LONG_SCHEMES:
            return begin, _stop(text, begin, "\\\r\n", _VALUE_MAX), span[2]
        return span
    before = text[start - 1 : start]
    query = before in ("?", "&", ";") and before != ""
    env = sep == "=" and not spaced and name == name.upper() and not query
    end = _stop(text, begin, " \t\"'`\\\r\n,;&<>(){}[]|", 512)
    value = text[begin:end]
    following = text[end : end + 1]
    sure = env or query or sep == " " or (sep == "v" and kind == _PASSWORD)
    if sep == ">":
        return (begin, end, _label(name)) if following == "<" and _high_entropy(value) else None
    if following == "(" and not env:  # `token = Some("…")`
        begin, end = _quoted(text, end + 1)
        return (begin, end, _label(name)) if end > begin and _high_entropy(text[begin:end]) else None
    if sep == ":" and before == ":" and not spaced:  # arn:aws:…:secret:prod/db
        return None
    if not value or (following in ("(", "[", "<", "{") and not (env and value[-1] != "$")):
        return None
    if name.endswith("hrase") and kind == _PASSWORD:  # a seed of twelve words and more
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
    if found or (kind == _PASSWORD and _yaml_word(text, value, sep, spaced, start, end)):
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
    if kind == _COOKIE:
        name, equals, rest = value.partition("=")
        if not equals or " " in name.strip() or len(rest) < 4 or _placeholder(rest.split(";")[0]):
            return None
        return begin, end, "cookie"
    scheme, _, rest = value.lstrip().partition(" ")
    if scheme.lower() in _SCHEMES:
        skip = len(value) - len(rest.lstrip())
        rest = rest.strip()
        if len(rest) < 4 or _placeholder(rest) or (rest.isalpha() and rest == rest.lower() and len(rest) < 16):
            return None
        return begin + skip, end, "authorization"
    return (begin, end, "authorization") if _secret_text(_WEAK, value.strip(), ":") else None


def name_kind(name: str) -> int:
    """How strongly a name speaks of a secret: 0 not at all (`max_tokens`, `public_key`), more is stronger."""
    words = _split(name)
    for index in range(len(words) - 1, -1, -1):
        kind = _core(words, index)
        if kind == _NOT:
            continue
        tails = words[index + 1 :]
        if any(tail in _BENIGN_TAILS for tail in tails):
            return _NOT
        if index and words[index - 1] in (_BENIGN_HEADS if kind <= _STRONG else _NO_PASSWORDS):
            return _NOT
        known = all(tail in _NEUTRAL_TAILS or tail.isdigit() for tail in tails)
        return kind if known else _GENERIC
    return _NOT


def _core(words: "list[str]", index: int) -> int:
    word = words[index]
    head = words[index - 1] if index else ""
    if word.endswith(_PASSWORDS):
        return _PASSWORD
    if word in ("pass", "pswd"):
        return _WEAK if not head else _NOT if head in _BENIGN_HEADS else _PASSWORD
    if word == "phrase":
        return _PASSWORD if head in ("seed", "recovery", "pass", "secret") else _NOT
    if word.endswith("secret"):
        return _STRONG
    if word.endswith("token") and word != "jsonwebtoken":
        return _STRONG if head or word != "token" else _WEAK
    if word == "psk" or (word == "pw" and head):
        return _PASSWORD
    if word == "dockerconfigjson":
        return _STRONG
    if word == "key":
        return _STRONG if head in _KEY_HEADS else _GENERIC if head else _NOT
    if word.endswith(_KEYS):
        return _STRONG
    if word == "authorization":
        return _AUTH
    if word == "cookie":
        return _COOKIE if head in ("", "set", "http", "request", "document") else _GENERIC
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
        return _GENERIC
    return _GENERIC if word in ("sig", "sid", "pat", "jwt", "sessionid") else _NOT


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
    digit = any(char in _DIGITS for char in value) or _mixed(value)
    sure = sep not in ("bare", ",")
    if sep == "," or kind == _GENERIC:
        return _high_entropy(value) and (sep != "," or kind > _GENERIC)
    if kind == _PASSWORD:
        return sure or digit or any(char in "@!#$%^&*+~?=" for char in value)
    number = not value.strip(_DIGITS + ".,-+_eE%")
    if number and len(value) < 14:
        return False
    if kind == _WEAK:
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
    return len(value) in (40, 64) and not value.strip(_HEX)


def fits(value: str, strict: bool = False) -> bool:
    """Whether a value found by its place can be a secret: no placeholder; when `strict`, it looks made by a machine."""
    return _secret_text(_STRONG, value, "bare") if strict else len(value) > 2 and not _placeholder(value)


def _uuid(value: str) -> bool:
    return len(value) == 36 and value.count("-") == 4 and not value.lower().strip(_HEX + "-")


def _random(value: str) -> bool:
    """Mixed enough to be made by a machine: not `xxxxxxxx`, not words."""
    if len(set(value)) < 6:
        return False
    if value.strip(_LOWER + "_-."):
        return any(char in _DIGITS for char in value) or (value != value.lower() and value != value.upper())
    return False


def _placeholder(value: str) -> bool:
    low = value.strip(" \t").rstrip(",;.?!>").lower()
    if low in _PLACEHOLDERS or not low.strip("x*•.-_#?0 …") or 3 * low.count("x") > 2 * len(low):
        return True
    if low.startswith(_CODE_STARTS) or _masked(low) or low.startswith(_FOREIGN_STARTS):
        return True
    if low[0] == "$":
        return low[1:2] in ("{", "(") or not low.strip("$" + _LOWER + "_.:->")
    if low[0] == "%" and low[-1] == "%":
        return True
    if low[0] in "/~." and "/" in low:
        return not any(len(part) >= 16 and _random(part) for part in low.split("/"))
    if any(char in _DIGITS for char in low):
        return False
    return low.startswith(_PLACEHOLDER_STARTS) or "your" in low.replace("-", "_").split("_")


def _masked(low: str) -> bool:
    """`sk-...`, `ghp_xxxxxxxx`: a prefix without digits, then nothing but filling."""
    head, _, rest = low.replace("_", "-").rpartition("-")
    return not rest.strip("x*•.…") and not any(char in _DIGITS for char in head) and len(head) < 12


def _looks_like_code(kind: int, value: str, name: str) -> bool:
    """An unquoted identifier, dotted name or the name itself (`token=token1`), as in source code."""
    stem = value.strip("&*?!.:").lower()
    if not stem or (stem.rstrip(_DIGITS + "_") in ("", name.lower()) and kind != _PASSWORD):
        return True
    parts = stem.split(".")
    if len(parts) > 1 and all(
        part[:1].isalpha() and part.replace("_", "").isalnum() and len(part) < 24 for part in parts
    ):
        return True
    return kind != _PASSWORD and stem.replace("_", "").isalpha() and not _mixed(value)


def _label(name: str) -> str:
    return "password" if name_kind(name) == _PASSWORD else "secret"


def _any_jwt(text: str) -> bool:
    at = text.find("eyJ")
    while at >= 0:
        if run_end(text, at, _TOKEN) - at >= 11:
            return True
        at = text.find("eyJ", at + 3)
    return False


def _any_discord(text: str) -> bool:
    at = text.find(".")
    while at >= 0:
        if text[at + 7 : at + 8] == "." and _run(text[at + 8 : at + 35], _TOKEN) == 27:
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
    """No word character before, or one that belongs to an escape (`\\n`) or a terminal colour (`[32m`)."""
    before = text[at - 1 : at] if at else ""
    if not before or before not in _ALNUM:
        return before != "+" or text[at - 2 : at - 1] not in _ALNUM  # base64
    if before in "nrtbf" and text[at - 2 : at - 1] == "\\":
        return True
    return before == "m" and at > 1 and text[at - 2] in _DIGITS and "[" in text[max(0, at - 8) : at]


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
