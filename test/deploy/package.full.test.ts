import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import manifest from '../../package.json' with { type: 'json' }
import { debianMirror } from '../fresh-debian.ts'
import { ARCHITECTURE, buildPackages } from './built-package.ts'
import { boot, type Guest, makeTree, pictureOf, removeTree } from './guest.ts'

/** The whole package on a whole machine: installed, used, broken, upgraded, removed without a trace. */

const DEB = `shoal_${manifest.version}_${ARCHITECTURE}.deb`
const STORY_MS_MAX = 10 * 60_000
/** What the relay and the node answer to CONNECT for a target that they refuse, and the mirror of a node that is down. */
const ANSWERS = `curl -s -o /dev/null -w '%{http_connect}' -x http://127.0.0.1:7070 https://127.0.0.1:1/ | grep -E '^(403|502)'`
const MIRROR_IS_DOWN = `curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:577/v2/ | grep 503`
const SERVES = `shoal guard status | grep '"node":"serving"'`
const DOCKER_UNIT = '[Service]\nExecStart=/usr/bin/sleep infinity\n'

describe.skipIf(mustSkipFor(['root', 'systemd-nspawn', 'debootstrap']))('on a whole machine', () => {
  let folder: string
  let root: string
  let guest: Guest
  let before: string[]
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'shoal-package-'))
    const flags = ['--arch', ARCHITECTURE, '--no-image']
    const places = { checkout: join(folder, 'checkout'), out: join(folder, 'out') }
    await buildPackages({ ...places, umask: '022', timeZone: 'UTC', flags })
    root = makeTree(debianMirror())
    writeFileSync(join(root, 'etc/systemd/system/docker.service'), DOCKER_UNIT)
    writeFileSync(join(root, 'etc/hosts'), '127.0.0.1 localhost\n')
    await (await boot(root)).powerOff()
    before = pictureOf(root)
    guest = await boot(root)
    copyFileSync(join(folder, 'out', DEB), join(root, 'var/tmp', DEB))
  }, STORY_MS_MAX)
  afterAll(async () => {
    await guest?.powerOff()
    removeTree(root)
    rmSync(folder, { recursive: true, force: true })
  }, STORY_MS_MAX)

  it(
    'it is installed, and its guard answers before anything is configured',
    async () => {
      guest.run(`dpkg --install /var/tmp/${DEB}`)
      expect(guest.run('shoal --version')).toBe(`shoal ${manifest.version}\n`)
      expect(guest.run('systemctl is-active shoal-guard shoal-proxy.socket shoal-mirror.socket')).toBe(
        'active\nactive\nactive\n',
      )
      await guest.until(ANSWERS)
      await guest.until(MIRROR_IS_DOWN)
    },
    STORY_MS_MAX,
  )

  it('its units are what systemd expects', () => {
    const units = guest.run('dpkg --listfiles shoal | grep /systemd/system/shoal')
    expect(guest.run(`systemd-analyze verify ${units.trim().replaceAll('\n', ' ')} 2>&1`)).toBe('')
  })

  it(
    'a tracker and a node start from files in /etc/shoal, and the node joins with the secret that root reads for it',
    async () => {
      guest.run(
        'mkdir -p /etc/shoal && cd /etc/shoal && shoal certs authority && shoal certs tracker-tls --name localhost',
      )
      guest.run(
        'cd /etc/shoal && shoal certs unlock-key --out unlock-key && mv tracker.key tracker-tls.key && ls',
      )
      const tracker = { tlsCertFile: '/etc/shoal/tracker.crt', tlsKeyFile: '/etc/shoal/tracker-tls.key' }
      writeFileSync(join(root, 'etc/shoal/tracker.json'), JSON.stringify(tracker))
      guest.run('chmod 644 /etc/shoal/tracker.crt /etc/shoal/authority.crt && systemctl start shoal-tracker')
      await guest.until(
        'shoal admin cluster create lab --data-dir /var/lib/shoal-tracker --out /etc/shoal/join-token',
      )
      const node = { trackerUrl: 'https://localhost:7443', trackerCaFile: '/etc/shoal/authority.crt' }
      writeFileSync(join(root, 'etc/shoal/node.json'), JSON.stringify(node))
      guest.run('systemctl restart shoal-guard && systemctl start shoal')
      await guest.until(SERVES)
      await guest.until(`curl -s http://127.0.0.1:7072/metrics | grep 'shoal_node_joined 1'`)
    },
    STORY_MS_MAX,
  )

  it('the node has no right that it does not need, and keeps its compiled code', () => {
    const status = guest.run(
      `pid=$(shoal guard status | sed 's/.*"nodePid":\\([0-9]*\\).*/\\1/'); cat /proc/$pid/status; cat /proc/$pid/limits`,
    )
    expect(status).toMatch(/^Uid:\t(?!0\t)/m)
    expect(status).toMatch(/^CapEff:\t0{16}$/m)
    expect(status).toMatch(/^NoNewPrivs:\t1$/m)
    expect(status).toMatch(/^Max core file size +0 +0 /m)
    expect(guest.run('ls /var/cache/private/shoal')).not.toBe('')
  })

  it(
    'somebody answers while the node is killed, stopped and broken',
    async () => {
      guest.run(`kill -9 $(shoal guard status | sed 's/.*"nodePid":\\([0-9]*\\).*/\\1/')`)
      await guest.until(ANSWERS)
      await guest.until(SERVES)
      guest.run('systemctl stop shoal')
      guest.run(ANSWERS)
      guest.run(MIRROR_IS_DOWN)
      guest.run(`systemctl kill --signal=KILL shoal-guard`)
      await guest.until(ANSWERS)
      guest.run('systemctl start shoal')
      await guest.until(SERVES)
    },
    STORY_MS_MAX,
  )

  it(
    'an upgrade replaces the node behind the same guard',
    async () => {
      const guard = guest.run('systemctl show --property=MainPID --value shoal-guard')
      const node = guest.run('shoal guard status')
      guest.run(`dpkg --install /var/tmp/${DEB}`)
      await guest.until(SERVES)
      expect(guest.run('systemctl show --property=MainPID --value shoal-guard')).toBe(guard)
      expect(guest.run('shoal guard status')).not.toBe(node)
    },
    STORY_MS_MAX,
  )

  it(
    'after removal the relay answers until the daemon that was attached is restarted',
    async () => {
      guest.run('systemctl daemon-reload && systemctl start docker')
      guest.run('shoal attach docker --registry registry.example.com --yes --root /proc/1/root')
      expect(guest.run('shoal attach --list')).toContain('docker  by proxy')
      guest.run('dpkg --remove shoal')
      expect(existsSync(join(root, 'usr/lib/shoal'))).toBe(false)
      expect(existsSync(join(root, 'etc/systemd/system/docker.service.d'))).toBe(false)
      await guest.until(ANSWERS)
      guest.run('systemctl daemon-reload && systemctl restart docker')
      await guest.until(
        `! ${ANSWERS} && ! test -e /run/shoal-relay && ! systemctl is-active shoal-proxy.socket`,
      )
    },
    STORY_MS_MAX,
  )

  it(
    'after it was purged, every file is as before it came',
    async () => {
      guest.run(`systemctl stop docker && dpkg --purge shoal && rm /var/tmp/${DEB}`)
      await guest.powerOff()
      const after = pictureOf(root)
      expect(after.length).toBeGreaterThan(5000)
      expect(after.filter((line) => !before.includes(line))).toEqual([])
      expect(before.filter((line) => !after.includes(line))).toEqual([])
      expect(readFileSync(join(root, 'etc/passwd'), 'utf8')).not.toContain('shoal')
    },
    STORY_MS_MAX,
  )
})
