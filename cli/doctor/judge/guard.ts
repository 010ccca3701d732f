import { type Finding, found, info, ok, unknown } from '../finding.ts'

export interface GuardFacts {
  /** Phases (guard/guard-plan.ts); undefined: no guard answers. */
  phases?: { node: string; relay: string } | undefined
  /** Only root and the guard's user may ask it. */
  isDenied: boolean
  /** ActiveState of the unit that holds the proxy's socket; undefined: there is no such unit. */
  socketUnit?: string | undefined
  /** Some runtime is attached by proxy: it needs an answer there at any time. Undefined: only root may know. */
  isNeeded: boolean | undefined
  isNodeRunning: boolean
}

export function judgeGuard({ phases, isDenied, socketUnit, isNeeded, isNodeRunning }: GuardFacts): Finding[] {
  const sockets =
    socketUnit === undefined || socketUnit === 'active'
      ? []
      : [found('SOCKETS_NOT_HELD', { detail: `shoal-proxy.socket is ${socketUnit}` })]
  if (isDenied) return [unknown('the guard', 'only root and the user of the guard may ask it'), ...sockets]
  if (phases === undefined) {
    if (isNeeded === undefined)
      return [
        unknown('whether a guard is needed', 'none runs, and only root may see what is attached'),
        ...sockets,
      ]
    if (isNeeded) return [found('RELAY_MISSING'), ...sockets]
    return [
      info('no guard runs; nothing is attached that needs an answer while the node is down'),
      ...sockets,
    ]
  }
  const holder = socketUnit === 'active' ? 'systemd holds the socket' : 'the guard holds the socket'
  if (phases.node === 'serving') return [ok(`armed; ${holder}, the node serves`), ...sockets]
  const detail = `node ${phases.node}, relay ${phases.relay}`
  // A node that was started by hand beside the guard is found by its own link.
  return [
    ...(isNodeRunning ? [ok(`${holder}; ${detail}`)] : [found('RELAY_ANSWERS', { detail })]),
    ...sockets,
  ]
}
