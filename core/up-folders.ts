import { lstatSync } from 'node:fs'
import { dirname } from 'node:path'
import { DataFolderError, ensureFolder } from './data-folder.ts'

/** Where `shoal up` has its node and its tracker, for commands of the same folder. */

/** The data folder of `shoal up`, in the folder that it is started in. */
export const UP_DATA_DIR = './shoal-data'
/** The node's part of it. */
export const UP_NODE_DIR = 'node'
/** The tracker's part of it. */
export const UP_TRACKER_DIR = 'tracker'

/** Whether the socket is this user's or root's, and nobody else can put another one in its place. */
export function isOfThisUser(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined || found.isSymbolicLink()) return false
  if (found.uid !== 0 && found.uid !== process.geteuid?.()) return false
  try {
    ensureFolder(dirname(path))
    return true
  } catch (error) {
    if (error instanceof DataFolderError) return false
    throw error
  }
}
