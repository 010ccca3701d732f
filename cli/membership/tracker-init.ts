import { existsSync, mkdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { TrackerExistsError } from '../../certs-tool/errors.ts'
import {
  JOIN_TERM_FLAGS,
  type JoinTerms,
  joinLines,
  joinTerms,
  madeJoinString,
} from '../../certs-tool/join-terms.ts'
import { writeNewFiles } from '../../certs-tool/key-files.ts'
import { newClusterId, newJoinToken, newUnlockKey } from '../../certs-tool/secrets.ts'
import {
  chainOf,
  issueTrackerTls,
  makeLabAuthority,
  ownHostNames,
} from '../../certs-tool/tracker-certificates.ts'
import { pinOf, shownAuthority } from '../../core/authority-pin.ts'
import { command } from '../../core/command.ts'
import { loadConfig } from '../../core/config.ts'
import { joinTokenHash } from '../../core/join-token.ts'
import type { ClusterId } from '../../core/metainfo.ts'
import { addressText } from '../../core/network.ts'
import { type TrackerConfig, trackerConfig } from '../../tracker/config.ts'
import { initStore } from '../../tracker/init.ts'
import { STORE_FILE } from '../../tracker/store/open-store.ts'
import { ownAddresses } from '../own-addresses.ts'
import { startUnit } from './service.ts'
import { CONFIG_FILE, TRACKER_UNIT, tlsFiles } from './tracker-files.ts'

/** `shoal tracker init`: the settings file is written last, so that a tracker never starts from half of it. */

const DATA_DIR = '/var/lib/shoal-tracker'

export const trackerInitCommand = command({
  positionals: [],
  flags: {
    name: {
      type: 'string',
      multiple: true,
      value: 'host or address',
      description:
        "How nodes reach this tracker; may be repeated. The first one goes into join strings. Default: this machine's addresses.",
    },
    registries: {
      type: 'string',
      value: 'list',
      description:
        'Registries whose images the cluster shares: registry.example.com,other.example.com:5000. The settings can name more later.',
    },
    cluster: { type: 'string', value: 'name', default: 'main', description: 'Name of the first cluster.' },
    ...JOIN_TERM_FLAGS,
    autolock: {
      type: 'boolean',
      description:
        'Stores the unlock key nowhere: after each start somebody gives it with `shoal tracker unlock`.',
    },
    listen: {
      type: 'string',
      value: 'host:port',
      default: '0.0.0.0:7443',
      description: 'Where the tracker listens for nodes.',
    },
    'admin-listen': {
      type: 'string',
      value: 'host:port',
      default: '127.0.0.1:7444',
      description: 'Where it listens for administrators over TLS; loopback only.',
    },
    'config-file': {
      type: 'string',
      value: 'file',
      default: CONFIG_FILE,
      description: 'File for the settings; keys and certificates go beside it.',
    },
    'data-dir': {
      type: 'string',
      value: 'folder',
      default: DATA_DIR,
      description: 'Folder for the database.',
    },
  },
  async run(values) {
    const terms = joinTerms(values)
    const files = filesBeside(resolve(values['config-file']), resolve(values['data-dir']))
    const settings = settingsOf(values, files)
    const config = checkedSettings(settings)
    refuseSecond(files)
    const names = values.name.length > 0 ? values.name : ownAddresses()
    const authority = await makeLabAuthority()
    const tls = await issueTrackerTls(authority, { names: [...names, ...ownHostNames()] })
    const cluster = newClusterId()
    const made: Made = { unlockKey: newUnlockKey(), joinToken: newJoinToken(cluster), cluster }
    const chain = chainOf(tls, authority)
    const keys = [
      { path: files.authorityKey, content: authority.privateKeyPem, isSecret: true },
      { path: files.authority, content: authority.certificatePem, isSecret: false },
      { path: files.tlsKey, content: tls.privateKeyPem, isSecret: true },
      { path: files.tls, content: chain, isSecret: false },
      ...(values.autolock ? [] : [{ path: files.unlockKey, content: made.unlockKey, isSecret: true }]),
    ]
    // Only the keys are secret: the tracker may run as another user.
    mkdirSync(dirname(files.config), { recursive: true })
    writeNewFiles(keys, false)
    await initStore(files.dataDir, made.unlockKey, {
      cluster,
      name: values.cluster,
      joinToken: { hash: joinTokenHash(made.joinToken), ...terms },
    })
    const content = JSON.stringify(settings, null, 2)
    writeNewFiles([{ path: files.config, content, isSecret: false }], false)
    const pin = pinOf(shownAuthority(chain)!).toString('base64url')
    const joinString = madeJoinString(pin, made.joinToken, config.advertise)
    return report({ ...values, files, config, made, joinString, terms, state: await startUnit(TRACKER_UNIT) })
  },
})

interface Made {
  unlockKey: string
  joinToken: string
  cluster: ClusterId
}

type Files = ReturnType<typeof filesBeside>

/** The packages' unit hands `unlock-key` to the tracker. */
function filesBeside(config: string, dataDir: string) {
  const folder = dirname(config)
  return {
    config,
    dataDir,
    ...tlsFiles(folder),
    unlockKey: join(folder, 'unlock-key'),
  }
}

interface Asked {
  name: string[]
  registries: string | undefined
  listen: string
  'admin-listen': string
  autolock: boolean
}

function settingsOf(asked: Asked, files: Files) {
  const port = Number(/:(\d+)$/.exec(asked.listen)?.[1] ?? 0)
  const [host = '127.0.0.1'] = asked.name.length > 0 ? asked.name : ownAddresses()
  const { registries } = asked
  return {
    listen: asked.listen,
    adminListen: asked['admin-listen'],
    advertise: [addressText({ host, port })],
    tlsCertFile: files.tls,
    tlsKeyFile: files.tlsKey,
    dataDir: files.dataDir,
    ...(asked.autolock ? {} : { unlockKeyFile: files.unlockKey }),
    ...(registries === undefined ? {} : { registries }),
  }
}

/** By the tracker's own rules, before anything is made. @throws ConfigError */
function checkedSettings(settings: ReturnType<typeof settingsOf>): Readonly<TrackerConfig> {
  const flag = (name: string) => `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
  const argv = Object.entries(settings).flatMap(([name, value]) => [flag(name), String(value)])
  return loadConfig({ program: 'tracker', schema: trackerConfig, argv, env: {} })
}

/** @throws TrackerExistsError */
function refuseSecond(files: Files): void {
  const { dataDir, ...inFolder } = files
  const there = [...Object.values(inFolder), join(dataDir, STORE_FILE)].filter((path) => existsSync(path))
  if (there.length === 0) return
  const isWhole = there.includes(files.config)
  throw new TrackerExistsError(
    isWhole
      ? `a tracker is set up here already: ${there.join(', ')}`
      : `files of a tracker are here: ${there.join(', ')}`,
    {
      hint: isWhole
        ? `Nothing was changed. For another join string: shoal admin token create${dataDirFlag(files)}`
        : 'An earlier init did not finish, or these files are of another tracker. Move them away, and run this again.',
    },
  )
}

function dataDirFlag({ dataDir }: Files): string {
  return dataDir === DATA_DIR ? '' : ` --data-dir ${dataDir}`
}

interface Report {
  files: Files
  config: Readonly<TrackerConfig>
  cluster: string
  autolock: boolean
  made: Made
  joinString: string
  terms: JoinTerms
  state: Awaited<ReturnType<typeof startUnit>>
}

function report({ files, config, cluster, autolock, made, joinString, terms, state }: Report): string {
  return `${[
    `The tracker is set up. Nodes reach it at ${config.advertise.join(', ')}.`,
    `  cluster    ${cluster} (${made.cluster})`,
    `  settings   ${files.config}`,
    `  data       ${files.dataDir}`,
    `  authority  ${files.authority}`,
    `  its key    ${files.authorityKey}`,
    '             signs the next certificate of the tracker; keep it secret',
    '',
    'The unlock key, shown only now. Nobody can open the data without it: keep it.',
    '',
    `  ${made.unlockKey}`,
    '',
    ...startLines({ files, autolock, state }),
    '',
    ...joinLines(joinString, terms),
    '',
    'Another join string later:',
    `  shoal admin token create${dataDirFlag(files)}`,
  ].join('\n')}\n`
}

function startLines({ files, autolock, state }: Pick<Report, 'files' | 'autolock' | 'state'>): string[] {
  const start =
    state === 'started'
      ? [`${TRACKER_UNIT} was started.`]
      : state === 'absent'
        ? ['Start the tracker:', `  shoal tracker --config-file ${files.config}`]
        : [`${TRACKER_UNIT} did not start: see systemctl status ${TRACKER_UNIT}.`]
  if (!autolock) return [...start, `It reads the unlock key from ${files.unlockKey}.`]
  return [
    ...start,
    'After every start it waits for the unlock key:',
    `  shoal tracker unlock${dataDirFlag(files)}`,
  ]
}
