import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { COPIES_MAX, PEER_SHARE_MIN } from '../../../bench/runtimes/report.ts'
import { requirementsFor } from '../../../lab/cluster.ts'
import type { Lab } from '../../../lab/lab.ts'
import { remainsOf } from '../../../lab/machine/leftovers.ts'
import { mustSkipFor } from '../../../lab/machine/requirements.ts'
import { mustSkipForParts, requireFetched } from '../../../lab/parts/parts.ts'
import type { Suite } from '../../../lab/parts/suites.ts'
import { startDocker } from '../../../lab/pullers/docker.ts'
import { LabMachine, sharingWith, startAttachLab } from './lab-machine.ts'

/** A dockerd that reads its proxy from daemon.json, and says itself whether a file is right. */
export function tellAttachedDocker(suite: Suite): void {
  const isSkipped = mustSkipForParts(suite) || mustSkipFor(requirementsFor(['skopeo']))
  describe.skipIf(isSkipped)(`shoal attach docker, of ${suite}`, () => {
    let lab: Lab
    beforeAll(async () => {
      lab = await startAttachLab()
    })
    afterAll(async () => {
      await lab?.close()
      if (lab) expect(remainsOf(lab.run.id)).toEqual([])
    })

    test('dockerd accepts the file with the proxy, pulls and builds from peers, and all is as before once detached', async () => {
      const machine = new LabMachine(lab, 'docker', requireFetched(suite))
      const configFile = join(machine.host.etcDocker, 'daemon.json')
      writeFileSync(
        configFile,
        '{\n  "features": { "containerd-snapshotter": true }, // ours\n  "debug": false\n}\n',
      )
      // Docker's own parser takes no comments.
      await expect(machine.attach('docker')).rejects.toThrow(/dockerd refuses .*daemon\.json/)
      writeFileSync(configFile, '{\n  "features": { "containerd-snapshotter": true },\n  "debug": false\n}\n')
      cpSync('/etc/ssl/openssl.cnf', join(machine.folder('ssl'), 'openssl.cnf'))
      await machine.run(['sh', '-c', 'mkdir -p /etc/ssl/certs && update-ca-certificates'])
      const [before, trusted] = [machine.picture(), machine.trusted()]
      const text = await machine.attach('docker', '--system-trust')
      expect(text).toContain(`${lab.registry.host}  answers through the proxy\n`)

      const daemonConfig = JSON.parse(readFileSync(configFile, 'utf8'))
      expect(daemonConfig.proxies['https-proxy']).toBe('http://127.0.0.1:7070')
      const docker = await startDocker({
        ...machine.clientOptions,
        ...{ folder: 'attached-docker', daemonConfig },
        // The token server's, in the system's store.
        env: { SSL_CERT_FILE: join(lab.run.dir, 'registry-ca.pem') },
      })
      const pulled = await sharingWith(lab, 'pulled', (image) => docker.pull(image))
      const context = join(machine.home, 'context')
      const built = await sharingWith(lab, 'built', async ({ name }) => {
        await machine.run(['mkdir', '-p', context])
        writeFileSync(join(context, 'Dockerfile'), `FROM ${name}\nLABEL a=b\n`)
        await docker.command(['buildx', 'build', '--quiet', '--tag', 'built', context])
      })
      for (const { registryCopies, peerShare } of [pulled, built]) {
        expect(registryCopies).toBeLessThanOrEqual(COPIES_MAX)
        expect(peerShare).toBeGreaterThanOrEqual(PEER_SHARE_MIN)
      }

      // A program that reads the system's store alone.
      const url = `https://${lab.registry.host}/v2/`
      const status = ['-s', '-o', '/dev/null', '-w', '%{http_code}', url]
      expect(await machine.run(['curl', ...status], { HTTPS_PROXY: 'http://127.0.0.1:7070' })).toBe('401')

      await machine.detach('docker')
      await docker.stop()
      expect(machine.picture()).toEqual(before)
      expect(machine.trusted()).toEqual(trusted)
    })
  })
}
