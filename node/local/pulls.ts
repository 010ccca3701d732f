import { z } from 'zod'
import { isDigest } from '../../core/digest.ts'
import { DOCKER_HUB } from '../../core/repository.ts'
import type { PullRecord } from '../../proxy/pull-record.ts'
import type { PullRecords } from '../../proxy/pull-records.ts'
import { LocalRequestError, PullNotRecordedError } from '../errors.ts'
import type { LocalRoute } from '../local-api.ts'
import { pullOf } from '../status.ts'

/** `shoal explain`: the last pull of an image or a blob. */

/** Names and digests are shorter, with room for mistakes. */
const IMAGE_CHARS_MAX = 1024
/** Names that the refusal lists. */
const KNOWN_MAX = 5
/** As image names call Docker Hub. */
const HUB_NAMES = ['docker.io', 'index.docker.io', DOCKER_HUB as string]

export function pullRoutes(records: Pick<PullRecords, 'list'>): LocalRoute[] {
  const answer = ({ query }: { query: URLSearchParams }) => {
    const parsed = z.string().min(1).max(IMAGE_CHARS_MAX).safeParse(query.get('image'))
    if (!parsed.success) throw new LocalRequestError('the call needs the name or digest of an image')
    const pulls = records.list()
    const found = pulls.filter((pull) => isMeant(parsed.data, pull))
    if (found[0] === undefined) throw notRecorded(pulls)
    return { pull: pullOf(found[0]), recorded: found.length }
  }
  return [{ method: 'GET', path: '/v1/pulls/last', answer }]
}

/**
 * Whether a pull is of what a person wrote: a digest (of a manifest or a layer, from 12 digits on), or a name as runtimes take
 * it, with the tag or not. Without a tag, any pull of the repository is meant.
 */
export function isMeant(
  text: string,
  pull: Pick<PullRecord, 'registry' | 'repository' | 'reference' | 'digest'> & {
    layers: { digest: string }[]
  },
): boolean {
  const short = /^(?:sha256:)?([0-9a-f]{12,64})$/.exec(text)?.[1]
  if (short !== undefined) {
    const digests = [pull.digest, pull.reference, ...pull.layers.map(({ digest }) => digest)]
    return digests.some((digest) => digest?.startsWith(`sha256:${short}`))
  }
  const [name = '', digest] = text.split('@', 2)
  const [, path = '', tag] = /^(.*?)(?::([\w][\w.-]{0,127}))?$/.exec(name) ?? []
  if (!placesOf(path).some((one) => one === `${pull.registry}/${pull.repository}`)) return false
  if (digest !== undefined) return pull.digest === digest || pull.reference === digest
  return tag === undefined || pull.reference === tag
}

/** The registries and repositories that a name may mean, as records have them. */
function placesOf(path: string): string[] {
  const [first = '', ...rest] = path.split('/')
  const hasHost = rest.length > 0 && /[.:]|^localhost$/.test(first)
  if (hasHost && !HUB_NAMES.includes(first)) return [path]
  const inHub = hasHost ? rest.join('/') : path
  return [`${DOCKER_HUB}/${inHub.includes('/') ? inHub : `library/${inHub}`}`]
}

function notRecorded(pulls: PullRecord[]): PullNotRecordedError {
  const names = pulls.flatMap(({ registry, repository, reference }) =>
    reference === undefined
      ? []
      : [`${registry}/${repository}${isDigest(reference) ? '@' : ':'}${reference}`],
  )
  const known = [...new Set(names)].slice(0, KNOWN_MAX)
  return new PullNotRecordedError('this node has no record of such a pull', {
    hint:
      known.length === 0
        ? 'It has no record of any image yet. Does the runtime pull through it? (`shoal attach`)'
        : `The last were ${known.join(', ')}.`,
  })
}
