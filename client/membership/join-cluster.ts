import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { SKEW_SECONDS_MIN } from '../../core/clock-skew.ts'
import { Conditions } from '../../core/conditions.ts'
import { replaceFile } from '../../core/data-folder.ts'
import { CLOCK_SKEW_ALLOWED_SECONDS } from '../../core/issue-certificate.ts'
import { type JoinString, parseJoinString } from '../../core/join-string.ts'
import type { ClusterId, NodeId } from '../../core/metainfo.ts'
import type { RegistryHost } from '../../core/repository.ts'
import type { UpstreamProxy } from '../../core/upstream-proxy.ts'
import { JoinFailedError, type JoinFailure, TrackerRefusedError, TrackerUnavailableError } from '../errors.ts'
import { readJoined, writeJoined } from './joined-cluster.ts'
import { isCertificateRefused, NO_LINKS, NodeIdentity } from './node-identity.ts'
import { checkCertificate, pinnedAuthority } from './pinned-authority.ts'
import { REGISTRIES_FILE } from './registry-settings.ts'
import { TrackerClient } from './tracker-client.ts'
import { TrackerWatch } from './tracker-watch.ts'

export interface JoinOptions {
  joinString: string
  dataDir: string
  upstreamProxy?: UpstreamProxy | undefined
  log: Logger
}

export interface JoinOutcome {
  cluster: ClusterId
  node: NodeId
  /** `host:port` of the tracker that answered. */
  tracker: string
  /** It was a member before, and nothing changed. */
  wasMember: boolean
  /** Why a member could not be confirmed: the tracker does not answer now. */
  silent?: string
  /** Registries that the tracker names. */
  registries: RegistryHost[]
  /** By how much this machine's clock is ahead of the tracker's; absent: by little. */
  clockAheadSeconds?: number
}

/**
 * Makes this machine a node of the cluster that the join string names: finds the pinned authority, then shows the token over
 * a connection that trusts only that authority. Joining again changes nothing. The node starts from what this leaves.
 * @throws JoinStringError, JoinFailedError, DataFolderError
 */
export async function joinCluster(options: JoinOptions): Promise<JoinOutcome> {
  const asked = parseJoinString(options.joinString)
  const identity = await NodeIdentity.load(options.dataDir)
  const current = identity.cluster
  if (current !== undefined && current !== asked.cluster) {
    throw new JoinFailedError(
      'JOIN_OTHER_CLUSTER',
      `this machine is a node of ${current}, and the join string is for ${asked.cluster}`,
      { hint: 'Run `shoal leave` first: it takes the machine out of that cluster.' },
    )
  }
  const failures: JoinFailedError[] = []
  for (const tracker of asked.trackers) {
    try {
      return await joinAt(tracker, asked, identity, options)
    } catch (error) {
      if (!(error instanceof JoinFailedError) || !MAY_BE_BETTER_ELSEWHERE.has(error.code)) throw error
      failures.push(error)
    }
  }
  if (identity.current() !== undefined && failures.every(({ code }) => code === 'TRACKER_UNREACHABLE')) {
    const [tracker = ''] = asked.trackers
    return { ...memberOf(identity, asked), tracker, silent: failures[0]!.message }
  }
  // A wrong pin is worse news than silence.
  throw failures.find(({ code }) => code !== 'TRACKER_UNREACHABLE') ?? failures[0]!
}

const MAY_BE_BETTER_ELSEWHERE = new Set<JoinFailure>([
  'TRACKER_UNREACHABLE',
  'TRACKER_PIN',
  'TRACKER_CERTIFICATE',
  'TRACKER_BUSY',
])

