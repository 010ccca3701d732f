import { type Digest, isDigest } from '../../core/digest.ts'

/**
 * The registry's own record of sent bytes: its access log in the Combined Log Format, one line per request. Bytes are
 * those of the body. An aborted response may be counted with more than arrived, never with less.
 */

export interface BlobEgress {
  bytes: number
  /** GET requests that were answered with a body: 200 and 206. */
  requests: number
}

/** `10.77.0.4 - - [22/Nov/2026:03:53:07 +0000] "GET /v2/team/app/blobs/sha256:… HTTP/1.1" 200 1234 "" "…"` */
const BLOB_GET = /"GET \/v2\/\S+\/blobs\/(\S+?)(?:\?\S*)? HTTP\/[\d.]+" (200|206) (\d+)/

/** Bytes and requests per blob; blobs without requests are absent. */
export function egressByBlob(accessLog: string): Map<Digest, BlobEgress> {
  const egress = new Map<Digest, BlobEgress>()
  for (const line of accessLog.split('\n')) {
    const request = blobGetOf(line)
    if (request === undefined) continue
    const sum = egress.get(request.digest) ?? { bytes: 0, requests: 0 }
    egress.set(request.digest, { bytes: sum.bytes + request.bytes, requests: sum.requests + 1 })
  }
  return egress
}

function blobGetOf(line: string): { digest: Digest; bytes: number } | undefined {
  const [, digest = '', , bytes] = BLOB_GET.exec(line) ?? []
  return isDigest(digest) ? { digest, bytes: Number(bytes) } : undefined
}
