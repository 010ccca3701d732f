import { callGuard } from '../../../guard/control.ts'
import { type About, isDenied } from '../about.ts'
import type { GuardFacts } from '../judge/guard.ts'
import type { RuntimesFacts } from '../judge/runtimes.ts'

const SOCKET_UNIT = 'shoal-proxy.socket'

export async function lookAtGuard(
  { guardControl, run, facts }: About,
  { attached }: Pick<RuntimesFacts, 'attached'>,
): Promise<GuardFacts> {
  const [answer, socketUnit] = await Promise.all([ask(guardControl), unitState(run)])
  return {
    ...answer,
    socketUnit,
    isNeeded: attached?.some(({ via }) => via === 'proxy'),
    isNodeRunning: facts.status !== undefined,
  }
}

async function ask(path: string): Promise<Pick<GuardFacts, 'phases' | 'isDenied'>> {
  try {
    const { node, relay } = await callGuard(path, 'status')
    return { phases: { node: String(node), relay: String(relay) }, isDenied: false }
  } catch (error) {
    return { isDenied: isDenied(error) }
  }
}

/** Undefined: there is no such unit here. */
async function unitState(run: About['run']): Promise<string | undefined> {
  const shown = await run(['systemctl', 'show', '-p', 'LoadState', '-p', 'ActiveState', SOCKET_UNIT])
  const value = (name: string) => new RegExp(`^${name}=(.*)$`, 'm').exec(shown ?? '')?.[1]
  return value('LoadState') === 'loaded' ? value('ActiveState') : undefined
}
