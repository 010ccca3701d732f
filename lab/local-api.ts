import { z } from 'zod'
import { LocalNode } from '../cli/local-node.ts'
import type { BlobProgress } from '../client/index.ts'

/** What a node of the lab says over its local API, as its own commands ask it. */

/** @param socket path of the node's socket @throws ShoalError if the node does not answer */
export async function askLocally<Answer>(socket: string, path: string): Promise<Answer> {
  return (await new LocalNode([socket]).ask(path, z.unknown())) as Answer
}

export async function progressAt(socket: string): Promise<BlobProgress[]> {
  return (await askLocally<{ blobs: BlobProgress[] }>(socket, '/v1/progress')).blobs
}

/** PEM certificates that the node's clients must trust. */
export async function authorityAt(socket: string): Promise<string> {
  return (await askLocally<{ pem: string }>(socket, '/v1/ca')).pem
}
