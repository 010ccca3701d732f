// Runs programs on the Node that comes with the dependencies. Plain JavaScript for Node 18, which is what Debian 12 has.
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { constants } from 'node:os'

const NODE_MAJOR_MIN = 24
/** Signals that end or steer a program. The kernel answers SIGKILL and SIGSTOP by itself. */
const PASSED_ON = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2']

/** No Node here can run Shoal: say so and end. */
class NodeMissingError extends Error {
  code = 'NODE_MISSING'

  constructor() {
    const { platform, arch, versions } = process
    super(`Node ${versions.node} is too old; Shoal needs Node ${NODE_MAJOR_MIN} or newer`)
    this.hint = PINNED_PLATFORMS.includes(`${platform}-${arch}`)
      ? 'Run `npm ci`: a Node that fits comes with the dependencies, as an optional one.'
      : `Install Node ${NODE_MAJOR_MIN} or newer: none comes with the dependencies for ${platform}-${arch}.`
  }
}

const PINNED_PLATFORMS = ['linux-x64', 'linux-arm64']

export function isThisNodeNewEnough() {
  return Number(process.versions.node.split('.')[0]) >= NODE_MAJOR_MIN
}

/**
 * Runs a program on the pinned Node, or on this one where none is installed and this one is new enough. The program takes
 * this process's place where Node can do that (22.15 and newer); else it is a child, which gets this process's signals and
 * whose end this process shares.
 * @param {string[]} argv the program's path and its arguments
 */
export function launch(argv) {
  try {
    const node = nodeToRunOn()
    if (process.execve) process.execve(node, [node, ...process.execArgv, ...argv], process.env)
    runAsChild(node, [...process.execArgv, ...argv])
  } catch (error) {
    if (!(error instanceof NodeMissingError)) throw error
    process.stderr.write(`shoal: ${error.message}\nhint: ${error.hint}\n`)
    process.exitCode = 1
  }
}

/** npm 9 does not link the pinned Node into `node_modules/.bin`, so that it is looked up in its package. */
function nodeToRunOn() {
  try {
    return createRequire(import.meta.url).resolve(`node-${process.platform}-${process.arch}/bin/node`)
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error
  }
  if (isThisNodeNewEnough()) return process.execPath
  throw new NodeMissingError()
}

/** A terminal's Ctrl-C reaches the child twice, as it does under npm: programs take both as one. */
function runAsChild(node, argv) {
  const child = spawn(node, argv, { stdio: 'inherit' })
  for (const signal of PASSED_ON) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code)
    process.exitCode = 128 + constants.signals[signal]
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  })
}
