/**
 * Fields that belong to one connection and stop at a proxy (RFC 9110 §7.6.1), besides those that `Connection` names. The
 * proxy answers `Expect` itself, because it reads the body only as fast as the upstream takes it.
 */
const HOP_BY_HOP = new Set([
  'connection',
  'expect',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** Fields that frame or route a message; a `Connection` field must not remove them. */
const NEVER_NAMED = new Set(['content-length', 'host', 'authorization'])

/**
 * The fields that pass on to the other side, in their order and spelling.
 * @param raw alternating names and values, as in `rawHeaders`
 */
export function endToEndHeaders(raw: readonly string[]): string[] {
  const dropped = new Set(HOP_BY_HOP)
  for (const [name, value] of pairs(raw)) {
    if (name.toLowerCase() !== 'connection') continue
    for (const option of value.toLowerCase().split(',')) {
      if (!NEVER_NAMED.has(option.trim())) dropped.add(option.trim())
    }
  }
  return pairs(raw)
    .filter(([name]) => !dropped.has(name.toLowerCase()))
    .flat()
}

/**
 * The same fields with a relative `Location` written out (RFC 9110 §10.2.2), for a client that asked under another address.
 * @param base the URL that the answer is for
 */
export function withWholeLocation(raw: readonly string[], base: string): string[] {
  return raw.map((value, index) => {
    const isLocation = index % 2 === 1 && raw[index - 1]!.toLowerCase() === 'location'
    return isLocation && URL.canParse(value, base) ? new URL(value, base).href : value
  })
}

function pairs(raw: readonly string[]): [string, string][] {
  const found: [string, string][] = []
  for (let index = 0; index + 1 < raw.length; index += 2) found.push([raw[index]!, raw[index + 1]!])
  return found
}
