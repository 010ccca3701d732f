import type { IncomingMessage } from 'node:http'
import type { Client } from '../../client/index.ts'
import type { Defects } from '../../core/defects.ts'
import { JoinedChunks } from '../../core/joined-chunks.ts'
import type { RegistryApi } from '../../core/repository.ts'
import { readCredential, readRepositoryPath } from '../blob-request.ts'
import { blobsOfManifest, MANIFEST_BYTES_MAX } from '../manifest-plans.ts'
import type { SizeLimit } from '../size-limit.ts'
import type { ResponseWatcher } from '../upstream/forward.ts'
import { type UploadStep, Uploads } from './uploads.ts'

/**
 * Watches the pushes of local clients: uploads of blobs (uploads.ts), and the manifest at the end. Only the registry's 201 for
 * a manifest makes its blobs known, and only under the credential that it was pushed with. Watching neither delays nor changes
 * a push; an error in here ends the watching of one request.
 */
export class PushWatch {
  readonly #client: Pick<Client, 'pushes'>
  readonly #uploads: Uploads
  readonly #defects: Defects

  constructor({ client, limit, defects }: PushWatchParts) {
    this.#client = client
    this.#uploads = new Uploads(client.pushes, limit)
    this.#defects = defects
  }

  /** @returns a watcher of the request's body and its answer; undefined if it is no part of a push */
  watch(request: IncomingMessage, registry: RegistryApi): ResponseWatcher | undefined {
    const boundary = this.#defects.boundary('push', () => undefined)
    return boundary.run(() => {
      const step = this.#uploads.watch(request, registry) ?? this.#manifest(request, registry)
      if (step === undefined) return undefined
      return {
        onBody: boundary.callback(step.onBody),
        onStart: boundary.callback(step.onAnswer),
        onData: () => undefined,
        onEnd: () => undefined,
      }
    })
  }

  #manifest(request: IncomingMessage, { host, apiPath }: RegistryApi): UploadStep | undefined {
    if (request.method !== 'PUT') return undefined
    const found = readRepositoryPath(request.url ?? '', 'manifests/([^/?#%]+)', apiPath)
    const credential = readCredential(request)
    if (found === undefined || credential === undefined) return undefined
    const { repository } = found
    let body: JoinedChunks | undefined = new JoinedChunks()
    const onBody = (chunk: Uint8Array) => {
      body?.add(chunk)
      if ((body?.bytes ?? 0) > MANIFEST_BYTES_MAX) body = undefined
    }
    const onAnswer = (status: number) => {
      const text = status === 201 ? body?.take().toString('utf8') : undefined
      body = undefined
      const blobs = text === undefined ? [] : blobsOfManifest(text)
      if (blobs.length > 0) this.#client.pushes.released({ registry: host, repository, credential, blobs })
    }
    return { onBody, onAnswer }
  }
}

export interface PushWatchParts {
  client: Pick<Client, 'pushes'>
  limit: Readonly<SizeLimit>
  defects: Defects
}
