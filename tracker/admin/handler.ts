import type { CallName, ReturnedFor, TakenFor } from '../../core/admin-api/calls.ts'
import type { TrackerConfig } from '../config.ts'
import type { TrackerParts } from '../parts.ts'
import type { ActedBy } from '../store/store.ts'
import type { AdminAuthorities } from './admin-authority.ts'
import type { AdminCaller } from './callers.ts'

/** What the tracker does for a call, and what it has for that. */

/** Where nodes find this tracker, and how they recognise it before they trust anybody. */
export interface JoinAddress {
  /** `tracker.example.com:7443`, as `advertise` has them. */
  trackers: string[]
  /** Of the authority in tlsCertFile (core/authority-pin.ts); null: the file does not have it. */
  authorityPin: string | null
}

export interface AdminParts extends TrackerParts {
  admins: AdminAuthorities
  config: Readonly<TrackerConfig>
  /** For join strings. */
  joinAddress(): JoinAddress
  /** Of the admin listener's certificate (PEM), if it is not of the admin authority's making, and shows its authority. */
  listenerAuthority(): string | undefined
}

/** Who asks, and when. */
export interface Asked extends ActedBy {
  caller: AdminCaller
}

export type Handler<Name extends CallName> = (
  input: TakenFor<Name>,
  by: Asked,
) => Promise<ReturnedFor<Name>> | ReturnedFor<Name>
/** Of a call that answers with events. */
export type Source<Name extends CallName> = (
  input: TakenFor<Name>,
  signal: AbortSignal,
) => AsyncIterable<ReturnedFor<Name>>
type StreamName = 'events.follow'
export type Handlers = { [Name in Exclude<CallName, StreamName>]: Handler<Name> } & {
  [Name in StreamName]: Source<Name>
}
