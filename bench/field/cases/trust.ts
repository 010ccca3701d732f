import type { OddRegistry } from '../../../lab/field/manners.ts'
import { type FieldCase, variant } from '../field-case.ts'

/** Registries that are trusted or reached in an unusual way. */

const TRUSTED = (['issuing-authority', 'leaf', 'self-signed'] as const).map(
  (trust): OddRegistry => ({ name: `${trust}.field.test`, trust }),
)

const partialChain: FieldCase = {
  name: 'partial-chain',
  about:
    "Docker's ca.crt has only the issuing authority or the server's own certificate; Go takes either as anchor.",
  source: 'rpardini/docker-registry-proxy#83, distribution/distribution#1436',
  registries: TRUSTED,
  variants: TRUSTED.flatMap((registry) => [
    variant(registry.trust!, registry),
    variant(`${registry.trust!.split('-')[0]}-docker`, registry, { client: 'docker' }),
  ]),
}

const DOCKERS_TRUST: OddRegistry = { name: 'dockers-trust.field.test', isInDockersTrustOnly: true }

const dockersTrust: FieldCase = {
  name: 'dockers-trust',
  about: "The registry's authority is in Docker's folder, and Shoal's configuration does not name it.",
  source: 'the first message that misled an operator',
  registries: [DOCKERS_TRUST],
  variants: [variant('skopeo', DOCKERS_TRUST), variant('docker', DOCKERS_TRUST, { client: 'docker' })],
}

const MUTUAL: OddRegistry = { name: 'mutual.field.test', port: 8443, trust: 'client-certificate' }

const clientCertificate: FieldCase = {
  name: 'client-certificate',
  about: "The registry asks for a client certificate, which is in Docker's folder as its manual says.",
  source: 'moby/moby#16724, docker/for-linux#1031, cloud66-oss/habitus#76',
  registries: [MUTUAL],
  variants: [variant('skopeo', MUTUAL, { canShare: false }), variant('docker', MUTUAL, { client: 'docker' })],
}

const PLAIN_HTTP: OddRegistry = { name: 'plain-http.field.test', port: 5080, isPlain: true }

const plainHttp: FieldCase = {
  name: 'plain-http',
  about: 'A registry in plain HTTP, which Docker lists among those it need not verify.',
  source: 'dragonflyoss/dragonfly-archived#138',
  registries: [PLAIN_HTTP],
  variants: [variant('docker', PLAIN_HTTP, { client: 'docker' })],
}

const INSIDE: OddRegistry = { name: 'inside.field.test' }

const corporateProxy: FieldCase = {
  name: 'corporate-proxy',
  about: "The only way to the registry is the company's HTTP proxy, which the environment names.",
  source: 'internetarchive/warcprox#169, dragonflyoss/dragonfly-archived#449, dqzboy/Docker-Proxy#100',
  registries: [INSIDE],
  variants: [variant('skopeo', INSIDE, { hosts: 1 })],
  isBehindProxy: true,
}

export const TRUST: FieldCase[] = [partialChain, dockersTrust, clientCertificate, plainHttp, corporateProxy]
