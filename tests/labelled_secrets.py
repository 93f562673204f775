"""Labelled secrets for the measured redaction test: by format, made by chance anew for every seed.

A pattern is text with `{A36}` for 36 characters by chance: A letters and digits, a small letters and digits, h small
hex, H large hex, U capitals and digits, D digits, W letters, digits, `_` and `-`, B base64, P a password, T base 32,
G a uuid (no number). No scanner that reads this file finds a secret in it.
"""

from __future__ import annotations

import random
import re
import string
from typing import NamedTuple

ALPHABETS = {
    "A": string.ascii_letters + string.digits,
    "a": string.ascii_lowercase + string.digits,
    "h": "0123456789abcdef",
    "H": "0123456789ABCDEF",
    "U": string.ascii_uppercase + string.digits,
    "D": string.digits,
    "W": string.ascii_letters + string.digits + "_-",
    "B": string.ascii_letters + string.digits + "+/",
    "T": "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
    "P": string.ascii_letters + string.digits + "!@#%^*+=~?",
}
_SLOT = re.compile(r"\{([AahHUDWBTP])(\d+)\}|\{G\}")


class Case(NamedTuple):
    """A text with a secret in it."""

    format: str
    text: str
    secret: tuple[str, ...]  # its pieces that chance made

    def found_in(self, text: str) -> bool:
        """Tell whether eight characters in a row of the secret are there."""
        return any(piece[at : at + 8] in text for piece in self.secret for at in range(max(1, len(piece) - 7)))


def fill(pattern: str, chance: random.Random) -> tuple[str, tuple[str, ...]]:
    """Return the pattern with its slots filled, and what they were filled with."""
    made: list[str] = []

    def one(slot: re.Match[str]) -> str:
        if slot.group() == "{G}":
            made.append("-".join(_chars("h", size, chance) for size in (8, 4, 4, 4, 12)))
        else:
            made.append(_chars(slot.group(1), int(slot.group(2)), chance))
        return made[-1]

    return _SLOT.sub(one, pattern), tuple(made)


def _chars(kind: str, size: int, chance: random.Random) -> str:
    made = "".join(chance.choice(ALPHABETS[kind]) for _ in range(size))
    # a password begins with a letter (`==` is a comparison) and holds a digit
    return chance.choice("abcdef") + made[2:] + chance.choice("23456789") if kind == "P" else made


