import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { boot, type Guest } from '../../lab/guests/guest.ts'
import { makeTree } from '../../lab/guests/guest-tree.ts'
import { differenceOf, pictureOf } from '../../lab/guests/picture.ts'
import { shoalPackage } from '../../lab/guests/shoal-package.ts'
import { DEB } from '../../lab/guests/site.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'
import { type LabRun, openRun } from '../../lab/machine/run.ts'
import manifest from '../../package.json' with { type: 'json' }

/** The whole package on a whole machine: installed, used, broken, upgraded, removed without a trace. */

const STORY_MS_MAX = 10 * 60_000
/** What the relay and the node answer to CONNECT for a target that they refuse, and the mirror of a node that is down. */
const ANSWERS = `curl -s -o /dev/null -w '%{http_connect}' -x http://127.0.0.1:7070 https://127.0.0.1:1/ | grep -E '^(403|502)'`
const MIRROR_IS_DOWN = `curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:577/v2/ | grep 503`
const SERVES = `shoal guard status | grep '"node":"serving"'`
const DOCKER_UNIT = '[Service]\nExecStart=/usr/bin/sleep infinity\n'

describe.skipIf(mustSkipFor(['root', 'systemd-nspawn', 'debootstrap']))('on a whole machine', () => {
  let run: LabRun
  let root: string
  let guest: Guest
  let before: string[]
  beforeAll(async () => {
    const deb = await shoalPackage()
    run = await openRun()
    root = join(run.dir, 'root')
    await makeTree(root)
    writeFileSync(join(root, 'etc/systemd/system/docker.service'), DOCKER_UNIT)
    writeFileSync(join(root, 'etc/hosts'), '127.0.0.1 localhost\n')
    copyFileSync(deb, join(root, DEB))
    const start = () => boot({ name: 'machine', root, processes: run.processes })
    await (await start()).powerOff()
    before = pictureOf(root)
    guest = await start()
  }, STORY_MS_MAX)
  afterAll(async () => {
    await guest?.powerOff()
    await run?.close()
  }, STORY_MS_MAX)

  it(
    'it neither takes nor removes a user of its name that somebody else made',
    async () => {
      const files = '/etc/passwd* /etc/shadow* /etc/group* /etc/gshadow* /etc/subuid* /etc/subgid*'
      await guest.run(`mkdir -m 700 /run/kept && cp -p ${files} /run/kept`)
      await guest.run(
        `useradd --no-create-home shoal && ! dpkg --install ${DEB} && dpkg --purge shoal && id shoal`,
      )
      await guest.run('userdel shoal && rm /etc/*-')
      await guest.run(`dpkg --install ${DEB} && useradd --no-create-home other && dpkg --purge shoal`)
      expect(await guest.run("grep -l '^shoal:' /etc/*- /etc/passwd /etc/group || true")).toBe('')
      await guest.run(`rm ${files} && cp -p /run/kept/* /etc`)
    },
    STORY_MS_MAX,
  )

  it(
    'it is installed, and its guard answers before anything is configured',
    async () => {
      await guest.run(`dpkg --install ${DEB}`)
      expect(await guest.run('shoal --version')).toBe(`shoal ${manifest.version}\n`)
      expect(await guest.run('systemctl is-active shoal-guard shoal-proxy.socket shoal-mirror.socket')).toBe(
        'active\nactive\nactive\n',
      )
      await guest.until(ANSWERS)
      await guest.until(MIRROR_IS_DOWN)
    },
    STORY_MS_MAX,
  )

  it('its units are what systemd expects', async () => {
    const units = await guest.run('dpkg --listfiles shoal | grep /systemd/system/shoal')
    expect(await guest.run(`systemd-analyze verify ${units.trim().replaceAll('\n', ' ')} 2>&1`)).toBe('')
  })

  it(
    'a tracker and a node start from files in /etc/shoal, and the node joins with the secret that root reads for it',
    async () => {
      await guest.run(
        'mkdir -p /etc/shoal && cd /etc/shoal && shoal certs authority && shoal certs tracker-tls --name localhost',
      )
      await guest.run(
        'cd /etc/shoal && shoal certs unlock-key --out unlock-key && mv tracker.key tracker-tls.key && ls',
      )
      const tracker = { tlsCertFile: '/etc/shoal/tracker.crt', tlsKeyFile: '/etc/shoal/tracker-tls.key' }
      writeFileSync(join(root, 'etc/shoal/tracker.json'), JSON.stringify(tracker))
      await guest.run(
        'chmod 644 /etc/shoal/tracker.crt /etc/shoal/authority.crt && systemctl start shoal-tracker',
      )
      await guest.until(
        'shoal admin cluster create lab --data-dir /var/lib/shoal-tracker --out /etc/shoal/join-token',
      )
      const node = { trackerUrl: 'https://localhost:7443', trackerCaFile: '/etc/shoal/authority.crt' }
      writeFileSync(join(root, 'etc/shoal/node.json'), JSON.stringify(node))
      await guest.run('systemctl restart shoal-guard && systemctl start shoal')
      await guest.until(SERVES)
      await guest.until(`curl -s http://127.0.0.1:7072/metrics | grep 'shoal_node_joined 1'`)
    },
    STORY_MS_MAX,
  )

  it('the node has no right that it does not need, and keeps its compiled code', async () => {
    const status = await guest.run(
      `pid=$(shoal guard status | sed 's/.*"nodePid":\\([0-9]*\\).*/\\1/'); cat /proc/$pid/status; cat /proc/$pid/limits`,
    )
    expect(status).toMatch(/^Uid:\t(?!0\t)/m)
    expect(status).toMatch(/^CapEff:\t0{16}$/m)
    expect(status).toMatch(/^NoNewPrivs:\t1$/m)
    expect(status).toMatch(/^Max core file size +0 +0 /m)
    expect(await guest.run('ls /var/cache/shoal')).not.toBe('')
  })

  it(
    'somebody answers while the node is killed, stopped and broken',
    async () => {
      await guest.run(`kill -9 $(shoal guard status | sed 's/.*"nodePid":\\([0-9]*\\).*/\\1/')`)
      await guest.until(ANSWERS)
      await guest.until(SERVES)
      await guest.run('systemctl stop shoal')
      await guest.run(ANSWERS)
      await guest.run(MIRROR_IS_DOWN)
      await guest.run(`systemctl kill --signal=KILL shoal-guard`)
      await guest.until(ANSWERS)
      await guest.run('systemctl start shoal')
      await guest.until(SERVES)
    },
    STORY_MS_MAX,
  )

  it(
    'an upgrade replaces the node behind the same guard',
    async () => {
      const guard = await guest.run('systemctl show --property=MainPID --value shoal-guard')
      const node = await guest.run('shoal guard status')
      await guest.run(`dpkg --install ${DEB}`)
      await guest.until(SERVES)
      expect(await guest.run('systemctl show --property=MainPID --value shoal-guard')).toBe(guard)
      expect(await guest.run('shoal guard status')).not.toBe(node)
    },
    STORY_MS_MAX,
  )

  it(
    'after removal the relay answers until the daemon that was attached is restarted',
    async () => {
      await guest.run('systemctl daemon-reload && systemctl start docker')
      await guest.run('shoal attach docker --registry registry.example.com --yes --root /proc/1/root')
      expect(await guest.run('shoal attach --list')).toContain('docker  by proxy')
      await guest.run('dpkg --remove shoal')
      expect(existsSync(join(root, 'usr/lib/shoal'))).toBe(false)
      expect(existsSync(join(root, 'etc/systemd/system/docker.service.d'))).toBe(false)
      await guest.until(ANSWERS)
      await guest.run('systemctl daemon-reload && systemctl restart docker')
      await guest.until(
        `! ${ANSWERS} && ! test -e /run/shoal-relay && ! systemctl is-active shoal-proxy.socket`,
      )
    },
    STORY_MS_MAX,
  )

  it(
    'after it was purged, every file is as before it came',
    async () => {
      await guest.run(`systemctl stop docker && dpkg --purge shoal`)
      await guest.powerOff()
      expect(before.length).toBeGreaterThan(5000)
      expect(differenceOf(before, pictureOf(root))).toEqual({ added: [], gone: [] })
      expect(readFileSync(join(root, 'etc/passwd'), 'utf8')).not.toContain('shoal')
    },
    STORY_MS_MAX,
  )
})
