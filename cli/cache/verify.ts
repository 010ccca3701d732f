import { byteSize } from '../../core/byte-size.ts'
import { command } from '../../core/command.ts'
import { shortDigest } from '../../core/digest.ts'
import { plainText } from '../../core/plain-text.ts'
import { localNode, NODE_FLAGS } from '../local-node.ts'
import { counted } from '../table.ts'
import { JSON_FLAG, jsonText, verifiedSchema } from './answers.ts'

/** How long all of the cache may take: a terabyte at the rate of `cache verify`, and pulls meanwhile. */
const VERIFY_PATIENCE_MS = 4 * 3600_000
const EXIT_DAMAGED = 3

export const cacheVerifyCommand = command({
  positionals: [],
  flags: { ...NODE_FLAGS, json: JSON_FLAG },
  async run(values, _positionals, outside) {
    const { blobs } = await localNode(values, outside).ask('/v1/cache/verify', verifiedSchema, {
      method: 'POST',
      patienceMs: VERIFY_PATIENCE_MS,
      signal: outside.stopped(),
    })
    const damaged = blobs.filter(({ wrongBytes }) => wrongBytes > 0)
    if (damaged.length > 0) outside.exitWith(EXIT_DAMAGED)
    if (values.json) return jsonText({ blobs })
    const bytes = blobs.reduce((sum, { checkedBytes }) => sum + checkedBytes, 0)
    const checked = `${counted(blobs.length, 'blob')}, ${byteSize(bytes)}`
    if (damaged.length === 0) return `No damage: ${checked}.\n`
    const lines = damaged.map(({ digest, repository, registry, wrongBytes }) => {
      return `  ${shortDigest(digest)}  ${plainText(`${registry}/${repository}`)}  ${byteSize(wrongBytes)}\n`
    })
    return `Checked ${checked}. Damaged parts, dropped until the next pull:\n${lines.join('')}`
  },
})
