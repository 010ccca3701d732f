import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'

/** The text of a file; undefined if it does not exist or cannot be read. */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

/** The same, of a file that another user may have put there: no pipe holds its reader up, and no long file fills memory. */
export function readSmallIfThere(path: string, bytesMax: number): string | undefined {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch {
    return undefined
  }
  try {
    const found = fstatSync(fd)
    return found.isFile() && found.size <= bytesMax ? readFileSync(fd, 'utf8') : undefined
  } catch {
    return undefined
  } finally {
    closeSync(fd)
  }
}
