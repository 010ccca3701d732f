/** The requested part of a blob, as the bytes [start, end), with the status of the answer. */
export type ByteSpan = { status: 200 | 206; start: number; end: number } | { status: 416 }

export interface RangeRequest {
  range: string | undefined
  ifRange: string | undefined
}

/**
 * Applies `Range` and `If-Range` (RFC 9110 §13.1.5, §14.2) to a blob of `bytes` bytes. A server may ignore `Range`; this
 * one does for several ranges, and for a syntax other than `bytes`.
 * @param etag the blob's strong entity tag, quotes included
 */
export function spanOf({ range, ifRange }: RangeRequest, bytes: number, etag: string): ByteSpan {
  const whole: ByteSpan = { status: 200, start: 0, end: bytes }
  const [isRange, first = '', last = ''] =
    /^bytes=[ \t]*(\d{0,15})-(\d{0,15})[ \t]*$/i.exec(range ?? '') ?? []
  if (isRange === undefined || (first === '' && last === '')) return whole
  if (ifRange !== undefined && ifRange !== etag) return whole
  if (first === '') return suffixSpan(Number(last), bytes)
  if (last !== '' && Number(last) < Number(first)) return whole
  if (Number(first) >= bytes) return { status: 416 }
  const end = last === '' ? bytes : Math.min(Number(last) + 1, bytes)
  return { status: 206, start: Number(first), end }
}

/** The last `count` bytes, or all if there are fewer. */
function suffixSpan(count: number, bytes: number): ByteSpan {
  if (count === 0 || bytes === 0) return { status: 416 }
  return { status: 206, start: Math.max(0, bytes - count), end: bytes }
}
