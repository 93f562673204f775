// OpenCode's part of ai-memory-mcp, made by its `setup`: tells the memory what happens here, and the model what the
// memory says at the beginning of a session. It waits for nothing but that, and breaks nothing when it is gone.
@STREAM@

const FENCE = "<ai-memory-brief"
const server = @SERVER@ // where no settings name it
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
