import { addressText } from '../../../core/network.ts'
import type { About } from '../about.ts'
import type { ProxyFacts } from '../judge/proxy.ts'
import { tunnelThrough } from './tunnel.ts'

/** Asks for a tunnel to the proxy itself, which node and relay refuse with a code of theirs; nothing leaves the machine. */
export async function lookAtProxy({ config: { proxyListen }, patienceMs }: About): Promise<ProxyFacts> {
  const address = addressText(proxyListen)
  try {
    const answer = await tunnelThrough(proxyListen, proxyListen, patienceMs)
    if ('socket' in answer) answer.socket.destroy()
    else if (answer.text.includes('CONNECT_DENIED')) return { address, answer: 'shoal' }
    return { address, answer: 'foreign', reason: 'it does not answer as Shoal does' }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const isNone = code === 'ECONNREFUSED' || message === 'no answer in time'
    return { address, answer: isNone ? 'none' : 'foreign', reason: message }
  }
}
