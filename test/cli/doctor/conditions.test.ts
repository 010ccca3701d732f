import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { lookAtNode } from '../../../cli/doctor/about.ts'
import { examine } from '../../../cli/doctor/examine.ts'
import { LocalNode } from '../../../cli/local-node.ts'
import { CONDITIONS, type ConditionText } from '../../../core/condition-texts.ts'
import type { ConditionCode } from '../../../core/conditions.ts'
import { nodeConfig } from '../../../node/config.ts'

/** A node that tells of any state; nothing else is there. */

let folder: string
let condition: object
const server = createServer((request, response) => {
  const status = {
    node: { version: '1', started: '2026-11-30T12:00:00Z', joined: true, cluster: 'c', id: 'n' },
    tracker: { url: null, state: 'connected', since: '2026-11-30T12:00:00Z' },
    registries: [],
    peers: { connected: 0, refused: 0, unreachable: 0 },
    conditions: [condition, { code: 'OF_ANOTHER_VERSION', subject: '', facts: {} }],
  }
  const isStatus = request.url === '/v1/status'
  response
    .writeHead(isStatus ? 200 : 404)
    .end(JSON.stringify(isStatus ? status : { error: { code: 'X', message: 'x' } }))
})
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shoal-doctor-'))
  await new Promise<void>((resolve) => server.listen(join(folder, 's'), resolve))
})
afterAll(() => {
  server.close()
  rmSync(folder, { recursive: true })
})

/** The doctor looked later than the node, and found more. */
const SAID_BY_THE_LOOK = new Set<ConditionCode>(['NO_REGISTRIES'])

test.each(Object.keys(CONDITIONS) as ConditionCode[])(
  '%s of the node is said once, with its remedy',
  async (code) => {
    condition = { code, subject: 'registry.example', facts: { reason: 'because', seconds: 3 } }
    const node = new LocalNode([join(folder, 's')])
    const about = {
      ...{ env: {}, node, run: async () => undefined, root: folder, patienceMs: 500 },
      config: nodeConfig.parse({
        dataDir: folder,
        proxyListen: '127.0.0.1:9',
        dockerCertsDir: 'none',
        attachedDir: 'none',
      }),
      guardControl: join(folder, 'none'),
      facts: await lookAtNode(node, folder),
    }
    const reports = await examine(about, { file: undefined, dataDir: folder, registries: 0 })
    const said = reports.flatMap(({ findings }) => findings).filter((finding) => finding.code === code)
    const isLooked = SAID_BY_THE_LOOK.has(code)
    expect(said.length).toBe(isLooked ? 2 : 1)
    const { title, remedy, severity }: ConditionText = CONDITIONS[code]
    expect(said.at(-1)).toMatchObject({ level: severity, text: `registry.example: ${title}`, remedy })
    expect(said.at(-1)!.detail).toContain('because')
  },
)
