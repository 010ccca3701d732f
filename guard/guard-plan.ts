/**
 * Who answers on the sockets, as pure policy: the node whenever it can, else the relay. Invariant: until the end, the node
 * serves, or the relay runs or is about to.
 */

export type Role = 'node' | 'relay'

/** What the guard is to do: start a child; ask it to leave, which it does once its connections have ended; or wait. */
export type Step =
  | { do: 'start'; role: Role }
  | { do: 'dismiss'; role: Role }
  | { do: 'wait'; role: Role; ms: number }

/** Time from the end of a child to its next start … */
export const AGAIN_MS = 250
/** … which doubles each time that the child ends early, up to this bound. */
export const AGAIN_MS_MAX = 30_000
/** A child that accepted connections for this long did not end early. */
export const SETTLED_MS = 60_000

/**
 * `leaving`: accepts no more. Only a node is kept in that phase, since two cannot share a data folder; a relay that leaves
 * is forgotten, as another may start at once.
 */
export type Phase = 'off' | 'waiting' | 'starting' | 'serving' | 'leaving'

interface Child {
  phase: Phase
  againMs: number
  readySinceMs: number | undefined
}

const newChild = (): Child => ({ phase: 'off', againMs: AGAIN_MS, readySinceMs: undefined })

export class GuardPlan {
  readonly #children: Record<Role, Child> = { node: newChild(), relay: newChild() }
  #isNodeWanted: boolean
  #isEnding = false

  constructor({ isNodeWanted }: { isNodeWanted: boolean }) {
    this.#isNodeWanted = isNodeWanted
  }

  /** For the status. */
  get phases(): Record<Role, Phase> {
    return { node: this.#children.node.phase, relay: this.#children.relay.phase }
  }

  begin(): Step[] {
    return [...this.#start('relay'), ...(this.#isNodeWanted ? this.#start('node') : [])]
  }

  /** The child accepts connections. */
  ready(role: Role, nowMs: number): Step[] {
    const child = this.#children[role]
    if (child.phase !== 'starting') return []
    child.phase = 'serving'
    child.readySinceMs = nowMs
    return role === 'node' ? this.#dismiss('relay') : []
  }

  /** The child said that it will accept no more. */
  leaving(role: Role): Step[] {
    const child = this.#children[role]
    if (role === 'relay' || (child.phase !== 'starting' && child.phase !== 'serving')) return []
    child.phase = 'leaving'
    return this.#start('relay')
  }

  exited(role: Role, nowMs: number): Step[] {
    const child = this.#children[role]
    if (child.phase === 'off' || child.phase === 'waiting') return []
    const isSettled = child.readySinceMs !== undefined && nowMs - child.readySinceMs >= SETTLED_MS
    if (isSettled || child.phase === 'leaving') child.againMs = AGAIN_MS
    child.phase = 'off'
    child.readySinceMs = undefined
    const relay = role === 'node' ? this.#start('relay') : []
    if (!this.#isWanted(role)) return relay
    child.phase = 'waiting'
    const ms = child.againMs
    child.againMs = Math.min(ms * 2, AGAIN_MS_MAX)
    return [...relay, { do: 'wait', role, ms }]
  }

  /** The time of a `wait` is over. */
  wake(role: Role): Step[] {
    const child = this.#children[role]
    if (child.phase !== 'waiting') return []
    child.phase = 'off'
    return this.#isWanted(role) ? this.#start(role) : []
  }

  /** An operator starts the node. */
  wantNode(): Step[] {
    this.#isNodeWanted = true
    const { node } = this.#children
    node.againMs = AGAIN_MS
    if (node.phase === 'waiting') node.phase = 'off'
    return this.#start('node')
  }

  /** An operator stops the node: the relay answers. */
  wantNoNode(): Step[] {
    this.#isNodeWanted = false
    return [...this.#start('relay'), ...this.#dismiss('node')]
  }

  /** Nobody is to answer any more. */
  end(): Step[] {
    this.#isEnding = true
    return [...this.#dismiss('node'), ...this.#dismiss('relay')]
  }

  #isWanted(role: Role): boolean {
    if (this.#isEnding) return false
    return role === 'node' ? this.#isNodeWanted : this.#children.node.phase !== 'serving'
  }

  #start(role: Role): Step[] {
    const child = this.#children[role]
    if (this.#isEnding || child.phase !== 'off') return []
    child.phase = 'starting'
    return [{ do: 'start', role }]
  }

  #dismiss(role: Role): Step[] {
    const child = this.#children[role]
    const isRunning = child.phase === 'starting' || child.phase === 'serving'
    if (isRunning) child.phase = role === 'node' ? 'leaving' : 'off'
    else if (child.phase === 'waiting') child.phase = 'off'
    return isRunning ? [{ do: 'dismiss', role }] : []
  }
}
