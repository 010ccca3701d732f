import { type Command, command, type Outside } from '../core/command.ts'
import { plainJson } from '../core/plain-text.ts'
import { CONTROL_FLAG, callGuard } from '../guard/control.ts'
import { NodeDeniedError, NodeDownError } from './errors.ts'
import { type LocalNode, localNode, NODE_FLAGS } from './local-node.ts'
import { allBytes, type NodeStatus, statusSchema } from './node-status.ts'
import { statusPage } from './status-page.ts'
import { type Look, lookOf, painted, wrappedLines } from './table.ts'
import { watch } from './watch.ts'

/** `shoal status`: what the node of this machine does, what it shared, and what keeps it from sharing. */

/** Something is not shared that should be. */
const EXIT_DEGRADED = 3
/** The node is down, and its guard answers. */
const EXIT_NODE_DOWN = 4

export const statusCommand: Command = command({
  positionals: [],
  flags: {
    ...NODE_FLAGS,
    watch: { type: 'boolean', description: 'Shows the page again every second, until Ctrl-C.' },
    json: { type: 'boolean', description: 'Prints what the node says, as JSON (docs/status.md).' },
    control: CONTROL_FLAG,
  },
  async run(values, _positionals, outside) {
    const view = new StatusView(localNode(values, outside), values.control, outside)
    if (values.json) {
      if (values.watch) await watch({ ...outside, output: noTerminal(outside) }, () => view.json())
      return values.watch ? '' : `${(await view.json(2)).join('\n')}\n`
    }
    if (!values.watch) return `${(await view.page()).join('\n')}\n`
    await watch(outside, () => view.page())
    return ''
  },
})

/** Each document is one line, also on a terminal. */
function noTerminal({ output }: Outside): Outside['output'] {
  return {
    isTerminal: false,
    columns: output.columns,
    rows: output.rows,
    write: (text) => output.write(text),
    onResize: (listener) => output.onResize(listener),
  }
}

type Seen = { status: NodeStatus; guard?: never } | { status?: never; guard: Record<string, unknown> }

/** What is between two looks at the node: how fast its pulls are. */
class StatusView {
  readonly #node: LocalNode
  readonly #control: string
  readonly #outside: Outside
  #before: { atMs: number; bytes: Map<string, number> } | undefined

  constructor(node: LocalNode, control: string, outside: Outside) {
    this.#node = node
    this.#control = control
    this.#outside = outside
  }

  /** @throws NodeDownError, NodeDeniedError if neither node nor guard can be asked */
  async page(): Promise<string[]> {
    const look = lookOf(this.#outside)
    const { status, guard } = await this.#ask()
    if (status === undefined) return guardPage(guard, look)
    const nowMs = Date.now()
    const rates = this.#ratesOf(status, nowMs)
    return statusPage(status, { nowMs, ...(rates && { rates }) }, look)
  }

  async json(indent?: number): Promise<string[]> {
    const { status, guard } = await this.#ask()
    return [plainJson(status ?? { guard }, indent)]
  }

  async #ask(): Promise<Seen> {
    try {
      const status = await this.#node.ask('/v1/status', statusSchema)
      this.#outside.exitWith(status.status === 'ok' ? 0 : EXIT_DEGRADED)
      return { status }
    } catch (error) {
      if (!(error instanceof NodeDownError || error instanceof NodeDeniedError)) throw error
      const guard = await callGuard(this.#control, 'status').catch(() => {
        throw error
      })
      this.#outside.exitWith(EXIT_NODE_DOWN)
      return { guard }
    }
  }

  /** Bytes per second since the look before. */
  #ratesOf({ pulls }: NodeStatus, nowMs: number): Map<string, number> | undefined {
    const before = this.#before
    const bytes = new Map(
      pulls.filter(({ outcome }) => outcome === 'running').map((pull) => [pull.id, allBytes(pull.bytes)]),
    )
    this.#before = { atMs: nowMs, bytes }
    if (before === undefined || nowMs <= before.atMs) return undefined
    const rates = new Map<string, number>()
    for (const [id, now] of bytes) {
      const then = before.bytes.get(id)
      if (then !== undefined) rates.set(id, ((now - then) / (nowMs - before.atMs)) * 1000)
    }
    return rates
  }
}

/** @param phases of node and relay, as the guard has them */
export function guardPage(phases: Record<string, unknown>, look: Look): string[] {
  const words: Record<string, string> = {
    off: 'was stopped (`shoal guard start` starts it)',
    waiting: 'could not start; the guard tries again: its log says why',
    starting: 'is starting',
    serving: 'runs, and does not answer this command: see its log',
    leaving: 'is finishing what it serves, then it ends',
  }
  const [node, relay] = [String(phases.node), String(phases.relay)]
  const relayText =
    relay === 'serving'
      ? 'The relay answers: runtimes pull directly from their registries, and nothing is shared.'
      : `The relay does not answer either (${relay}): runtimes cannot pull.`
  return [
    `${painted('●', 'red', look)} ${painted('The node does not answer.', 'bold', look)}`,
    ...wrappedLines(`It ${words[node] ?? node}.`, '  node        ', look),
    ...wrappedLines(relayText, '  relay       ', look),
    ...wrappedLines('`journalctl -u shoal-guard` has the log of both.', '  log         ', look),
  ]
}
