import { chmodSync, linkSync, symlinkSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { RuntimeName } from '../../../cli/attach/journal.ts'
import {
  AUTHORITY,
  DOCKER_28,
  DOCKER_UNIT,
  MachineTree,
  ODD_JSON,
  SITE_HOSTS,
  setAttribute,
  type TreeOptions,
} from './machine-tree.ts'

/** Attach, then detach, on the configurations that people start from: all is as before, or untouched with one clear line. */

const CONTAINERD_1 = { 'containerd --version': 'containerd containerd.io 1.7.24 abcdef' }
const CONTAINERD_2 = { 'containerd --version': 'containerd github.com/containerd/containerd v2.1.9 abcdef' }
const PODMAN = { 'podman --version': 'podman version 5.4.2' }

interface Case extends TreeOptions {
  via?: 'proxy' | 'mirror'
  name: string
  runtime: RuntimeName
  /** What the attachment left in one file. */
  leaves: [path: string, text: RegExp]
}

const ATTACHED: Case[] = [
  {
    name: 'Docker with no configuration',
    runtime: 'docker',
    files: DOCKER_UNIT,
    answers: DOCKER_28,
    leaves: ['/etc/systemd/system/docker.service.d/zz-shoal.conf', /HTTPS_PROXY=http:\/\/127\.0\.0\.1:7070/],
  },
  {
    name: 'Docker without systemd',
    runtime: 'docker',
    answers: DOCKER_28,
    leaves: ['/etc/docker/daemon.json', /"https-proxy": "http:\/\/127\.0\.0\.1:7070"/],
  },
  {
    name: 'Docker with a proxy in a drop-in',
    runtime: 'docker',
    files: {
      ...DOCKER_UNIT,
      '/etc/systemd/system/docker.service.d/http-proxy.conf':
        '[Service]\nEnvironment="HTTPS_PROXY=http://corp:3128" "NO_PROXY=.corp.example"\n',
    },
    answers: DOCKER_28,
    leaves: ['/var/lib/shoal-attach/upstream-proxy', /^http:\/\/corp:3128\n$/],
  },
  {
    name: 'Docker with a proxy in an environment file',
    runtime: 'docker',
    files: {
      '/etc/systemd/system/docker.service':
        '[Service]\nEnvironmentFile=-/etc/default/docker\nExecStart=/usr/sbin/dockerd\n',
      '/etc/default/docker': 'HTTPS_PROXY="http://corp:3128"\nDOCKER_OPTS=\n',
    },
    answers: DOCKER_28,
    leaves: [
      '/etc/systemd/system/docker.service.d/zz-shoal.env',
      /^HTTPS_PROXY="http:\/\/127\.0\.0\.1:7070"$/m,
    ],
  },
  {
    name: 'Docker with a proxy in daemon.json, with comments and odd formatting',
    runtime: 'docker',
    files: {
      ...DOCKER_UNIT,
      '/etc/docker/daemon.json': ODD_JSON.replace(/ }$/, ',"proxies":{ "https-proxy":"http://corp:3128" } }'),
    },
    answers: DOCKER_28,
    leaves: [
      '/etc/docker/daemon.json',
      /\/\/ why\n\t"labels" : \[ "a=1"\n,"b=2"\],[\s\S]*"https-proxy":"http:\/\/127/,
    ],
  },
  {
    name: 'containerd 2.1 with no configuration',
    runtime: 'containerd',
    answers: CONTAINERD_2,
    leaves: [
      '/etc/containerd/certs.d/registry.example.com/hosts.toml',
      /^\[host\."http:\/\/127\.0\.0\.1:577"\]$/m,
    ],
  },
  {
    name: 'containerd 2.1 with a list in config_path, which it ignores',
    runtime: 'containerd',
    files: {
      '/etc/containerd/config.toml':
        'version = 3\n[plugins]\n[plugins."io.containerd.cri.v1.images".registry]  # ours\n   config_path = "/etc/containerd/certs.d:/etc/docker/certs.d"\n',
    },
    answers: CONTAINERD_2,
    leaves: ['/etc/containerd/config.toml', /^ {3}config_path = "\/etc\/containerd\/certs\.d"$/m],
  },
  {
    name: 'containerd 1.7 with a configuration and existing mirrors',
    runtime: 'containerd',
    files: {
      '/etc/containerd/config.toml':
        'version = 2\n\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/srv/certs.d"\n',
      '/srv/certs.d/registry.example.com/hosts.toml': SITE_HOSTS,
    },
    answers: CONTAINERD_1,
    leaves: [
      '/srv/certs.d/registry.example.com/hosts.toml',
      /127\.0\.0\.1:577[\s\S]*cache\.example\.com"\] {3}# first\n/,
    ],
  },
  {
    name: 'Podman by mirror, with existing mirrors',
    runtime: 'podman',
    via: 'mirror',
    files: {
      '/etc/containers/registries.conf':
        '[[registry]]\nprefix = "registry.example.com"\nlocation = "registry.example.com"\n[[registry.mirror]]\nlocation = "cache.example.com"\n',
    },
    answers: PODMAN,
    leaves: [
      '/etc/containers/registries.conf.d/zz-shoal-podman.conf',
      /127\.0\.0\.1:578[\s\S]*cache\.example\.com/,
    ],
  },
  {
    name: 'Podman by proxy, with an environment of its own',
    runtime: 'podman',
    files: {
      '/etc/containers/containers.conf':
        '[engine]\nenv = ["TMPDIR=/srv/tmp", "HTTPS_PROXY=http://corp:3128"] # site\n',
    },
    answers: PODMAN,
    leaves: [
      '/etc/containers/containers.conf.d/zz-shoal.conf',
      /TMPDIR=\/srv\/tmp", "HTTPS_PROXY=http:\/\/127[\s\S]*http_proxy = false/,
    ],
  },
  {
    name: 'CRI-O',
    runtime: 'cri-o',
    answers: { 'crio --version': 'crio version 1.34.1' },
    leaves: ['/etc/containers/registries.conf.d/zz-shoal-cri-o.conf', /^insecure = true$/m],
  },
  {
    name: 'BuildKit with a configuration',
    runtime: 'buildkit',
    files: {
      '/etc/buildkit/buildkitd.toml':
        'debug = true\n[registry."registry.example.com"]\n  mirrors = ["cache.example.com"]\n',
    },
    answers: {},
    leaves: ['/etc/buildkit/buildkitd.toml', /mirrors = \["127\.0\.0\.1:577","cache\.example\.com"\]/],
  },
]

