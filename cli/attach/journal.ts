import {
  chownSync,
  closeSync,
  fsyncSync,
  openSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { ATTACHED_DIR, CONSENT_FILE, UPSTREAM_FILE } from '../../core/attached-files.ts'
import { type Consent, NODE_DATA_DIR, PUBLIC_AUTHORITY } from '../../core/consent.ts'
import { ensureFolder, readOwnFile } from '../../core/data-folder.ts'
import { AttachFileError } from './errors.ts'
import type { Content, FileTree } from './file-tree.ts'
import type { JsonChange } from './json-edit.ts'

/**
 * What was attached, and all that is needed to take it back. Invariant: before a file is changed, the journal on disk has
 * its text of before, so that whoever finds an interrupted attachment can undo it. Only root can write here: the journal
 * says what root shall write where.
 */

export const STATE_DIR = ATTACHED_DIR
const JOURNAL = 'journal.json'

export const RUNTIMES = ['docker', 'containerd', 'podman', 'cri-o', 'buildkit'] as const
export type RuntimeName = (typeof RUNTIMES)[number]

export interface EditRecord {
  path: string
  before: Content
  after: Exclude<Content, undefined>
  /** Of a JSON file: how to take back our part of a file that somebody edited since. */
  changes?: JsonChange[]
  /** What stood there is put back only while this file still says the same; else its time is over. */
  onlyWhile?: string
  /** Of a new file; default 0o644. */
  mode?: number
}

export interface Attachment {
  /** `writing` and `restoring` were interrupted: both are taken back. */
  phase: 'writing' | 'attached' | 'restoring'
  /** ISO 8601. */
  since: string
  registries: string[]
  via: 'proxy' | 'mirror'
  edits: EditRecord[]
  /** The outermost first. */
  madeFolders: string[]
  /** Run after the files were written or taken back. */
  commands: string[][]
  /** What a person runs so that the runtime takes notice. */
  restart: string[]
  /** The proxy that the runtime used before. */
  upstream?: { proxy: string; noProxy: string }
  /** Where the runtime asks the mirror, as entries of the node's mirrorListen. */
  listeners?: string[]
  /** Its trust files lead to PUBLIC_AUTHORITY. */
  isAuthorityPublic?: boolean
}

export type Attachments = Partial<Record<RuntimeName, Attachment>>

export class Journal {
  readonly #dir: string
  readonly #tree: FileTree

  /** @throws AttachFileError if somebody else could have put it there */
  constructor(tree: FileTree) {
    tree.missingFolders(join(STATE_DIR, JOURNAL))
    this.#dir = tree.real(STATE_DIR)
    this.#tree = tree
  }

  /** @throws AttachFileError, DataFolderError */
  load(): Attachments {
    const text = readOwnFile(join(this.#dir, JOURNAL))
    if (text === undefined) return {}
    try {
      return JSON.parse(text) as Attachments
    } catch (cause) {
      throw new AttachFileError(`${STATE_DIR}/${JOURNAL} is damaged`, {
        cause,
        hint: 'Files that Shoal changed have a copy of before beside them, called .NAME.shoal-before.',
      })
    }
  }

  /** Whole or not at all, and on disk when it returns. */
  save(attachments: Attachments): void {
    ensureFolder(this.#dir, { mode: 0o755 })
    this.#write(JOURNAL, JSON.stringify(attachments, null, 2), 0o600)
  }

  /** For the node; the journal is what counts. */
  saveConsent(attachments: Attachments): void {
    const all = Object.values(attachments)
    const distinct = (texts: string[]) => [...new Set(texts)].sort()
    const upstream = all.find((one) => one.upstream !== undefined)?.upstream
    const listeners = distinct(all.flatMap((one) => one.listeners ?? []))
    const consent: Record<keyof Consent, unknown> = {
      registries: distinct(all.flatMap((one) => one.registries)),
      mirrorListen: listeners.length === 0 ? undefined : listeners.join(','),
      authorityFile: all.some((one) => one.isAuthorityPublic) ? PUBLIC_AUTHORITY : undefined,
      noProxy: upstream?.noProxy,
    }
    if (upstream === undefined) rmSync(join(this.#dir, UPSTREAM_FILE), { force: true })
    else this.#write(UPSTREAM_FILE, `${upstream.proxy}\n`, 0o600, ownerOf(this.#tree, NODE_DATA_DIR))
    this.#write(CONSENT_FILE, `${JSON.stringify(consent, null, 2)}\n`, 0o644)
  }

  /** When nothing is attached, nothing of it stays. */
  remove(): void {
    // The journal last: while it is there, somebody will come here again.
    for (const name of ['lock', CONSENT_FILE, UPSTREAM_FILE, JOURNAL]) {
      rmSync(join(this.#dir, `${name}.new`), { force: true })
      if (name !== 'lock') rmSync(join(this.#dir, name), { force: true })
    }
    this.removeIfEmpty()
  }

  /** A command that was interrupted before its first step leaves a folder. */
  removeIfEmpty(): void {
    try {
      rmdirSync(this.#dir)
    } catch {
      // Not there, or somebody put something into it.
    }
  }

  #write(name: string, text: string, mode: number, owner?: Owner): void {
    const path = join(this.#dir, name)
    rmSync(`${path}.new`, { force: true })
    writeFileSync(`${path}.new`, text, { mode, flag: 'wx', flush: true })
    if (owner !== undefined) chownSync(`${path}.new`, owner.uid, owner.gid)
    renameSync(`${path}.new`, path)
    syncFolder(this.#dir)
  }
}

export interface Owner {
  uid: number
  gid: number
}

/** The user who runs the node, as the owner of its files. Undefined for root, and before the node's first start. */
export function ownerOf(tree: FileTree, path: string): Owner | undefined {
  const found = tree.stat(path)
  return found === undefined || found.uid === 0 ? undefined : { uid: found.uid, gid: found.gid }
}

/** Names in a folder are on disk once the folder is. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** Beside the file: the very inode that stood there, with its owner, mode, attributes and other names. */
export function backupOf(path: string): string {
  return besideOf(path, 'before')
}

export function draftOf(path: string): string {
  return besideOf(path, 'new')
}

function besideOf(path: string, ending: string): string {
  const folder = dirname(path)
  return join(folder, `.${path.slice(folder.length).replace(/^\//, '')}.shoal-${ending}`)
}
