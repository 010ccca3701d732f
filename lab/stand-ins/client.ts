import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Digest } from '../../core/digest.ts'
import type { LabProcesses } from '../machine/processes.ts'
import { isLayoutWhole } from '../pullers/oci-layout.ts'
import { type ImageReference, PULL_PATIENCE_MS, type Puller } from '../pullers/puller.ts'
import type { Account } from '../registry/registry.ts'

/** The stand-in for a runtime: a client of this repository that speaks to a registry as Docker does. */

const PROGRAM = fileURLToPath(new URL('./client-main.ts', import.meta.url))

/** What the program is to do. */
export interface ClientJob {
  /** `ask`: for one blob by its digest, whatever the manifest says, as somebody would who knows the digest. */
  act: 'push' | 'pull' | 'ask'
  registry: string
  repository: string
  tag: string
  account: Account
  /** PEM files of the authorities that it trusts, and no others. */
  caFiles: string[]
  /** URL of a proxy; absent: it goes straight to the registry. */
  proxyUrl?: string
  /** Folder of the OCI image layout that is pushed, or pulled into. */
  layout: string
  blob?: Digest
}

/** Answer to `ask`. */
export interface AskedBlob {
  manifestStatus: number
  blobStatus: number
  /** Of the blob's content. */
  bytes: number
}

/** Where the program runs. */
export interface ClientPlace {
  processes: LabProcesses
  /** The command line that runs `argv` on the client's host; absent: on this machine. */
  command?: (argv: string[]) => string[]
}

/**
 * @returns what it printed
 * @throws LabCommandError
 */
export async function runClient(
  { processes, command = (argv) => argv }: ClientPlace,
  job: ClientJob,
): Promise<string> {
  // By standard input: it has a password.
  return processes.run({
    argv: command([process.execPath, PROGRAM]),
    input: JSON.stringify(job),
    timeoutMs: PULL_PATIENCE_MS,
  })
}

export async function askForBlob(place: ClientPlace, job: Omit<ClientJob, 'act'>): Promise<AskedBlob> {
  return JSON.parse(await runClient(place, { ...job, act: 'ask' })) as AskedBlob
}

/** @param dir exists, and is the client's own */
export function makeStandInClient(
  place: ClientPlace & Pick<ClientJob, 'registry' | 'account' | 'caFiles' | 'proxyUrl'> & { dir: string },
): Puller {
  const { dir, processes, command, ...job } = place
  const layout = join(dir, 'image')
  return {
    kind: 'stand-in',
    async pull(image) {
      await runClient(
        { processes, ...(command && { command }) },
        { act: 'pull', layout, ...job, ...placeOf(image) },
      )
    },
    verify: (image) => isLayoutWhole(layout, image),
    run: async () => undefined,
  }
}

/** Where an image is in its registry. */
export function placeOf({ name, tag }: ImageReference): Pick<ClientJob, 'registry' | 'repository' | 'tag'> {
  const [, registry = '', repository = ''] = /^([^/]+)\/(.+):[^:]+$/.exec(name) ?? []
  return { registry, repository, tag }
}
