import { join } from 'node:path'
import { z } from 'zod'
import { readOwnFile } from '../../core/data-folder.ts'
import { certificateIn } from './node-identity.ts'
import { NODE_MEMORY_FILE } from './node-memory.ts'

/** What a data folder shows of a node that may not run, for people who look for a fault. No key leaves here. */
export interface KeptIdentity {
  /** Undefined before the node has joined. */
  certificatePem: string | undefined
  /** Of the cluster, as the tracker last said. */
  authoritiesPem: string[]
}

const memorySchema = z.object({
  trust: z.object({ trust: z.object({ authorities: z.array(z.string()) }) }).nullable(),
})

/** @throws DataFolderError, and of the system if this user may not look */
export function keptIdentity(dataDir: string): KeptIdentity {
  const text = readOwnFile(join(dataDir, NODE_MEMORY_FILE))
  return {
    certificatePem: certificateIn(dataDir),
    authoritiesPem: text === undefined ? [] : authoritiesIn(text),
  }
}

function authoritiesIn(text: string): string[] {
  try {
    return memorySchema.parse(JSON.parse(text)).trust?.trust.authorities ?? []
  } catch {
    // The node begins anew with such a file.
    return []
  }
}
