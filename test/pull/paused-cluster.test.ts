import { join } from 'node:path'
import { Client as HttpClient } from 'undici'
import { afterEach, expect, it } from 'vitest'
import { ADMIN_SOCKET } from '../../core/tracker-sockets.ts'
import { startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster | undefined
afterEach(async () => {
  await cluster?.close()
  cluster = undefined
})

it('a cluster that is paused has every node stand aside within a heartbeat, and no longer than that', async () => {
  cluster = await startTestCluster({ nodes: 0 })
  const said = [[], []] as boolean[][]
  for (const words of said)
    await cluster.addNode({ client: { onTrackerPause: (isPaused) => void words.push(isPaused) } })
  const latest = () => said.map((words) => words.at(-1))
  await expect.poll(latest).toEqual([false, false])
  const http = new HttpClient('http://admin', { socketPath: join(cluster.folder, 'tracker', ADMIN_SOCKET) })
  const call = async (method: 'PUT' | 'DELETE') => {
    const path = `/admin/v1/clusters/${cluster!.id}/pause`
    const headers = { 'content-type': 'application/json' }
    const body = method === 'PUT' ? '{}' : null
    const { statusCode } = await http.request({ method, path, ...(body && { body, headers }) })
    expect(statusCode).toBe(200)
  }
  try {
    await call('PUT')
    // The cluster's heartbeats are a second apart, and vary by a tenth.
    await expect.poll(latest, { timeout: 2500 }).toEqual([true, true])
    await call('DELETE')
    await expect.poll(latest, { timeout: 2500 }).toEqual([false, false])
  } finally {
    await http.close()
  }
})
