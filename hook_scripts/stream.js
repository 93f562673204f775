import { spawn } from "node:child_process"

// One `emit --stream` for this process. Each line is kept until it is said to be stored, and sent again when that
// process dies; nothing here throws, and nothing waits but `ask` and `close`. Where the program is gone, all is silence.
const memory = (() => {
  const command = @COMMAND@
  const KEPT = 2000 // lines; with nobody to take them there is no use in more
  const waiting = new Map() // number -> { line, done }
  let child
  let number = 0
  let failures = 0

  const settle = (line) => {
    try {
      const said = JSON.parse(line)
      failures = 0
      waiting.get(said.seq)?.done?.(said.text || "")
      waiting.delete(said.seq)
    } catch {}
  }
  const start = () => {
    const born = spawn(command[0], command.slice(1), { stdio: ["pipe", "pipe", "ignore"], detached: true, windowsHide: true })
    child = born
    let rest = ""
    born.stdout.setEncoding("utf8")
    born.stdout.on("data", (chunk) => {
      const lines = (rest + chunk).split("\n")
      rest = lines.pop()
      lines.forEach(settle)
    })
    const gone = () => {
      if (child !== born) return
      child = undefined
      if (waiting.size && ++failures < 4) setTimeout(again, 200 * failures).unref?.()
    }
    born.on("error", gone)
    born.on("close", gone)
    born.stdin.on("error", () => {})
    for (const handle of [born, born.stdin, born.stdout]) handle.unref?.() // none of it keeps the agent running
  }
  const again = () => {
    try {
      if (!child) start()
      for (const { line } of waiting.values()) child.stdin.write(line)
    } catch {}
  }
  const put = (event, payload, done) => {
    try {
      const line = JSON.stringify({ seq: ++number, event, payload }) + "\n"
      waiting.set(number, { line, done })
      if (waiting.size > KEPT) waiting.delete(waiting.keys().next().value)
      if (child) child.stdin.write(line)
      else if (failures < 4) again()
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
    ask: (event, payload, milliseconds = 2500) => within(milliseconds, (done) => put(event, payload, done)),
    /** Return when everything has been handed over; the process ends with its input. */
    close: (milliseconds = 1000) => {
      const last = child
      child = undefined
      return last ? within(milliseconds, (done) => last.stdin.end(done)) : Promise.resolve("")
    },
  }
})()
