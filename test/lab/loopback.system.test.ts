import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'
import type { LoopbackReport } from '../../lab/loopback/report.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'

const PROGRAM = join(import.meta.dirname, '../../lab/loopback/main.ts')
const folder = mkdtempSync(join(tmpdir(), 'shoal-loopback-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe.skipIf(mustSkipFor(['linux', 'setpriv', 'curl', 'docker-registry']))('npm run lab', () => {
  const runLab = async (...flags: string[]) => {
    const env = { ...process.env, TMPDIR: folder }
    const argv = [PROGRAM, '--json', '--nodes', '2', '--mib', '16', ...flags]
    const { stdout } = await promisify(execFile)(process.execPath, argv, { env })
    return (JSON.parse(stdout) as LoopbackReport).rounds
  }

  it('moves a warm blob from the holder, again with the same nodes, and leaves nothing', async () => {
    const rounds = await runLab('--rounds', '2')
    expect(rounds.map(({ round, state }) => [round, state])).toEqual([
      [1, 'warm'],
      [2, 'warm'],
    ])
    for (const { registryCopies, holderCopies, secondsOfNodes, cpuSecondsPerGib } of rounds) {
      expect(registryCopies).toBe(0)
      expect(holderCopies).toBeGreaterThanOrEqual(1)
      expect(secondsOfNodes).toHaveLength(2)
      expect(cpuSecondsPerGib).toBeGreaterThan(0)
    }
    expect(readdirSync(folder)).toEqual([])
  }, 120_000)

  it('takes one copy of a cold blob from a real registry', async () => {
    const [round] = await runLab('--rounds', '1', '--state', 'cold')
    expect(round!.holderCopies).toBeNull()
    expect(round!.registryCopies).toBeGreaterThanOrEqual(1)
    expect(round!.registryCopies).toBeLessThan(1.5)
  }, 60_000)
})
