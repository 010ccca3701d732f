import { expect, it } from 'vitest'
import { BoundedMap } from '../../core/bounded-map.ts'

function mapOf(entriesMax: number, keys: string): BoundedMap<string, string> {
  const map = new BoundedMap<string, string>(entriesMax)
  for (const key of keys) map.set(key, `value of ${key}`)
  return map
}

it('forgets what was set the longest ago once there is more than its bound', () => {
  expect([...mapOf(2, 'abc').values()]).toEqual(['value of b', 'value of c'])
})

it('takes an entry that is set again for the newest', () => {
  const map = mapOf(2, 'abac')
  expect(map.has('b')).toBe(false)
  expect(map.get('a')).toBe('value of a')
  expect(map.size).toBe(2)
})

it('has room again for what was deleted', () => {
  const map = mapOf(2, 'ab')
  map.delete('b')
  map.set('c', 'value of c')
  expect([...map.values()]).toEqual(['value of a', 'value of c'])
})
