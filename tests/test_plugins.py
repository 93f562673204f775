"""Plugins as their agents run them: what happens in the agent is stored once, the brief comes back, and nothing of
ours ever disturbs it or stays behind."""

import pytest
from hooking import Hook
from plugins import Host, needs_node, wait_for

pytestmark = needs_node


@pytest.fixture
def hook(tmp_path):
    return Hook(tmp_path)


OPENCODE = """(module, { directory, parents }) => module.AiMemory({
  directory, client: { session: { get: async ({ path }) => ({ data: { parentID: parents[path.id] } }) } } })"""


class OpenCode(Host):
    """OpenCode in one folder: its events, and the turns that it makes of them."""

    def __init__(self, hook, **more):
        context = {"directory": str(hook.project), "parents": {"ses_kin": "ses_one"}}
        super().__init__(hook, "opencode", OPENCODE, context=context, **more)
        self.count = 0

    def event(self, type, session="ses_one", **properties):
        return self.call("event", {"event": {"type": type, "properties": {"sessionID": session, **properties}}})

    def create(self, session="ses_one", **info):
        self.event("session.created", session, info={"id": session, **info})

    def prompt(self, text, session="ses_one", **part):
        self.count += 1
        message = {"id": f"msg_{self.count}"}
        parts = [{"id": f"prt_{self.count}", "type": "text", "text": text, **part}]
        return self.call("chat.message", {"sessionID": session}, {"message": message, "parts": parts})["with"][1][
            "parts"
        ]


@pytest.fixture
def code(hook):
    with OpenCode(hook) as host:
        yield host


def test_a_session_is_stored_from_its_start_to_its_end(code):
    code.create()
    code.prompt("Mend the parser")
    code.call("dispose")
    assert code.end() == 0
    wait_for(lambda: [entry["event"] for entry in code.hook.entries()][-2:] == ["chat.message", "dispose"])
