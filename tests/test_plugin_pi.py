"""The extension for Pi and Oh My Pi, called as they call it: sessions, runs, tools, subagents, reloads and ends."""

import signal

import pytest
from hooking import Hook
from plugins import Host, needs_node, wait_for

pytestmark = needs_node

# Hooks are named by the instance that an agent would make for each session: "main:session_start". `bind` makes one,
# of the module loaded anew if told so. Their second argument says which session it is.
ENTER = """async (module, { script, omp }) => {
  const hooks = {}
  const about = ({ id, cwd, file, entries = [] }) => ({
    cwd, sessionManager: { getSessionId: () => id, getSessionFile: () => file, getEntries: () => entries },
  })
  const enter = (name, { default: extension }) =>
    extension({
      on: (event, handle) => { hooks[`${name}:${event}`] = (told, session) => handle(told, about(session)) },
      ...(omp && { pi: {} }),
    })
  hooks.bind = async (name, anew) => { enter(name, anew ? await import(`${script}?${name}`) : module) }
  enter("main", module)
  return hooks
}"""


class Pi(Host):
    """Pi or OMP with one session after the other, and its subagents."""

    def __init__(self, hook, agent="pi", program="", **more):
        script = (hook.base / f"{agent}.mjs").as_uri()
        context = {"script": script, "omp": (program or agent) == "omp"}
        super().__init__(hook, agent, ENTER, context=context, **more)
        self.instance = "main"
        self.session = {"id": "s1", "cwd": str(hook.project), "file": "/sessions/s1.jsonl"}

    def event(self, name, **told):
        return self.call(f"{self.instance}:{name}", {"type": name, **told}, self.session)

    def bind(self, instance, *, anew=False):
        self.call("bind", instance, anew)
        self.instance = instance

    def start(self, **told):
        self.event("session_start", **told)

    def run(self, prompt, number=1):
        """A person's prompt up to the first request to the model; returns what is put in before that."""
        back = self.event("before_agent_start", prompt=prompt)
        self.say("user", prompt, timestamp=number)
        return back.get("back")

    def say(self, role, text, **more):
        self.event("message_end", message={"role": role, "content": [{"type": "text", "text": text}], **more})

    def tool(self, name, args, text="", *, failed=False, call="c1", **details):
        self.event("tool_execution_start", toolCallId=call, toolName=name, args=args)
        content = [{"type": "text", "text": text}, {"type": "image", "data": "AAAA" * 1000}]
        result = {"content": content if text else [], "details": details}
        self.event("tool_execution_end", toolCallId=call, toolName=name, result=result, isError=failed)

    def quit(self):
        self.event("session_shutdown", reason="quit")


@pytest.fixture
def hook(tmp_path):
    return Hook(tmp_path)


@pytest.fixture(params=["pi", "omp"])
def host(hook, request):
    with Pi(hook, request.param) as host:
        yield host


@pytest.fixture
def omp(hook):
    with Pi(hook, "omp") as host:
        yield host


@pytest.fixture
def left(hook):
    """A session of another agent that has left a handoff."""
    for event, more in (
        ("SessionStart", {"source": "startup"}),
        ("UserPromptSubmit", {"prompt": "Grease the frobnicator"}),
        ("Stop", {"last_assistant_message": "Half of it is greased."}),
        ("SessionEnd", {"reason": "other"}),
    ):
        hook.emit(hook.payload(**more), "claude-code", event, quiet=False)
    wait_for(lambda: not hook.entries())


def test_a_session_is_stored_from_its_start_to_its_end(host):
    host.start(reason="startup")
    host.run("Mend the parser")
    host.tool("bash", {"command": "ls"}, "parser.py")
    host.say("assistant", "It is mended.", stopReason="stop", timestamp=2)
    host.quit()

    told = [(event, payload) for event, payload in host.stored(5)]

    assert [event for event, _ in told] == [
        "session_start",
        "input",
        "tool_execution_end",
        "agent_end",
        "session_shutdown",
    ]
    assert {payload["session_id"] for _, payload in told} == {"s1"}
    assert {payload["cwd"] for _, payload in told} == {str(host.hook.project)}
    assert told[1][1]["prompt"] == "Mend the parser"
    assert told[2][1]["tool_response"] == "parser.py\n[image]"
    assert told[3][1]["last_assistant_message"] == "It is mended."


def test_the_stream_ends_with_the_session_and_the_agent_ends_at_once(host):
    host.start()
    assert len(host.streams()) == 1
    host.quit()

    wait_for(lambda: not host.streams())
    assert host.end() == 0


