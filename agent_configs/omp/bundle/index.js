import { spawn } from "node:child_process"

// One `emit --stream` for this process. Each line is kept until it is said to be stored, and sent again when that
// process dies, under the same name: it counts once. Nothing here throws, and nothing waits but `ask` and `close`.
// Where the program is gone, all is silence.
const memory = (() => {
  const command = ["sh", new URL("./memory.sh", import.meta.url).pathname, "--agent", "omp", "--stream"]
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

// Extension for Pi and for its fork Oh My Pi (OMP), made by ai-memory-mcp's `setup`. They call the default function anew
// for every session, Pi after loading this file anew: what must outlive that is kept for the whole process.
const agent = ["sh", new URL("./memory.sh", import.meta.url).pathname, "--agent", "omp", "--stream"].at(-2)
const server = {"command": "sh", "args": ["-c", "PATH=$PATH:$HOME/.local/bin:$HOME/.ai-memory-mcp/bin exec ai-memory-mcp serve \"$@\"", "sh"]} // where no settings name it
const host = (globalThis[Symbol.for(`ai-memory-mcp ${agent}`)] ??= { memory, open: new Map(), briefs: new Map() })

const said = (content, parts = Array.isArray(content) ? content : [{ type: "text", text: content ?? "" }]) =>
  parts.flatMap(({ type, text }) => (type === "text" ? [text] : type === "image" ? ["[image]"] : [])).join("\n")

// What is written to xd://NAME calls NAME (OMP), and who reads xd://NAME learns about it.
const asked = ({ toolCallId, toolName, args }) => {
  const device = /^xd:\/\/([^/?#]+)/.exec(args?.path)?.[1]
  return { tool_use_id: toolCallId, tool_name: device ?? toolName, tool_input: (device && args.content) || args }
}

export default function (pi) {
  if (agent !== (pi.pi ? "omp" : "pi")) return // PI_CODING_AGENT_DIR gives both the same folder; OMP's API holds itself
  if (server) pi.registerMcpServer?.("aimemory", server) // an entry of this name in the settings comes first
  const calls = new Map() // those that have not ended, by id
  let here // what every event tells: the session, and the subagent if it is one
  let machine // whether the next prompt is an extension's

  const on = (event, handle) =>
    pi.on(event, (told, ctx) => {
      try {
        return handle(told, ctx)
      } catch {}
    })
  const send = (event, payload, ctx) => here && host.memory.send(event, { ...here, cwd: ctx.cwd, ...payload })

  const begin = (source, ctx) => {
    const { sessionManager: session } = ctx
    const id = session.getSessionId()
    const file = session.getSessionFile() ?? ""
    if (session.getEntries().some((entry) => entry.type === "session_init")) {
      const parents = [...host.open].filter(([, path]) => file.startsWith(path.replace(/\.jsonl$/, "/")))
      here = { session_id: (parents[0] ?? [...host.open].at(-1) ?? [id])[0], agent_id: id }
      return
    }
    if (here && here.session_id !== id) end("switch", ctx)
    here = { session_id: id }
    if (host.open.has(id)) return // only the extension was loaded anew
    host.open.set(id, file)
    host.briefs.set(id, host.memory.ask("session_start", { ...here, cwd: ctx.cwd, source }))
  }
  const end = (reason, ctx) => {
    for (const call of calls.values()) send("tool_execution_start", call, ctx)
    calls.clear()
    if (here && !here.agent_id) {
      send("session_shutdown", { reason }, ctx)
      host.open.delete(here.session_id)
      host.briefs.delete(here.session_id)
    }
    here = undefined // what comes now is the noise of taking the session down
  }

  on("session_start", ({ reason = "startup" }, ctx) => begin(reason, ctx))
  on("session_switch", ({ reason }, ctx) => begin(reason, ctx))
  on("session_branch", (_, ctx) => begin("branch", ctx))
  on("session_shutdown", ({ reason = "quit" }, ctx) => {
    if (reason === "reload") return
    end(reason, ctx)
    if (reason === "quit" && !host.open.size) return host.memory.close()
  })

  on("before_agent_start", async () => {
    if (!here || here.agent_id) return
    const brief = host.briefs.get(here.session_id)
    host.briefs.delete(here.session_id)
    const content = await brief
    if (content) return { message: { customType: "ai-memory", content, display: false } }
  })
  on("input", ({ source }) => {
    machine = source === "extension"
  })
  on("message_end", ({ message }, ctx) => {
    const { role, content, stopReason, errorMessage: error, timestamp } = message
    const turn_id = String(timestamp)
    if (role === "user" && here && !here.agent_id) {
      const source = machine || message.attribution === "agent" ? { source: "extension" } : {}
      send("input", { prompt: said(content), turn_id, ...source }, ctx)
    } else if (role === "assistant" && stopReason === "error") {
      send("agent_end", { error, turn_id }, ctx)
    } else if (role === "assistant" && stopReason !== "aborted" && !content.some(({ type }) => type === "toolCall")) {
      send(here?.agent_id ? "subagent_end" : "agent_end", { last_assistant_message: said(content), turn_id }, ctx)
    }
  })

  on("tool_execution_start", (event) => {
    calls.set(event.toolCallId, asked(event))
  })
  on("tool_execution_end", (event, ctx) => {
    const call = calls.get(event.toolCallId) ?? asked(event)
    const details = event.result?.details
    calls.delete(event.toolCallId)
    if (details?.phases) call.tool_input = { ...call.tool_input, todos: details.phases.flatMap(({ tasks }) => tasks) }
    send(event.isError ? "tool_execution_error" : "tool_execution_end", { ...call, tool_response: said(event.result?.content) }, ctx)
  })

  on("session_before_compact", ({ reason: trigger }, ctx) => send("session_before_compact", { trigger }, ctx))
  on("session_compact", ({ reason: trigger, compactionEntry }, ctx) =>
    send("session_compact", { trigger, compact_summary: compactionEntry.summary }, ctx),
  )
}