describe('attach, then detach', () => {
  it.each(ATTACHED)('$name: bytes, mode, owner, attributes and links are those of before', async (one) => {
    using tree = new MachineTree(one.files)
    for (const path of Object.keys(one.files ?? {})) {
      chmodSync(tree.real(path), 0o640)
      setAttribute(tree.real(path), 'user.site', 'kept')
    }
    const before = tree.picture()
    await tree.attach(one.runtime, one)
    expect(tree.read(one.leaves[0])).toMatch(one.leaves[1])
    const attached = tree.picture()
    expect(await tree.attach(one.runtime, one)).toContain('nothing to do')
    expect(tree.picture()).toEqual(attached)
    await tree.detach(one.runtime, one)
    expect(tree.picture()).toEqual(before)
    expect(await tree.detach(one.runtime, one)).toContain('nothing to do')
  })

  it('keeps mode and attributes of a file while it is attached, and a second name after it', async () => {
    using tree = new MachineTree({ '/etc/docker/daemon.json': '{}\n' })
    const path = tree.real('/etc/docker/daemon.json')
    chmodSync(path, 0o600)
    linkSync(path, tree.real('/etc/docker/second'))
    setAttribute(path, 'user.site', 'kept')
    const before = tree.picture() as Record<string, Record<string, unknown>>
    await tree.attach('docker', { answers: DOCKER_28 })
    const attached = tree.picture()['etc/docker/daemon.json'] as Record<string, unknown>
    const { mode, attributes } = before['etc/docker/daemon.json']!
    expect(attached).toMatchObject({ mode, attributes })
    await tree.detach('docker')
    expect(tree.picture()).toEqual(before)
  })

  it('of two runtimes at once, in either order, with a file that both use', async () => {
    for (const [first, second] of [
      ['docker', 'podman'],
      ['podman', 'docker'],
    ] as const) {
      using tree = new MachineTree(DOCKER_UNIT)
      const before = tree.picture()
      const answers = { ...DOCKER_28, ...PODMAN }
      await tree.attach('docker', { answers })
      await tree.attach('podman', { answers, via: 'proxy' })
      await tree.detach(first)
      expect(tree.picture()['etc/docker/certs.d/registry.example.com/shoal.crt']).toMatchObject({
        link: AUTHORITY,
      })
      await tree.detach(second)
      expect(tree.picture()).toEqual(before)
    }
  })
})

interface Refused extends TreeOptions {
  name: string
  runtime: RuntimeName
  code: string
  message: RegExp
  links?: [from: string, to: string]
}