# tokens that tell by themselves what they are
TOKENS: dict[str, str] = {
    "anthropic api": "sk-ant-api03-{W93}AA",
    "anthropic admin": "sk-ant-admin01-{W93}AA",
    "anthropic oauth": "sk-ant-oat01-{W95}AA",
    "openai legacy": "sk-{A20}T3BlbkFJ{A20}",
    "openai project": "sk-proj-{W74}T3BlbkFJ{W74}",
    "openai service account": "sk-svcacct-{W58}T3BlbkFJ{W58}",
    "openai admin": "sk-admin-{W58}T3BlbkFJ{W58}",
    "openrouter": "sk-or-v1-{h64}",
    "deepseek": "sk-{h32}",
    "aws key id": "AKIA{T16}",
    "aws temporary key id": "ASIA{T16}",
    "aws bedrock long": "ABSK{B132}",
    "aws bedrock short": "bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29t{A180}",
    "google api": "AIza{W35}",
    "google oauth": "ya29.a0{W160}",
    "google client secret": "GOCSPX-{W28}",
    "google refresh": "1//0{W100}",
    "github classic": "ghp_{A36}",
    "github oauth": "gho_{A36}",
    "github user": "ghu_{A36}",
    "github server": "ghs_{A36}",
    "github refresh": "ghr_{A76}",
    "github fine grained": "github_pat_{A22}_{A59}",
    "gitlab personal": "glpat-{W20}",
    "gitlab routable": "glpat-{W27}.01.{a9}",
    "gitlab deploy": "gldt-{W20}",
    "gitlab runner": "glrt-{W20}",
    "gitlab runner registration": "GR1348941{W20}",
    "gitlab trigger": "glptt-{h40}",
    "gitlab job": "glcbt-64_{W20}",
    "gitlab scim": "glsoat-{W20}",
    "gitlab feed": "glft-{W20}",
    "gitlab mail": "glimt-{W25}",
    "gitlab agent": "glagent-{W50}",
    "gitlab oauth": "gloas-{h64}",
    "gitlab feature flags": "glffct-{W20}",
    "slack bot": "xoxb-{D12}-{D13}-{A24}",
    "slack user": "xoxp-{D12}-{D12}-{D13}-{h32}",
    "slack app": "xapp-1-A{U10}-{D13}-{h64}",
    "slack refresh": "xoxe-1-{U146}",
    "slack webhook": "https://hooks.slack.com/services/T{U10}/B{U10}/{A24}",
    "discord webhook": "https://discord.com/api/webhooks/{D18}/{W68}",
    "discord bot": "MT{A22}.G{W5}.{W38}",
    "teams webhook": "https://acme.webhook.office.com/webhookb2/{G}@{G}/IncomingWebhook/{h32}/{G}",
    "stripe live": "sk_live_51{A97}",
    "stripe restricted": "rk_live_{A24}",
    "stripe test": "sk_test_{A24}",
    "stripe webhook": "whsec_{A32}",
    "npm": "npm_{A36}",
    "pypi": "pypi-AgEIcHlwaS5vcmc{W140}",
    "rubygems": "rubygems_{h48}",
    "nuget": "oy2{a43}",
    "clojars": "CLOJARS_{h60}",
    "hugging face": "hf_{A34}",
    "hugging face organisation": "api_org_{A34}",
    "telegram": "{D10}:AA{W33}",
    "sendgrid": "SG.{W22}.{W43}",
    "twilio key": "SK{h32}",
    "mailgun": "key-{h32}",
    "mailchimp": "{h32}-us21",
    "digitalocean": "dop_v1_{h64}",
    "digitalocean refresh": "dor_v1_{h64}",
    "shopify access": "shpat_{h32}",
    "shopify app": "shpca_{h32}",
    "shopify secret": "shpss_{h32}",
    "linear": "lin_api_{A40}",
    "linear oauth": "lin_oauth_{h64}",
    "notion": "ntn_{D11}{A35}",
    "notion old": "secret_{A43}",
    "databricks": "dapi{h32}",
    "vault service": "hvs.{W92}",
    "vault batch": "hvb.{W140}",
    "doppler": "dp.pt.{A43}",
    "dynatrace": "dt0c01.{T24}.{T64}",
    "easypost": "EZAK{A54}",
    "easypost test": "EZTK{A54}",
    "fly": "fm2_{B140}",
    "fly old": "fo1_{W43}",
    "frame.io": "fio-u-{W64}",
    "flutterwave": "FLWSECK-{h32}-X",
    "harness": "pat.{W22}.{A24}.{A20}",
    "heroku": "HRKU-AA{W58}",
    "infracost": "ico-{A32}",
    "intra42": "s-s4t2ud-{h64}",
    "launchdarkly": "sdk-{G}",
    "mapbox secret": "sk.eyJ{A66}.{W22}",
    "maxmind": "{A6}_{A29}_mmk",
    "new relic user": "NRAK-{U27}",
    "new relic insert": "NRII-{W32}",
    "octopus deploy": "API-{U26}",
    "openshift": "sha256~{W43}",
    "perplexity": "pplx-{A48}",
    "planetscale token": "pscale_tkn_{W43}",
    "planetscale password": "pscale_pw_{W43}",
    "planetscale oauth": "pscale_oauth_{W43}",
    "postman": "PMAK-{h24}-{h34}",
    "prefect": "pnu_{A36}",
    "pulumi": "pul-{h40}",
    "readme": "rdme_{a70}",
    "scalingo": "tk-us-{W48}",
    "sentry user": "sntryu_{h64}",
    "sentry organisation": "sntrys_eyJpYXQiO{A100}_{B43}",
    "settlemint": "sm_pat_{A16}",
    "shippo": "shippo_live_{h40}",
    "sonar": "squ_{h40}",
    "sourcegraph": "sgp_{h40}",
    "square": "EAAA{W60}",
    "square secret": "sq0csp-{W43}",
    "square access": "sq0atp-{W22}",
    "yandex": "AQVN{W36}",
    "1password secret key": "A3-{U6}-{U6}-{U5}-{U5}-{U5}-{U5}",
    "1password service account": "ops_eyJ{A300}",
    "adobe": "p8e-{a32}",
    "age": "AGE-SECRET-KEY-1{U58}",
    "airtable": "pat{A14}.{h64}",
    "alibaba": "LTAI{A20}",
    "artifactory": "AKCp{A69}",
    "artifactory reference": "cmVmd{A59}",
    "atlassian": "ATATT3xFfGF0{W170}={H8}",
    "bitbucket": "ATBB{A24}{H8}",
    "azure ad": "{A3}8Q~{W34}",
    "buildkite": "bkua_{h40}",
    "circleci": "CCIPAT_{A22}_{h40}",
    "clickhouse": "4b1d{A38}",
    "cloudflare origin": "v1.0-{h24}-{h146}",
    "contentful": "CFPAT-{W43}",
    "docker hub": "dckr_pat_{W27}",
    "docker organisation": "dckr_oat_{W32}",
    "duffel": "duffel_live_{W43}",
    "elevenlabs": "sk_{h48}",
    "fireworks": "fw_{A22}",
    "figma": "figd_{W40}",
    "grafana service": "glsa_{A32}_{h8}",
    "grafana cloud": "glc_eyJ{A100}",
    "groq": "gsk_{A52}",
    "jina": "jina_{h32}{A28}",
    "langfuse": "sk-lf-{G}",
    "langsmith": "lsv2_pt_{h32}_{h10}",
    "meta": "EAAC{A140}",
    "neon": "napi_{a64}",
    "netlify": "nfp_{A36}",
    "nvidia": "nvapi-{W64}",
    "pinecone": "pcsk_{A5}_{A63}",
    "posthog personal": "phx_{A43}",
    "render": "rnd_{A28}",
    "replicate": "r8_{A37}",
    "resend": "re_{A8}_{A24}",
    "supabase": "sbp_{h40}",
    "supabase secret": "sb_secret_{W31}",
    "tailscale": "tskey-auth-k{A12}CNTRL-{A32}",
    "tavily": "tvly-dev-{A32}",
    "terraform cloud": "{A14}.atlasv1.{W67}",
    "typeform": "tfp_{W44}_{A14}",
    "voyage": "pa-{W43}",
    "xai": "xai-{A80}",
    "jwt": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ{A60}.{W43}",
    "jwt encrypted": "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..{W16}.{W60}.{W22}",
    "brevo": "xkeysib-{h64}-{A16}",
    "dropbox": "sl.{W135}",
    "ai-memory": "aimem_{W43}",
}  # fmt: skip

