import { existsSync, readFileSync } from 'node:fs'
import { request } from 'node:http'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import type { FlagValues, Outside } from '../core/command.ts'
import { NODE_DATA_DIR } from '../core/consent.ts'
import { isOfThisUser, UP_DATA_DIR, UP_NODE_DIR } from '../core/up-folders.ts'
import { RUN_DIR, SOCKET_FILE, SOCKET_GROUP } from '../node/local-socket.ts'
import { NodeAnswerError, NodeDeniedError, NodeDownError, NodeRefusedError } from './errors.ts'
import { NODE_CONFIG_FILE } from './node-config-file.ts'

/** How a command of this machine asks its node: over the local API, wherever the socket of that node is. */

/** How long the node may take for an answer, unless the command gives it longer. */
const ANSWER_PATIENCE_MS = 10_000
/** Bound of an answer, in bytes: the status with all layers that are kept stays below. */
const ANSWER_BYTES_MAX = 32 * 1024 * 1024

/** For every command that asks the node. */
export const NODE_FLAGS = {
  socket: {
    type: 'string',
    value: 'path',
    description:
      "The node's socket. Default: localSocket of the settings, /run/shoal/shoal.sock, shoal.sock in the data folder, or that of `shoal up` in this folder.",
  },
  'config-file': {
    type: 'string',
    value: 'file',
    default: NODE_CONFIG_FILE,
    description: "The node's settings, for localSocket and dataDir. The file need not exist.",
  },
  'data-dir': {
    type: 'string',
    value: 'folder',
    description: `The node's data folder. Default: dataDir of the settings, or ${NODE_DATA_DIR}.`,
  },
} as const

export type NodeFlagValues = FlagValues<typeof NODE_FLAGS>

export interface AskOptions {
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE'
  query?: Record<string, string>
  body?: unknown
  patienceMs?: number
  signal?: AbortSignal
}

const errorSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }),
})

export class LocalNode {
  /** Where the node may be, the likeliest first. */
  readonly places: readonly string[]
  /** Where somebody answered. */
  place: string | undefined

  constructor(places: readonly string[]) {
    this.places = places
  }

  /**
   * Asks the first place where somebody listens.
   * @throws NodeDownError, NodeDeniedError, NodeAnswerError; NodeRefusedError with the node's own code
   */
  async ask<Answer>(path: string, schema: z.ZodType<Answer>, options: AskOptions = {}): Promise<Answer> {
    const failures: { place: string; code: string }[] = []
    for (const place of this.places) {
      const answer = await askAt(place, path, options)
      if (!('failed' in answer)) {
        this.place = place
        return read(place, answer, schema)
      }
      failures.push({ place, code: answer.failed })
    }
    throw unreachable(failures)
  }
}

/** The file with the node's settings, as the node itself would find it. */
export function nodeConfigFile(
  values: Pick<NodeFlagValues, 'config-file'>,
  { env }: Pick<Outside, 'env'>,
): string {
  return env.SHOAL_NODE_CONFIG_FILE || values['config-file']
}

/**
 * Which node a command talks to: that of a flag; else of the environment, or of the settings; else the package's; else the one
 * whose data folder is the usual one; else that of `shoal up` in the current folder.
 * @param values of NODE_FLAGS
 */
export function localNode(values: NodeFlagValues, { env }: Pick<Outside, 'env'>): LocalNode {
  const settings = settingsIn(nodeConfigFile(values, { env }))
  if (values.socket !== undefined) return new LocalNode([values.socket])
  const flagged = values['data-dir']
  if (flagged !== undefined) return new LocalNode([flagged, join(flagged, UP_NODE_DIR)].map(socketIn))
  const configured = env.SHOAL_NODE_LOCAL_SOCKET || settings.localSocket
  if (configured !== undefined) return new LocalNode([configured])
  const dataDir = env.SHOAL_NODE_DATA_DIR || settings.dataDir || NODE_DATA_DIR
  const up = socketIn(upNodeDir(env))
  const isForeign = existsSync(up) && !isOfThisUser(up)
  return new LocalNode([RUN_DIR, dataDir].map(socketIn).concat(isForeign ? [] : [up]))
}