def test_what_another_agent_left_is_told_once_and_offered_before_the_prompt_is_stored(left, host):
    host.start()
    brief = host.run("Go on")["message"]
    assert host.run("And now?", 2) is None

    assert "Half of it is greased." in brief["content"]
    assert brief["display"] is False
    assert [event for event, _ in host.stored(4)] == ["session_start", "handoff-offered", "input", "input"]


def test_only_a_final_answer_of_the_model_is_its_answer(host):
    host.start()
    call = {"type": "toolCall", "name": "bash", "arguments": {}}
    host.event("message_end", message={"role": "assistant", "content": [{"type": "text", "text": "I look."}, call]})
    host.say("assistant", "", stopReason="error", errorMessage="no such model", timestamp=3)
    host.say("assistant", "I was", stopReason="aborted")
    host.event("message_end", message={"role": "toolResult", "content": []})
    host.event("message_end", message={"role": "custom", "content": "a reminder"})
    host.quit()

    assert [(event, payload.get("error")) for event, payload in host.stored(3)] == [
        ("session_start", None),
        ("agent_end", "no such model"),
        ("session_shutdown", None),
    ]


def test_a_prompt_of_an_extension_is_not_a_persons(host):
    host.start()
    host.event("input", text="x", source="extension")
    host.run("Go on with the plan")
    host.event("input", text="x", source="interactive")
    host.run("Stop that", 2)

    sources = [payload.get("source") for event, payload in host.stored(3) if event == "input"]
    assert sources == ["extension", None]


def test_a_failed_tool_is_a_failure_and_one_that_never_came_back_is_known_at_the_end(host):
    host.start()
    host.tool("bash", {"command": "false"}, "exit 1", failed=True)
    host.event("tool_execution_start", toolCallId="c2", toolName="bash", args={"command": "sleep 9"})
    host.quit()
    host.event("tool_execution_end", toolCallId="c2", toolName="bash", result={}, isError=True)
    host.say("assistant", "I was about to", stopReason="stop")

    wait_for(lambda: not host.streams())
    assert [(event, payload.get("tool_use_id")) for event, payload in host.stored(4)] == [
        ("session_start", None),
        ("tool_execution_error", "c1"),
        ("tool_execution_start", "c2"),
        ("session_shutdown", None),
    ]


def test_a_compaction_is_stored_with_its_summary(host):
    host.start()
    host.event("session_before_compact", reason="manual")
    host.event("session_compact", reason="manual", compactionEntry={"summary": "We mend the parser."})

    assert [payload.get("compact_summary") for _, payload in host.stored(3)] == [None, None, "We mend the parser."]


def test_an_extension_that_is_loaded_anew_goes_on_with_the_session_and_its_brief(left, hook):
    with Pi(hook) as host:
        host.start(reason="startup")
        streams = host.streams()
        host.event("session_shutdown", reason="reload")
        host.bind("second", anew=True)
        host.start(reason="reload")

        assert "Half of it is greased." in host.run("Go on")["message"]["content"]
        assert host.streams() == streams
        assert [event for event, _ in host.stored(3)] == ["session_start", "handoff-offered", "input"]


def test_one_session_follows_another_in_pi_over_the_same_stream(hook):
    with Pi(hook) as host:
        host.start(reason="startup")
        streams = host.streams()
        host.event("session_shutdown", reason="new")
        host.session["id"] = "s2"
        host.bind("second", anew=True)
        host.start(reason="new")

        assert [(event, payload["session_id"]) for event, payload in host.stored(3)] == [
            ("session_start", "s1"),
            ("session_shutdown", "s1"),
            ("session_start", "s2"),
        ]
        assert host.streams() == streams


def test_one_session_follows_another_in_omp(omp):
    omp.start()
    omp.event("session_switch", reason="resume")  # the same one, read anew
    omp.session["id"] = "s2"
    omp.event("session_switch", reason="new")
    omp.session["id"] = "s3"
    omp.event("session_branch")

    assert [(event, payload["session_id"]) for event, payload in omp.stored(5)] == [
        ("session_start", "s1"),
        ("session_shutdown", "s1"),
        ("session_start", "s2"),
        ("session_shutdown", "s2"),
        ("session_start", "s3"),
    ]


