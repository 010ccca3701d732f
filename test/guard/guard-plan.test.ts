import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  AGAIN_MS,
  AGAIN_MS_MAX,
  GuardPlan,
  type Role,
  SETTLED_MS,
  type Step,
} from '../../guard/guard-plan.ts'

const started = () => {
  const plan = new GuardPlan({ isNodeWanted: true })
  plan.begin()
  plan.ready('relay', 0)
  return plan
}
const serving = () => {
  const plan = started()
  plan.ready('node', 0)
  return plan
}

describe('the guard', () => {
  it('starts relay and node side by side, and dismisses the relay once the node serves', () => {
    const plan = new GuardPlan({ isNodeWanted: true })
    expect(plan.begin()).toEqual([
      { do: 'start', role: 'relay' },
      { do: 'start', role: 'node' },
    ])
    expect(plan.ready('relay', 5)).toEqual([])
    expect(plan.ready('node', 900)).toEqual([{ do: 'dismiss', role: 'relay' }])
    expect(plan.phases).toEqual({ node: 'serving', relay: 'off' })
  })

  it('puts the relay in the place of a node that died, and tries the node again', () => {
    const plan = serving()
    expect(plan.exited('node', 10)).toEqual([
      { do: 'start', role: 'relay' },
      { do: 'wait', role: 'node', ms: AGAIN_MS },
    ])
    expect(plan.wake('node')).toEqual([{ do: 'start', role: 'node' }])
  })

  it('waits longer each time that a node ends early, within a bound, and forgets it once one has settled', () => {
    const plan = started()
    const waits = Array.from({ length: 12 }, () => {
      const wait = plan.exited('node', 0).find((step) => step.do === 'wait')
      plan.wake('node')
      return wait?.do === 'wait' ? wait.ms : undefined
    })
    expect(waits.slice(0, 3)).toEqual([AGAIN_MS, 2 * AGAIN_MS, 4 * AGAIN_MS])
    expect(waits.at(-1)).toBe(AGAIN_MS_MAX)
    plan.ready('node', 0)
    expect(plan.exited('node', SETTLED_MS)).toContainEqual({ do: 'wait', role: 'node', ms: AGAIN_MS })
  })

  it('lets the relay answer while a stopped node still finishes, and until somebody starts it', () => {
    const plan = serving()
    expect(plan.wantNoNode()).toEqual([
      { do: 'start', role: 'relay' },
      { do: 'dismiss', role: 'node' },
    ])
    expect(plan.wantNode()).toEqual([])
    plan.wantNoNode()
    expect(plan.exited('node', 1)).toEqual([])
    expect(plan.phases).toEqual({ node: 'off', relay: 'starting' })
    expect(plan.wantNode()).toEqual([{ do: 'start', role: 'node' }])
  })

  it('starts a node that was stopped and wanted again as soon as it has gone', () => {
    const plan = serving()
    plan.wantNoNode()
    plan.wantNode()
    expect(plan.exited('node', 1)).toEqual([{ do: 'wait', role: 'node', ms: AGAIN_MS }])
  })

  it('starts nothing any more once it ends', () => {
    const plan = serving()
    expect(plan.end()).toEqual([{ do: 'dismiss', role: 'node' }])
    expect([plan.exited('node', 1), plan.wantNode(), plan.wake('relay')]).toEqual([[], [], []])
  })
})

type Happening = 'ready' | 'leaving' | 'exited' | 'wake'

it('always has somebody who answers, or who starts, whatever happens in whatever order', () => {
  const happening = fc.tuple(
    fc.constantFrom<Happening | 'want' | 'want no'>('ready', 'leaving', 'exited', 'wake', 'want', 'want no'),
    fc.constantFrom<Role>('node', 'relay'),
  )
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 60 }), (happenings) => {
      const plan = new GuardPlan({ isNodeWanted: true })
      const running = { node: 0, relay: 0 }
      const waiting = { node: false, relay: false }
      const take = (steps: Step[]) => {
        for (const step of steps) {
          if (step.do === 'start') running[step.role] += 1
          if (step.do === 'wait') waiting[step.role] = true
          // A dismissed relay is forgotten; a node goes on until it exits.
          if (step.do === 'dismiss' && step.role === 'relay') running.relay -= 1
        }
        expect(running.node).toBeLessThanOrEqual(1)
        expect(running.relay).toBeLessThanOrEqual(1)
        const isAnswered = plan.phases.node === 'serving' || running.relay === 1 || waiting.relay
        expect(isAnswered, JSON.stringify(plan.phases)).toBe(true)
      }
      take(plan.begin())
      for (const [what, role] of happenings) {
        if (what === 'want') take(plan.wantNode())
        else if (what === 'want no') take(plan.wantNoNode())
        else if (what === 'wake') {
          if (!waiting[role]) continue
          waiting[role] = false
          take(plan.wake(role))
        } else if (running[role] === 1) {
          if (what === 'exited') running[role] -= 1
          take(
            what === 'ready'
              ? plan.ready(role, 0)
              : what === 'leaving'
                ? plan.leaving(role)
                : plan.exited(role, 0),
          )
        }
      }
    }),
  )
})
