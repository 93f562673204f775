"""What secrets look like: marks, words and names. Tables for `secretscan`, which says what follows from them.

It imports nothing: the hook process loads it. A new kind of secret begins with a line here and an example in
`tests/labelled_secrets.py`.
"""

LOWER = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
HEX = DIGITS + "abcdef"
UPPER = LOWER.upper() + DIGITS
ALNUM = LOWER + UPPER
TOKEN = ALNUM + "_-"
DOTTED = TOKEN + "."
B64 = DOTTED + "+/=~%"

# label, literal, alphabet of the tail, least length of the tail, must a non-word character stand before it
MARKS: tuple[tuple[str, str, str, int, bool], ...] = (
    ("anthropic-key", "sk-ant-", TOKEN, 16, False),
    ("openai-key", "sk-proj-", TOKEN, 16, False),
    ("openai-key", "sk-svcacct-", TOKEN, 16, False),
    ("openai-key", "sk-admin-", TOKEN, 16, False),
    ("openrouter-key", "sk-or-", TOKEN, 16, False),
    ("elevenlabs-key", "sk_", HEX, 40, True),
    ("langsmith-key", "lsv2_", TOKEN, 32, True),
    ("langfuse-key", "sk-lf-", TOKEN, 16, False),
    ("openai-key", "sk-", ALNUM, 20, True),
    ("google-key", "AIza", TOKEN, 30, False),
    ("google-oauth", "ya29.", DOTTED, 20, True),
    ("google-oauth", "GOCSPX-", TOKEN, 16, False),
    ("google-refresh", "1//0", TOKEN, 20, True),
    ("aws-key-id", "AKIA", UPPER, 16, True),
    ("aws-key-id", "ASIA", UPPER, 16, True),
    ("aws-bedrock-key", "ABSK", B64, 100, True),
    ("aws-bedrock-key", "bedrock-api-key-", B64, 40, False),
    ("alibaba-key-id", "LTAI", ALNUM, 20, True),
    ("yandex-key", "AQVN", TOKEN, 35, True),
    ("ai-memory-token", "aimem_", TOKEN, 40, True),
    ("github-token", "ghp_", ALNUM, 20, False),
    ("github-token", "gho_", ALNUM, 20, False),
    ("github-token", "ghu_", ALNUM, 20, False),
    ("github-token", "ghs_", DOTTED, 20, False),
    ("github-token", "ghr_", ALNUM, 20, False),
    ("github-token", "github_pat_", TOKEN, 20, False),
    ("gitlab-token", "glpat-", DOTTED, 16, False),
    ("gitlab-token", "gldt-", TOKEN, 16, True),
    ("gitlab-token", "glrt-", DOTTED, 16, True),
    ("gitlab-token", "glptt-", TOKEN, 16, True),
    ("gitlab-token", "glcbt-", TOKEN, 16, True),
    ("gitlab-token", "glsoat-", TOKEN, 16, True),
    ("gitlab-token", "glft-", TOKEN, 16, True),
    ("gitlab-token", "glimt-", TOKEN, 20, True),
    ("gitlab-token", "gloas-", HEX, 60, True),
    ("gitlab-token", "glagent-", TOKEN, 40, True),
    ("gitlab-token", "glffct-", TOKEN, 16, True),
    ("gitlab-token", "GR1348941", TOKEN, 20, True),
    ("slack-token", "xox", DOTTED, 16, True),
    ("slack-token", "xapp-", TOKEN, 16, False),
    ("slack-webhook", "hooks.slack.com/", TOKEN + "/", 24, False),
    ("discord-webhook", "/api/webhooks/", TOKEN + "/", 24, False),
    ("teams-webhook", "/webhookb2/", TOKEN + "/@", 24, False),
    ("stripe-key", "sk_live_", ALNUM, 10, False),
    ("stripe-key", "rk_live_", ALNUM, 10, False),
    ("stripe-key", "sk_test_", ALNUM, 10, False),
    ("stripe-key", "rk_test_", ALNUM, 10, False),
    ("webhook-secret", "whsec_", B64, 16, False),
    ("npm-token", "npm_", ALNUM, 30, True),
    ("pypi-token", "pypi-AgE", TOKEN, 32, False),
    ("nuget-key", "oy2", LOWER + DIGITS, 43, True),
    ("clojars-token", "CLOJARS_", HEX, 60, True),
    ("huggingface-token", "hf_", ALNUM, 30, True),
    ("huggingface-token", "api_org_", ALNUM, 30, True),
    ("telegram-token", ":AA", TOKEN, 33, False),
    ("sendgrid-key", "SG.", DOTTED, 40, True),
    ("twilio-key", "SK", HEX, 32, True),
    ("mailgun-key", "key-", HEX, 32, True),
    ("digitalocean-token", "dop_v1_", HEX, 32, False),
    ("digitalocean-token", "doo_v1_", HEX, 32, False),
    ("digitalocean-token", "dor_v1_", HEX, 32, False),
    ("shopify-token", "shpat_", ALNUM, 24, False),
    ("shopify-token", "shpca_", ALNUM, 24, False),
    ("shopify-token", "shppa_", ALNUM, 24, False),
    ("shopify-token", "shpss_", ALNUM, 24, False),
    ("linear-key", "lin_api_", ALNUM, 24, False),
    ("linear-key", "lin_oauth_", ALNUM, 24, False),
    ("notion-token", "secret_", ALNUM, 40, True),
    ("notion-token", "ntn_", ALNUM, 40, True),
    ("databricks-token", "dapi", HEX + "-", 32, True),
    ("vault-token", "hvs.", TOKEN, 20, True),
    ("vault-token", "hvb.", TOKEN, 20, True),
    ("doppler-token", "dp.pt.", ALNUM, 30, False),
    ("doppler-token", "dp.st.", DOTTED, 30, False),
    ("dynatrace-token", "dt0c01.", DOTTED, 80, False),
    ("dropbox-token", "sl.", TOKEN + "=", 120, True),
    ("groq-key", "gsk_", ALNUM, 30, True),
    ("xai-key", "xai-", ALNUM, 30, True),
    ("perplexity-key", "pplx-", ALNUM, 30, True),
    ("replicate-token", "r8_", ALNUM, 30, True),
    ("fireworks-key", "fw_", ALNUM, 22, True),
    ("tavily-key", "tvly-", TOKEN, 20, True),
    ("nvidia-key", "nvapi-", TOKEN, 40, True),
    ("fly-token", "FlyV1 ", B64 + ",", 20, False),
    ("fly-token", "fm2_", B64, 40, True),
    ("fly-token", "fo1_", TOKEN, 40, True),
    ("frameio-token", "fio-u-", TOKEN, 60, True),
    ("flutterwave-key", "FLWSECK", HEX + "TES_-X", 32, True),
    ("harness-token", "sat.", DOTTED, 60, True),
    ("heroku-key", "HRKU-", TOKEN, 50, True),
    ("infracost-key", "ico-", ALNUM, 32, True),
    ("intra42-secret", "s-s4t2", HEX + "u-", 60, True),
    ("atlassian-token", "ATATT3x", TOKEN + "=", 40, False),
    ("atlassian-token", "ATCTT3x", TOKEN + "=", 40, False),
    ("bitbucket-password", "ATBB", ALNUM, 28, True),
    ("age-key", "AGE-SECRET-KEY-1", UPPER, 30, False),
    ("meta-token", "EAA", ALNUM, 60, True),
    ("square-token", "EAAA", TOKEN, 56, True),
    ("square-token", "sq0csp-", TOKEN, 30, False),
    ("square-token", "sq0atp-", TOKEN, 22, False),
    ("airtable-token", "pat", DOTTED, 68, True),  # Harness begins its personal tokens so too
    ("supabase-token", "sbp_", HEX, 32, True),
    ("supabase-key", "sb_secret_", TOKEN, 20, True),
    ("neon-key", "napi_", ALNUM, 40, True),
    ("netlify-token", "nfp_", ALNUM, 36, True),
    ("pinecone-key", "pcsk_", ALNUM + "_", 60, True),
    ("planetscale-token", "pscale_", DOTTED, 30, False),
    ("grafana-token", "glsa_", TOKEN, 30, True),
    ("grafana-token", "glc_eyJ", B64, 30, True),
    ("newrelic-key", "NRAK-", ALNUM, 20, True),
    ("newrelic-key", "NRII-", TOKEN, 30, True),
    ("octopus-key", "API-", UPPER, 26, True),
    ("openshift-token", "sha256~", TOKEN, 43, True),
    ("posthog-key", "phx_", ALNUM, 40, True),
    ("prefect-key", "pnu_", ALNUM, 36, True),
    ("readme-key", "rdme_", ALNUM, 60, True),
    ("render-key", "rnd_", ALNUM, 28, True),
    ("scalingo-token", "tk-us-", TOKEN, 40, True),
    ("settlemint-token", "sm_aat_", ALNUM, 16, True),
    ("settlemint-token", "sm_pat_", ALNUM, 16, True),
    ("settlemint-token", "sm_sat_", ALNUM, 16, True),
    ("shippo-token", "shippo_live_", HEX, 40, True),
    ("shippo-token", "shippo_test_", HEX, 40, True),
    ("sonar-token", "squ_", HEX, 40, True),
    ("sonar-token", "sqp_", HEX, 40, True),
    ("sonar-token", "sqa_", HEX, 40, True),
    ("sourcegraph-token", "sgp_", ALNUM + "_", 40, True),
    ("tailscale-key", "tskey-", TOKEN, 30, True),
    ("voyage-key", "pa-", TOKEN, 43, True),
    ("adobe-secret", "p8e-", LOWER + DIGITS, 32, True),
    ("buildkite-token", "bkua_", HEX, 40, True),
    ("circleci-token", "CCIPAT_", ALNUM + "_", 60, True),
    ("clickhouse-key", "4b1d", ALNUM, 38, True),
    ("cloudflare-key", "v1.0-", HEX + "-", 170, True),
    ("duffel-token", "duffel_live_", TOKEN + "=", 40, False),
    ("duffel-token", "duffel_test_", TOKEN + "=", 40, False),
    ("jina-key", "jina_", ALNUM, 50, True),
    ("onepassword-key", "A3-", UPPER + "-", 32, True),
    ("postman-key", "PMAK-", TOKEN, 40, True),
    ("pulumi-token", "pul-", HEX, 32, True),
    ("rubygems-key", "rubygems_", HEX, 32, True),
    ("dockerhub-token", "dckr_pat_", TOKEN, 20, False),
    ("dockerhub-token", "dckr_oat_", TOKEN, 20, False),
    ("terraform-token", ".atlasv1.", B64, 40, False),
    ("sentry-token", "sntrys_", B64, 30, True),
    ("sentry-token", "sntryu_", HEX, 32, True),
    ("figma-token", "figd_", TOKEN, 30, True),
    ("brevo-key", "xkeysib-", TOKEN, 40, True),
    ("resend-key", "re_", TOKEN, 30, True),
    ("artifactory-key", "AKCp", ALNUM, 60, True),
    ("artifactory-key", "cmVmd", ALNUM, 59, True),
    ("easypost-key", "EZAK", ALNUM, 40, True),
    ("easypost-key", "EZTK", ALNUM, 40, True),
    ("typeform-token", "tfp_", TOKEN, 40, True),
    ("contentful-token", "CFPAT-", TOKEN, 30, True),
    ("launchdarkly-key", "sdk-", HEX + "-", 36, True),
    ("onepassword-token", "ops_eyJ", TOKEN, 60, True),
    ("azure-ad-secret", "Q~", DOTTED + "~", 31, False),
)

