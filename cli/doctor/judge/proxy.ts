import { type Finding, found, ok } from '../finding.ts'

export interface ProxyFacts {
  address: string
  /** `foreign`: something that is not Shoal's. */
  answer: 'shoal' | 'foreign' | 'none'
  reason?: string | undefined
}

export function judgeProxy({ address, answer, reason }: ProxyFacts): Finding[] {
  if (answer === 'shoal') return [ok(`answers at ${address}`)]
  return [found(answer === 'none' ? 'PROXY_SILENT' : 'PROXY_FOREIGN', { subject: address, detail: reason })]
}