def test_a_subagent_is_part_of_its_parents_session_and_takes_no_brief(left, omp):
    omp.start()
    omp.bind("helper")
    parent, omp.session = omp.session, {**omp.session, "id": "s9", "file": "/sessions/s1/Helper.jsonl"}
    omp.session["entries"] = [{"type": "session_init"}]
    omp.start()
    assert omp.run("Look for frogs") is None
    omp.tool("grep", {"pattern": "frog"}, "3 frogs")
    omp.say("assistant", "There are 3.", stopReason="stop", timestamp=5)
    omp.event("session_shutdown")
    omp.instance, omp.session = "main", parent

    assert "Half of it is greased." in omp.run("Go on")["message"]["content"]
    assert [(event, payload.get("agent_id")) for event, payload in omp.stored(5)] == [
        ("session_start", None),
        ("handoff-offered", None),
        ("tool_execution_end", "s9"),
        ("subagent_end", "s9"),
        ("input", None),
    ]
    assert {payload["session_id"] for _, payload in omp.stored(5)} == {"s1"}


@pytest.fixture
def helper(omp):
    """OMP in a subagent of its session."""
    omp.start()
    omp.bind("helper")
    omp.session = {
        **omp.session,
        "id": "s9",
        "file": "/sessions/s1/Helper.jsonl",
        "entries": [{"type": "session_init"}],
    }
    omp.start()
    return omp


@pytest.mark.parametrize(
    ("details", "answer"),
    [
        ({"data": {"frogs": 3}}, {"frogs": 3}),
        ({"error": "no pond"}, "no pond"),
        ({"type": "result"}, "There are 3."),
        ({"type": ["count"], "data": 3, "complete": True}, 3),
    ],
)
def test_a_subagent_of_omp_ends_when_it_yields(helper, details, answer):
    helper.run("Look for frogs")
    helper.say("assistant", "There are 3.", stopReason="toolUse", timestamp=5)
    helper.tool("yield", {}, "part", call="c1", type=["count"], data=1)
    helper.tool("yield", {}, "wrong", call="c2", failed=True)
    helper.tool("yield", {}, "Result submitted.", call="c3", **details)
    helper.quit()

    told = [(event, payload.get("last_assistant_message")) for event, payload in helper.stored(5)]
    ends = [("tool_execution_end", None), ("tool_execution_error", None), ("tool_execution_end", None)]
    assert told == [("session_start", None), *ends, ("subagent_end", answer)]


def test_a_subagent_of_omp_that_is_reminded_to_yield_ends_once(helper):
    helper.run("Look for frogs")
    for number in range(3):
        helper.say("assistant", f"There are {number}.", stopReason="stop", timestamp=number)
    helper.quit()

    told = [(event, payload.get("last_assistant_message")) for event, payload in helper.stored(2)]
    assert told == [("session_start", None), ("subagent_end", "There are 2.")]


def test_a_tool_that_omp_reaches_through_a_device_has_its_own_name(omp):
    omp.start()
    omp.tool("write", {"path": "xd://mcp__aimemory_memory_search", "content": '{"query":"frogs"}'}, "3 frogs")
    omp.tool("write", {"path": "frogs.txt", "content": "3"}, "written", call="c2")

    calls = [payload for event, payload in omp.stored(3) if event == "tool_execution_end"]
    assert [call["tool_name"] for call in calls] == ["mcp__aimemory_memory_search", "write"]
    assert [call["tool_input"] for call in calls] == ['{"query":"frogs"}', {"path": "frogs.txt", "content": "3"}]


def test_the_to_do_list_of_omp_is_stored_whole(omp):
    omp.start()
    phases = [{"name": "Build", "tasks": [{"content": "Test it", "status": "pending"}]}]
    omp.tool("todo", {"op": "view"}, phases=phases)

    assert omp.stored(2)[1][1]["tool_input"] == {"op": "view", "todos": phases[0]["tasks"]}


@pytest.mark.parametrize(("agent", "program"), [("pi", "omp"), ("omp", "pi")])
def test_in_the_folder_that_both_read_each_leaves_the_others_extension_alone(hook, agent, program):
    with Pi(hook, agent, program) as host:
        assert host.hooks == ["bind"]
        assert host.streams() == []


def test_without_our_program_nothing_happens(hook):
    with Pi(hook, launcher="/nowhere/emit") as host:
        host.start()
        assert host.run("Mend the parser") is None
        host.tool("bash", {"command": "ls"})
        host.quit()
        assert host.end() == 0


def test_odd_events_break_nothing(host):
    host.start()
    host.event("message_end")
    host.event("tool_execution_end", toolCallId="c1")
    host.event("session_compact")
    host.run("Mend the parser")

    assert [event for event, _ in host.stored(3)] == ["session_start", "tool_execution_end", "input"]


def test_a_killed_agent_leaves_no_process_behind_and_its_session_ends(host):
    host.start()
    host.run("Mend the parser")
    (stream,) = host.streams()
    host.process.send_signal(signal.SIGKILL)

    told = host.stored(3)
    assert [event for event, _ in told] == ["session_start", "input", "agent-gone"]
    wait_for(lambda: not _runs(stream))


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
