import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { PIECE_HASH_BYTES, type SwarmId, swarmIdOf } from '../../core/metainfo.ts'
import type {
  CompleteRequest,
  HashesRequest,
  HeartbeatRequest,
  Lease,
  PullRequest,
} from '../../core/tracker-api.ts'
import { REPOSITORY } from '../measure/blob-registry.ts'
import { BenchPeerError } from '../measure/errors.ts'
import { postRequest } from './http-connection.ts'
import type { LoadSettings } from './questions.ts'

/** One heartbeat in this many is of a downloading node, and asks for peers. */
const HEARTBEATS_PER_PEER_QUESTION = 8
const LISTEN_PORT = 7071

/** What the load generator sends; grants are made before the clock starts. */
export class LoadRequests {
  readonly #settings: LoadSettings
  readonly #swarms: SwarmId[][]
  readonly #heartbeats: Buffer[]
  /** Unsent requests by image: each has its own key and token. */
  readonly #grants: Buffer[][]
  #prepared = 0
  #heartbeatsSent = 0
  #grantsSent = 0

  constructor(settings: LoadSettings) {
    this.#settings = settings
    const { registry, images, joinToken } = settings
    const cluster = joinToken.split('-')[2] as Parameters<typeof swarmIdOf>[0]['cluster']
    this.#swarms = images.map((blobs) => blobs.map((blob) => swarmIdOf({ cluster, registry, ...blob })))
    this.#grants = images.map(() => [])
    const asked = this.#swarms[0]!.slice(0, 1)
    this.#heartbeats = Array.from({ length: HEARTBEATS_PER_PEER_QUESTION }, (_, index) =>
      postRequest('/v1/heartbeat', heartbeatWith({ wantsPeers: index === 0 ? asked : [] })),
    )
  }

  /** A grant for every token; images take turns. @returns how many are ready */
  prepareGrants(tokens: readonly string[]): number {
    for (const token of tokens) {
      const image = this.#prepared++ % this.#grants.length
      this.#grants[image]!.push(this.#grantOf(token, image))
    }
    return this.#grants.reduce((sum, { length }) => sum + length, 0)
  }

  /** @returns undefined when all prepared grants were sent */
  nextGrant(): Buffer | undefined {
    for (let tried = 0; tried < this.#grants.length; tried += 1) {
      const grant = this.#grants[this.#grantsSent++ % this.#grants.length]!.pop()
      if (grant !== undefined) return grant
    }
    return undefined
  }

  /** @param image default: the next one's @throws BenchPeerError when all prepared grants were sent */
  grant(image?: number): Buffer {
    const grant = image === undefined ? this.nextGrant() : this.#grants[image]!.pop()
    if (grant === undefined) throw new BenchPeerError('too few grants were prepared')
    return grant
  }

  /** Of a node with nothing new, or of a downloading node. */
  heartbeat(): Buffer {
    return this.#heartbeats[this.#heartbeatsSent++ % this.#heartbeats.length]!
  }

  /** A full inventory, sent once: the node has some images completely. */
  inventory(node: number): Buffer {
    const { imagesHeld } = this.#settings
    const images = Array.from(
      { length: imagesHeld },
      (_, held) => this.#swarms[(node * imagesHeld + held) % this.#swarms.length]!,
    )
    const holds = images.flat().map((swarm) => ({ swarm, isSeed: true }))
    return postRequest('/v1/heartbeat', heartbeatWith({ isFullInventory: true, holds }))
  }

  /** Hashes of all pieces of a lease. */
  publication(swarm: SwarmId, { pull, lease, epoch, pieces, wantsLease }: Publication): Buffer {
    const request: HashesRequest = {
      pull,
      lease: lease.lease,
      epoch,
      firstPiece: lease.firstPiece,
      hashes: randomBytes(pieces * PIECE_HASH_BYTES).toString('base64url'),
      isLeaseReleased: false,
      wantsLease,
      position: 0,
      batchesFrom: null,
    }
    return postRequest(`/v1/swarms/${swarm}/hashes`, request)
  }

  completion(swarm: SwarmId, epoch: number): Buffer {
    const request: CompleteRequest = { epoch, matched: 'whole', piecesSha1: null }
    return postRequest(`/v1/swarms/${swarm}/complete`, request)
  }

  #grantOf(token: string, image: number): Buffer {
    const { publicKey } = generateKeyPairSync('ec', {
      namedCurve: 'P-256',
      publicKeyEncoding: { type: 'spki', format: 'der' },
      privateKeyEncoding: { type: 'pkcs8', format: 'der' },
    })
    const request: PullRequest = {
      registry: this.#settings.registry,
      repository: REPOSITORY,
      credential: { scheme: 'bearer', token },
      publicKey: publicKey.toString('base64url'),
      listenPort: LISTEN_PORT,
      blobs: this.#settings.images[image]!.map((blob) => ({ ...blob, isWanted: true })),
    }
    return postRequest('/v1/pulls', request)
  }
}

interface Publication {
  pull: string
  lease: Lease
  epoch: number
  pieces: number
  wantsLease: boolean
}

function heartbeatWith(changes: Partial<HeartbeatRequest>): HeartbeatRequest {
  return {
    listenPort: LISTEN_PORT,
    isFullInventory: false,
    holds: [],
    dropped: [],
    wantsPeers: [],
    badPeers: [],
    servePublicKey: null,
    revocationsVersion: 0,
    ...changes,
  }
}
