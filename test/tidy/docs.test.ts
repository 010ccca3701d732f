import { describe, expect, it } from 'vitest'
import { adminPage } from '../../docs/admin-page.ts'
import { withConditionsTable, withReasonsTable } from '../../docs/conditions-table.ts'
import { configPage } from '../../docs/config-page.ts'
import { limitsPage } from '../../docs/limits-page.ts'
import { metricsPage } from '../../docs/metrics-page.ts'
import { textOf } from './source-files.ts'

describe('pages that come from the source', () => {
  it.each([
    ['docs/admin.md', adminPage],
    ['docs/config.md', configPage],
    ['docs/errors.md', () => withConditionsTable(textOf('docs/errors.md'))],
    ['docs/limits.md', limitsPage],
    ['docs/metrics.md', metricsPage],
    ['docs/status.md', () => withReasonsTable(textOf('docs/status.md'))],
  ])('%s is current (npm run docs writes it)', async (path, page) => {
    const text = await page()
    expect(text.length).toBeGreaterThan(1000)
    expect(textOf(path)).toBe(text)
  })

  it('name every setting of every program', () => {
    const page = configPage()
    for (const setting of [
      '--tracker-url',
      '--unlock-key-file',
      '--advertise-host',
      '--config-file',
      '`tokenKeysFile`',
    ]) {
      expect(page).toContain(setting)
    }
    expect(page).toContain('| `127.0.0.1:7070` |')
  })

  it('say what every bound is for', () => {
    expect(limitsPage().match(/^.*\| {2}\|.*$/gm)).toBeNull()
  })

  it('name the bound of a frame', () => {
    expect(limitsPage()).toContain('| `FRAME_BYTES_MAX` |')
  })
})
