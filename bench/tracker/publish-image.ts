import type { z } from 'zod'
import type { SwarmId } from '../../core/metainfo.ts'
import { pieceLayout } from '../../core/metainfo.ts'
import type { hashesResponse, Lease, pullResponse } from '../../core/tracker-api.ts'
import { BenchPeerError } from '../measure/errors.ts'
import type { LoadNode } from './load-node.ts'
import type { LoadRequests } from './load-requests.ts'

type Swarm = z.output<typeof pullResponse>['swarms'][number]

/** Of the answer to a grant. */
export function swarmsOf(answer: Buffer): Swarm[] {
  return (JSON.parse(answer.toString()) as z.output<typeof pullResponse>).swarms
}

/** Two nodes pull an image that the cluster never saw: one publishes all hashes, and both find that the blobs match. */
export async function publishImage(
  requests: LoadRequests,
  image: number,
  [publisher, other]: [LoadNode, LoadNode],
): Promise<void> {
  const answer = JSON.parse((await publisher.exchange(requests.grant(image))).toString()) as z.output<
    typeof pullResponse
  >
  for (const swarm of answer.swarms) await publishAll(requests, publisher, answer.pull, swarm)
  for (const node of [publisher, other]) {
    if (node === other) await node.exchange(requests.grant(image))
    for (const { swarm, epoch } of answer.swarms) await node.exchange(requests.completion(swarm, epoch))
  }
}

async function publishAll(
  requests: LoadRequests,
  node: LoadNode,
  pull: string,
  { swarm, epoch, bytes, lease: first, status }: Swarm,
): Promise<void> {
  if (status !== 'cold') return
  const { pieceCount } = pieceLayout(bytes)
  let lease: Lease | null = first
  for (let published = 0; published < pieceCount; ) {
    if (lease === null)
      throw new BenchPeerError(`no lease for a cold blob, ${published} of ${pieceCount} pieces`)
    const pieces = Math.min(lease.endPiece ?? lease.firstPiece + lease.pieces, pieceCount) - lease.firstPiece
    const isLast = published + pieces >= pieceCount
    const request = requests.publication(swarm as SwarmId, {
      pull,
      lease,
      epoch,
      pieces,
      wantsLease: !isLast,
    })
    const answer: z.output<typeof hashesResponse> = JSON.parse((await node.exchange(request)).toString())
    published += pieces
    lease = answer.lease
  }
}