# where tokens stand in sessions; `{}` is the place
PLACES: tuple[str, ...] = (
    "{}",
    "Use this one for now: {} and rotate it on Monday.",
    "SERVICE_VALUE={}\n",
    "export SERVICE_VALUE='{}'",
    "set -x SERVICE_VALUE {}",
    'service:\n  region: eu\n  value: "{}"\n  retries: 3\n',
    "service:\n  value: {}  # from the console\n",
    "service:\n  value: >-\n    {}\n  retries: 3\n",
    '{{"region": "eu", "value": "{}", "retries": 3}}',
    '{{\n  "region": "eu",\n  "value":\n    "{}"\n}}',
    '{{"stdout":"region=eu\\nvalue={}\\nretries=3\\n","stderr":""}}',
    '{{\\"region\\":\\"eu\\",\\"value\\":\\"{}\\"}}',
    'client = Client("{}", region="eu")',
    "const client = new Client('{}');",
    "client := New(`{}`)",
    "fetch('https://api.example.com/v1?region=eu&v={}&page=2')",
    "GET /v1/items?v={} HTTP/1.1",
    "tool --region eu --value {} --page 2",
    "tool login <<< {}",
    "echo {} | tool login --stdin",
    "| region | value |\n|---|---|\n| eu | {} |",
    "- `{}` (the old one)",
    "\x1b[32m✓\x1b[0m created \x1b[1m{}\x1b[0m",
    "+  value = \"{}\"\n-  value = \"\"\n",
    "2026-11-02T10:11:12Z INFO created {} for eu",
    "<value>{}</value>",
    "[service]\nregion = eu\nvalue = {}\n",
    "     1\tregion=eu\n     2\tvalue={}\n     3\tretries=3\n",
    "first line\r\n{}\r\nlast line",
    "see [the console]({}) or ask",
)  # fmt: skip

