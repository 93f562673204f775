@STREAM@

// Extension for Pi and for its fork Oh My Pi (OMP), made by ai-memory-mcp's `setup`. They call the default function anew
// for every session, Pi after loading this file anew: what must outlive that is kept for the whole process.
const agent = @COMMAND@.at(-2)
const server = @SERVER@ // where no settings name it
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
  let last // what a subagent has said last, until its end is told

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
  // A subagent is done when it yields. One that stops without is reminded, and ends with its session at the latest.
  const helped = (told, ctx) => {
    send("subagent_end", told, ctx)
    last = undefined
  }
  const end = (reason, ctx) => {
    for (const call of calls.values()) send("tool_execution_start", call, ctx)
    calls.clear()
    if (last) helped(last, ctx)
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
    } else if (role === "assistant" && stopReason !== "aborted") {
      const told = { last_assistant_message: said(content), turn_id }
      if (here?.agent_id) last = told.last_assistant_message ? told : last
      else if (!content.some(({ type }) => type === "toolCall")) send("agent_end", told, ctx)
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
    if (!here?.agent_id || event.toolName !== "yield" || event.isError) return
    const { data, error, type, complete } = details ?? {}
    const part = Array.isArray(type) && type.length > 0 && !complete
    if (!part) helped({ ...last, last_assistant_message: data ?? error ?? last?.last_assistant_message }, ctx)
  })

  on("session_before_compact", ({ reason: trigger }, ctx) => send("session_before_compact", { trigger }, ctx))
  on("session_compact", ({ reason: trigger, compactionEntry }, ctx) =>
    send("session_compact", { trigger, compact_summary: compactionEntry.summary }, ctx),
  )
}