async function joinAt(
  tracker: string,
  asked: JoinString,
  identity: NodeIdentity,
  { dataDir, upstreamProxy, log }: JoinOptions,
): Promise<JoinOutcome> {
  const authorityPem = await pinnedAuthority(tracker, asked.authorityPin, upstreamProxy)
  await checkCertificate(tracker, authorityPem, upstreamProxy)
  const conditions = new Conditions({ log })
  const trackerUrl = `https://${tracker}`
  const client = new TrackerClient({
    ...{ trackerUrl, trackerCaPem: authorityPem, isPinned: true, upstreamProxy, conditions },
    watch: new TrackerWatch({ trackerUrl, conditions }),
  })
  const trackers = [tracker, ...asked.trackers.filter((other) => other !== tracker)]
  try {
    if (await isMember(identity, client)) {
      if (readJoined(dataDir) === undefined)
        writeJoined(dataDir, { cluster: asked.cluster, trackers, authorityPem })
      return { ...memberOf(identity, asked), tracker }
    }
    const { registries } = await identity.join(client, asked.joinToken, NO_LINKS, () =>
      // A node that runs takes this up once it sees the certificate.
      writeJoined(dataDir, { cluster: asked.cluster, trackers, authorityPem }),
    )
    if (registries !== undefined) replaceFile(join(dataDir, REGISTRIES_FILE), JSON.stringify(registries))
    const aheadSeconds = clockAhead(identity.certificate!)
    return {
      ...memberOf(identity, asked),
      ...{ tracker, wasMember: false, registries: registries?.list.map(({ host }) => host) ?? [] },
      ...(Math.abs(aheadSeconds) < SKEW_SECONDS_MIN ? {} : { clockAheadSeconds: aheadSeconds }),
    }
  } catch (error) {
    throw explained(error, tracker)
  } finally {
    await client.close()
  }
}

function memberOf(identity: NodeIdentity, { cluster }: JoinString) {
  return { cluster, node: identity.node, wasMember: true, registries: [] }
}

/** Whether the tracker still takes this node's certificate. */
async function isMember(identity: NodeIdentity, client: TrackerClient): Promise<boolean> {
  const current = identity.current()
  if (current === undefined) return false
  client.identify(current)
  try {
    await client.join({ publicKey: identity.publicKey })
    return true
  } catch (error) {
    if (isCertificateRefused(error)) return false
    throw error
  }
}

/** The tracker dates a node certificate back by a fixed time. */
function clockAhead(certificatePem: string): number {
  const { validFromDate } = new X509Certificate(certificatePem)
  return Math.round((Date.now() - validFromDate.getTime()) / 1000) - CLOCK_SKEW_ALLOWED_SECONDS
}

const REFUSAL_HINTS: Partial<Record<string, string>> = {
  JOIN_REFUSED: 'It was made for another tracker, or long ago. `shoal admin token create` makes a new one.',
  JOIN_TOKEN_EXPIRED: '`shoal admin token create`, on the tracker’s machine, makes a new join string.',
  JOIN_TOKEN_USED_UP: '`shoal admin token create` makes another; --uses says for how many machines.',
  JOIN_TOKEN_REVOKED: '`shoal admin token create` makes a new one, if this machine may join.',
  NODE_REVOKED:
    'An administrator, or the tracker itself, barred this node. Run `shoal leave` and join anew once that is settled.',
}

function explained(error: unknown, tracker: string): unknown {
  if (error instanceof TrackerRefusedError) {
    const { trackerCode, message: cause } = error
    const hint = REFUSAL_HINTS[trackerCode]
    const message = cause.replace(`: ${trackerCode}`, '')
    if (hint === undefined) return busy(tracker, error)
    return new JoinFailedError(trackerCode as JoinFailure, message, { cause: error, hint })
  }
  return error instanceof TrackerUnavailableError ? busy(tracker, error) : error
}

function busy(tracker: string, cause: Error): JoinFailedError {
  return new JoinFailedError(
    'TRACKER_BUSY',
    `the tracker ${tracker} cannot take this machine in now: ${cause.message}`,
    {
      cause,
      hint: 'Try again in a minute. If the tracker is locked, unlock it with `shoal tracker unlock`.',
    },
  )
}
