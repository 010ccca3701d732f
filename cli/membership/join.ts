import { existsSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { readSecret } from '../../certs-tool/admin-flags.ts'
import { writeNewFiles } from '../../certs-tool/key-files.ts'
import { command, type Outside } from '../../core/command.ts'
import { UsageError } from '../../core/errors.ts'
import { parseJoinString } from '../../core/join-string.ts'
import { durationText } from '../../core/time-text.ts'
import { locationOf } from '../../node/client-options.ts'
import type { NodeConfig } from '../../node/config.ts'
import { joinFromHere } from '../../node/membership.ts'
import type { RuntimeName } from '../attach/journal.ts'
import { nodeSettings as attachSettings } from '../attach/node-settings.ts'
import { NODE_CONFIG_FILE } from '../node-config-file.ts'
import { putSettings } from './put-settings.ts'
import { hasUnit, startUnit } from './service.ts'
import { environment, NODE_FLAGS, nodeSettings, silentLog } from './settings.ts'

const NODE_UNIT = 'shoal.service'
/** How long a node that starts may take until its authority is there. */
export const AUTHORITY_PATIENCE_MS = 20_000
/** How often the command looks for it. */
const AUTHORITY_LOOK_MS = 50

export const joinCommand = command({
  positionals: ['join string or -'],
  flags: {
    ...NODE_FLAGS,
    zone: {
      type: 'string',
      value: 'name',
      description:
        'Where this machine stands, for example its data centre: nodes download mostly from others of their zone. Kept in the settings.',
    },
    rack: {
      type: 'string',
      value: 'name',
      description: 'Its rack within the zone, preferred over the rest of the zone. Kept in the settings.',
    },
    attach: {
      type: 'string',
      multiple: true,
      value: 'runtime',
      description:
        'Also lets this runtime pull through the node, as `shoal attach` does: docker, containerd, podman, cri-o or buildkit. May be repeated.',
    },
    registry: {
      type: 'string',
      multiple: true,
      value: 'host',
      description: 'With --attach: a registry that the node may intercept from now on; may be repeated.',
    },
    restart: {
      type: 'boolean',
      description:
        'With --attach: also restarts the runtime where it must, so that its next pull goes through the node.',
    },
    yes: { type: 'boolean', description: 'With --attach: asks nothing.' },
  },
  async run(values, [given = ''], outside) {
    const attach = await attachment(values, outside)
    const joinString = given === '-' ? readSecret('-') : given
    if (joinString === '') throw new UsageError('standard input has no join string')
    // A mistake in the string is reported before one in the settings.
    parseJoinString(joinString)
    const config = nodeSettings(values)
    const location = putLocation(values, config)
    const joined = await joinFromHere(joinString, config, { log: silentLog, env: environment })
    const lines = [head(joined), ...facts(joined, config.dataDir), ...location]
    const { trackerUrl } = config
    if (trackerUrl !== undefined && !isAmong(trackerUrl, joined.tracker))
      lines.push('', `The node will use another tracker, because its settings name it: ${trackerUrl}`)
    if (location.length > 0 && joined.isRunning)
      lines.push('', 'Run `shoal reload`, so that the running node takes over where it stands.')
    lines.push('', ...(await next(joined, values.attach.length > 0)), '')
    return `${lines.join('\n')}${await attach()}`
  },
})

/** Before the join: a node that is started by it reads the settings. @throws ConfigError @returns what was put there */
function putLocation(
  {
    zone,
    rack,
    'config-file': file = NODE_CONFIG_FILE,
  }: Record<'zone' | 'rack' | 'config-file', string | undefined>,
  config: Readonly<NodeConfig>,
): string[] {
  const given = { ...(zone && { zone }), ...(rack && { rack }) }
  if (Object.keys(given).length === 0) return []
  const location = locationOf(config)
  putSettings(file, given)
  return [`  zone      ${location.zone}${location.rack === '' ? '' : `, rack ${location.rack}`}, in ${file}`]
}

/** Whether one of these URLs, separated by commas, leads to `host:port`. */
export function isAmong(trackerUrls: string, tracker: string): boolean {
  const origin = new URL(`https://${tracker}`).origin
  return trackerUrls.split(',').some((url) => new URL(url).origin === origin)
}

/** Checked before anything is done. @throws UsageError */
async function attachment(
  values: { attach: string[]; registry: string[]; restart: boolean; yes: boolean },
  outside: Outside,
) {
  if (values.attach.length === 0) return async () => ''
  const [{ attachCommand }, { RUNTIME_KINDS }, { runCommand }] = await Promise.all([
    import('../attach/commands.ts'),
    import('../attach/runtimes/runtimes.ts'),
    import('../run-command.ts'),
  ])
  const wrong = values.attach.find((name) => !Object.hasOwn(RUNTIME_KINDS, name))
  if (wrong !== undefined) {
    throw new UsageError(`--attach: there is no runtime ${wrong.slice(0, 80)}`, {
      hint: `Name ${Object.keys(RUNTIME_KINDS).join(', ')}.`,
    })
  }
  const flags = [
    ...values.registry.flatMap((host) => ['--registry', host]),
    ...(values.restart ? ['--restart'] : []),
    ...(values.yes ? ['--yes'] : []),
  ]
  return async () => {
    await untilAuthority()
    const texts: string[] = []
    for (const name of values.attach as RuntimeName[]) {
      texts.push(await runCommand(['shoal', 'attach', name], attachCommand(name), flags, outside))
    }
    return texts.join('')
  }
}

/** A node that was started just now writes it within a second or two. Without it, attach says what is wrong. */
async function untilAuthority(): Promise<void> {
  const { authorityFile } = attachSettings('/')
  for (
    const untilMs = Date.now() + AUTHORITY_PATIENCE_MS;
    Date.now() < untilMs;
    await wait(AUTHORITY_LOOK_MS)
  )
    if (existsSync(authorityFile)) return
}

type Joined = Awaited<ReturnType<typeof joinFromHere>>

function head({ wasMember, cluster }: Joined): string {
  return wasMember
    ? `This machine is already a node of cluster ${cluster}. Nothing was changed.`
    : `This machine is now a node of cluster ${cluster}.`
}

function facts({ node, tracker, silent, clockAheadSeconds }: Joined, dataDir: string): string[] {
  const lines = [`  node      ${node}`, `  tracker   ${tracker}`, `  identity  ${dataDir}`]
  if (silent !== undefined) lines.push('', `Not confirmed: ${silent}.`)
  if (clockAheadSeconds !== undefined) {
    const side = clockAheadSeconds > 0 ? 'ahead of' : 'behind'
    const by = durationText(Math.abs(clockAheadSeconds) * 1000)
    lines.push('', `The clock of this machine is ${by} ${side} that of the tracker. Set it:`)
    lines.push('with a wrong clock nodes do not trust each other.')
  }
  return lines
}

async function next({ isRunning, registries }: Joined, isAttaching: boolean): Promise<string[]> {
  const started = isRunning ? 'running' : await startNode()
  const node =
    started === 'running'
      ? 'The running node notices this within seconds.'
      : started === 'started'
        ? `${NODE_UNIT} was started.`
        : started === 'absent'
          ? 'Start the node with `shoal node`: it needs no other settings.'
          : `${NODE_UNIT} did not start: see systemctl status ${NODE_UNIT}.`
  if (registries.length === 0 || isAttaching) return [node]
  return [
    node,
    `The cluster shares ${registries.join(', ')}.`,
    'This machine intercepts none of them until you say so, for example with',
    `  shoal attach docker ${registries.map((host) => `--registry ${host}`).join(' ')}`,
  ]
}

/** The packages' unit does not start without a settings file; an empty one means the defaults. */
async function startNode() {
  if (hasUnit(NODE_UNIT) && !existsSync(NODE_CONFIG_FILE)) {
    mkdirSync(dirname(NODE_CONFIG_FILE), { recursive: true })
    writeNewFiles([{ path: NODE_CONFIG_FILE, content: '{}', isSecret: false }], false)
  }
  return startUnit(NODE_UNIT)
}
