import { readFileSync, rmSync, statSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { type Command, command } from '../core/command.ts'
import { NODE_DATA_DIR } from '../core/consent.ts'
import { replaceFile } from '../core/data-folder.ts'
import { ShoalError } from '../core/errors.ts'
import { PAUSE_LOOK_MS, PAUSED_FILE } from '../node/pause.ts'
import { NODE_CONFIG_FILE } from './node-config-file.ts'

/**
 * `shoal pause` and `shoal resume`: a file in the node's data folder, which a running node sees within a moment and a node
 * that starts obeys from the beginning. What the command says afterwards is what the node says.
 */

/** The node could not be paused or resumed: print message and hint. */
export class PauseError extends ShoalError {
  readonly code = 'PAUSE'
}

/** How long a running node may take until it says that it obeyed. */
const OBEYED_MS_MAX = 10 * PAUSE_LOOK_MS
/** Time between two questions to the node, whether it obeyed. */
const ASK_AGAIN_MS = 100
/** How long the node may take for one answer. */
const ANSWER_PATIENCE_MS = 2_000
/** Bound of the node's answer, in bytes: a list of codes. */
const ANSWER_BYTES_MAX = 64 * 1024

const FLAGS = {
  'config-file': {
    type: 'string',
    value: 'file',
    default: NODE_CONFIG_FILE,
    description: "The node's settings, for dataDir and adminListen. The file need not exist.",
  },
  'data-dir': {
    type: 'string',
    value: 'folder',
    description: `The node's data folder. Default: dataDir of the settings, or ${NODE_DATA_DIR}.`,
  },
  'admin-listen': {
    type: 'string',
    value: 'host:port',
    description: "Where the node's admin pages are. Default: adminListen of the settings, or 127.0.0.1:7072.",
  },
} as const

export const pauseCommand = pausing(true)
export const resumeCommand = pausing(false)

function pausing(isWanted: boolean): Command {
  return command({
    positionals: [],
    flags: FLAGS,
    async run(values) {
      const settings = settingsIn(values['config-file'])
      const dataDir = values['data-dir'] ?? settings.dataDir ?? NODE_DATA_DIR
      const adminListen = values['admin-listen'] ?? settings.adminListen ?? '127.0.0.1:7072'
      writeWish(dataDir, isWanted)
      const codes = await codesOnceObeyed(adminListen, isWanted)
      if (codes === undefined) {
        return isWanted
          ? 'The node is not running. It will be paused when it starts.\n'
          : 'The node is not running. It will share when it starts.\n'
      }
      if (isWanted) return 'The node is paused: pulls of this machine go directly to their registries.\n'
      return codes.includes('PAUSED_BY_TRACKER')
        ? 'The node is no longer paused here, but an administrator of the tracker keeps it paused.\n'
        : 'The node shares again.\n'
    },
  })
}

/** Passes over mistakes: the node reports them when it starts. */
function settingsIn(path: string): { dataDir?: string; adminListen?: string } {
  try {
    const { dataDir, adminListen } = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
    return {
      ...(typeof dataDir === 'string' ? { dataDir } : {}),
      ...(typeof adminListen === 'string' ? { adminListen } : {}),
    }
  } catch {
    return {}
  }
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

/**
 * The codes of the node's conditions, once it has obeyed.
 * @returns undefined if no node answers there
 * @throws PauseError if a node answers and does not obey in time
 */
async function codesOnceObeyed(adminListen: string, isWanted: boolean): Promise<string[] | undefined> {
  const untilMs = performance.now() + OBEYED_MS_MAX
  for (;;) {
    const codes = await codesAt(adminListen)
    if (codes === undefined || codes.includes('PAUSED') === isWanted) return codes
    if (performance.now() > untilMs) {
      throw new PauseError(`the node that answers at ${adminListen} goes on as before`, {
        hint: 'It uses another data folder: name the one of that node with --data-dir.',
      })
    }
    await wait(ASK_AGAIN_MS)
  }
}

function codesAt(adminListen: string): Promise<string[] | undefined> {
  return new Promise((resolve, reject) => {
    const unusable = (cause?: Error) =>
      reject(
        new PauseError(`something other than a node answers at ${adminListen}`, {
          ...(cause && { cause }),
          hint: "Name the address of the node's admin pages with --admin-listen.",
        }),
      )
    const asked = request(`http://${adminListen}/healthz`, { timeout: ANSWER_PATIENCE_MS }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part
        if (text.length > ANSWER_BYTES_MAX) asked.destroy(new Error('its answer is too long'))
      })
      response.on('end', () => {
        const codes = codesIn(text)
        if (codes === undefined) unusable()
        else resolve(codes)
      })
    })
    asked.on('timeout', () => asked.destroy(new Error('it does not answer in time')))
    asked.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') resolve(undefined)
      else unusable(error)
    })
    asked.end()
  })
}

function codesIn(text: string): string[] | undefined {
  try {
    const { codes } = JSON.parse(text) as { codes?: unknown }
    return Array.isArray(codes) ? codes.map(String) : undefined
  } catch {
    return undefined
  }
}
