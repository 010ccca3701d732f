import { rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { type Command, command } from '../core/command.ts'
import { replaceFile } from '../core/data-folder.ts'
import { PauseError } from '../node/errors.ts'
import { PAUSED_FILE } from '../node/pause.ts'
import { NodeDownError } from './errors.ts'
import { localNode, NODE_FLAGS, nodeDataDir } from './local-node.ts'

/**
 * `shoal pause` and `shoal resume`. A running node is told over its local API; without one, the file in its data folder is
 * written here, which a node that starts obeys from the beginning.
 */

const codesSchema = z.object({ codes: z.array(z.string()) })

export const pauseCommand = pausing(true)
export const resumeCommand = pausing(false)

function pausing(isWanted: boolean): Command {
  return command({
    positionals: [],
    flags: NODE_FLAGS,
    async run(values, _positionals, outside) {
      const method = isWanted ? 'PUT' : 'DELETE'
      try {
        const { codes } = await localNode(values, outside).ask('/v1/pause', codesSchema, { method })
        return told(isWanted, codes)
      } catch (error) {
        if (!(error instanceof NodeDownError)) throw error
        writeWish(nodeDataDir(values, outside), isWanted)
        return isWanted
          ? 'The node is not running. It will be paused when it starts.\n'
          : 'The node is not running. It will share when it starts.\n'
      }
    },
  })
}

function told(isWanted: boolean, codes: string[]): string {
  if (isWanted) return 'The node is paused: pulls of this machine go directly to their registries.\n'
  return codes.includes('PAUSED_BY_TRACKER')
    ? 'The node is no longer paused here, but an administrator of the tracker keeps it paused.\n'
    : 'The node shares again.\n'
}

function writeWish(dataDir: string, isWanted: boolean): void {
  const path = join(dataDir, PAUSED_FILE)
  try {
    if (!statSync(dataDir).isDirectory()) throw new Error(`${dataDir} is not a folder`)
    if (isWanted) replaceFile(path, '')
    else rmSync(path, { force: true })
  } catch (cause) {
    const hint = 'Run it as root or as the user of the node, and name its data folder with --data-dir.'
    throw new PauseError(`cannot change ${path}: ${(cause as Error).message}`, { cause, hint })
  }
}
