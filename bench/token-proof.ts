import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { prepareProver, verifyTokenProof } from '../core/token-proof/index.ts'

/**
 * Measures the cost of a token proof per side and connection (docs/decisions/0002-token-proof.md quotes it). Run: npm
 * run bench:proof. Milliseconds are medians of RUNS after WARM_UP_RUNS.
 */
const RUNS = 51
const WARM_UP_RUNS = 10

interface KeyPair {
  publicKey: KeyObject
  privateKey: KeyObject
}

const CASES: [name: string, algorithm: string, makeKeys: () => KeyPair][] = [
  ['ES256', 'ES256', () => generateKeyPairSync('ec', { namedCurve: 'P-256' })],
  ['ES384', 'ES384', () => generateKeyPairSync('ec', { namedCurve: 'P-384' })],
  ['Ed25519', 'EdDSA', () => generateKeyPairSync('ed25519')],
  ['RS256, 2048 bits', 'RS256', () => generateKeyPairSync('rsa', { modulusLength: 2048 })],
  ['RS256, 3072 bits', 'RS256', () => generateKeyPairSync('rsa', { modulusLength: 3072 })],
  ['RS256, 4096 bits', 'RS256', () => generateKeyPairSync('rsa', { modulusLength: 4096 })],
]

const encoded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

function signToken(algorithm: string, privateKey: KeyObject): string {
  const access = [{ type: 'repository', name: 'team/app', actions: ['pull'] }]
  const signingInput = `${encoded({ alg: algorithm })}.${encoded({ iss: 'bench', aud: 'bench', exp: 4e9, access })}`
  const hash = algorithm === 'EdDSA' ? null : `sha${algorithm.slice(2)}`
  const signature = sign(hash, Buffer.from(signingInput), { key: privateKey, dsaEncoding: 'ieee-p1363' })
  return `${signingInput}.${signature.toString('base64url')}`
}

function medianMs(work: () => void): string {
  for (let run = 0; run < WARM_UP_RUNS; run++) work()
  const times = Array.from({ length: RUNS }, () => {
    const startedAt = performance.now()
    work()
    return performance.now() - startedAt
  })
  return times.sort((a, b) => a - b)[RUNS >> 1]!.toFixed(2)
}

function measure(name: string, algorithm: string, { publicKey, privateKey }: KeyPair): object {
  const jwt = signToken(algorithm, privateKey)
  const key = publicKey.export({ format: 'jwk' })
  const [exporter, proverCertificate, verifierCertificate] = [
    randomBytes(32),
    randomBytes(32),
    randomBytes(32),
  ]
  const binding = { role: 'dialler' as const, exporter, proverCertificate, verifierCertificate }
  const prover = prepareProver(jwt, key)
  const proof = prover.prove(binding)
  return {
    name,
    prepareMs: medianMs(() => prepareProver(jwt, key)),
    proveMs: medianMs(() => prover.prove(binding)),
    verifyMs: medianMs(() => verifyTokenProof({ signingInput: prover.signingInput, proof, key, binding })),
    proofBytes: proof.length,
  }
}

console.table(CASES.map(([name, algorithm, makeKeys]) => measure(name, algorithm, makeKeys())))
