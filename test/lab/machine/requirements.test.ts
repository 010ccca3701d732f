import { expect, test } from 'vitest'
import { howToGet, missingParts, requireParts } from '../../../lab/machine/requirements.ts'

test('missing parts are named with their packages, each once, and how to be root', () => {
  expect(howToGet(['dockerd', 'docker', 'skopeo', 'root'], 'npm run demo')).toBe(
    'On Debian or Ubuntu: sudo apt-get install -y docker.io skopeo; then run it as root: sudo npm run demo',
  )
  expect(howToGet(['root'], 'npm run demo')).toBe('Run it as root: sudo npm run demo')
  expect(howToGet(['root'])).toBe('Run it as root')
  expect(howToGet(['skopeo'], 'npm run demo -- --real')).toMatch(
    /; then run it again: npm run demo -- --real$/,
  )
  expect(howToGet(['linux', 'root'])).toMatch(/^The lab uses network namespaces/)
})

test('a program that no folder of the PATH has is missing; one that is there is not', () => {
  expect(missingParts([])).toEqual([])
  expect(missingParts(['nonexistent-program' as 'skopeo', 'linux'])).toContain('nonexistent-program')
  expect(() => requireParts(['nonexistent-program' as 'skopeo'])).toThrow(
    expect.objectContaining({ code: 'LAB_REQUIREMENT' }),
  )
})
