import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { mustSkipFor } from '../lab/machine/requirements.ts'
import { COMMAND_MS_MAX, type FreshDebian, makeFreshDebian } from './fresh-debian.ts'
import { ROOT, repositoryFiles } from './tidy/source-files.ts'

const MAKE_MS_MAX = 2 * COMMAND_MS_MAX
/** Where the checkout is, inside. */
const CHECKOUT = '/srv/shoal'
const PACKAGES_MAX = 155
/** What the demonstration needs besides. */
const DEMO_PARTS = ['docker.io', 'docker-registry', 'skopeo', 'podman', 'iproute2', 'iptables']

const STOP_DEMO = `
node bin/launch.js lab/demo/main.ts >demo.log 2>&1 &
until grep -q 'starting: nodes' demo.log || ! kill -0 $!; do sleep 0.2; done
kill -TERM $!
status=0
wait $! || status=$?
cat demo.log
exit $status
`

describe.skipIf(mustSkipFor(['linux', 'root', 'debootstrap']))(
  'on a fresh Debian 12 with its own nodejs and npm',
  { timeout: COMMAND_MS_MAX },
  () => {
    let debian: FreshDebian
    beforeAll(async () => {
      debian = await makeFreshDebian(['nodejs', 'npm', 'ca-certificates', ...DEMO_PARTS])
      for (const path of repositoryFiles()) cpSync(join(ROOT, path), join(debian.root, CHECKOUT, path))
    }, MAKE_MS_MAX)
    afterAll(() => debian?.remove(), COMMAND_MS_MAX)

    const run = (command: string) => debian.run(`cd ${CHECKOUT} || exit\n${command}`)

    test('npm ci installs what Shoal needs, and no independent peers', async () => {
      expect((await run('node --version && npm --version')).stdout).toMatch(/^v18\.\S+\n9\.2\.\d+\n$/)
      const { code, output } = await run('npm ci')
      expect(code, output).toBe(0)
      const added = Number(/added (\d+) packages/.exec(output)?.[1])
      expect(added).toBeGreaterThan(100)
      expect(added).toBeLessThan(PACKAGES_MAX)
      expect((await run('ls node_modules')).stdout).not.toMatch(/^(webtorrent|bittorrent-tracker)$/m)
    })

    test('shoal starts, and ends with its own status', async () => {
      expect(await run('npm run --silent shoal -- --version')).toMatchObject({ code: 0, output: /^shoal \d/ })
      expect(await run('bin/shoal.js trackr')).toMatchObject({ code: 2 })
    })

    test('npm run check formats, lints and checks types of all, and runs tests', async () => {
      const { code, output } = await run('npm run check -- test/launch.test.ts test/cli/shoal.test.ts')
      expect(code, output).toBe(0)
    })

    test('npm test runs tests and ends with their totals', async () => {
      const { code, output } = await run('npm test -- test/cli/up.test.ts test/core/bencode.test.ts')
      expect(code, output).toBe(0)
      expect(output).toMatch(/\n\d\d+ passed, 0 failed\n$/)
    })

    test('npm run demo shows a pull', async () => {
      const { code, stdout, output } = await run('npm run --silent demo -- --real --json --image-mib 24')
      expect(code, output).toBe(0)
      expect(JSON.parse(stdout)).toMatchObject({ ok: true })
    })

    test('npm run demo shows the same to a user without root, with stand-ins, and says what installs the real parts', async () => {
      const demo = 'HOME=/tmp npm run --silent demo -- --json --image-mib 8'
      const { code, stdout, output } = await run(`su nobody -s /bin/sh -c '${demo}'`)
      expect(code, output).toBe(0)
      const { ok, parts } = JSON.parse(stdout)
      expect(ok).toBe(true)
      expect(parts).toContainEqual(expect.objectContaining({ part: 'registry', isStandIn: true }))
      expect(output).toContain('Run it as root: sudo npm run demo')
    })

    test('a demo that is told to stop, by way of the launcher, stops in order', async () => {
      const { code, output } = await run(STOP_DEMO)
      expect(output).toContain('stopping; once more to stop at once')
      expect(code, output).toBe(143)
    })

    test('npm run peers installs the independent peers, and npm’s tracker client works', async () => {
      const { code, output } = await run(
        'npm run peers && CI=true npm test -- test/interop/tracker-client.system.test.ts',
      )
      expect(code, output).toBe(0)
      expect(output).toMatch(/\n4 passed, 0 failed\n$/)
    })
  },
)
