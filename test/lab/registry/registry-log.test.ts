import { expect, test } from 'vitest'
import { parseDigest } from '../../../core/digest.ts'
import { egressByBlob } from '../../../lab/registry/registry-log.ts'

const first = parseDigest(`sha256:${'a'.repeat(64)}`)
const second = parseDigest(`sha256:${'b'.repeat(64)}`)

function line(request: string, status: number, bytes: number): string {
  return `10.77.0.2 - - [22/Nov/2026:04:11:29 +0000] "${request} HTTP/1.1" ${status} ${bytes} "" "docker/20.10"`
}

test('whole and partial answers of a blob are added up', () => {
  const log = [
    line(`GET /v2/team/app/blobs/${first}`, 200, 1000),
    line(`GET /v2/other/name/blobs/${first}?ns=x`, 206, 24),
    line(`GET /v2/team/app/blobs/${second}`, 200, 7),
  ].join('\n')
  expect(egressByBlob(log)).toEqual(
    new Map([
      [first, { bytes: 1024, requests: 2 }],
      [second, { bytes: 7, requests: 1 }],
    ]),
  )
})

test('requests that carry no blob are not counted', () => {
  const log = [
    line(`HEAD /v2/team/app/blobs/${first}`, 200, 1000),
    line(`GET /v2/team/app/blobs/${first}`, 401, 150),
    line(`GET /v2/team/app/blobs/${first}`, 307, 0),
    line(`GET /v2/team/app/manifests/${first}`, 200, 500),
    line('GET /v2/team/app/blobs/sha256:short', 200, 500),
    line('POST /v2/team/app/blobs/uploads/', 202, 0),
    'time="2026-11-22T04:11:29Z" level=warning msg="something else"',
    '',
  ].join('\n')
  expect(egressByBlob(log)).toEqual(new Map())
})
