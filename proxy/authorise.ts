import type { ServerResponse } from 'node:http'
import type { Client } from '../client/index.ts'
import type { BlobHead } from '../core/blob-question.ts'
import { isSettledWithin } from '../core/patience.ts'
import { type RegistryClient, RegistryUnreachableError } from '../core/registry-client.ts'
import type { Strangers } from '../core/strangers.ts'
import type { AcceptedCallers } from './accepted-callers.ts'
import type { AcceptedRequests } from './accepted-requests.ts'
import type { BlobGet } from './blob-request.ts'
import { LATE_MS, LateWord } from './late-word.ts'
import { goneSignal } from './upstream/forward.ts'
import type { Verdict } from './verdict.ts'

/** How the proxy learns whether a caller may have a blob: docs/a-pull.md, section 3, step 3. */

export interface AuthoriseParts {
  client: Client
  strangers: Strangers
  accepted: AcceptedRequests<Verdict>
  callers: AcceptedCallers
}

interface Exchange {
  response: ServerResponse
  registry: RegistryClient
}

/** How long a pull waits for words that make a question of its own needless. The grant is needed anyway. */
export const SHARED_WORD_MS_MAX = 250

/** @param bytesPlanned the length as a manifest says */
type Question = BlobGet & { bytesPlanned: number | undefined }

/**
 * Asks the registry whether it would serve the blob to this very request, once a minute. Only that counts, whatever this
 * node holds. A registry that was late is not waited for until it answers in time again (late-word.ts).
 * @throws RegistryUnreachableError if there is no answer and the client does not vouch
 */
export async function authorise(
  parts: AuthoriseParts,
  exchange: Exchange,
  wanted: Question,
): Promise<Verdict | LateWord> {
  const { host, habits } = exchange.registry
  const known = parts.accepted.find(host, wanted)
  if (known !== undefined) return { acceptedAtMs: known.atMs, bytes: known.bytes }
  // It told this node to wait. The client's own request is not this node's.
  if (exchange.registry.limit.leftMs(wanted.authorization) > 0) return { refusal: 'registry_limited' }
  const byOther = await acceptedByOther(parts, exchange, wanted)
  if (byOther !== undefined) return byOther
  const atMs = performance.now()
  const word = ask(parts, exchange, wanted)
  parts.callers.asks(host, wanted, word)
  const patienceMs = habits.has('late') ? 0 : LATE_MS
  return (await isSettledWithin(word, patienceMs)) ? word : new LateWord(word, { habits, atMs, patienceMs })
}

/**
 * The registry accepted this caller for another blob of the repository within the minute, gave it a manifest that names
 * this one, and told this node or the tracker within the hour that this one is in the repository. That is what peers go by,
 * too. It saves a question for each layer.
 */
async function acceptedByOther(
  { client, callers }: AuthoriseParts,
  { registry }: Exchange,
  { bytesPlanned: bytes, ...wanted }: Question,
): Promise<Verdict | undefined> {
  if (bytes === undefined) return undefined
  const judge = async (): Promise<Verdict | undefined> => {
    const acceptedAtMs = await callers.find(registry.host, wanted)
    if (acceptedAtMs === undefined) return undefined
    const isThere = await client.isInRepository({ registry: registry.host, ...wanted })
    return isThere ? { acceptedAtMs, bytes, isByOther: true } : undefined
  }
  const judged = judge()
  const patienceMs = registry.habits.has('late') ? 0 : SHARED_WORD_MS_MAX
  return (await isSettledWithin(judged, patienceMs)) ? judged : undefined
}

async function ask(parts: AuthoriseParts, exchange: Exchange, wanted: Question): Promise<Verdict> {
  try {
    const askThis = (signal: AbortSignal) => askRegistry(parts, exchange, wanted, signal)
    const signal = goneSignal(exchange.response)
    return await parts.accepted.share(exchange.registry.host, wanted, { ask: askThis, signal })
  } catch (error) {
    if (!(error instanceof RegistryUnreachableError)) throw error
    // A user who fills our own connections must not make the registry seem to be down.
    if (!error.wasAsked) return { refusal: 'registry_busy' }
    const standing = await authoriseWithoutRegistry(parts, exchange, wanted)
    if (standing === undefined) throw error
    return standing
  }
}

