// OpenCode's part of ai-memory-mcp, made by its `setup`: tells the memory what happens here, and the model what the
// memory says at the beginning of a session. It waits for nothing but that, and breaks nothing when it is gone.
import { spawn } from "node:child_process"

// One `emit --stream` for this process. Each line is kept until it is said to be stored, and sent again when that
// process dies, under the same name: it counts once. Nothing here throws, and nothing waits but `ask` and `close`.
// Where the program is gone, all is silence.
const memory = (() => {
  const command = ["sh", new URL("./memory.sh", import.meta.url).pathname, "--agent", "opencode", "--stream"]
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

const FENCE = "<ai-memory-brief"
const server = {"type": "local", "command": ["sh", "-c", "PATH=$PATH:$HOME/.local/bin:$HOME/.ai-memory-mcp/bin exec ai-memory-mcp serve \"$@\"", "sh"], "enabled": true} // where no settings name it
const sessions = new Map() // id -> what is known of it; there is one of these for all folders of this process
let folders = 0

const about = (id) => {
  if (!sessions.has(id)) sessions.set(id, { id, main: id, texts: new Map(), running: new Set(), answer: {}, turn: "" })
  return sessions.get(id)
}
// `opencode run` puts a prompt of several words in quotation marks.
const unquoted = (text) => (/^"([^"]|\\")* ([^"]|\\")*"$/.test(text) ? text.slice(1, -1).replaceAll('\\"', '"') : text)
const spoken = (parts) =>
  parts
    .filter((part) => (part.type === "text" && !part.synthetic && !part.ignored) || part.type === "subtask")
    .map((part) => (part.type === "text" ? unquoted(part.text) : part.prompt))
    .join("\n")
const quietly = (hook) => async (input, output) => {
  try {
    await hook(input, output)
  } catch {}
}

export const AiMemory = async ({ client, directory }) => {
  const servers = [] // MCP servers, as they begin the names of their tools
  let latest // session that was prompted last
  folders += 1

  const send = (session, event, fields) => memory.send(event, told(session, fields))
  const told = ({ id, main }, fields) => ({
    session_id: main,
    agent_id: id === main ? undefined : id,
    cwd: directory,
    ...fields,
  })
  const begin = (session, event, source) => (session.brief = memory.ask(event, told(session, { source })))
  const belong = (session, parent) => (session.main = about(parent).main)

  const parentOf = async (id) => {
    const late = new Promise((done) => setTimeout(done, 500).unref?.())
    const found = await Promise.race([client.session.get({ path: { id } }), late])
    return found?.data?.parentID
  }
  const called = (name) => {
    const server = servers.find((server) => name.startsWith(server + "_"))
    return server ? `mcp__${server}__${name.slice(server.length + 1)}` : name
  }
  const tool = (session, part, { status, input, output, error, metadata }) => {
    if (status === "pending" || status === "running") session.running.add(part.id)
    if (status === "pending" || status === "running" || !session.running.delete(part.id)) return // not of this run
    const call = { tool_use_id: part.callID, turn_id: session.turn, tool_name: called(part.tool), tool_input: input }
    const exit = metadata && "exit" in metadata ? metadata.exit : 0
    if (part.tool === "invalid") send(session, "tool.error", { ...call, tool_name: called(input.tool), error: input.error })
    else if (status === "error") send(session, "tool.error", { ...call, error })
    else if (exit === 0) send(session, "tool.completed", { ...call, tool_response: output })
    else send(session, "tool.error", { ...call, error: exit === null ? output : `Exit code ${exit}\n${output}` })
  }
  const happened = {
    "session.created": (session, { info }) => {
      if (info.parentID) belong(session, info.parentID)
      else begin(session, "session.created", "startup")
    },
    "message.updated": (session, { info }) => {
      if (info.role !== "assistant" || info.time?.completed || info.id === session.answer.id) return
      session.answer = info
      session.texts.clear()
    },
    "message.part.updated": (session, { part }) => {
      if (part.type === "tool") tool(session, part, part.state)
      if (part.type === "text" && part.messageID === session.answer.id && part.time?.end) session.texts.set(part.id, part.text)
    },
    "session.compacted": (session) => {
      send(session, "session.compacted", { compact_summary: session.answer.summary ? answered(session) : "" })
      session.texts.clear()
    },
    "session.error": (session, { error }) => {
      if (error?.name !== "MessageAbortedError") session.error = error?.data?.message || error?.name
    },
    "session.idle": (session) => {
      const { turn, error, main, id } = session
      const fields = { turn_id: turn, last_assistant_message: answered(session), error }
      if (turn) send(session, id === main ? "session.idle" : "subagent.idle", fields)
      Object.assign(session, { turn: "", error: undefined })
    },
    "session.deleted": (session) => {
      if (session.brief) send(session, "session.deleted", { reason: "deleted" })
      sessions.delete(session.id)
    },
  }
  const answered = (session) => [...session.texts.values()].join("\n")

  return {
    config: quietly((config) => {
      if (server) (config.mcp ??= {}).aimemory ??= server
      servers.push(...Object.keys(config.mcp ?? {}).map((name) => name.replace(/[^a-zA-Z0-9_-]/g, "_")))
      servers.sort((one, other) => other.length - one.length)
    }),
    event: quietly(({ event: { type, properties } }) => {
      const id = properties?.sessionID ?? properties?.info?.id
      if (id && happened[type]) happened[type](about(id), properties)
    }),
    "chat.message": quietly(async ({ sessionID }, { message, parts }) => {
      const session = about(sessionID)
      if (!session.brief && session.main === session.id) {
        const parent = await parentOf(sessionID).catch(() => "") // it is older than this process
        if (parent) belong(session, parent)
        else begin(session, "session.resumed", "resume")
      }
      const brief = await session.brief
      session.brief &&= Promise.resolve("")
      Object.assign(session, { turn: message.id, error: undefined })
      session.texts.clear()
      if (session.main === session.id) latest = session
      send(session, "chat.message", { turn_id: message.id, prompt: spoken(parts) })
      if (!brief || parts.some((part) => part.text?.startsWith(FENCE))) return
      const id = `${parts.at(-1)?.id ?? "prt_" + message.id.slice(4)}m` // sorts behind the last one
      parts.push({ id, sessionID, messageID: message.id, type: "text", text: brief, synthetic: true })
    }),
    "experimental.session.compacting": quietly(({ sessionID }) => send(about(sessionID), "experimental.session.compacting")),
    dispose: quietly(async () => {
      if (latest && sessions.has(latest.id)) send(latest, "dispose", { reason: "dispose" })
      folders -= 1
      if (folders === 0) await memory.close()
    }),
  }
}
