import type { Client } from '../client/index.ts'
import type { Conditions } from '../core/conditions.ts'
import type { Consent } from '../core/consent.ts'
import { openRegistries, type RegistryClient, type RegistrySurroundings } from '../core/registry-client.ts'
import { registryConfig } from '../core/registry-config.ts'
import type { RegistryHost } from '../core/repository.ts'
import type { ProxyAuthority } from '../proxy/intercept/authority.ts'
import { parseMirrorPlaces, placeText } from '../proxy/mirror-place.ts'
import type { RunningProxy } from '../proxy/proxy.ts'
import type { TrustFiles } from '../proxy/trust-files.ts'
import { readConsent } from './attached.ts'

/**
 * Does what `shoal attach` leaves for a node that runs, so that one command is enough. Invariant: it only adds. What
 * `shoal detach` takes back ends with the next start, because pulls in flight use it.
 */

/** How often a running node looks for what was attached. */
export const CONSENT_READ_EVERY_MS = 2_000

export interface ConsentParts {
  attachedDir: string
  /** Those of the proxy and the client. */
  registries: Map<RegistryHost, RegistryClient>
  surroundings: RegistrySurroundings
  client: Pick<Client, 'registriesChanged'>
  authority: ProxyAuthority
  trust: Pick<TrustFiles, 'changePlaces' | 'put'>
  proxy: Pick<RunningProxy, 'mirrorSockets' | 'openMirror' | 'authorityChanged'>
  conditions: Conditions
}

/**
 * Does what `shoal attach` left until now, and what it leaves later.
 * @param done what the node did at its start, but for the mirror
 * @returns what ends it, once the last step is done
 */
export async function followConsent(
  parts: ConsentParts,
  done: Consent | undefined,
): Promise<() => Promise<void>> {
  let publicFile = done?.authorityFile
  let lastText = ''
  const look = async () => {
    try {
      const consent = readConsent(parts.attachedDir)
      const text = JSON.stringify(consent ?? {})
      if (text === lastText) return
      const isMoved = consent?.authorityFile !== publicFile
      if (consent !== undefined) await intercept(parts, consent, isMoved)
      publicFile = consent?.authorityFile
      await openMirrors(parts, consent?.mirrorListen)
      lastText = text
      parts.conditions.clear('ATTACHED_LATER')
    } catch (error) {
      parts.conditions.raise('ATTACHED_LATER', '', { reason: (error as Error).message })
    }
  }
  // A node ends on a mistake in its own settings. A mistake of an attachment must not stop it from serving others.
  let looking = look()
  await looking
  if (parts.attachedDir === '') return async () => undefined
  let isLooking = false
  const timer = setInterval(() => {
    if (isLooking) return
    isLooking = true
    looking = look().finally(() => {
      isLooking = false
    })
  }, CONSENT_READ_EVERY_MS)
  return async () => {
    clearInterval(timer)
    await looking
  }
}

/** What a runtime trusts is written before anything is signed with it. */
async function intercept(parts: ConsentParts, consent: Consent, isMoved: boolean): Promise<void> {
  const { registries, surroundings, client, authority, trust, proxy, conditions } = parts
  const added = consent.registries.filter((host) => !registries.has(host))
  await authority.cover(added)
  trust.changePlaces({
    registries: [...registries.keys(), ...added],
    publicFile: consent.authorityFile,
  })
  if (isMoved || added.length > 0) trust.put(authority.certificatesPem)
  if (added.length === 0) return
  const configs = added.map((host) => registryConfig.parse({ host }))
  for (const [host, registry] of openRegistries(configs, surroundings)) {
    registry.habits.reportTo(conditions)
    registries.set(host, registry)
  }
  conditions.clear('NO_REGISTRIES')
  client.registriesChanged()
  proxy.authorityChanged()
}

/** @throws the first failure, after every place was tried: one that is taken is no reason to leave another closed */
async function openMirrors({ proxy }: ConsentParts, mirrorListen = 'none'): Promise<void> {
  const open = new Set(proxy.mirrorSockets.map(placeText))
  const failures: unknown[] = []
  for (const place of parseMirrorPlaces(mirrorListen)) {
    if (!open.has(placeText(place.socket)))
      await proxy.openMirror([place]).catch((error: unknown) => failures.push(error))
  }
  if (failures.length > 0) throw failures[0]
}
