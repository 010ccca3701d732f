import { describe, expect, it } from 'vitest'
import { DOCKER_28, DOCKER_UNIT, MachineTree } from './machine-tree.ts'

/** A Docker that runs `docker info` and remembers what it was told. */
function docker(info: object, failing?: string) {
  const ran: string[] = []
  const run = async (argv: string[]) => {
    const line = argv.join(' ')
    if (line.startsWith('dockerd --version')) return DOCKER_28['dockerd --version']
    if (line.startsWith('docker info --format {{json')) return JSON.stringify(info)
    if (!line.startsWith('systemctl')) return ''
    ran.push(line)
    return line === failing ? undefined : ''
  }
  return { ran, run }
}

describe('attach with --restart', () => {
  it('restarts the runtime once all is written, so that nothing is left to do', async () => {
    using tree = new MachineTree(DOCKER_UNIT)
    const { ran, run } = docker({})
    const text = await tree.attach('docker', { run, isRestarting: true })
    expect(ran).toEqual(['systemctl daemon-reload', 'systemctl restart docker'])
    expect(text).toContain('This takes effect with the next pull.')
    await tree.detach('docker', { run })
  })

  it('restarts nothing without it, and says what to run', async () => {
    using tree = new MachineTree(DOCKER_UNIT)
    const { ran, run } = docker({})
    const text = await tree.attach('docker', { run })
    expect(ran).toEqual([])
    expect(text).toContain('  systemctl restart docker')
  })

  it('leaves a member of a Swarm alone: its tasks must be drained first', async () => {
    using tree = new MachineTree(DOCKER_UNIT)
    const { ran, run } = docker({ Name: 'a', Swarm: { LocalNodeState: 'active', ControlAvailable: true } })
    const text = await tree.attach('docker', { run, isRestarting: true })
    expect(ran).toEqual([])
    expect(text).toContain('docker node update')
  })

  it('says so when the restart fails, and leaves the runtime attached', async () => {
    using tree = new MachineTree(DOCKER_UNIT)
    const { run } = docker({}, 'systemctl restart docker')
    await expect(tree.attach('docker', { run, isRestarting: true })).rejects.toMatchObject({
      code: 'ATTACH_CHECK',
    })
    expect(await tree.attach('docker', { run })).toContain('nothing to do')
  })
})
