import { expect, test } from 'vitest'
import { parseRegistryHost } from '../../core/repository.ts'
import { trustRemedy } from '../../proxy/intercept/trust-remedy.ts'

const registry = parseRegistryHost('registry.example:5000')
const FOLDER = '/etc/docker/certs.d/registry.example:5000'
const places = { dockerCertsDir: '/etc/docker/certs.d', authorityFile: '/var/lib/shoal/proxy-ca.crt' }
/** @param there files that exist */
const remedyOf = (executable: string | undefined, there: string[] = [], changes: object = {}) =>
  trustRemedy(executable === undefined ? {} : { executable }, {
    registry,
    places: { ...places, ...changes },
    exists: (path) => there.includes(path),
  })

test.each([
  ['/usr/bin/containerd', 'ca = ["/var/lib/shoal/proxy-ca.crt"]'],
  ['/usr/bin/containerd', '/etc/containerd/certs.d/registry.example:5000/hosts.toml'],
  ['/usr/local/bin/k3s', 'hosts.toml'],
  ['/usr/bin/skopeo', '/etc/containers/certs.d/registry.example:5000/shoal.crt'],
  ['/usr/bin/podman', '/etc/containers/certs.d/registry.example:5000/shoal.crt'],
  ['/usr/bin/curl', 'curl --cacert /var/lib/shoal/proxy-ca.crt'],
  ['/usr/libexec/docker/cli-plugins/docker-buildx', 'SSL_CERT_FILE'],
  [undefined, 'SSL_CERT_FILE'],
])('%s is told its own way: %s', (executable, line) => {
  expect(remedyOf(executable)).toContain(line)
})

test('dockerd is told which file is missing, and why', () => {
  expect(remedyOf('/usr/bin/dockerd')).toBe(
    `${FOLDER}/shoal.crt is missing: restart the node, which writes it at its start`,
  )
  expect(remedyOf('/usr/bin/dockerd', [], { dockerCertsDir: '' })).toBe(
    `${FOLDER}/shoal.crt is missing, as dockerCertsDir is none: copy /var/lib/shoal/proxy-ca.crt there`,
  )
})

test('dockerd is told which file hides it, that it reads another folder, or that it is in place', () => {
  const [file, hosts] = [`${FOLDER}/shoal.crt`, `${FOLDER}/hosts.toml`]
  expect(remedyOf('/usr/bin/dockerd', [file, hosts])).toContain(`${hosts} hides ${file}`)
  expect(remedyOf('/usr/bin/dockerd', [file])).toContain(`${file} is in place`)
  const elsewhere = '/srv/certs/registry.example:5000/shoal.crt'
  expect(remedyOf('/usr/bin/dockerd', [elsewhere], { dockerCertsDir: '/srv/certs' })).toContain(
    'set dockerCertsDir',
  )
})
