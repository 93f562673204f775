import { spawn } from "node:child_process"

// One `emit --stream` for this process. Each line is kept until it is said to be stored, and sent again when that
// process dies, under the same name: it counts once. Nothing here throws, and nothing waits but `ask` and `close`.
// Where the program is gone, all is silence.
const memory = (() => {
  const command = @COMMAND@
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
