import { z } from 'zod'

/**
 * What a call of the admin API is. The table of all calls (calls.ts) is the one place that says which calls there are: the
 * tracker's routes, `shoal admin`, the OpenAPI document and docs/admin.md are made from it.
 */

/** Each may do what those before it may. `reader` sees, `operator` runs the fleet, `admin` holds keys and clusters. */
export const ROLES = ['reader', 'operator', 'admin'] as const
export type Role = (typeof ROLES)[number]

/**
 * Who may make a call. `local`: only on the socket in the tracker's data folder, because over TLS whoever stole an
 * administrator's token or certificate could make the next one.
 */
export type Right = Role | 'local'

/** Whether the role is the wanted one, or may do more. */
export function isAtLeast(role: Role, wanted: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(wanted)
}

const NOTHING = z.strictObject({})
type Nothing = typeof NOTHING

export interface Call<
  Params extends z.ZodObject = z.ZodObject,
  Query extends z.ZodObject = z.ZodObject,
  Body extends z.ZodObject = z.ZodObject,
  Answer extends z.ZodObject = z.ZodObject,
> {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  path: `/admin/v1/${string}`
  right: Right
  /** One sentence. */
  summary: string
  /** Fields of path, query and body have different names: a call's input is all of them together. */
  params: Params
  query: Query
  body: Body
  answer: Answer
  status: 200 | 201
  /** It answers with server-sent events until somebody ends it; each is an `answer`. */
  isStream: boolean
  /** `shoal` command lines that make it; without one it is for programs. */
  commands: readonly string[]
  /** For the OpenAPI document. A test makes the call with it. */
  example: { input: Record<string, unknown> }
}

type Written<
  Params extends z.ZodObject,
  Query extends z.ZodObject,
  Body extends z.ZodObject,
  Answer extends z.ZodObject,
> = Omit<Call<Params, Query, Body, Answer>, 'params' | 'query' | 'body' | 'status' | 'isStream'> &
  Partial<Pick<Call<Params, Query, Body, Answer>, 'params' | 'query' | 'body' | 'status' | 'isStream'>>

/** A row of the table. Without `params`, `query` or `body` the call takes none; without `status` it answers 200. */
export function call<
  Answer extends z.ZodObject,
  Params extends z.ZodObject = Nothing,
  Query extends z.ZodObject = Nothing,
  Body extends z.ZodObject = Nothing,
>(written: Written<Params, Query, Body, Answer>): Call<Params, Query, Body, Answer> {
  return {
    params: NOTHING as unknown as Params,
    query: NOTHING as unknown as Query,
    body: NOTHING as unknown as Body,
    status: 200,
    isStream: false,
    ...written,
  }
}

type Parts<C> =
  C extends Call<infer Params, infer Query, infer Body, infer Answer> ? [Params, Query, Body, Answer] : never

/** NOTHING reads as a record from any string to never; it must not become a part of an input. */
type Fields<Values> = string extends keyof Values ? unknown : Values

/** What a caller gives. */
export type Given<C> = Fields<z.input<Parts<C>[0]>> &
  Fields<z.input<Parts<C>[1]>> &
  Fields<z.input<Parts<C>[2]>>
/** What a handler gets: checked. */
export type Taken<C> = Fields<z.output<Parts<C>[0]>> &
  Fields<z.output<Parts<C>[1]>> &
  Fields<z.output<Parts<C>[2]>>
/** What a handler returns; fields that the schema does not have never leave the tracker. */
export type Returned<C> = z.input<Parts<C>[3]>
export type Answered<C> = z.output<Parts<C>[3]>
