import { byteSize } from '../../core/byte-size.ts'
import { command } from '../../core/command.ts'
import { plainText } from '../../core/plain-text.ts'
import { localNode, NODE_FLAGS } from '../local-node.ts'
import { counted } from '../table.ts'
import { JSON_FLAG, jsonText, pinnedSchema, unpinnedSchema } from './answers.ts'

const FLAGS = { ...NODE_FLAGS, json: JSON_FLAG } as const

export const cachePinCommand = command({
  positionals: ['image or digest'],
  flags: FLAGS,
  async run(values, [name = ''], outside) {
    const pin = await localNode(values, outside).ask('/v1/cache/pins', pinnedSchema, {
      method: 'PUT',
      body: { name },
    })
    if (values.json) return jsonText(pin)
    const bytes = pin.blobs.reduce((sum, blob) => sum + blob.bytes, 0)
    return `Pinned ${plainText(pin.name)}: ${counted(pin.blobs.length, 'blob')}, ${byteSize(bytes)}.\n`
  },
})

export const cacheUnpinCommand = command({
  positionals: ['image or digest'],
  flags: FLAGS,
  async run(values, [name = ''], outside) {
    const unpinned = await localNode(values, outside).ask('/v1/cache/pins', unpinnedSchema, {
      method: 'DELETE',
      body: { name },
    })
    return values.json ? jsonText(unpinned) : `Unpinned ${plainText(unpinned.name)}.\n`
  },
})