async function askRegistry(
  parts: AuthoriseParts,
  exchange: Exchange,
  wanted: Question,
  signal: AbortSignal,
): Promise<Verdict> {
  const { repository, digest, authorization, query, bytesPlanned: bytesExpected } = wanted
  const question = { repository, digest, authorization, query, bytesExpected, signal }
  const head = await exchange.registry.headBlob(question)
  if (head.isPresent) return fromHead(parts, exchange, wanted, head)
  const standing = head.status >= 500 ? await authoriseWithoutRegistry(parts, exchange, wanted) : undefined
  return standing ?? { refusal: 'registry_refused' }
}

/** A length that no manifest confirms counts as none: the manifest's is the one that the digest will confirm. */
async function fromHead(
  parts: AuthoriseParts,
  exchange: Exchange,
  wanted: Question,
  head: BlobHead & { isPresent: true },
): Promise<Verdict> {
  const isConfirmed = wanted.bytesPlanned === undefined || head.bytes === wanted.bytesPlanned
  const bytes = isConfirmed ? head.bytes : undefined
  const shown = await shownLeave(parts, exchange, wanted, { ...head, bytes })
  if (shown === undefined) return { refusal: 'registry_unproven' }
  parts.accepted.note(exchange.registry.host, wanted, { bytes })
  if (shown === 'caller') noteCaller(parts, exchange.registry, wanted, head.byGet)
  return { acceptedAtMs: Date.now(), bytes }
}

/**
 * The registry accepted the caller for a blob, as it may accept everybody: that says something about the repository's
 * other blobs only if strangers are refused this one. Nobody waits for it who needs this blob alone.
 */
export function noteCaller(
  { strangers, callers }: Pick<AuthoriseParts, 'strangers' | 'callers'>,
  registry: RegistryClient,
  wanted: BlobGet,
  isByGet?: boolean,
): void {
  if (registry.kind === 'none') callers.note(registry.host, wanted)
  else callers.judge(registry.host, wanted, () => strangers.isRefused(registry, wanted, isByGet))
}

/**
 * What the answer shows: nothing, that this blob may be had, or that it is a word on this caller, if strangers hear
 * another one (`noteCaller`). An answer with a length is
 * for this caller alone: the length is part of the swarm's name, so a page that answers 200 to everybody leads to no
 * blob. With the length that a manifest says it is no page at all. A redirect, or a 200 without length, may be one: it
 * counts if strangers are refused, or get this blob and not whatever they name.
 */
async function shownLeave(
  { strangers }: AuthoriseParts,
  { registry }: Exchange,
  { repository, digest, authorization, bytesPlanned }: Question,
  { bytes, byGet }: BlobHead & { isPresent: true },
): Promise<'caller' | 'blob' | undefined> {
  if (registry.kind === 'none') return 'caller'
  if (bytes !== undefined) return bytesPlanned === undefined ? 'blob' : 'caller'
  const blob = { repository, digest }
  if (authorization !== undefined && (await strangers.areRefused(registry, blob, byGet))) return 'caller'
  return (await strangers.standing(registry, blob)) === 'served' ? 'blob' : undefined
}

/** Asks the client to vouch if the registry does not answer. */
async function authoriseWithoutRegistry(
  { client }: AuthoriseParts,
  { registry }: Exchange,
  { repository, digest, credential, query }: BlobGet,
): Promise<Verdict | undefined> {
  // The caller chose for which registry a mirror is to answer, and so whether it can.
  if (query !== '') return undefined
  const bytes = await client.authorisedWithoutRegistry({
    registry: registry.host,
    repository,
    digest,
    credential,
  })
  return bytes === undefined ? undefined : { acceptedAtMs: undefined, bytes }
}
