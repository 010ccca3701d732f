import type { Client, PushCopy } from '../client/index.ts'
import { lengthIn } from '../core/blob-question.ts'
import type { RegistryHost } from '../core/repository.ts'
import type { BlobGet } from './blob-request.ts'
import type { AnswerHeaders, ResponseWatcher } from './upstream/forward.ts'

/**
 * Keeps a copy of a blob that the registry sends to a local client, as of a push. Once the copy is whole and its SHA-256 is the
 * digest, the node asks the tracker for a grant with this caller's credential, and shares it. Watching neither delays nor
 * changes the answer.
 * @param bytesMin smaller blobs are not kept
 * @returns `drop`: call it when the answer has ended, or was cut
 */
export function keepCopy(
  { pushes }: Pick<Client, 'pushes'>,
  { registry, wanted, bytesMin }: { registry: RegistryHost; wanted: BlobGet; bytesMin: number },
): ResponseWatcher & { drop(): void } {
  const { repository, digest, credential } = wanted
  let copy: PushCopy | undefined
  let bytes = 0
  return {
    onStart(status, headers) {
      bytes = wholeBytes(status, headers) ?? 0
      if (bytes >= bytesMin && bytes > 0) copy = pushes.begin(registry)
    },
    onData: (chunk) => copy?.append(chunk),
    onEnd() {
      if (copy?.bytes !== bytes) return
      copy.accepted({ registry, repository, digest })
      copy = undefined
      pushes.released({ registry, repository, credential, blobs: [{ digest, bytes }] })
    },
    drop: () => copy?.drop(),
  }
}

/** @returns undefined if the answer is not the blob as it is */
function wholeBytes(status: number, headers: AnswerHeaders): number | undefined {
  const isPlain = headers['content-encoding'] === undefined
  return status === 200 && isPlain ? lengthIn(headers['content-length']) : undefined
}
