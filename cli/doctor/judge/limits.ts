import { type Finding, found, ok, unknown } from '../finding.ts'

export interface LimitsFacts {
  isNodeRunning: boolean
  /** Undefined where nobody could look. */
  filesMax?: number | undefined
  filesOpen?: number | undefined
}

/** Blobs, peers and clients of a busy node have some thousands of files and connections. */
export const FILES_ENOUGH = 4096
/** Share of the limit that may be in use. */
const FILES_USED_SHARE = 0.8

export function judgeLimits({ isNodeRunning, filesMax, filesOpen }: LimitsFacts): Finding[] {
  if (!isNodeRunning) return [unknown('the limits of the node', 'it does not run')]
  if (filesMax === undefined)
    return [unknown('the limits of the node', 'only root and its user may see them')]
  const open = filesOpen === undefined ? '' : `${filesOpen} of `
  const isFull = filesOpen !== undefined && filesOpen > filesMax * FILES_USED_SHARE
  if (filesMax < FILES_ENOUGH || isFull)
    return [found('FILES_FEW', { detail: `${open}${filesMax} are ${open === '' ? 'permitted' : 'open'}` })]
  return [ok(`${open}${filesMax} files ${open === '' ? 'may be open' : 'are open'}`)]
}
