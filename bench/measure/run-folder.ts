import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { EXIT_CODES_OF_SIGNALS } from '../../lab/machine/run.ts'

/** Peers still write while their folder is removed, until they see that this process has ended. */
const RETRIES = { maxRetries: 20, retryDelay: 50 }

/**
 * Makes the folder of one run. A signal that ends this process removes it too. Its peers end with the process (see
 * line-process.ts), but the files would stay.
 */
export function makeRunFolder(parent: string, prefix: string): { folder: string; removeFolder: () => void } {
  const folder = mkdtempSync(join(parent, prefix))
  const removeFolder = () => rmSync(folder, { recursive: true, force: true, ...RETRIES })
  for (const [signal, exitCode] of Object.entries(EXIT_CODES_OF_SIGNALS)) {
    process.once(signal, () => {
      removeFolder()
      process.exit(exitCode)
    })
  }
  return { folder, removeFolder }
}