const REFUSED: Refused[] = [
  {
    name: 'a malformed daemon.json',
    runtime: 'docker',
    files: { '/etc/docker/daemon.json': '{\n  "a": 1\n  "b": 2,,\n}\n' },
    answers: DOCKER_28,
    code: 'ATTACH_FILE',
    message: /daemon\.json is malformed in line 3/,
  },
  {
    name: 'a malformed config.toml',
    runtime: 'containerd',
    files: { '/etc/containerd/config.toml': 'version = 3\n[plugins\n' },
    answers: CONTAINERD_2,
    code: 'ATTACH_FILE',
    message: /config\.toml is malformed in line 2/,
  },
  {
    name: 'a link instead of a file',
    runtime: 'docker',
    files: { '/srv/daemon.json': '{}' },
    links: ['/etc/docker/daemon.json', '/srv/daemon.json'],
    answers: DOCKER_28,
    code: 'ATTACH_FILE',
    message: /daemon\.json is a link/,
  },
  {
    name: 'a folder that is a link',
    runtime: 'docker',
    files: { '/srv/docker/daemon.json': '{}' },
    links: ['/etc/docker', '/srv/docker'],
    answers: DOCKER_28,
    code: 'ATTACH_FILE',
    message: /\/etc\/docker is a link/,
  },
  {
    name: 'a caller who is not root',
    runtime: 'docker',
    isRoot: false,
    answers: DOCKER_28,
    code: 'ATTACH_NOT_ROOT',
    message: /only root/,
  },
  {
    name: 'rootless Docker',
    runtime: 'docker',
    files: { '/run/user/1000/docker.sock': '' },
    answers: DOCKER_28,
    code: 'ATTACH_UNSUPPORTED',
    message: /rootless Docker/,
  },
  {
    name: 'a machine without the runtime',
    runtime: 'docker',
    code: 'ATTACH_UNSUPPORTED',
    message: /no Docker on this machine/,
  },
  {
    name: 'Docker 20 without systemd',
    runtime: 'docker',
    answers: { 'dockerd --version': 'Docker version 20.10.24+dfsg1, build 5d6db84' },
    code: 'ATTACH_UNSUPPORTED',
    message: /from systemd only/,
  },
  {
    name: 'a proxy among the flags of dockerd',
    runtime: 'docker',
    files: {
      '/etc/systemd/system/docker.service':
        '[Service]\nExecStart=/usr/sbin/dockerd --https-proxy http://corp:3128\n',
    },
    answers: DOCKER_28,
    code: 'ATTACH_FILE',
    message: /--https-proxy/,
  },
  {
    name: 'certificates that a hosts.toml hides',
    runtime: 'docker',
    files: { '/etc/docker/certs.d/registry.example.com/hosts.toml': '' },
    answers: DOCKER_28,
    code: 'ATTACH_FILE',
    message: /has a hosts\.toml/,
  },
  {
    name: "an operator's _default",
    runtime: 'containerd',
    files: { '/etc/containerd/certs.d/_default/hosts.toml': '' },
    answers: CONTAINERD_2,
    code: 'ATTACH_FILE',
    message: /would hide .*_default/,
  },
  {
    name: 'mirrors in config.toml, which exclude config_path',
    runtime: 'containerd',
    files: {
      '/etc/containerd/config.toml':
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\nendpoint = ["https://m"]\n',
    },
    answers: CONTAINERD_1,
    code: 'ATTACH_FILE',
    message: /registry\.mirrors/,
  },
  {
    name: 'a registry that does not answer through the proxy',
    runtime: 'docker',
    files: { ...DOCKER_UNIT, '/etc/docker/daemon.json': '{}' },
    answers: DOCKER_28,
    check: async () => ({ failure: 'it answered 503', isShared: false, isWithoutLogin: false }),
    code: 'ATTACH_CHECK',
    message: /it answered 503/,
  },
  {
    name: 'a file that dockerd itself refuses',
    runtime: 'docker',
    files: { '/etc/docker/daemon.json': '{"labels": 1}' },
    answers: DOCKER_28,
    refusal: 'cannot unmarshal number',
    code: 'ATTACH_FILE',
    message: /dockerd refuses .*cannot unmarshal number/,
  },
  {
    name: 'nobody to be asked',
    runtime: 'docker',
    answers: DOCKER_28,
    code: 'ATTACH_DECLINED',
    message: /nobody/,
  },
]

describe('attach leaves all as it was, with one clear line, for', () => {
  it.each(REFUSED)('$name', async ({ links, name, ...one }) => {
    using tree = new MachineTree(one.files)
    if (links !== undefined) {
      tree.write({ [`${links[0]}.beside`]: '' })
      symlinkSync(tree.real(links[1]), tree.real(links[0]))
    }
    const before = tree.picture()
    const isYes = name !== 'nobody to be asked'
    const error = await tree.attach(one.runtime, { ...one, isYes }).catch((caught: unknown) => caught)
    expect(error).toMatchObject({
      code: one.code,
      message: expect.stringMatching(one.message),
      hint: expect.any(String),
    })
    expect((error as Error).message).not.toContain('\n')
    expect(tree.picture()).toEqual(before)
  })
})
