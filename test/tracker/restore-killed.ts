import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { DumpTarget } from '../../tracker/store/dump.ts'
import { fillSqlite } from '../../tracker/store/sqlite-dump.ts'
import { restoreLines } from '../../tracker/store/take-in.ts'

/** Restores a backup into a new store, and is killed at the nth write; when there are fewer, right after it is done. */
const [path, backup, killAt] = process.argv.slice(2) as [string, string, string]
const die = () => process.kill(process.pid, 'SIGKILL')

let writes = 0
function counted<Args extends unknown[]>(write: (...args: Args) => Promise<unknown>) {
  return async (...args: Args) => {
    writes += 1
    if (writes === Number(killAt)) die()
    await write(...args)
  }
}

await fillSqlite(path, (store) => {
  const dying = { ...store, store: counted(store.store) as DumpTarget, run: counted(store.run) }
  return restoreLines(createInterface({ input: createReadStream(backup) }), dying, Date.now())
})
process.stdout.write(String(writes))
die()
