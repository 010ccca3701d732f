import { z } from 'zod'
import { command } from '../core/command.ts'
import { localNode, NODE_FLAGS } from './local-node.ts'

/** Reading certificates and opening registries takes moments; a slow disk may take longer. */
const RELOAD_PATIENCE_MS = 60_000

const reloadedSchema = z.looseObject({ changed: z.array(z.string()), needsRestart: z.array(z.string()) })

export const reloadCommand = command({
  positionals: [],
  flags: { ...NODE_FLAGS, json: { type: 'boolean', description: 'Prints JSON, for scripts.' } },
  async run(values, _positionals, outside) {
    const reloaded = await localNode(values, outside).ask('/v1/reload', reloadedSchema, {
      method: 'POST',
      patienceMs: RELOAD_PATIENCE_MS,
    })
    if (values.json) return `${JSON.stringify(reloaded, undefined, 2)}\n`
    const { changed, needsRestart } = reloaded
    const lines = [
      changed.length === 0
        ? 'No setting that can change while the node runs has changed.'
        : `Changed: ${changed.join(', ')}.`,
      ...(needsRestart.length === 0 ? [] : [`Needs a restart: ${needsRestart.join(', ')}.`]),
    ]
    return `${lines.join('\n')}\n`
  },
})
