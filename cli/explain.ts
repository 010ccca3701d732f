import { type Command, command } from '../core/command.ts'
import { plainJson } from '../core/plain-text.ts'
import { explainPage } from './explain-page.ts'
import { localNode, NODE_FLAGS } from './local-node.ts'
import { lastPullSchema } from './node-status.ts'
import { lookOf } from './table.ts'

/** `shoal explain`: of the last pull of an image or a blob, what came from where, how fast, and why not from peers. */

export const explainCommand: Command = command({
  positionals: ['image or digest'],
  flags: {
    ...NODE_FLAGS,
    json: { type: 'boolean', description: 'Prints the record as JSON (docs/status.md).' },
  },
  async run(values, [image = ''], outside) {
    const node = localNode(values, outside)
    const last = await node.ask('/v1/pulls/last', lastPullSchema, { query: { image } })
    if (values.json) return `${plainJson(last, 2)}\n`
    return `${explainPage(last, Date.now(), lookOf(outside)).join('\n')}\n`
  },
})
