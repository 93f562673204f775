import { spawn } from "node:child_process"

// One `emit --stream` for this process. Each line is kept until it is said to be stored, and sent again when that
// process dies, under the same name: it counts once. Nothing here throws, and nothing waits but `ask` and `close`.
// Where the program is gone, all is silence.
const memory = (() => {
  const command = ["sh", new URL("./memory.sh", import.meta.url).pathname, "--agent", "openclaw", "--stream"]
  const MANY = 2000 // lines kept while nobody takes them
  const MUCH = 2 ** 25 // characters of these
  const LONG = 2 ** 20 // characters of one text; of a longer one both ends are sent
  const OPEN = 100 // sessions that a new process is told of
  const mark = `${process.pid}-${Math.random().toString(16).slice(2, 10)}`
  const waiting = new Map() // number -> { head, body, done }
  const sessions = new Map() // id -> folder, the last one used last
  let child // undefined while there is none
  let pause // until the next one is tried
  let failures = 0 // without an answer in between
  let number = 0 // of the last line
  let sent = 0 // number of the last line that the child was given
  let size = 0

  const cut = (key, value) =>
    typeof value === "string" && value.length > LONG
      ? `${value.slice(0, LONG / 2)}\n...\n${value.slice(-LONG / 2)}`
      : value
  const forget = (seq) => {
    size -= waiting.get(seq)?.body.length ?? 0
    waiting.delete(seq)
  }
  const settle = (line) => {
    try {
      const { seq, text } = JSON.parse(line)
      const kept = waiting.get(seq)
      failures = 0
      forget(seq)
      kept?.done?.(text || "")
    } catch {}
  }
  const write = (born, { head, body }) => born.stdin.write(`${JSON.stringify(head).slice(0, -1)},"payload":${body}}\n`)
  const flush = (born, all) => {
    try {
      while (sent < number && (all || !born.stdin.writableNeedDrain)) {
        const kept = waiting.get(++sent)
        if (kept) write(born, kept)
      }
    } catch {}
  }
  const start = () => {
    const born = spawn(command[0], command.slice(1), { stdio: ["pipe", "pipe", "ignore"], detached: true, windowsHide: true })
    child = born
    const gone = () => child === born && failed()
    born.on("error", gone)
    born.on("close", gone)
    born.stdin.on("error", () => {})
    born.stdin.on("drain", () => child === born && flush(born))
    let rest = ""
    born.stdout.setEncoding("utf8")
    born.stdout.on("data", (chunk) => {
      const lines = (rest + chunk).split("\n")
      rest = lines.pop()
      lines.forEach(settle)
    })
    for (const handle of [born, born.stdin, born.stdout]) handle.unref?.() // none of it keeps the agent running
    sent = (waiting.keys().next().value ?? number + 1) - 1
    born.stdin.write(JSON.stringify({ still_open: Object.fromEntries(sessions) }) + "\n")
  }
  const failed = () => {
    child = undefined
    if (++failures > 1) for (const kept of waiting.values()) giveUp(kept)
    pause = setTimeout(() => ((pause = undefined), run()), Math.min(50 * 4 ** (failures - 1), 60_000))
    pause.unref?.()
  }
  const giveUp = ({ head, done }) => {
    if (head.until) head.until = 1 // whoever stores it yet must not think that anybody hears the brief
    done?.("")
  }
  const run = () => {
    if (pause) return
    try {
      if (!child) start()
      flush(child)
    } catch {
      failed()
    }
  }
  const put = (event, payload, until, done) => {
    try {
      const kept = { head: { seq: number + 1, at: Date.now(), mark, event, until }, body: JSON.stringify(payload, cut), done }
      waiting.set(++number, kept)
      size += kept.body.length
      while (waiting.size > MANY || (size > MUCH && waiting.size > 1)) forget(waiting.keys().next().value)
      if (payload.session_id) {
        sessions.delete(payload.session_id)
        sessions.set(payload.session_id, payload.cwd)
        if (sessions.size > OPEN) sessions.delete(sessions.keys().next().value)
      }
      if (failures > 1) giveUp(kept)
      run()
    } catch {
      done?.("")
    }
  }
  const within = (milliseconds, begin) =>
    new Promise((done) => {
      const timer = setTimeout(() => done(""), milliseconds) // keeps the process until the answer, as nothing else may
      begin((told) => {
        clearTimeout(timer)
        done(told || "")
      })
    })

  return {
    /** Store an event. */
    send: (event, payload) => put(event, payload),
    /** Store a session's start and return the brief, "" when there is none or it does not come in time. */
    ask: (event, payload, milliseconds = 2500) =>
      within(milliseconds, (done) => put(event, payload, Date.now() + milliseconds - 200, done)),
    /** Return when everything has been handed over; the process ends with its input. */
    close: (milliseconds = 1000) => {
      const last = child
      if (!last) return Promise.resolve("")
      child = undefined
      flush(last, true)
      return within(milliseconds, (done) => last.stdin.end(done))
    },
  }
})()

