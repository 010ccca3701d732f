import { expect, test } from 'vitest'
import { barLine, openProgressView, type ProgressRow } from '../../lab/demo/progress.ts'

const MIB = 1024 ** 2

function row(differences: Partial<ProgressRow> = {}): ProgressRow {
  return {
    node: 'node1',
    client: 'docker',
    layer: 1,
    bytes: 8 * MIB,
    registryBytes: 0,
    peerBytes: 0,
    ...differences,
  }
}

function output(isTTY: boolean) {
  const written: string[] = []
  return { isTTY, columns: 120, write: (text: string) => void written.push(text), written }
}

test('a bar shows what came from the registry and what from peers, each in its share', () => {
  const line = barLine(row({ registryBytes: 2 * MIB, peerBytes: 4 * MIB }))
  expect(line).toBe(
    `node1 docker   layer 1 [${'▒'.repeat(6)}${'█'.repeat(12)}${' '.repeat(6)}] registry 2.0, peers 4.0 MiB`,
  )
})

test('on a terminal the rows are drawn over, and what is said in between stays', () => {
  const terminal = output(true)
  const view = openProgressView(terminal)
  view.update([row(), row({ layer: 2 })])
  view.update([row(), row({ layer: 2 })])
  expect(terminal.written.at(-1)!.split('\x1b[1A')).toHaveLength(4)
  view.say('a line')
  view.update([row()])
  expect(terminal.written.at(-1)).not.toContain('\x1b[1A')
})

test('elsewhere a row gets a line when half of it has come and when all of it has, and no escapes', () => {
  const pipe = output(false)
  const view = openProgressView(pipe)
  for (let mib = 0; mib <= 8; mib++) view.update([row({ peerBytes: mib * MIB })])
  view.update([row({ peerBytes: 8 * MIB })])
  expect(pipe.written).toEqual([
    'node1 (docker) layer 1: 50 %, 0.0 MiB from the registry, 4.0 MiB from peers\n',
    'node1 (docker) layer 1: 100 %, 0.0 MiB from the registry, 8.0 MiB from peers\n',
  ])
})
