import { readFileSync, writeFileSync } from 'node:fs'
import { adminPage } from './admin-page.ts'
import { withConditionsTable, withReasonsTable } from './conditions-table.ts'
import { configPage } from './config-page.ts'
import { limitsPage } from './limits-page.ts'
import { metricsPage } from './metrics-page.ts'

/** `npm run docs`: writes the pages that come from the source. A test fails when one is out of date. */
for (const [name, page] of [
  ['admin.md', adminPage()],
  ['config.md', configPage()],
  ['errors.md', withConditionsTable(readFileSync(new URL('errors.md', import.meta.url), 'utf8'))],
  ['limits.md', limitsPage()],
  ['metrics.md', await metricsPage()],
  ['status.md', withReasonsTable(readFileSync(new URL('status.md', import.meta.url), 'utf8'))],
] as const) {
  writeFileSync(new URL(name, import.meta.url), page)
  process.stdout.write(`docs/${name}\n`)
}
