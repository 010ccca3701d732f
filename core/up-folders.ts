import { statSync } from 'node:fs'

/** Where `shoal up` has its node and its tracker, for commands of the same folder. */

/** The data folder of `shoal up`, in the folder that it is started in. */
export const UP_DATA_DIR = './shoal-data'
/** The node's part of it. */
export const UP_NODE_DIR = 'node'
/** The tracker's part of it. */
export const UP_TRACKER_DIR = 'tracker'

/** Whether the socket is this user's or root's. In a folder that others write to, somebody else may answer. */
export function isOfThisUser(path: string): boolean {
  const owner = statSync(path, { throwIfNoEntry: false })?.uid
  return owner !== undefined && (owner === 0 || owner === process.geteuid?.())
}