# label, literal that stands behind the secret, alphabet and length of what stands before it
TAILS: tuple[tuple[str, str, str, int], ...] = (
    ("maxmind-key", "_mmk", ALNUM + "_", 36),
    ("mailchimp-key", "-us", HEX, 32),
)

# marks that nothing else begins with: what follows need not look random, it only must not be words or filling
PLAIN_MARKS = frozenset(("AIza", "AKIA", "ASIA", "npm_", "hf_", "xox", "gldt-", "glrt-", "gsk_", "r8_"))
FILLING = "xX*.•_-0"
EXACT = {"API-": 26, "oy2": 43, "4b1d": 38, "pa-": 43}  # marks of few letters, whose tails have a known length

# kinds of names, weakest first: what a value must look like to be taken for a secret depends on them
NOT, GENERIC, WEAK, STRONG, PASSWORD, AUTH, COOKIE = range(7)
WORDS = ("pass", "pwd", "secret", "token", "key", "cred", "auth", "cookie", "sess", "signature")
RARE_WORDS = ("mnemonic", "phrase", "sig=", ".sid", "_pat", "jwt", "psk", "_pw", "dockerconfigjson")
PASSWORDS = ("password", "passwd", "passphrase", "passwort", "passcode", "pwd", "mnemonic")
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
KEY_HEADS = frozenset(
    "api secret access private account auth encryption encrypt signing master service shared client app "
    "application consumer hmac storage subscription admin developer license anon role".split()
)
SPOKEN_HEADS = frozenset("api secret access private account encryption auth seed recovery".split())
KEYS = (
    "apikey",
    "secretkey",
    "accesskey",
    "privatekey",
    "accountkey",
    "authkey",
    "encryptionkey",
    "masterkey",
)
BENIGN_HEADS = frozenset(
    "max min num n total count next prev previous current page sort primary foreign public pub cache "
    "partition idempotency continuation pad eos bos unk sep mask cls stop special start end first second "
    "last one two single multi peek lookahead input output prompt completion per map dict hash object "
    "group order unique composite row column col range lookup translation i18n react route registry s3 "
    "cursor bypass forgot reset change no ignore invalid missing expired bad wrong unexpected non "
    "publishable".split()
)
NO_PASSWORDS = frozenset("forgot forgotten show hide invalid missing wrong bad weak toggle".split())
BENIGN_TAILS = frozenset(
    "count counts type types name names field fields length len limit limits budget url uri path file "
    "files id ids index idx ref refs policy rule rules hint label error errors message min max size "
    "expiry expires expiration ttl age at in usage stdin required enabled visible manager provider store "
    "service class cls format regex pattern strength reset input form view page link header headers "
    "placeholder column col fn func callback handler info metadata scanner scan version endpoint location "
    "prefix suffix is has kind mode status state level".split()
)
NEUTRAL_TAILS = frozenset(
    "prod production dev development staging stage test testing live sandbox main default old new current "
    "next prev previous value raw b64 base64 plain plaintext text string confirm confirmation again "
    "repeat base primary secondary admin user root db app api local ci backup".split()
)
SCHEMES = frozenset(
    "bearer basic token digest negotiate apikey api-key key bot oauth hawk aws4-hmac-sha256 splunk "
    "sso-key ntlm genie-key sharedkey".split()
)
LONG_SCHEMES = frozenset(["digest", "oauth", "hawk", "aws4-hmac-sha256"])
PLACEHOLDERS = frozenset(
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
PLACEHOLDER_STARTS = (
    "your",
    "insert",
    "enter",
    "replace",
    "example",
    "placeholder",
    "changeme",
    "dummy",
    "fake",
    "sample",
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
)
FOREIGN_STARTS = ("passwort ", "kennwort ", "mot de passe", "contraseña ", "senha ", "wachtwoord ")
CODE_STARTS = (
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
)
