import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { requirementsFor } from '../../lab/cluster.ts'
import { labsOwnedBy, remainsOf, removeStaleLabs } from '../../lab/machine/leftovers.ts'
import { waitFor } from '../../lab/machine/processes.ts'
import { mustSkipFor } from '../../lab/machine/requirements.ts'

const PROGRAM = fileURLToPath(new URL('../../lab/demo/main.ts', import.meta.url))

function demo(...flags: string[]) {
  const child = spawn(process.execPath, [PROGRAM, ...flags])
  const seen = { output: '', errors: '' }
  child.stdout.on('data', (chunk) => {
    seen.output += chunk
  })
  child.stderr.on('data', (chunk) => {
    seen.errors += chunk
  })
  const exit = new Promise<number | null>((resolve) => child.once('close', resolve))
  return { child, seen, exit }
}

/** Empty when it has ended since it was listed. */
function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

function registryOf(runId: string): number {
  const pids = remainsOf(runId).flatMap((remnant) => /^process (\d+)$/.exec(remnant)?.[1] ?? [])
  const found = pids.filter((pid) => commandOf(pid).startsWith('docker-registry\0'))
  expect(found).toHaveLength(1)
  return Number(found[0])
}

describe.skipIf(mustSkipFor(requirementsFor(['docker', 'skopeo', 'podman'])))('npm run demo', () => {
  afterEach(() => void removeStaleLabs())

  /** The run id of the demonstration's lab, once `text` was said. */
  async function labOf({ child, seen }: ReturnType<typeof demo>, text: string): Promise<string> {
    return waitFor(`"${text}"`, 60_000, async () =>
      seen.output.includes(text) ? labsOwnedBy(child.pid!)[0] : undefined,
    )
  }

  test('pulls once from the registry for three clients, prints one JSON document and leaves nothing', async () => {
    const { child, exit, seen } = demo('--real', '--json', '--image-mib', '24')
    expect(await exit, seen.errors).toBe(0)
    expect(seen.output.trim().split('\n')).toHaveLength(1)
    const report = JSON.parse(seen.output)
    const keys = ['ok', 'blobBytes', 'registryEgressBytes', 'nodes', 'refusals', 'parts']
    expect(Object.keys(report)).toEqual(keys)
    expect(report.refusals.map(({ bytes }: { bytes: number }) => bytes)).toEqual([0, 0, 0])
    expect(report.parts.filter(({ isStandIn }: { isStandIn: boolean }) => isStandIn)).toEqual([])
    expect(report.ok).toBe(true)
    expect(report.blobBytes).toBeGreaterThan(24 * 1024 ** 2)
    expect(report.registryEgressBytes).toBeLessThanOrEqual(report.blobBytes * 1.05)
    expect(report.nodes.map(({ client }: { client: string }) => client)).toEqual([
      'dockerd',
      'skopeo',
      'podman',
    ])
    for (const node of report.nodes) {
      expect(node.digestVerified).toBe(true)
      expect(node.seconds).toBeGreaterThan(0)
      expect(node.registryBytes + node.peerBytes).toBe(report.blobBytes)
      expect(node.peakRssBytes).toBeGreaterThan(30 * 1024 ** 2)
    }
    expect(report.nodes[0].registryBytes).toBe(report.blobBytes)
    for (const node of report.nodes.slice(1)) {
      expect(node.peerBytes).toBeGreaterThanOrEqual(report.blobBytes * 0.95)
    }
    expect(labsOwnedBy(child.pid!)).toEqual([])
  })

  test.each([
    ['SIGINT', 130, 'starting: tracker'],
    ['SIGTERM', 143, 'node1 pulls'],
  ] as const)('after %s, everything that it started is gone', async (signal, exitCode, moment) => {
    const running = demo('--image-mib', '24')
    const runId = await labOf(running, moment)
    expect(remainsOf(runId)).not.toEqual([])
    running.child.kill(signal)
    expect(await running.exit, running.seen.errors).toBe(exitCode)
    expect(remainsOf(runId)).toEqual([])
  })

  test('a second Ctrl-C ends it at once, and nothing is left then either', async () => {
    const running = demo('--image-mib', '24')
    const runId = await labOf(running, 'node1 pulls')
    running.child.kill('SIGINT')
    await waitFor(
      'the first to be heard',
      5000,
      async () => running.seen.output.includes('stopping') || undefined,
    )
    await new Promise((resolve) => setTimeout(resolve, 800))
    running.child.kill('SIGINT')
    expect(await running.exit).toBe(130)
    expect(remainsOf(runId)).toEqual([])
  })

  test('when it is killed its processes end by themselves, and the next lab removes the rest', async () => {
    const running = demo('--image-mib', '24')
    const runId = await labOf(running, 'node1 pulls')
    running.child.kill('SIGKILL')
    await running.exit
    await waitFor('the processes to end', 20_000, async () => {
      const processes = remainsOf(runId).filter((remnant) => remnant.startsWith('process '))
      return processes.length === 0 || undefined
    })
    expect(removeStaleLabs()).toContain(runId)
    expect(remainsOf(runId)).toEqual([])
  })

  test('when a part dies it says which, is not ok, and leaves nothing', async () => {
    const running = demo('--image-mib', '24')
    const runId = await labOf(running, 'starting: nodes')
    process.kill(registryOf(runId), 'SIGKILL')
    expect(await running.exit).toBe(1)
    expect(running.seen.output + running.seen.errors).toContain('registry ended by itself')
    expect(remainsOf(runId)).toEqual([])
  })
})
