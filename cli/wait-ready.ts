import { setTimeout as wait } from 'node:timers/promises'
import { type Command, command } from '../core/command.ts'
import { UsageError } from '../core/errors.ts'
import { plainText } from '../core/plain-text.ts'
import { NodeAnswerError, NodeDownError } from './errors.ts'
import { type LocalNode, localNode, NODE_FLAGS } from './local-node.ts'
import { type NodeStatus, statusSchema } from './node-status.ts'
import { lookOf, wrappedLines } from './table.ts'

/** `shoal wait ready`: returns once pulls through the node of this machine are shared. */

/** The node was not ready in time. */
const EXIT_NOT_READY = 3
/** Between two questions. */
const ASK_AGAIN_MS = 250
/** The longest `--timeout`. */
const SECONDS_MAX = 24 * 3600

export const waitReadyCommand: Command = command({
  positionals: [],
  flags: {
    ...NODE_FLAGS,
    timeout: { type: 'string', value: 'seconds', default: '60', description: 'How long to wait at most.' },
  },
  async run(values, _positionals, outside) {
    const seconds = Number(values.timeout)
    if (!/^\d{1,6}$/.test(values.timeout) || seconds > SECONDS_MAX) {
      throw new UsageError(`--timeout: expected whole seconds up to ${SECONDS_MAX}`)
    }
    const node = localNode(values, outside)
    const untilMs = performance.now() + seconds * 1000
    for (;;) {
      const seen = await look(node)
      if ('status' in seen && seen.status.ready === 'ready') return readyText(seen.status)
      if (performance.now() >= untilMs) {
        outside.exitWith(EXIT_NOT_READY)
        const lines = reasonsOf(seen).flatMap((reason) => wrappedLines(reason, '  ', lookOf(outside)))
        return `The node is not ready after ${seconds} s:\n${lines.join('\n')}\n`
      }
      await wait(ASK_AGAIN_MS)
    }
  },
})

type Seen = { status: NodeStatus } | { failure: string }

/** A node that is down or starts may come yet. @throws NodeDeniedError, NodeRefusedError */
async function look(node: LocalNode): Promise<Seen> {
  try {
    return { status: await node.ask('/v1/status', statusSchema) }
  } catch (error) {
    if (!(error instanceof NodeDownError || error instanceof NodeAnswerError)) throw error
    return { failure: error.message }
  }
}

function readyText({ codes, conditions }: NodeStatus): string {
  if (codes.some((code) => code.startsWith('PAUSED')))
    return 'The node is ready, and paused: pulls go directly to their registries (`shoal resume`).\n'
  const limits = conditions
    .filter(({ severity }) => severity === 'warning')
    .map(({ title }) => plainText(title))
  return limits.length === 0
    ? 'The node is ready.\n'
    : `The node is ready, with warnings: ${[...new Set(limits)].join('; ')} (\`shoal status\`).\n`
}

function reasonsOf(seen: Seen): string[] {
  if ('failure' in seen) return [seen.failure]
  const errors = seen.status.conditions.filter(({ severity }) => severity === 'error')
  const reasons = errors.map(({ code, title, facts, remedy }) => {
    const reason = facts.reason === undefined ? '' : ` (${facts.reason})`
    return `${code}: ${title}${reason}. ${remedy}`
  })
  return reasons.length === 0 ? ['It is still starting.'] : reasons
}