/** The data folder, by the same rule. */
export function nodeDataDir(values: NodeFlagValues, { env }: Pick<Outside, 'env'>): string {
  const named =
    values['data-dir'] ?? (env.SHOAL_NODE_DATA_DIR || settingsIn(nodeConfigFile(values, { env })).dataDir)
  if (named !== undefined) return named
  const up = upNodeDir(env)
  return !existsSync(NODE_DATA_DIR) && existsSync(up) ? up : NODE_DATA_DIR
}

function socketIn(folder: string): string {
  return join(folder, SOCKET_FILE)
}

/** Of `shoal up`, as started in the current folder or with this environment. */
function upNodeDir(env: Outside['env']): string {
  return resolve(env.SHOAL_UP_DATA_DIR || UP_DATA_DIR, UP_NODE_DIR)
}

/** Passes over mistakes: the node reports them when it starts. */
function settingsIn(path: string): { dataDir?: string; localSocket?: string } {
  try {
    const all = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
    const text = (key: string) => (typeof all[key] === 'string' && all[key] !== '' ? all[key] : undefined)
    const [dataDir, localSocket] = [text('dataDir'), text('localSocket')]
    return { ...(dataDir && { dataDir }), ...(localSocket && { localSocket }) }
  } catch {
    return {}
  }
}

type Answered = { status: number; text: string }

/** @returns `failed` with the system's code if nobody can be asked there @throws NodeAnswerError */
function askAt(
  place: string,
  path: string,
  { method = 'GET', query = {}, body, patienceMs = ANSWER_PATIENCE_MS, signal }: AskOptions,
): Promise<Answered | { failed: string }> {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? '' : JSON.stringify(body)
    const search = new URLSearchParams(query).toString()
    const asked = request({
      socketPath: place,
      path: search === '' ? path : `${path}?${search}`,
      method,
      headers: { host: 'localhost', 'content-length': Buffer.byteLength(text) },
      timeout: patienceMs,
      agent: false,
      ...(signal && { signal }),
    })
    asked.on('response', (response) => {
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        bytes += chunk.length
        if (bytes > ANSWER_BYTES_MAX) asked.destroy(new Error('its answer is too long'))
      })
      response.on('error', (error) => reject(unusable(place, error)))
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
      )
    })
    asked.on('timeout', () => asked.destroy(new Error('it does not answer in time')))
    asked.on('error', (error: NodeJS.ErrnoException) => {
      if (error.syscall === 'connect' && error.code !== undefined) resolve({ failed: error.code })
      else reject(signal?.aborted ? signal.reason : unusable(place, error))
    })
    asked.end(text)
  })
}

function read<Answer>(place: string, { status, text }: Answered, schema: z.ZodType<Answer>): Answer {
  const value = jsonOf(text)
  if (status === 200 && value !== undefined) {
    const parsed = schema.safeParse(value)
    if (parsed.success) return parsed.data
  } else {
    const parsed = errorSchema.safeParse(value)
    if (parsed.success) throw new NodeRefusedError(parsed.data.error)
  }
  throw unusable(place)
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function unusable(place: string, cause?: Error): NodeAnswerError {
  const why = cause === undefined ? 'its answer has a form that this version does not know' : cause.message
  return new NodeAnswerError(`the node at ${place} gives no usable answer: ${why}`, {
    cause,
    hint: 'Look at its log. If Shoal was upgraded on this machine, start the node again.',
  })
}

function unreachable(failures: { place: string; code: string }[]): NodeDownError | NodeDeniedError {
  const isDenied = (code: string) => code === 'EACCES' || code === 'EPERM'
  const places = failures.map(
    ({ place, code }) => `${place} (${isDenied(code) ? 'not permitted' : words(code)})`,
  )
  const denied = failures.find(({ code }) => isDenied(code))
  if (denied === undefined) {
    return new NodeDownError(`no node answers at ${places.join(' or ')}`, {
      hint: 'Start it (`systemctl start shoal`, or `shoal node`), or name its socket with --socket or its data folder with --data-dir.',
    })
  }
  return new NodeDeniedError(`this user cannot ask the node: ${places.join(', ')}`, {
    hint: `Run the command as root, as the user of the node, or as a member of the group ${SOCKET_GROUP}.`,
  })
}

function words(code: string): string {
  if (code === 'ENOENT' || code === 'ENOTDIR') return 'no socket there'
  return code === 'ECONNREFUSED' ? 'nobody listens' : code
}
