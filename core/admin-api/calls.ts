import { ADMINISTRATOR_CALLS } from './administrators.ts'
import { BLOCK_CALLS } from './blocks.ts'
import type { Answered, Call, Given, Returned, Taken } from './call.ts'
import { CLUSTER_CALLS } from './clusters.ts'
import { FLEET_CALLS } from './fleet.ts'
import { IMAGE_CALLS } from './images.ts'
import { UPKEEP_CALLS } from './upkeep.ts'

/** Every call of the admin API, by name. */
export const CALLS = {
  ...CLUSTER_CALLS,
  ...FLEET_CALLS,
  ...BLOCK_CALLS,
  ...IMAGE_CALLS,
  ...UPKEEP_CALLS,
  ...ADMINISTRATOR_CALLS,
}

type Calls = typeof CALLS
export type CallName = keyof Calls
export type GivenFor<Name extends CallName> = Given<Calls[Name]>
export type TakenFor<Name extends CallName> = Taken<Calls[Name]>
export type ReturnedFor<Name extends CallName> = Returned<Calls[Name]>
export type AnsweredFor<Name extends CallName> = Answered<Calls[Name]>

/** In the order of the table. */
export const CALL_NAMES = Object.keys(CALLS) as CallName[]

export function callOf(name: CallName): Call {
  return CALLS[name] as unknown as Call
}

/** Where the input of a call belongs: what its path, its query and its body take. */
export function split({ params, query, body }: Call, input: Readonly<Record<string, unknown>>) {
  const of = (schema: Call['params']) =>
    Object.fromEntries(
      Object.entries(input).filter(([key, value]) => key in schema.shape && value !== undefined),
    )
  return { params: of(params), query: of(query), body: of(body) }
}

/** The URL's path and query for an input. */
export function pathOf(call: Call, input: Readonly<Record<string, unknown>>): string {
  const { params, query } = split(call, input)
  const path = call.path.replaceAll(/:([a-zA-Z]+)/g, (_, name) => encodeURIComponent(String(params[name])))
  const search = new URLSearchParams(
    Object.entries(query).map(([key, value]): [string, string] => [key, String(value)]),
  ).toString()
  return search === '' ? path : `${path}?${search}`
}