# values that are secrets because of what stands before them: format -> (text, value)
NAMED: dict[str, tuple[tuple[str, str], ...]] = {
    "env file": (
        ("APP_ENV=prod\nDB_PASSWORD={}\nDB_HOST=db\n", "{P12}"),
        ("DJANGO_SECRET_KEY='{}'\nDEBUG=0\n", "{A50}"),
        ("APP_KEY=base64:{}\nAPP_ENV=local\n", "{B43}="),
        ("DATADOG_API_KEY={}\nDD_SITE=eu\n", "{h32}"),
        ("HEROKU_API_KEY={}\n", "{G}"),
        ("SNYK_TOKEN={}\n", "{G}"),
        ("CLOUDFLARE_API_TOKEN={}\n", "{W40}"),
        ("MISTRAL_API_KEY={}\n", "{A32}"),
        ("COHERE_API_KEY={}\n", "{A40}"),
        ("TWITTER_ACCESS_TOKEN_SECRET={}\n", "{A45}"),
        ("TWITTER_BEARER_TOKEN={}\n", "AAAAAAAAAAAAAAAAAAAAA{A30}%3D{A44}"),
        ("VERCEL_TOKEN={}\n", "{A24}"),
        ("CODECOV_TOKEN={}\n", "{G}"),
        ("NEXTAUTH_SECRET={}\n", "{B43}="),
        ("JWT_SECRET={}\n", "{a24}"),
        ("SMTP_PASS={}\n", "{a16}"),
        ("REDIS_PASSWORD={}\n", "{a20}"),
        ("OKTA_API_TOKEN={}\n", "00{W40}"),
        ("SENTRY_AUTH_TOKEN={}\n", "{h64}"),
        ("ENCRYPTION_KEY={}\n", "{h64}"),
        ("MYSQL_ROOT_PASSWORD={}\n", "{P10}"),
        ("STORE_PASSPHRASE='{}'\n", "correct {a6} battery {a6}"),
    ),
    "shell": (
        ("export PGPASSWORD='{}'; psql -h db -U app", "{P14}"),
        ("mysql -u root -p{} shop < dump.sql", "{P12}"),
        ("mysqldump --user=root --password={} shop", "{P12}"),
        ("sshpass -p '{}' ssh root@10.0.0.4", "{P12}"),
        ("redis-cli -h cache -a {} ping", "{a20}"),
        ("docker login -u acme -p {} registry.example.com", "{A24}"),
        ("echo '{}' | docker login -u acme --password-stdin registry.example.com", "{A24}"),
        ("kubectl create secret generic db --from-literal=password={}", "{A16}"),
        ("aws configure set aws_secret_access_key {}", "{B40}"),
        ("heroku config:set SECRET_KEY_BASE={} -a shop", "{h64}"),
        ("gh secret set DEPLOY_KEY --body '{}'", "{A40}"),
        ("vault kv put secret/shop password={} user=app", "{A16}"),
        ("openssl pkcs12 -export -in a.pem -passout pass:{} -out a.p12", "{A14}"),
        ("curl -u admin:{} https://ci.example.com/job/x/build", "{P14}"),
        ("curl -X POST -d '{{\"user\":\"a\",\"password\":\"{}\"}}' https://x.example.com/login", "{P14}"),
        ("curl -d 'user=a&password={}&next=/' https://x.example.com/login", "{A14}"),
        ("wget --user=a --password='{}' https://x.example.com/f", "{P12}"),
        ("git remote set-url origin https://deploy:{}@git.example.com/x.git", "{A24}"),
        ("npm config set //npm.example.com/:_authToken {}", "{G}"),
        ("ansible-playbook site.yml -e 'db_password={}'", "{A16}"),
        ("terraform apply -var db_password={} -var region=eu", "{A16}"),
        ("smbclient //nas/share -U 'ann%{}'", "{A12}"),
        ("htpasswd -b .htpasswd ann '{}'", "{A12}"),
        ("http POST x.example.com/api Authorization:'Token {}'", "{h40}"),
        ("PGPASSWORD={} pg_dump -h db shop > shop.sql", "{A16}"),
    ),
    "json": (
        ('{{"username": "ann", "password": "{}"}}', "{P12}"),
        ('{{"clientId": "shop", "clientSecret": "{}"}}', "{W32}"),
        ('{{"access_token":"{}","token_type":"bearer","expires_in":3600}}', "{W40}"),
        ('{{"type": "oauth", "refresh_token": "{}"}}', "{W48}"),
        ('{{"auths": {{"registry.example.com": {{"auth": "{}"}}}}}}', "{B32}=="),
        ('{{"key": "apiKey", "value": "{}", "enabled": true}}', "{A32}"),
        ('{{"name": "Authorization", "value": "Bearer {}"}}', "{W40}"),
        ('{{"headers": {{"x-api-key": "{}", "accept": "*/*"}}}}', "{A32}"),
        ('{{"ConnectionStrings": {{"Main": "Server=db;Database=shop;User Id=sa;Password={};"}}}}', "{A16}"),
        ('{{"kty":"RSA","n":"0vx7ago","e":"AQAB","d":"{}"}}', "{W86}"),
        ('{{"SecretString": "{{\\"username\\":\\"ann\\",\\"password\\":\\"{}\\"}}"}}', "{A16}"),
        ('{{"SecretAccessKey": "{}", "Expiration": "2026-11-26T10:00:00Z"}}', "{B40}"),
        ('{{"SessionToken": "{}"}}', "{B300}"),
        ('{{"variables": [{{"name": "DB_PASSWORD", "value": "{}"}}]}}', "{A16}"),
        ('{{"data": {{"password": "{}"}}, "kind": "Secret"}}', "{B22}=="),
        ('{{"encryption_key": "{}"}}', "{h64}"),
        ('{{"passphrase": "{}"}}', "tulip {a5} harbour {a5}"),
    ),
    "yaml": (
        ("db:\n  user: app\n  password: {}\n  host: db\n", "{A14}"),
        ("db:\n  password: '{}'\n", "{P14}"),
        ('api_key: "{}"\nregion: eu\n', "{A32}"),
        ("kind: Secret\ndata:\n  password: {}\ntype: Opaque\n", "{B22}=="),
        ("kind: Secret\nstringData:\n  token: {}\n", "{A30}"),
        ("kind: Secret\ndata:\n  .dockerconfigjson: {}\n", "{B120}=="),
        ("env:\n  - name: DB_PASSWORD\n    value: {}\n", "{A16}"),
        ("environment:\n  POSTGRES_PASSWORD: {}\n  POSTGRES_USER: app\n", "{A16}"),
        ("environment:\n  - POSTGRES_PASSWORD={}\n  - POSTGRES_USER=app\n", "{A16}"),
        ("users:\n- name: admin\n  user:\n    client-key-data: {}\n", "{B400}=="),
        ("users:\n- name: admin\n  user:\n    token: {}\n", "{A40}"),
        ("password: |\n  {}\nuser: app\n", "{A18}"),
        ("password: >-\n  {}\nuser: app\n", "{A18}"),
        ("production:\n  secret_key_base: {}\n", "{h128}"),
        ("spring:\n  datasource:\n    password: {}\n", "{A14}"),
        ("auth:\n  clientSecret: {}\n", "{W40}"),
        ("wifis:\n  wlan0:\n    access-points:\n      home:\n        password: \"{}\"\n", "{P12}"),
    ),
    "ini and others": (
        ("[default]\naws_access_key_id = x\naws_secret_access_key = {}\n", "{B40}"),
        ("[client]\nuser=root\npassword={}\n", "{P12}"),
        ("[pypi]\nusername = __token__\npassword = {}\n", "{A40}"),
        ("machine api.example.com login ann password {}\n", "{A20}"),
        ("machine api.example.com\n  login ann\n  password {}\n", "{A20}"),
        ("db.example.com:5432:shop:app:{}\n", "{A16}"),
        ("//registry.npmjs.org/:_authToken={}\n", "{A36}"),
        ("_auth={}\nalways-auth=true\n", "{B30}=="),
        ("[Interface]\nPrivateKey = {}\nAddress = 10.0.0.2/24\n", "{B43}="),
        ("[Peer]\nPresharedKey = {}\n", "{B43}="),
        ("network={{\n  ssid=\"home\"\n  psk=\"{}\"\n}}\n", "{A14}"),
        ("spring.datasource.password={}\nspring.jpa.show-sql=true\n", "{A14}"),
        ("jdbc.password = {}\n", "{P12}"),
        ("storePassword={}\nkeyAlias=upload\n", "{A14}"),
        ('<add key="ApiKey" value="{}" />', "{A32}"),
        ('<add name="Main" connectionString="Server=db;User ID=sa;Password={};" />', "{A16}"),
        ("<server><username>ann</username><password>{}</password></server>", "{P14}"),
        ('<entry key="password" value="{}"/>', "{A14}"),
        ('<string name="api_key">{}</string>', "{A32}"),
        ('api_token = "{}"\nregion = "eu"\n', "{A32}"),
        ('db_password = "{}"\n', "{P14}"),
        ("AccountName=shop;AccountKey={};EndpointSuffix=core.windows.net", "{B86}=="),
        ("Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey={}", "{B43}="),
        ("hosts:\n  oauth_token: {}\n  user: ann\n", "{A40}"),
        ("requirepass {}\nport 6379\n", "{A24}"),
        ("bind_dn: cn=admin\nbind_pw: {}\n", "{A14}"),
    ),
    "code": (
        ('password = "{}"', "{P12}"),
        ("self.api_key = '{}'", "{A32}"),
        ('const apiKey = "{}";', "{A32}"),
        ("let client_secret: &str = \"{}\";", "{W40}"),
        ('String password = "{}";', "{A14}"),
        ("define('DB_PASSWORD', '{}');", "{A16}"),
        ("'password' => env('DB_PASSWORD', '{}'),", "{A16}"),
        ('os.environ["OPENAI_API_KEY"] = "{}"', "{A40}"),
        ("process.env.API_TOKEN = '{}';", "{A40}"),
        ('ENV API_TOKEN={}', "{A40}"),
        ('ARG NPM_TOKEN="{}"', "{A36}"),
        ('requests.get(url, headers={{"Authorization": "Bearer {}"}})', "{W40}"),
        ('requests.get(url, auth=("ann", "{}"))', "{A16}"),
        ("axios.defaults.headers.common['X-Api-Key'] = '{}';", "{A32}"),
        ('req.Header.Set("Authorization", "Bearer {}")', "{W40}"),
        ('.header("X-Api-Key", "{}")', "{A32}"),
        ('.basic_auth("ann", Some("{}"))', "{A16}"),
        ('config.setPassword("{}");', "{A14}"),
        ('ds.withPassword("{}")', "{A14}"),
        ('db.connect(host="db", user="app", password="{}")', "{P12}"),
        ("CREATE USER app WITH PASSWORD '{}';", "{A14}"),
        ("CREATE USER 'app'@'%' IDENTIFIED BY '{}';", "{A14}"),
        ("ALTER ROLE app PASSWORD '{}';", "{A14}"),
        ("GRANT ALL ON shop.* TO 'app'@'%' IDENTIFIED BY '{}';", "{A14}"),
        ('$env:API_KEY = "{}"', "{A32}"),
        ("ConvertTo-SecureString '{}' -AsPlainText -Force", "{P14}"),
        ('password := "{}"', "{P12}"),
        ('"password": "{}",  // rotate', "{P12}"),
        ('secret_key_base: "{}",', "{h64}"),
        ("let token = Some(\"{}\".to_string());", "{A40}"),
        ("private static final String API_SECRET = \"{}\";", "{A40}"),
        ("var signingKey = Encoding.UTF8.GetBytes(\"{}\");", "{A40}"),
    ),
    "urls": (
        ("postgres://app:{}@db.example.com:5432/shop?sslmode=require", "{A16}"),
        ("DATABASE_URL=mysql+pymysql://root:{}@127.0.0.1/shop", "{A14}"),
        ("redis://:{}@cache:6379/0", "{A24}"),
        ("rediss://default:{}@eu1.upstash.example:6379", "{A40}"),
        ("mongodb+srv://app:{}@c0.abcde.mongodb.example/shop", "{A16}"),
        ("amqps://app:{}@mq.example.com/vhost", "{W32}"),
        ("smtp://ann%40example.com:{}@smtp.example.com:587", "{A16}"),
        ("ftp://ann:{}@files.example.com/in", "{A12}"),
        ("https://{}@git.example.com/acme/shop.git", "{A40}"),
        ("https://x-access-token:{}@github.com/acme/shop.git", "{A40}"),
        ("https://oauth2:{}@gitlab.example.com/acme/shop.git", "{W24}"),
        ("HTTPS_PROXY=http://ann:{}@proxy.example.com:8080", "{A14}"),
        ("cloudinary://123456789012345:{}@acme", "{W27}"),
        ("jdbc:mysql://db/shop?user=app&password={}&useSSL=true", "{A14}"),
        ("jdbc:sqlserver://db;databaseName=shop;user=sa;password={};encrypt=true", "{A16}"),
        ("https://acme.blob.core.windows.net/c/f?sv=2024-01-01&se=2027&sig={}", "{A43}%3D"),
        ("https://s3.eu.example.com/b/f?X-Amz-Expires=900&X-Amz-Signature={}", "{h64}"),
        ("https://api.example.com/v1/items?api_key={}&page=2", "{A32}"),
        ("https://api.example.com/v1/items?access_token={}", "{A40}"),
        ("https://app.example.com/callback#access_token={}&token_type=bearer", "{A40}"),
        ("https://app.example.com/reset?token={}", "{A40}"),
        ("sftp://deploy:{}@10.0.0.9//var/www", "{A14}"),
        ("git+https://{}:x-oauth-basic@github.com/acme/lib.git", "{A40}"),
    ),
    "headers": (
        ("Authorization: Bearer {}\nAccept: */*", "{W40}"),
        ("Authorization: Basic {}\n", "{B28}=="),
        ("authorization: token {}", "{h40}"),
        ("Authorization: ApiKey {}", "{B40}=="),
        ("Proxy-Authorization: Basic {}", "{B28}=="),
        ("X-Api-Key: {}", "{A32}"),
        ("X-Auth-Token: {}", "{A32}"),
        ("X-Vault-Token: {}", "s.{A24}"),
        ("PRIVATE-TOKEN: {}", "{W20}"),
        ("X-Shopify-Access-Token: {}", "{A32}"),
        ("Ocp-Apim-Subscription-Key: {}", "{h32}"),
        ("DD-API-KEY: {}", "{h32}"),
        ("apikey: {}", "{A40}"),
        ("Cookie: theme=dark; sessionid={}", "{a32}"),
        ("Set-Cookie: session={}; Path=/; HttpOnly; Secure", "{W60}"),
        ("cookie: _gitlab_session={}", "{h32}"),
        ("curl -H 'Authorization: Bearer {}' https://x.example.com", "{A40}"),
        ("curl -H \"X-Api-Key: {}\" https://x.example.com", "{A32}"),
        ("curl --header 'PRIVATE-TOKEN: {}' https://git.example.com/api/v4/projects", "{W20}"),
        ("> GET /v1 HTTP/2\n> authorization: Bearer {}\n> accept: */*\n", "{W40}"),
        ("curl -b 'session={}' https://x.example.com", "{A40}"),
    ),
    "prose": (
        ("The database password is {}, please keep it.", "{P14}"),
        ("my password: {}", "{P12}"),
        ("here is the API key: {}", "{A32}"),
        ("API key = {}", "{A32}"),
        ("token: {} (valid for one day)", "{A40}"),
        ("Log in with ann / password: {}", "{P12}"),
        ("Passwort: {}", "{P12}"),
        ("client secret: {}", "{W32}"),
        ("Secret key: {}", "{B40}"),
        ("<private>the door code is {}</private>", "{D6}"),
        ("recovery phrase: {}", "apple river stone cloud tiger lemon piano orbit maple frost eagle {a5}"),
        ("the bearer {} worked", "{W40}"),
    ),
}  # fmt: skip

