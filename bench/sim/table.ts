import type { SimRun } from './simulate.ts'

export function renderTable(runs: SimRun[]): string {
  const rows = runs.map(({ nodes, scenario, images, ...run }) => {
    const figures = [run.makespanOverLimit, run.originCopies, run.trackerRequestsPerNode, run.waitedSeconds]
    return `| ${nodes} | ${scenario} | ${images} | ${figures.map((figure) => figure.toFixed(2)).join(' | ')} |`
  })
  return [
    '| nodes | scenario | images | time over limit | copies from the registry | tracker requests per node | seconds waited for the tracker |',
    '|---|---|---|---|---|---|---|',
    ...rows,
  ].join('\n')
}
