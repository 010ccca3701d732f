import { fileURLToPath } from 'node:url'
import { waitUntilListening } from '../machine/listening.ts'
import type { LabHost } from '../machine/network.ts'
import type { LabRun } from '../machine/run.ts'

/** A company's HTTP proxy, the only way from the hosts to the registries. */

const PROGRAM = fileURLToPath(new URL('./corporate-proxy-main.ts', import.meta.url))
const NAME = 'proxy.field.test'
const PORT = 3128

export interface CorporateProxy {
  readonly url: string
  readonly address: string
  /** What a program's environment says, with the hosts that are reached directly. */
  environment(direct: string[]): Record<string, string>
}

export async function startCorporateProxy(
  { network, processes }: LabRun,
  { registryHost, others }: { registryHost: LabHost; others: LabHost[] },
): Promise<CorporateProxy> {
  const host = await network.addHost('corporate-proxy', [NAME])
  const argv = host.command([process.execPath, PROGRAM, String(PORT)])
  const part = processes.start({ name: 'corporate-proxy', argv })
  await waitUntilListening({ part, host, processes, ports: [PORT] })
  await network.separate([registryHost], others)
  const url = `http://${NAME}:${PORT}`
  return {
    url,
    address: host.address,
    environment: (direct) => ({
      ...{ HTTPS_PROXY: url, https_proxy: url },
      ...{ NO_PROXY: direct.join(','), no_proxy: direct.join(',') },
    }),
  }
}
