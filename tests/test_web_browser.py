"""The pages in a real headless Chromium, driven by playwright-core, with axe-core looking for what some cannot use.

Opt-in: WEB_BROWSER names a `node_modules` folder with `playwright-core` and `axe-core`; CHROMIUM the browser, by
default /usr/bin/chromium; WEB_SHOTS a folder for pictures of each kind of page.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hostile import MARKDOWN, TITLES
from playing import Player, repository
from remotes import PROGRAM, Machine, local, serving

from ai_memory_mcp.model import Draft, HandoffDraft, Scope
from ai_memory_mcp.server.web import places
from ai_memory_mcp.server.web.serve import LEFT

MODULES = os.environ.get("WEB_BROWSER", "")
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SHOTS = os.environ.get("WEB_SHOTS", "")
IDLE = 60.0  # seconds; an open page tells every 20
TEXT = """# Feed

We give **only** leaves. See [[Water]], [[Nowhere]] and [the zoo](https://zoo.example/okapi).

- [x] leaves
- [ ] a picture: ![okapi](https://zoo.example/okapi.png)

```python
def feed(animal: str, kilos: float = 2.5) -> None:  # twice a day, never at night, and whoever does not obey is sorry
    print(f"{animal} eats {kilos}")
```

| animal | leaves | water |
|---|:-:|--:|
| okapi | yes | 20 l |

> Never hay.
"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not MODULES or not Path(CHROMIUM).exists() or not shutil.which("node"), reason="WEB_BROWSER"),
]


def test_real_chromium_finds_opens_and_reads_everything_and_runs_nothing_stored(tmp_path: Path) -> None:
    home = tmp_path / "server" / "memory"
    memory, folder = local(home), repository(home.parent / "okapi")
    scope = Scope(cwd=str(folder))

    def write(title: str, body: str, **more: Any) -> str:
        return memory.write(scope, Draft.model_validate({"title": title, "body": body, **more})).path

    old = write("Old feed", "Hay.", kind="decision")
    write("Feed", "Leaves.", kind="decision", supersedes=("Old feed",))
    feed = write("Feed", TEXT, kind="decision", tags=("food", "okapi"), summary="Leaves, twice a day.")
    write("Water", "From the trough, see [[Feed]].", kind="gotcha")
    write("Quiet", "No noise.", kind="rule")
    memory.feedback(scope, "Feed", "stale", note="The zoo has moved.")
    hostile = [write(f"Hostile {number}", f"{body}\n\nx {body}") for number, body in enumerate(MARKDOWN)]
    hostile += [write(title, title, path=f"notes/t{number}.md", tags=(title,)) for number, title in enumerate(TITLES)]
    run = '<img src=x onerror="document.title=\'ran\'"><script>document.title="ran"</script>'
    hostile.append(write("Runs", f"{run}\n\n[x](javascript:document.title='ran')\n\n```html\n{run}\n```"))
    Player(home, folder, "one", ago=900).start().works("the leaves").prompt(run).fails(run, run).says(run).ends()
    memory.ingest()
    memory.leave_handoff(
        scope, HandoffDraft(summary="Mind the leaves.", next_steps=("water",), files_touched=("a.py",))
    )
    (project,) = [one for one in memory.projects() if one.name == "okapi"]
    (session,) = memory.sessions(scope)
    own = project.id
    paths = {
        "home": "/web",
        "handoffs-all": "/web/handoffs",
        "health": "/web/health",
        "search": "/web/search?q=leaves",
        "project": places.project(own),
        "tree": places.project(own, "pages"),
        "page": places.page(own, feed),
        "superseded": places.page(own, old),
        "history": places.history(own, feed),
        "sessions": places.project(own, "sessions"),
        "session": places.session(own, session.id),
        "handoffs": places.project(own, "handoffs"),
        "login": "/web/login",
        "missing": "/web/p/nothing",
        "hostile-session": places.session(own, session.id),
        "hostile-history": places.history(own) + "?diff=1",
        "hostile-search": "/web/search?q=alert+script+%3Cscript%3Ealert(1)%3C/script%3E",
        **{f"hostile-{number}": places.page(own, path) for number, path in enumerate(hostile)},
    }
    with serving(home) as url:
        told = {
            "base": url,
            "modules": MODULES,
            "chromium": CHROMIUM,
            "paths": paths,
            "question": "leaves",
            "shots": SHOTS,
        }
        command = ["node", str(Path(__file__).with_name("browser.mjs")), json.dumps(told)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)

    assert (seen["requests"], seen["dialogs"], seen["ran"]) == ([], [], [])
    assert [error for error in seen["errors"] if "404" not in error] == []
    assert seen["axe"] == {}
    assert seen["wide"] == []
    assert (seen["searching"], seen["marked"].lower(), seen["walked"]) == ("q", "leaves", True)
    assert seen["opened"]
    assert seen["added"] > 0
    assert (seen["light"], seen["dark"]) == (seen["chosen"], seen["chosenDark"])
    assert seen["light"] != seen["dark"]
    assert seen["plain"] == [seen["opened"], "dark"]


@pytest.mark.parametrize(("how", "last"), [("page", LEFT), ("browser", IDLE)])
def test_serve_web_ends_when_the_last_of_its_pages_is_closed_and_not_before(
    tmp_path: Path, how: str, last: float
) -> None:
    machine = Machine(tmp_path, "desk")
    machine.run("write", "Okapi", "--body", "Leaves.", "--project", "general")
    command = [*PROGRAM, "serve-web", "--json", "--no-open", "--idle", str(int(IDLE / 60))]
    with subprocess.Popen(command, env=machine.env, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            url = json.loads("".join(iter(server.stdout.readline, "}\n")) + "}")["url"]
            told = {"url": url, "modules": MODULES, "chromium": CHROMIUM, "how": how}
            told |= {"pause": LEFT + 3, "last": last + 3}
            command = ["node", str(Path(__file__).with_name("visit.mjs")), json.dumps(told)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
            assert done.returncode == 0, done.stderr
            seen = json.loads(done.stdout)
            assert (seen["afterReload"], seen["besideAnother"], seen["afterwards"]) == (True, True, False)
            assert server.wait(10) == 0
        finally:
            server.kill()