// Plugin for OpenClaw, whose process is a gateway with many sessions for days, or one turn. It may load this file and
// call `register` several times, so what belongs to sessions is kept for the whole process.
const PLACE = Symbol.for("ai-memory-mcp openclaw")
const first = !globalThis[PLACE]
const host = (globalThis[PLACE] ??= {
  memory,
  open: new Map(), // OpenClaw's id of a session -> { id, turn, brief }: ours, and the turn that was given the brief
  reset: new Set(), // those that go on under their old id with nothing in them
  folders: new Map(), // id -> workspace
  ids: new Map(), // session key -> id
  parents: new Map(), // session key of a subagent -> that of its parent
  wrapped: new Set(), // calls that have called another tool
})

const said = (content) =>
  typeof content === "string"
    ? content
    : (content ?? [])
        .flatMap(({ type, text }) => (type === "text" ? [text] : type === "image" ? ["[image]"] : []))
        .join("\n")

const named = ({ sessionId, sessionKey = "" }) => sessionId ?? sessionKey
const ours = (id) => host.open.get(id)?.id ?? id

// What every event tells: the session, which for a subagent is that of its parent, and the folder.
const where = (ctx) => {
  const { sessionKey = "", workspaceDir } = ctx
  const id = named(ctx)
  const parent = host.ids.get(host.parents.get(sessionKey))
  host.ids.set(sessionKey, id)
  if (workspaceDir) host.folders.set(id, workspaceDir)
  const cwd = host.folders.get(id) ?? host.folders.get(parent)
  const subagent = parent || sessionKey.includes(":subagent:")
  return subagent ? { session_id: ours(parent ?? id), agent_id: id, cwd } : { session_id: ours(id), cwd }
}

// Begin the session if this is its first turn; the first turn of a person is the one that is given the brief.
const begin = (source, ctx) => {
  const id = named(ctx)
  const fresh = host.reset.delete(id) ? `${id}@${new Date().toISOString()}` : id
  const session = host.open.get(id) ?? { id: fresh }
  host.open.set(id, session)
  if (source === "user" && !session.brief) {
    session.turn = ctx.runId
    session.brief = host.memory.ask("session_start", where(ctx))
  }
  return session.turn === ctx.runId ? session.brief : undefined
}

const end = (id, reason) => {
  if (!host.open.has(id)) return
  host.memory.send("session_end", { session_id: ours(id), cwd: host.folders.get(id), reason })
  host.open.delete(id)
}
const endAll = (reason) => [...host.open.keys()].forEach((id) => end(id, reason))
if (first) process.on("exit", () => endAll("exit")) // a single turn has no other end

export default {
  id: "ai-memory",
  name: "ai-memory",
  description: "Remembers what is done here and tells it to the next agent (ai-memory-mcp)",
  register(api) {
    const on = (event, handle) =>
      api.on(event, (told, ctx) => {
        try {
          return handle(told, ctx ?? {})
        } catch {}
      })
    const send = (event, payload, ctx) => host.memory.send(event, { ...where(ctx), ...payload })
    const chore = ({ trigger }) => trigger === "heartbeat" || trigger === "memory" // turns that it gives to itself

    on("before_prompt_build", async ({ prompt, currentUserMessage = prompt }, ctx) => {
      if (where(ctx).agent_id || chore(ctx)) return
      const { runId: turn_id, trigger = "user", inputProvenance } = ctx
      const origin = inputProvenance?.kind ?? "external_user"
      const source = origin === "external_user" ? trigger : origin
      const brief = begin(source, ctx)
      if (currentUserMessage) send("before_prompt_build", { prompt: currentUserMessage, turn_id, source }, ctx)
      const text = await brief
      if (text) return { prependContext: text }
    })
    on("after_tool_call", ({ toolName, toolCallId = "", params, result, error, runId }, ctx) => {
      const outer = /^tool_search_code:(.+?):/.exec(toolCallId)?.[1]
      if (outer) host.wrapped.add(outer)
      if (host.wrapped.delete(toolCallId) && toolName === "tool_call") return // the tool that it called has told all
      const { exitCode, status, cwd } = result?.details ?? {}
      const failed = error || exitCode || status === "failed" || status === "error"
      const call = { tool_name: toolName, tool_input: params, tool_use_id: toolCallId, turn_id: runId, ...(cwd && { cwd }) }
      send(failed ? "tool_call_error" : "after_tool_call", { ...call, tool_response: said(result?.content), error }, ctx)
    })
    on("agent_end", ({ messages = [], success, error, runId: turn_id }, ctx) => {
      if (chore(ctx) || !(success || error)) return
      const message = said(messages.findLast(({ role }) => role === "assistant")?.content)
      const event = where(ctx).agent_id ? "subagent_end" : "agent_end"
      send(event, { turn_id, ...(success ? { last_assistant_message: message } : { error }) }, ctx)
    })
    on("before_compaction", (_, ctx) => send("before_compaction", {}, ctx))
    on("after_compaction", (_, ctx) => send("after_compaction", {}, ctx))
    on("subagent_spawned", ({ childSessionKey }, { requesterSessionKey }) => {
      host.parents.set(childSessionKey, requesterSessionKey)
    })
    on("session_end", ({ sessionId, sessionKey, reason }) => {
      end(sessionId, reason)
      if (reason !== "shutdown" && reason !== "restart") host.reset.add(sessionId)
      host.folders.delete(sessionId)
      host.ids.delete(sessionKey)
      host.parents.delete(sessionKey)
    })
    on("gateway_stop", () => {
      endAll("shutdown")
      return host.memory.close()
    })
  },
}
