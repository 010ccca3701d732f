import { describe, expect, it } from 'vitest'
import { createMetrics } from '../../core/metrics.ts'

describe('metrics', () => {
  it('start every series at zero and count what is added', async () => {
    const metrics = createMetrics()
    const bytes = metrics.counter({
      name: 'x_bytes_total',
      help: 'x',
      labels: { source: ['registry', 'peers'] },
    })
    bytes.add({ source: 'peers' }, 5)
    const text = await metrics.text()
    expect(text).toContain('x_bytes_total{source="registry"} 0')
    expect(text).toContain('x_bytes_total{source="peers"} 5')
  })

  it('of two instances do not meet', async () => {
    const [one, other] = [createMetrics(), createMetrics()]
    one.counter({ name: 'x_total', help: 'x' }).add({})
    other.counter({ name: 'x_total', help: 'x' })
    expect(await one.text()).toContain('x_total 1')
    expect(await other.text()).toContain('x_total 0')
  })

  it('read gauges when they are asked for', async () => {
    const metrics = createMetrics()
    let value = 1
    metrics.gauge({ name: 'g', help: 'g', read: () => value })
    value = 7
    expect(await metrics.text()).toContain('g 7')
  })

  it('read gauges and totals for each combination of labels', async () => {
    const metrics = createMetrics()
    let bytes = 1
    const labels = { source: ['peers', 'registry'] } as const
    const read = ({ source }: { source: string }) => (source === 'peers' ? bytes : 2)
    metrics.gauge({ name: 'g', help: 'g', labels, read })
    metrics.total({ name: 't_total', help: 't', labels, read })
    for (bytes of [1, 5]) {
      const text = await metrics.text()
      for (const name of ['g', 't_total']) {
        expect(text).toContain(`${name}{source="peers"} ${bytes}`)
        expect(text).toContain(`${name}{source="registry"} 2`)
      }
    }
    expect(await metrics.text()).toContain('# TYPE t_total counter')
  })

  it('report the process when they are asked to', async () => {
    const text = await createMetrics({ process: true }).text()
    expect(Number(/process_resident_memory_bytes (\d+)/.exec(text)?.[1])).toBeGreaterThan(10_000_000)
    expect(Number(/process_cpu_seconds_total ([\d.]+)/.exec(text)?.[1])).toBeGreaterThan(0)
  })

  it('refuse label sets that multiply beyond their bound', () => {
    const many = Array.from({ length: 20 }, (_, index) => `v${index}`)
    const labels = { a: many, b: many }
    expect(() => createMetrics().counter({ name: 'x_total', help: 'x', labels })).toThrow(RangeError)
  })
})
