import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { ShoalError } from './errors.ts'
import { apiPathSchema, registryHostSchema } from './registries-api.ts'

/** A file of a registry's configuration cannot be used: stop the program and print the hint. */
export class RegistryFileError extends ShoalError {
  readonly code = 'REGISTRY_FILE'
}

/** Bound of a CA bundle or key file, in bytes: the whole Mozilla store is about 220 KiB. */
export const REGISTRY_FILE_BYTES_MAX = 2 * 1024 * 1024
/** Bound of configured registries: each has its own connection pools. */
export const REGISTRIES_MAX = 64

const filePath = z.string().min(1).max(4096)

/** One configured registry. Connections to other hosts are tunnelled unchanged. */
export const registryConfig = z.strictObject({
  host: registryHostSchema.describe('The registry as in image names: host or host:port.'),
  apiPath: apiPathSchema
    .optional()
    .describe(
      'What stands before `/v2/` in the URLs of this registry, where its API is not at the root of the host: `/artifactory/api/docker/hub-remote`. Shoal then shares what is asked for below this path, and nothing else of that host. One path for each host; tracker and nodes must name the same.',
    ),
  kind: z
    .enum(['token', 'introspect', 'none'])
    .optional()
    .describe(
      'Rarely needed: the tracker finds from each credential and the registry’s answers whether peers can verify a signed token, or whether it must check a password or an opaque token at the registry. `token` and `introspect` change nothing. `none`: the registry knows no credentials, and its redirects of strangers lead to blobs.',
    ),
  caFile: filePath
    .optional()
    .describe(
      "PEM certificates to trust for this registry, in addition to the system's: the authority, the issuing authority, or the registry's own certificate.",
    ),
  clientCertFile: filePath
    .optional()
    .describe('PEM certificate with which Shoal shows the registry who it is; with `clientKeyFile`.'),
  clientKeyFile: filePath.optional().describe("The client certificate's private key (PEM)."),
  tokenKeysFile: filePath
    .optional()
    .describe(
      "The token server's public keys: a JWKS (JSON), or the PEM bundle that the registry itself uses. Shoal then trusts no other key. If `issuer` and `audience` are set too, the tracker never asks the registry about a token.",
    ),
  issuer: z.string().min(1).max(1024).optional().describe('Accept only tokens with this `iss`.'),
  audience: z.string().min(1).max(1024).optional().describe('Accept only tokens with this `aud`.'),
  permitPrivateRedirects: z
    .boolean()
    .default(false)
    .describe('Permit blob redirects to loopback, link-local and metadata addresses.'),
})

export type RegistryConfig = z.output<typeof registryConfig>

/** Whether the registry's token keys are configured: then nothing but a token that one of them signed counts. */
export function hasTokenKeys({ tokenKeysFile }: RegistryConfig): boolean {
  return tokenKeysFile !== undefined
}

/** The config key `registries`: an array. As flag or environment variable: JSON, or hosts separated by commas. */
export const registriesConfig = z.preprocess(
  (value) => (typeof value === 'string' ? registriesFromText(value) : value),
  z
    .array(registryConfig)
    .max(REGISTRIES_MAX)
    .refine(haveDistinctHosts, 'a registry is configured twice')
    .refine(haveWholePairs, 'clientCertFile and clientKeyFile belong together'),
)

function registriesFromText(text: string): unknown {
  // `[::1]:5000` is a host; in JSON an object or the end follows the bracket.
  if (!/^\s*\[\s*[{\]]/.test(text)) {
    return text.split(',').flatMap((host) => (host.trim() === '' ? [] : [{ host: host.trim() }]))
  }
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function haveDistinctHosts(configs: RegistryConfig[]): boolean {
  return new Set(configs.map((config) => config.host)).size === configs.length
}

function haveWholePairs(configs: RegistryConfig[]): boolean {
  return configs.every(
    (config) => (config.clientCertFile === undefined) === (config.clientKeyFile === undefined),
  )
}

type RegistryFile = 'caFile' | 'clientCertFile' | 'clientKeyFile' | 'tokenKeysFile'

/** @throws RegistryFileError if the file cannot be read, is empty or is larger than REGISTRY_FILE_BYTES_MAX */
export function readRegistryFile(path: string, name: RegistryFile): string {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new RegistryFileError(`${name} cannot be read: ${path}`, {
      cause,
      hint: 'Check that the file exists and that this user may read it.',
    })
  }
  if (text.trim() === '' || text.length > REGISTRY_FILE_BYTES_MAX) {
    throw new RegistryFileError(`${name} is empty or too large: ${path}`, {
      hint: 'It must contain PEM certificates (or, for tokenKeysFile, a JWKS).',
    })
  }
  return text
}
