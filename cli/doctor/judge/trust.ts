import { type Finding, found, info, ok, unknown } from '../finding.ts'

/** One TLS handshake through the proxy, with what one runtime trusts. */
export interface TrustFacts {
  registry: string
  /** As people call it: `docker`. */
  runtime: string
  isAttached: boolean
  /** Why no handshake was possible. */
  failure?: string | undefined
  /** The certificate is the node's, not the registry's. */
  isIntercepted: boolean
  /** Why the runtime would refuse the certificate. */
  distrust?: string | undefined
}

export function judgeTrust(all: TrustFacts[], { isPaused }: { isPaused: boolean }): Finding[] {
  if (all.length === 0) return [info('no runtime is known to pull through the proxy')]
  const findings = all.flatMap(judgeOne)
  const isTunnelled = all.some(({ failure, isIntercepted }) => failure === undefined && !isIntercepted)
  // A pause says so itself.
  return isPaused && isTunnelled ? findings.filter(({ code }) => code !== 'REGISTRY_TUNNELLED') : findings
}

function judgeOne({
  registry,
  runtime,
  isAttached,
  failure,
  isIntercepted,
  distrust,
}: TrustFacts): Finding[] {
  if (failure !== undefined) return [unknown(`whether ${runtime} trusts this node for ${registry}`, failure)]
  if (!isIntercepted) return [found('REGISTRY_TUNNELLED', { subject: registry })]
  if (distrust === undefined) return [ok(`${runtime} trusts this node for ${registry}`)]
  const remedy = isAttached
    ? `Run \`shoal attach ${runtime}\` again: it writes what ${runtime} must trust.`
    : `Run \`shoal attach ${runtime} --registry ${registry}\`, or make it trust the node's proxy-ca.crt.`
  return [found('RUNTIME_DISTRUSTS', { subject: `${runtime}, ${registry}`, detail: distrust, remedy })]
}
