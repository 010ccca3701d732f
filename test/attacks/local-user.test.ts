import { spawnSync } from 'node:child_process'
import { chmodSync, lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { attackTest, controlTest } from './ledger.ts'
import { loot } from './loot.ts'
import { expectUnharmed, useTarget } from './target.ts'

/** Somebody with an account on the node's or the tracker's machine, and no rights. */
const target = useTarget()
const NOBODY = 65534

const withinOf = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((path) => join(folder, path))

/** As another user where this one may change to it; the modes are looked at in any case. */
function readAs(userId: number, path: string): string {
  const user = ['--reuid', `${userId}`, '--regid', `${userId}`, '--clear-groups']
  const isFolder = lstatSync(path).isDirectory()
  const read = isFolder ? ['ls', '-A', path] : ['cat', path]
  const { status, stdout } = spawnSync('setpriv', [...user, ...read], { encoding: 'latin1' })
  loot.bytes += stdout.length
  return status === 0 ? `read: ${path} ${stdout.length}` : 'refused'
}

for (const whose of ['a node', 'the tracker'] as const) {
  attackTest(`keys, certificates, blobs and database of ${whose} are for their owner alone`, () => {
    const folder = whose === 'a node' ? target.holder.dataDir : join(target.cluster.folder, 'tracker')
    // The worst that an operator does: the folders above are open to all.
    for (const path of [target.cluster.folder, folder]) chmodSync(path, 0o755)
    const found = withinOf(folder)
    expect(found.length).toBeGreaterThan(2)
    const open = found.filter((path) => (lstatSync(path).mode & 0o077) !== 0)
    expect(open).toEqual([])
    if (process.getuid?.() !== 0) return
    expect(new Set(found.map((path) => readAs(NOBODY, path)))).toEqual(new Set(['refused']))
  })
}

if (!mustSkipFor(['linux', 'root', 'setpriv'])) {
  controlTest('their owner reads them: the attack fails for the right reason', () => {
    const [path] = withinOf(target.holder.dataDir).filter((path) => path.endsWith('node.pem'))
    expect(readAs(0, path!)).toMatch(/^read/)
  })
}

expectUnharmed(target)
