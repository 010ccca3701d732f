import type { ServerResponse } from 'node:http'
import type { OpenBlob } from '../client/index.ts'
import type { Digest } from '../core/digest.ts'
import { BlobShortError } from './errors.ts'
import { timed, type WaitsTold } from './timed-reads.ts'

/**
 * Writes a blob or a part of it like a registry (OCI distribution-spec, "Pulling blobs"). Invariants: every blob is closed
 * exactly once; a response completes only if every byte of it was read from the blob.
 */

export interface BlobPart {
  digest: Digest
  span: { status: 200 | 206; start: number; end: number }
  waits?: WaitsTold
}

export interface SentBlob {
  outcome: 'swarm' | 'client_gone' | 'cut_short'
  bytes: number
  /** Nothing was sent, so the request can still be answered in another way. */
  isUntouched: boolean
  error?: unknown
}

/** Sends the part and closes the blob. Never rejects. */
export async function sendBlob(response: ServerResponse, blob: OpenBlob, part: BlobPart): Promise<SentBlob> {
  const close = callOnce(() => blob.close())
  // Close at once and not with the next piece: a download that nobody else wants ends with its request.
  response.once('close', close)
  if (response.destroyed) close()
  const sent: SentBlob = { outcome: 'swarm', bytes: 0, isUntouched: false }
  try {
    await writeParts(response, blob, part, sent)
  } catch (error) {
    sent.outcome = response.destroyed ? 'client_gone' : 'cut_short'
    if (!response.destroyed) sent.error = error
    sent.isUntouched = !response.headersSent && !response.destroyed
    // Cut the connection, so that the client cannot take the bytes for a whole answer.
    if (!sent.isUntouched) response.destroy()
  } finally {
    response.off('close', close)
    close()
  }
  return sent
}

async function writeParts(
  response: ServerResponse,
  blob: OpenBlob,
  { digest, span, waits }: BlobPart,
  sent: SentBlob,
): Promise<void> {
  for await (const chunk of timed(blob.read(span.start, span.end), blob.sources, waits)) {
    // Send the header only now: until the first bytes arrive, the registry can still answer.
    if (!response.headersSent) writeHead(response, blob.bytes, { digest, span })
    sent.bytes += chunk.length
    await written(response, chunk)
    if (response.destroyed) break
  }
  if (response.destroyed) sent.outcome = 'client_gone'
  else if (sent.bytes !== span.end - span.start) throw new BlobShortError('the blob ended before its length')
  else response.end()
}

function writeHead(response: ServerResponse, blobBytes: number, { digest, span }: BlobPart): void {
  const partial =
    span.status === 206 ? { 'Content-Range': `bytes ${span.start}-${span.end - 1}/${blobBytes}` } : {}
  response.writeHead(span.status, {
    'Content-Type': 'application/octet-stream',
    'Content-Length': span.end - span.start,
    'Docker-Content-Digest': digest,
    'Docker-Distribution-Api-Version': 'registry/2.0',
    Etag: `"${digest}"`,
    'Accept-Ranges': 'bytes',
    ...partial,
  })
}

/** Resolves when the bytes have left and their buffer may be used again, or when the client has gone. */
function written(response: ServerResponse, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      response.off('close', settle)
      resolve()
    }
    response.once('close', settle)
    response.write(chunk, settle)
  })
}

function callOnce(action: () => void): () => void {
  let isDone = false
  return () => {
    if (isDone) return
    isDone = true
    action()
  }
}
