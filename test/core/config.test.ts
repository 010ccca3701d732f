import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { settingFlags } from '../../cli/explanation.ts'
import { HelpPage } from '../../cli/help.ts'
import { PLAIN } from '../../cli/table.ts'
import {
  CONFIG_FILE_BYTES_MAX,
  ConfigError,
  listenAddress,
  loadConfig,
  readSecretFile,
} from '../../core/config.ts'
import { flagName } from '../../core/config-keys.ts'
import { registriesConfig } from '../../core/registry-config.ts'

const schema = z.strictObject({
  trackerUrl: z.url({ protocol: /^https$/ }).describe('The tracker.'),
  listenPort: z.int().min(0).max(65535).default(7443).describe('Where to listen.'),
  proxyListen: listenAddress.prefault('127.0.0.1:7070').describe('Where Docker connects.'),
  isQuiet: z.boolean().default(false).describe('Says less.'),
  hosts: z.array(z.string()).default([]).describe('Names.'),
  logLevel: z.enum(['info', 'debug']).default('info').describe('How much is logged.'),
  registries: registriesConfig.default([]).describe('Registries.'),
  tokenFile: z.string().optional().describe('A secret.'),
})

const folder = mkdtempSync(join(tmpdir(), 'shoal-config-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const TRACKER = ['--tracker-url', 'https://tracker.example.com']
const load = (argv: string[] = TRACKER, env: Record<string, string> = {}) =>
  loadConfig({ program: 'tracker', schema, argv, env })

describe('a credential of the service manager', () => {
  const credentials = mkdtempSync(join(folder, 'credentials-'))
  const env = { CREDENTIALS_DIRECTORY: credentials, SHOAL_TRACKER_TOKEN_FILE: '/elsewhere' }

  it('precedes what settings name, if it has content', () => {
    writeFileSync(join(credentials, 'token'), '\n')
    expect(load(TRACKER, env).tokenFile).toBe('/elsewhere')
    writeFileSync(join(credentials, 'token'), 'secret')
    expect(load([...TRACKER, '--token-file', '/flag'], env).tokenFile).toBe(join(credentials, 'token'))
    expect(load([...TRACKER, '--token-file', '/flag']).tokenFile).toBe('/flag')
  })

  it('never stands for the configuration file, nor for a setting that is no file', () => {
    for (const name of ['config', 'listen-port', 'hosts']) writeFileSync(join(credentials, name), '{"x": 1}')
    expect(load(TRACKER, { CREDENTIALS_DIRECTORY: credentials })).toMatchObject({
      listenPort: 7443,
      hosts: [],
    })
  })
})

function fileWith(content: unknown): string {
  const path = join(folder, `config-${Math.random().toString(36).slice(2)}.json`)
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

function failure(run: () => unknown): ConfigError {
  try {
    run()
  } catch (error) {
    if (error instanceof ConfigError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('where a setting comes from', () => {
  it('prefers the flag to the environment, the environment to the file, the file to the default', () => {
    const file = fileWith({ listenPort: 1, logLevel: 'debug' })
    const env = { SHOAL_TRACKER_LISTEN_PORT: '2', SHOAL_TRACKER_CONFIG_FILE: file }
    expect(load([...TRACKER, '--listen-port', '3'], env)).toMatchObject({ listenPort: 3, logLevel: 'debug' })
    expect(load(TRACKER, env).listenPort).toBe(2)
    expect(load([...TRACKER, '--config-file', file]).listenPort).toBe(1)
    expect(load().listenPort).toBe(7443)
  })

  it('derives flags from keys', () => {
    expect(flagName('p2pMinBytes')).toBe('--p2p-min-bytes')
    expect(flagName('trackerCaFile')).toBe('--tracker-ca-file')
    expect(flagName('dataDir')).toBe('--data-dir')
  })

  it('takes an empty string for absent in every source', () => {
    const file = fileWith({ tokenFile: '' })
    const config = load([...TRACKER, '--listen-port=', '--config-file', file], {
      SHOAL_TRACKER_LOG_LEVEL: '',
    })
    expect(config).toMatchObject({ listenPort: 7443, logLevel: 'info' })
    expect(config).not.toHaveProperty('tokenFile')
  })

  it('leaves other programs and other software alone', () => {
    const env = { SHOAL_NODE_DATA_DIR: '/x', SHOAL_TRACKER_PORT_7443_TCP_ADDR: '10.0.0.1', PATH: '/bin' }
    expect(
      load(TRACKER, { ...env, SHOAL_TRACKER_SERVICE_HOST: '10.0.0.1', SHOAL_TRACKER_PORT: 'tcp://x' }),
    ).toBeDefined()
  })

  it('freezes what it gives, to the bottom', () => {
    const config = load([...TRACKER, '--registries', 'registry.example.com'])
    expect(Object.isFrozen(config)).toBe(true)
    expect(Object.isFrozen(config.registries[0])).toBe(true)
  })
})

describe('text becomes values', () => {
  it.each([
    ['--is-quiet', { isQuiet: true }],
    ['--is-quiet=false', { isQuiet: false }],
    ['--proxy-listen=[::1]:80', { proxyListen: { host: '::1', port: 80 } }],
    ['--hosts=a, b', { hosts: ['a', 'b'] }],
    ['--hosts=["a,b"]', { hosts: ['a,b'] }],
  ])('%s', (flag, expected) => {
    expect(load([...TRACKER, flag])).toMatchObject(expected)
  })

  it('reads registries as hosts or as JSON', () => {
    const hosts = load([...TRACKER, '--registries', 'a.example.com,b.example.com:5000'])
    expect(hosts.registries.map(({ host }) => host)).toEqual(['a.example.com', 'b.example.com:5000'])
    const json = load([...TRACKER, '--registries', '[{"host":"a.example.com","kind":"none"}]'])
    expect(json.registries).toMatchObject([{ host: 'a.example.com', kind: 'none' }])
  })

  it.each([
    '--listen-port=0x10',
    '--listen-port=1e3',
    '--listen-port= 7',
    '--listen-port=7.5',
    '--listen-port=70000',
    '--is-quiet=yes',
    '--is-quiet=1',
    '--log-level=loud',
    '--proxy-listen=7070',
    '--proxy-listen=::1:7070',
    '--proxy-listen=127.0.0.1:99999',
    '--hosts=["a"',
    '--tracker-url=http://tracker.example.com',
    '--registries=[{"host":"a b"}]',
  ])('refuses %s and names the flag', (flag) => {
    const argv = flag.startsWith('--tracker-url') ? [flag] : [...TRACKER, flag]
    const error = failure(() => load(argv))
    expect(error.code).toBe('CONFIG')
    expect(error.message).toContain(flag.split('=')[0])
    expect(error.hint).toBeTruthy()
  })
})

describe('what is not known', () => {
  it.each([
    [['--listn-port', '1'], {}, '--listen-port'],
    [['--listen-port-file'], {}, '--listen-port'],
    [[], { SHOAL_TRACKER_LISTEN_PROT: '1' }, 'SHOAL_TRACKER_LISTEN_PORT'],
    [['--registries', '[{"host":"a.example.com","knid":"none"}]'], {}, 'kind'],
  ])('is refused with the nearest name as the hint: %j %j', (argv, env, nearest) => {
    expect(failure(() => load([...TRACKER, ...argv], env)).hint).toBe(`Did you mean ${nearest}?`)
  })

  it('is refused in the file', () => {
    const file = fileWith({ listenport: 1 })
    expect(failure(() => load([...TRACKER, '--config-file', file])).hint).toBe('Did you mean listenPort?')
  })

  it('is refused when it is no flag at all', () => {
    expect(failure(() => load([...TRACKER, 'start'])).message).toContain('start')
  })

  it('has no hint at a name when none is near', () => {
    expect(failure(() => load([...TRACKER, '--zzzzzzzz'])).hint).toContain('--help')
  })
})

describe('what is missing or malformed', () => {
  it('says which setting is not set, and all three ways to set it', () => {
    const { message, hint } = failure(() => load([]))
    expect(message).toBe('trackerUrl is not set')
    expect(hint).toContain('--tracker-url, SHOAL_TRACKER_TRACKER_URL, or trackerUrl')
  })

  it('refuses a flag without its value, or given twice', () => {
    expect(failure(() => load(['--tracker-url'])).message).toContain('no value')
    expect(failure(() => load(['--tracker-url', '--is-quiet'])).message).toContain('no value')
    expect(failure(() => load([...TRACKER, ...TRACKER])).message).toContain('twice')
  })

  it.each([
    ['not there', join(folder, 'absent.json')],
    ['a folder', folder],
    ['not JSON', fileWith('{')],
    ['no object', fileWith([1])],
    ['too large', fileWith(`"${'x'.repeat(CONFIG_FILE_BYTES_MAX)}"`)],
  ])('refuses a config file that is %s, by its path', (_what, path) => {
    const error = failure(() => load([...TRACKER, '--config-file', path]))
    expect(error.message).toContain(path)
    expect(error.hint).toBeTruthy()
  })

  it('does not convert types in the file', () => {
    expect(failure(() => load([...TRACKER, '--config-file', fileWith({ listenPort: '1' })])).code).toBe(
      'CONFIG',
    )
  })
})

describe('a secret file', () => {
  it('is read without the white space around', () => {
    expect(readSecretFile(fileWith('  s3cret\n\n'), 'tokenFile')).toBe('s3cret')
  })

  it.each([
    ['absent', join(folder, 'no-such-file')],
    ['empty', fileWith(' \n')],
    ['a folder', folder],
  ])('that is %s stops the program, named by setting and path', (_what, path) => {
    const error = failure(() => readSecretFile(path, 'tokenFile'))
    expect(error.message).toContain('tokenFile')
    expect(error.message).toContain(path)
  })
})

describe('the help', () => {
  const help = new HelpPage(PLAIN).flags(settingFlags('tracker', schema))

  it('lists every flag with its meaning and default', () => {
    for (const key of Object.keys(schema.shape)) expect(help).toContain(`  ${flagName(key)}`)
    expect(help).toContain('Where Docker connects. Default: 127.0.0.1:7070')
    expect(help).toContain('The tracker. Required.')
    expect(help).toContain('--log-level <info|debug>')
    expect(help).toContain('--config-file')
  })

  it('fits a terminal of 100 columns', () => {
    expect(Math.max(...help.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100)
  })
})

describe('a setting with a new name', () => {
  const renamed = [
    { program: 'tracker', from: 'port', to: 'listenPort', since: '9.0.0' },
    { program: 'tracker', from: 'secretFile', to: 'tokenFile', since: '9.0.0' },
    { program: 'node', from: 'quiet', to: 'isQuiet', since: '9.0.0' },
  ] as const
  const used: unknown[] = []
  const read = (argv: string[], env: Record<string, string> = {}) => {
    used.length = 0
    const onOldName = (one: unknown) => void used.push(one)
    return loadConfig({ program: 'tracker', schema, argv: [...TRACKER, ...argv], env, renamed, onOldName })
  }

  it('works under the old one in every source, as a setting of its kind, and is reported', () => {
    const file = fileWith({ port: 1 })
    for (const [argv, env, port, source] of [
      [['--port', '3'], {}, 3, '--port'],
      [['--port=3'], {}, 3, '--port'],
      [[], { SHOAL_TRACKER_PORT: '2' }, 2, 'SHOAL_TRACKER_PORT'],
      [['--config-file', file], {}, 1, file],
    ] as const) {
      expect(read([...argv], { ...env }).listenPort).toBe(port)
      expect(used).toEqual([{ from: 'port', to: 'listenPort', source }])
    }
  })

  it('has the order of sources under the old name, too', () => {
    const file = fileWith({ port: 1, logLevel: 'debug' })
    const env = { SHOAL_TRACKER_PORT: '2', SHOAL_TRACKER_CONFIG_FILE: file }
    expect(read(['--port', '3'], env)).toMatchObject({ listenPort: 3, logLevel: 'debug' })
    expect(read([], env).listenPort).toBe(2)
    expect(used).toHaveLength(2)
  })

  it('is refused when both names are given, wherever they stand, and says both places', () => {
    const file = fileWith({ port: 1 })
    for (const [argv, env] of [
      [['--port', '3', '--listen-port', '3'], {}],
      [['--listen-port', '3'], { SHOAL_TRACKER_PORT: '2' }],
      [['--config-file', file, '--listen-port', '3'], {}],
      [['--config-file', fileWith({ port: 1, listenPort: 1 })], {}],
    ] as const) {
      const error = failure(() => read([...argv], { ...env }))
      expect(error).toMatchObject({ code: 'CONFIG', hint: expect.stringContaining('old name of listenPort') })
    }
    expect(failure(() => read(['--port=3'], { SHOAL_TRACKER_LISTEN_PORT: '2' })).message).toBe(
      'listenPort is given twice: by SHOAL_TRACKER_LISTEN_PORT, and as port by --port',
    )
    // An empty text is absent.
    expect(read(['--port', '3', '--listen-port=']).listenPort).toBe(3)
  })

  it('may be a credential by either name, which goes before what settings say by either name', () => {
    const credentials = mkdtempSync(join(folder, 'credentials-'))
    const env = { CREDENTIALS_DIRECTORY: credentials }
    writeFileSync(join(credentials, 'secret'), 'old')
    expect(read(['--token-file', '/flag'], env).tokenFile).toBe(join(credentials, 'secret'))
    writeFileSync(join(credentials, 'token'), 'new')
    expect(read(['--secret-file', '/flag'], env).tokenFile).toBe(join(credentials, 'token'))
  })

  it('is checked as ever, and named as it was written', () => {
    expect(failure(() => read(['--port', '70000'])).message).toContain('(from --port)')
    expect(failure(() => read(['--port', '3', '--port', '3'])).message).toBe('--port is given twice')
    expect(failure(() => read(['--quiet']))).toMatchObject({ code: 'CONFIG' })
  })

  it('is shown by its new name only', () => {
    for (const run of [
      () => read(['--porr', '3']),
      () => read([], { SHOAL_TRACKER_PORR: '3' }),
      () => read(['--config-file', fileWith({ porr: 1 })]),
    ])
      expect(failure(run).hint).not.toMatch(/--port|_TRACKER_PORT|[ `]port\b/)
    expect(settingFlags('tracker', schema).map(({ flag }) => flag)).not.toContain('--port')
  })
})
