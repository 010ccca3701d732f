import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { upConfig } from '../../cli/up.ts'
import { settings } from '../../core/config.ts'
import { RENAMED_SETTINGS } from '../../core/renamed-settings.ts'
import { configPage } from '../../docs/config-page.ts'
import { metricsPage } from '../../docs/metrics-page.ts'
import { nodeConfig } from '../../node/config.ts'
import manifest from '../../package.json' with { type: 'json' }
import { trackerConfig } from '../../tracker/config.ts'
import { previousReleaseCommit } from '../pull/previous-release.ts'
import { ROOT } from './source-files.ts'

/** What the pages of the last release name must still be there: a name that is gone breaks an upgrade. */

const SCHEMAS = { node: nodeConfig, tracker: trackerConfig, up: upConfig }
const commit = previousReleaseCommit()
const pageOf = (name: string) =>
  execFileSync('git', ['show', `${commit}:docs/${name}`], { cwd: ROOT, encoding: 'utf8' })
/** First cells of the tables below each heading. */
function namesIn(page: string): Map<string, string[]> {
  const sections = page.split(/^## /m).slice(1)
  return new Map(
    sections.map((text) => {
      const names = [...text.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name]) => name!)
      return [text.slice(0, text.indexOf('\n')), names]
    }),
  )
}

describe.skipIf(commit === undefined)('names of the last release', () => {
  it('of settings are known, or are in the table of old names', () => {
    const then = namesIn(pageOf('config.md'))
    const now = namesIn(configPage())
    expect(then.get('shoal node')?.length).toBeGreaterThan(10)
    for (const [section, names] of then) {
      const old = RENAMED_SETTINGS.filter(({ program }) => section === `shoal ${program}`)
      const known = [...(now.get(section) ?? []), ...old.map(({ from }) => from)]
      expect(
        names.filter((name) => !known.includes(name)),
        section,
      ).toEqual([])
    }
  })

  it('of metrics are there, for dashboards and alarms', async () => {
    const [then, now] = [namesIn(pageOf('metrics.md')), namesIn(await metricsPage())]
    expect(then.get('shoal node')?.length).toBeGreaterThan(5)
    for (const [section, names] of then) expect(now.get(section)).toEqual(expect.arrayContaining(names))
  })
})

describe('the table of old names', () => {
  it('leads to settings, from names that no setting has', () => {
    for (const { program, from, to } of RENAMED_SETTINGS) {
      const known = settings(program, SCHEMAS[program]).map(({ key }) => key)
      expect(known).toContain(to)
      expect(known).not.toContain(from)
    }
  })

  it('has no row of a release before this one', () => {
    const numbers = (version: string) => version.split('.').map((text) => text.padStart(6, '0'))
    const late = RENAMED_SETTINGS.filter(
      ({ since }) => numbers(since).join() < numbers(manifest.version).join(),
    )
    expect(late).toEqual([])
  })
})
