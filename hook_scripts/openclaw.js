@STREAM@

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