KEY_KINDS = (
    "RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "DSA PRIVATE KEY",
    "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK",
)  # fmt: skip
KEY_PLACES = (
    "{}",
    "cat key.pem\n{}\n$ ",
    '{{"private_key": "{n}", "client_email": "x@y.example"}}',
    "tls:\n  key: |\n{i}\n  port: 443\n",
    'KEY="{n}"\n',
    'key = """{}"""\n',
    "<<EOF\n{}\nEOF\n",
    '{{"stdout": "{n}"}}',
    "const key = `{}`;",
)


def cases(seed: int) -> list[Case]:
    """Return all cases, with their secrets by chance of this seed."""
    found: list[Case] = []
    for number, (name, pattern) in enumerate(TOKENS.items()):
        for step in range(3):
            chance = random.Random(f"{seed} {name} {step}")
            place = PLACES[(number + step * 11 + seed * 7) % len(PLACES)]
            found.append(_case(name, place, *fill(pattern, chance)))
    for name, rows in NAMED.items():
        for place, pattern in rows:
            chance = random.Random(f"{seed} {name} {place}")
            found.append(_case(name, place, *fill(pattern, chance)))
    for number, kind in enumerate(KEY_KINDS):
        for step in range(3):
            chance = random.Random(f"{seed} {kind} {step}")
            found.append(_key(kind, KEY_PLACES[(number + step * 3 + seed) % len(KEY_PLACES)], chance))
    return found


def _case(name: str, place: str, secret: str, made: tuple[str, ...]) -> Case:
    return Case(name, place.format(secret), made)


def _key(kind: str, place: str, chance: random.Random) -> Case:
    lines = [_chars("B", 64, chance) for _ in range(8)] + [_chars("B", 38, chance) + "=="]
    block = "\n".join(["-----BEGIN " + kind + "-----", *lines, "-----END " + kind + "-----"])
    told = {"n": block.replace("\n", "\\n"), "i": "    " + block.replace("\n", "\n    ")}
    return Case("pem " + kind.lower(), place.format(block, **told), tuple(lines))
