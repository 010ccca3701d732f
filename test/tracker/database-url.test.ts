import { expect, test } from 'vitest'
import { readDatabaseUrl } from '../../tracker/database-url.ts'
import { openDatabase } from '../../tracker/store/open-store.ts'

test.each([
  ['postgres://a@db/shoal', { hosts: [{ host: 'db', port: 5432 }], user: 'a', database: 'shoal' }],
  ['postgresql://a%40b@db:5433/s%20h', { hosts: [{ host: 'db', port: 5433 }], user: 'a@b', database: 's h' }],
  [
    'postgres://a@one,two:5433/shoal',
    {
      hosts: [
        { host: 'one', port: 5432 },
        { host: 'two', port: 5433 },
      ],
      user: 'a',
      database: 'shoal',
    },
  ],
  [
    'postgres://a@[2001:db8::5]:1/shoal',
    { hosts: [{ host: '2001:db8::5', port: 1 }], user: 'a', database: 'shoal' },
  ],
  [
    'postgres://a@/shoal?host=/run/postgresql&port=7',
    { hosts: [], socket: { host: '/run/postgresql', port: 7 }, user: 'a', database: 'shoal' },
  ],
])('%s is read', (text, place) => {
  expect(readDatabaseUrl(text)).toEqual(place)
})

test.each([
  ['postgres://a:secret@db/shoal', /password/],
  ['mysql://a@db/shoal', /look like/],
  ['postgres://@db/shoal', /no user/],
  ['postgres://a@/shoal', /must name hosts/],
  ['postgres://a@db/shoal?host=/run', /must name hosts/],
  ['postgres://a@/shoal?host=run', /folder/],
  ['postgres://a@db/shoal?sslmode=disable', /sslmode/],
  ['postgres://a@db:0/shoal', /not a port/],
  ['postgres://a@db:99999/shoal', /not a port/],
  ['postgres://a@d b/shoal', /not a host/],
  ['postgres://a@db,10.0.0.5/shoal', /must be a name/],
  ['postgres://a@1,2,3,4,5,6,7,8,9/shoal', /more than 8/],
  ['postgres://a%zz@db/shoal', /percent/],
])('%s is refused', (text, why) => {
  expect(() => readDatabaseUrl(text)).toThrow(
    expect.objectContaining({ code: 'CONFIG', message: expect.stringMatching(why) }),
  )
})

test('a refused URL shows no password', () => {
  expect(() => readDatabaseUrl('postgres://a:secret@db/shoal')).not.toThrow(/secret/)
})

test('a local socket is refused in a folder to which everybody can write', async () => {
  await expect(openDatabase('postgres://a@/shoal?host=/tmp', {})).rejects.toMatchObject({
    code: 'CONFIG',
    message: expect.stringContaining('proves nothing'),
  })
})
