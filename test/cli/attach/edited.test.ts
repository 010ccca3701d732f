import { describe, expect, it } from 'vitest'
import { detachAll } from '../../../cli/attach/attach.ts'
import { mergeTexts, unifiedDiff } from '../../../cli/attach/unified-diff.ts'
import { DOCKER_28, DOCKER_UNIT, MachineTree } from './machine-tree.ts'

const CONFIG = '/etc/docker/daemon.json'
const DROP_IN = '/etc/systemd/system/docker.service.d/zz-shoal.conf'

describe('a file that somebody edited while it was attached', () => {
  it('keeps that edit at detach, and loses our part', async () => {
    using tree = new MachineTree({ [CONFIG]: '{\n  "debug": true\n}\n' })
    await tree.attach('docker', { answers: DOCKER_28 })
    tree.write({
      [CONFIG]: tree.read(CONFIG).replace('"debug": true', '"debug": false,\n  "log-level": "warn"'),
    })
    await tree.detach('docker')
    expect(tree.read(CONFIG)).toBe('{\n  "debug": false,\n  "log-level": "warn"\n}\n')
    expect(Object.keys(tree.picture()).filter((path) => path.includes('shoal-'))).toEqual([])
  })

  it('is left alone, and shown, where the edit is of our own part', async () => {
    using tree = new MachineTree(DOCKER_UNIT)
    await tree.attach('docker', { answers: DOCKER_28 })
    tree.write({ [DROP_IN]: `${tree.read(DROP_IN)}LimitNOFILE=99\n` })
    const before = tree.picture()
    await expect(tree.detach('docker')).rejects.toMatchObject({
      code: 'ATTACH_EDITED',
      message: expect.stringMatching(/somebody edited .*zz-shoal\.conf/),
    })
    expect(tree.printed.at(-1)).toMatch(/zz-shoal\.conf[\s\S]*\n\+LimitNOFILE=99/)
    const { 'var/lib/shoal-attach/journal.json': _, ...others } = tree.picture()
    const { 'var/lib/shoal-attach/journal.json': __, ...othersBefore } = before
    expect(others).toEqual(othersBefore)
    tree.write({ [DROP_IN]: tree.read(DROP_IN).replace('LimitNOFILE=99\n', '') })
    await tree.detach('docker')
    expect(tree.picture()[DROP_IN.slice(1)]).toBeUndefined()
  })

  it('of TOML keeps the edit too', async () => {
    const path = '/etc/containerd/config.toml'
    using tree = new MachineTree({ [path]: 'version = 3\nroot = "/srv"\n\n[grpc]\n  gid = 1\n' })
    const answers = { 'containerd --version': 'containerd x v2.1.9 y' }
    await tree.attach('containerd', { answers })
    tree.write({ [path]: tree.read(path).replace('/srv', '/data') })
    await tree.detach('containerd')
    expect(tree.read(path)).toBe('version = 3\nroot = "/data"\n\n[grpc]\n  gid = 1\n')
  })
})

describe('detach --all', () => {
  it('takes back every runtime, and says so when there is none', async () => {
    using tree = new MachineTree({ ...DOCKER_UNIT, '/etc/containerd/config.toml': 'version = 3\n' })
    const before = tree.picture()
    await tree.attach('docker', { answers: DOCKER_28 })
    await tree.attach('containerd', { answers: { 'containerd --version': 'containerd x v2.1.9 y' } })
    const options = { isYes: true, isDryRun: false }
    expect(await detachAll(tree.machine(), options)).toMatch(
      /docker is detached[\s\S]*containerd is detached/,
    )
    expect(tree.picture()).toEqual(before)
    expect(await detachAll(tree.machine(), options)).toBe('Nothing is attached: nothing to do.\n')
  })
})

describe('NO_PROXY', () => {
  it('is said to hide a registry, and gains what the proxy does not tunnel to', async () => {
    const drop = '/etc/systemd/system/docker.service.d/http-proxy.conf'
    using tree = new MachineTree({
      ...DOCKER_UNIT,
      [drop]: '[Service]\nEnvironment="HTTPS_PROXY=http://u:secret@corp:3128" "NO_PROXY=.example.com"\n',
    })
    await tree.attach('docker', { answers: DOCKER_28 })
    expect(tree.printed.join()).toMatch(/NO_PROXY hides registry\.example\.com/)
    expect(tree.printed.join()).not.toContain('secret')
    expect(tree.read(DROP_IN)).toContain(
      'NO_PROXY=.example.com,localhost,127.0.0.0/8,::1,169.254.0.0/16,host-a"',
    )
    const consent = JSON.parse(tree.read('/var/lib/shoal-attach/consent.json'))
    expect(consent).toEqual({ registries: ['registry.example.com'], noProxy: '.example.com' })
  })
})

describe('a restart of Docker', () => {
  const info = (facts: object) =>
    JSON.stringify({ LiveRestoreEnabled: false, Swarm: { LocalNodeState: 'inactive' }, ...facts })

  it('names the containers that would stop, and live-restore when the person wants it', async () => {
    using tree = new MachineTree(DOCKER_UNIT)
    const answers = { ...DOCKER_28, 'docker info --format {{json .}}': info({}), 'docker ps': 'web\ndb\n' }
    const asked: string[] = []
    const ask = async (question: string) => asked.push(question) > 0
    const text = await tree.attach('docker', { answers, isYes: false, ask })
    expect(tree.printed[0]).toContain('stops 2 running containers: web, db')
    expect(asked[0]).toContain('live-restore')
    expect(JSON.parse(tree.read(CONFIG))).toEqual({ 'live-restore': true })
    expect(text.indexOf('systemctl reload docker')).toBeLessThan(text.indexOf('systemctl restart docker'))
  })

  it('of a member of a Swarm is drained first', async () => {
    using tree = new MachineTree(DOCKER_UNIT)
    const swarm = {
      Name: 'host-a',
      Swarm: {
        LocalNodeState: 'active',
        ControlAvailable: true,
        RemoteManagers: [{ Addr: '10.1.2.3:2377' }],
      },
    }
    const answers = { ...DOCKER_28, 'docker info --format {{json .}}': info(swarm), 'docker ps': 'web.1\n' }
    const text = await tree.attach('docker', { answers })
    expect(tree.printed[0]).toContain('moves its tasks')
    expect(text).toMatch(/availability drain host-a\n.*restart docker\n.*availability active host-a/)
    expect(tree.read(DROP_IN)).toContain(',10.1.2.3"')
  })
})

describe('differences', () => {
  it('are those of diff -u', () => {
    expect(unifiedDiff('/x', 'a\nb\nc\n', 'a\nB\nc\nd')).toBe(
      '--- /x\n+++ /x\n@@ -1,3 +1,4 @@\n a\n-b\n+B\n c\n+d\n\\ No newline at end of file\n',
    )
    expect(unifiedDiff('/x', undefined, 'a\n')).toBe('--- /dev/null\n+++ /x\n@@ -0,0 +1 @@\n+a\n')
  })

  it('merge where they do not meet, and twice as well as once', () => {
    const [base, ours] = ['a\nb\nc\nd\n', 'a\nOURS\nb\nc\nd\n']
    expect(mergeTexts({ ours, base, theirs: 'a\nOURS\nb\nc\nD\n' })).toBe('a\nb\nc\nD\n')
    expect(mergeTexts({ ours, base, theirs: base })).toBe(base)
    expect(mergeTexts({ ours, base, theirs: 'a\nOURS, edited\nb\nc\nd\n' })).toBeUndefined()
  })
})
