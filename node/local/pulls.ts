import { z } from 'zod'
import { imageName, isMeant } from '../../core/image-name.ts'
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

function notRecorded(pulls: PullRecord[]): PullNotRecordedError {
  const names = pulls.flatMap(({ registry, repository, reference }) =>
    reference === undefined ? [] : [imageName({ registry, repository, reference })],
  )
  const known = [...new Set(names)].slice(0, KNOWN_MAX)
  return new PullNotRecordedError('this node has no record of such a pull', {
    hint:
      known.length === 0
        ? 'It has no record of any image yet. Does the runtime pull through it? (`shoal attach`)'
        : `The last were ${known.join(', ')}.`,
  })
}
