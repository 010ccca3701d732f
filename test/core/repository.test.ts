import { expect, test } from 'vitest'
import {
  isApiPath,
  isRepository,
  parseRegistryHost,
  parseRepositoryPath,
  repositoryPath,
} from '../../core/repository.ts'

const read = (path: string) => parseRepositoryPath(path, 'blobs/([^/]+)')

test.each([
  ['/v2/team/app/blobs/x', 'team/app'],
  ['/v2/team/v2/app/blobs/x', 'team/v2/app'],
])('%s is in %s, and leads back to the same path', (path, repository) => {
  const found = read(path)
  expect(found).toEqual({ repository, groups: ['x'] })
  expect(`${repositoryPath(found!.repository)}/blobs/x`).toBe(path)
})

test.each([
  '/v2/team/../app/blobs/x',
  // Below another path: it may be a file of a user.
  '/team/v2/app/blobs/x',
  '/artifactory/api/docker/hub-remote/v2/library/thing/blobs/x',
  '/../v2/app/blobs/x',
  '/a/../b/v2/app/blobs/x',
  '//v2/app/blobs/x',
  '/a//v2/app/blobs/x',
  '/a%2fb/v2/app/blobs/x',
  '/a/v2//app/blobs/x',
  'v2/app/blobs/x',
  '/v2/blobs/x',
])('%s is in no repository', (path) => {
  expect(read(path)).toBeUndefined()
})

test('no name has an empty part', () => {
  expect(isRepository('team//app')).toBe(false)
})

test.each([
  ['REGISTRY.Example.com', 'registry.example.com'],
  ['registry.example.com.', 'registry.example.com'],
  ['Registry.example.com.:443', 'registry.example.com'],
  ['registry.example.com.:5000', 'registry.example.com:5000'],
])('the host %s is %s', (text, host) => {
  expect(parseRegistryHost(text)).toBe(host)
})

test.each(['registry.example.com..', '.', '.:443', '[::1].', 'a..b'])('%s is no host', (text) => {
  expect(() => parseRegistryHost(text)).toThrow()
})

const PREFIX = '/artifactory/api/docker/hub-remote'
const below = (path: string) => parseRepositoryPath(path, 'blobs/([^/]+)', PREFIX)

test('a path below the API of a registry leads back to itself', () => {
  const path = `${PREFIX}/v2/library/thing/blobs/x`
  expect(below(path)).toEqual({ repository: 'library/thing', groups: ['x'] })
  expect(`${repositoryPath(below(path)!.repository, PREFIX)}/blobs/x`).toBe(path)
})

test.each([
  // The root, and other paths, are not the API of a registry that has a path.
  '/v2/library/thing/blobs/x',
  '/artifactory/api/docker/other/v2/library/thing/blobs/x',
  `${PREFIX}-2/v2/library/thing/blobs/x`,
  `${PREFIX}/../other/v2/library/thing/blobs/x`,
  `/v2${PREFIX}/v2/library/thing/blobs/x`,
  `${PREFIX}//v2/library/thing/blobs/x`,
])('%s is in no repository of a registry whose API is elsewhere', (path) => {
  expect(below(path)).toBeUndefined()
})

test.each([PREFIX, '/nexus', '/a.b/~c_d-e'])('%s can stand before /v2/', (path) => {
  expect(isApiPath(path)).toBe(true)
})

test.each([
  '',
  '/',
  'nexus',
  '/nexus/',
  '/a/../b',
  '/..',
  '/.',
  '/a?b',
  '/a#b',
  '/a%2fb',
  '//a',
  '/a b',
  '/nexus/v2',
  `/${'a'.repeat(255)}`,
])('%s cannot stand before /v2/', (path) => {
  expect(isApiPath(path)).toBe(false)
})
