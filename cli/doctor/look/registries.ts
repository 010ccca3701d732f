import { join } from 'node:path'
import { reasonOf } from '../../../core/errors.ts'
import { inTime } from '../../../core/patience.ts'
import { openRegistries, type RegistryClient } from '../../../core/registry-client.ts'
import { registryConfig } from '../../../core/registry-config.ts'
import { isAboutTime, registryFailure } from '../../../core/registry-failure.ts'
import { certsDirsOf } from '../../../core/registry-trust.ts'
import { parseRegistryHost } from '../../../core/repository.ts'
import { failureText } from '../../../core/trusted-authorities.ts'
import type { UpstreamProxy } from '../../../core/upstream-proxy.ts'
import type { About } from '../about.ts'
import type { ClockFacts } from '../judge/clock.ts'
import type { RegistryFacts } from '../judge/registries.ts'

export interface RegistryLook extends RegistryFacts {
  clock?: ClockFacts
}

/** Asks each registry without a credential, with what the node trusts for it. */
export async function lookAtRegistries(
  { config, root, patienceMs, facts: { status } }: About,
  proxy: UpstreamProxy | undefined,
): Promise<RegistryLook[]> {
  const { dockerCertsDir, registries } = config
  const named = (status?.registries ?? []).filter(({ state }) => state !== 'not consented')
  const known = new Set<string>(registries.map(({ host }) => host))
  const added = named
    .filter(({ host }) => !known.has(host))
    .map(({ host }) => registryConfig.parse({ host: parseRegistryHost(host) }))
  const certsDirs = certsDirsOf(dockerCertsDir).map((dir) => join(root, dir))
  const clients = [...openRegistries([...registries, ...added], { certsDirs, proxy }).values()]
  const kindsOf = (host: string) => named.find((one) => one.host === host)?.kinds ?? []
  return Promise.all(
    clients.map(async (client) => {
      const { host } = client
      try {
        const looked = await inTime(ask(client, patienceMs), patienceMs)
        return { host, kinds: kindsOf(host), hasClientCertificate: client.hasIdentity, ...looked }
      } catch (error) {
        return { host, kinds: kindsOf(host), ...(await failed(client, error)) }
      } finally {
        void client.close()
      }
    }),
  )
}

async function ask(
  client: RegistryClient,
  patienceMs: number,
): Promise<Pick<RegistryLook, 'status' | 'challenge' | 'clock'>> {
  // A client certificate that cannot be used is an error here only.
  await client.verify()
  const { statusCode, headers, body } = await client.dispatcher.request({
    method: 'GET',
    origin: `https://${client.host}`,
    path: `${client.apiPath ?? ''}/v2/`,
    signal: AbortSignal.timeout(patienceMs),
  })
  await body.dump()
  const challenge = headers['www-authenticate']
  const aheadSeconds = aheadOf(headers.date)
  return {
    status: statusCode,
    challenge: Array.isArray(challenge) ? challenge[0] : challenge,
    ...(aheadSeconds === undefined ? {} : { clock: { server: client.host, aheadSeconds } }),
  }
}

async function failed(
  client: RegistryClient,
  error: unknown,
): Promise<Pick<RegistryLook, 'failure' | 'clock'>> {
  const failure = {
    kind: registryFailure(error),
    reason: failureText(error as Error, 'caFile') || reasonOf(error),
  }
  const aheadSeconds = isAboutTime(error) ? await client.clockAheadSeconds() : undefined
  if (aheadSeconds === undefined) return { failure }
  return { failure, clock: { server: client.host, aheadSeconds, isRefused: true } }
}

/** By how much this machine's clock is ahead of a Date (RFC 9110 §6.6.1). */
export function aheadOf(date: string | string[] | undefined): number | undefined {
  const theirMs = Date.parse(String(date ?? ''))
  return Number.isNaN(theirMs) ? undefined : Math.round((Date.now() - theirMs) / 1000)
}
