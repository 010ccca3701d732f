import type { Outside } from '../core/command.ts'

/** Of a page that is no terminal: the tables of documents and logs. */
const PAGE_COLUMNS = 100
const PAGE_ROWS = 1000

/** What a command has of the process that runs it. */
export function outsideOf(program: NodeJS.Process): Outside {
  const { stdout } = program
  const stop = new AbortController()
  return {
    env: program.env,
    output: {
      isTerminal: stdout.isTTY === true,
      get columns() {
        return stdout.columns ?? PAGE_COLUMNS
      },
      get rows() {
        return stdout.rows ?? PAGE_ROWS
      },
      write: (text) => void stdout.write(text),
      onResize(listener) {
        stdout.on('resize', listener)
        return () => void stdout.off('resize', listener)
      },
    },
    stopped() {
      const abort = () => stop.abort()
      program.once('SIGINT', abort).once('SIGTERM', abort)
      return stop.signal
    },
    exitWith(code) {
      program.exitCode = code
    },
  }
}
