import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import manifest from '../../package.json' with { type: 'json' }
import { buildPackages } from './built-package.ts'

/** Whole packages, with Node, for both architectures. */

const BUILDS_MS_MAX = 20 * 60_000

describe.skipIf(mustSkipFor(['root', 'unshare']))('two whole builds of one commit', () => {
  let folder: string
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'shoal-twice-'))
    const cache = join(folder, 'cache')
    const flags = ['--arch', 'amd64,arm64']
    const one = { checkout: join(folder, 'a'), out: join(folder, 'out-a'), umask: '022', timeZone: 'UTC' }
    const other = {
      checkout: join(folder, 'elsewhere/b'),
      out: join(folder, 'out-b'),
      umask: '077',
      timeZone: 'Pacific/Chatham',
    }
    await buildPackages({ ...one, flags, cache })
    // What the first one fetched is all that this one can have.
    await buildPackages({ ...other, flags, cache, isOffline: true })
  }, BUILDS_MS_MAX)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('are the same, byte for byte, and the second needs no network', () => {
    const { version } = manifest
    const names = ['amd64', 'arm64'].flatMap((architecture) => [
      `shoal-${version}-linux-${architecture}.oci.tar`,
      `shoal-${version}-linux-${architecture}.tar.gz`,
      `shoal_${version}_${architecture}.deb`,
    ])
    const builds = ['out-a', 'out-b'].map((name) => join(folder, name))
    for (const build of builds) expect(new Set(readdirSync(build))).toEqual(new Set([...names, 'SHA256SUMS']))
    for (const name of [...names, 'SHA256SUMS']) {
      const [one, other] = builds.map((build) => readFileSync(join(build, name)))
      expect(one!.equals(other!), name).toBe(true)
    }
  })
})
