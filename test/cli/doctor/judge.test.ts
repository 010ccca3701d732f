import { describe, expect, test } from 'vitest'
import { type Finding, printable } from '../../../cli/doctor/finding.ts'
import { judgeClock } from '../../../cli/doctor/judge/clock.ts'
import { judgeDisk } from '../../../cli/doctor/judge/disk.ts'
import { judgeEndings } from '../../../cli/doctor/judge/endings.ts'
import { judgeGuard } from '../../../cli/doctor/judge/guard.ts'
import { judgeJoined } from '../../../cli/doctor/judge/joined.ts'
import { judgeLimits } from '../../../cli/doctor/judge/limits.ts'
import { judgeNode } from '../../../cli/doctor/judge/node.ts'
import { judgePort } from '../../../cli/doctor/judge/reach.ts'
import { judgeRegistries } from '../../../cli/doctor/judge/registries.ts'
import { judgeRuntimes } from '../../../cli/doctor/judge/runtimes.ts'
import { judgeSettings } from '../../../cli/doctor/judge/settings.ts'
import { judgeTrackers } from '../../../cli/doctor/judge/tracker.ts'
import { exitCodeOf, reportText } from '../../../cli/doctor/report.ts'

/** Faults that need a whole machine, or a user who may not look. */

const DAY_MS = 86_400_000
const GIB = 1024 ** 3

const codesOf = (findings: Finding[]) => findings.map(({ code, level }) => code ?? level)

describe('a disk', () => {
  const room = {
    freeBytes: 50 * GIB,
    reserveBytes: 20 * GIB,
    cacheBytesMax: 10 * GIB,
    freeInodes: 1e6,
    inodes: 2e6,
  }
  const disk = (changes: Partial<typeof room>, problem?: { code: string; isDenied: boolean }) =>
    judgeDisk({ dataDir: '/var/lib/shoal', isNodeRunning: true, problem, room: { ...room, ...changes } })

  test('with room is right', () => {
    expect(codesOf(disk({}))).toEqual(['ok'])
    expect(codesOf(disk({ freeBytes: room.reserveBytes }))).toEqual(['ok'])
  })

  test('below its reserve is low: what is free and the reserve are named', () => {
    const [finding] = disk({ freeBytes: 19 * GIB })
    expect(finding).toMatchObject({
      code: 'DISK_LOW',
      detail: expect.stringMatching(/19 GiB are free.*20 GiB free/),
    })
    expect(finding!.remedy).toContain('--data-dir')
  })

  test('with few inodes is found, and one without a number of them is not', () => {
    expect(codesOf(disk({ freeInodes: 1000 }))).toEqual(['INODES_LOW'])
    expect(codesOf(disk({ freeInodes: 0, inodes: 0 }))).toEqual(['ok'])
  })

  test('that is read-only is a fault; one that this user may not see is not', () => {
    expect(codesOf(disk({}, { code: 'EROFS', isDenied: false }))).toEqual(['DATA_FOLDER_UNUSABLE'])
    expect(codesOf(disk({}, { code: 'EACCES', isDenied: true }))).toEqual(['unknown'])
  })
})

describe('the limit of open files', () => {
  test.each([
    ['that is low', { filesMax: 1024, filesOpen: 100 }, 'FILES_FEW'],
    ['that is nearly used up', { filesMax: 65_536, filesOpen: 60_000 }, 'FILES_FEW'],
    ['of a service', { filesMax: 65_536, filesOpen: 60 }, 'ok'],
    ['that nobody may see', {}, 'unknown'],
  ])('%s', (_what, facts, code) => {
    expect(codesOf(judgeLimits({ isNodeRunning: true, ...facts }))).toEqual([code])
  })
})

describe('a certificate', () => {
  const nowMs = Date.parse('2026-11-30T12:00:00Z')
  const ending = (lifeDays: number, leftDays: number, isOwn = false) =>
    codesOf(
      judgeEndings({
        nowMs,
        hidden: [],
        certificates: [
          {
            what: 'it',
            beginsMs: nowMs + (leftDays - lifeDays) * DAY_MS,
            endsMs: nowMs + leftDays * DAY_MS,
            isOwn,
          },
        ],
      }),
    )

  test('counts within 14 days of its end, one of a short life only in its last quarter', () => {
    expect([ending(365, 15), ending(365, 13), ending(365, -1)]).toEqual([
      ['ok'],
      ['CERTIFICATE_EXPIRES'],
      ['CERTIFICATE_EXPIRED'],
    ])
    expect([ending(7, 3), ending(7, 1)]).toEqual([['ok'], ['CERTIFICATE_EXPIRES']])
  })

  test('of the node that it should have renewed is stuck', () => {
    expect([ending(1, 0.5, true), ending(1, 0.2, true)]).toEqual([['ok'], ['NODE_CERTIFICATE_STUCK']])
  })
})

describe('a runtime', () => {
  const docker = {
    ...({ name: 'docker', phase: 'attached', via: 'proxy', since: '2026-11-30T10:00:00Z' } as const),
    ...{ registries: ['registry.example.com'], restart: ['systemctl restart docker'] },
    files: [{ path: '/etc/docker/daemon.json', state: 'as written' as const }],
  }
  const judge = (changes: object, live = { proxy: 'http://127.0.0.1:7070/', noProxy: '' }) =>
    judgeRuntimes({
      attached: [{ ...docker, ...changes }],
      docker: live,
      proxyUrl: 'http://127.0.0.1:7070',
      registries: ['registry.example.com'],
    })
  const before = Date.parse('2026-11-30T09:00:00Z')
  const later = Date.parse('2026-11-30T11:00:00Z')

  test('that was restarted since is right', () => {
    expect(codesOf(judge({ startedMs: later }))).toEqual(['ok'])
  })

  test('with the environment of before is to be restarted, as `attach` said', () => {
    const [finding] = judge({ startedMs: before }, { proxy: '', noProxy: '' })
    expect(finding).toMatchObject({ code: 'RUNTIME_NOT_RESTARTED', remedy: 'Run: systemctl restart docker' })
  })

  test('that has the proxy needs no restart, however old it is', () => {
    expect(codesOf(judge({ startedMs: before }))).toEqual(['ok'])
  })

  test('whose NO_PROXY covers the registry pulls past the node', () => {
    const live = { proxy: 'http://127.0.0.1:7070', noProxy: 'localhost,.example.com' }
    expect(codesOf(judge({ startedMs: later }, live))).toEqual(['REGISTRY_PAST_PROXY'])
  })

  test('lost a file', () => {
    const files = [{ path: '/etc/docker/daemon.json', state: 'missing' }]
    expect(codesOf(judge({ startedMs: later, files }))).toEqual(['ATTACHED_FILE_CHANGED'])
  })
})

describe('a user who may not look is told so', () => {
  const denied = { code: 'NODE_DENIED', message: 'not permitted' }
  test.each([
    [
      'settings',
      judgeSettings({
        file: '/etc/x',
        error: { message: 'no', isDenied: true },
        dataDir: '/x',
        registries: 0,
      }),
    ],
    ['node', judgeNode({ failure: denied })],
    ['guard', judgeGuard({ isDenied: true, isNeeded: true, isNodeRunning: true })],
    ['runtimes', judgeRuntimes({ attached: undefined, proxyUrl: '', registries: [] })],
    ['tracker', judgeTrackers([{ url: undefined, isDenied: true }])],
    ['joined', judgeJoined({ certificate: 'hidden', nowMs: 0 })],
    ['port', judgePort({ failure: denied })],
    ['expiry', judgeEndings({ nowMs: 0, certificates: [], hidden: ['it'] })],
    ['clock', judgeClock([])],
  ])('%s', (_link, findings) => {
    expect(codesOf(findings)).toEqual(['unknown'])
  })
})

test.each([
  [200, undefined, 'strangers may ask it'],
  [
    401,
    'Bearer realm="https://auth.example.com/token",service="x"',
    'it wants tokens of https://auth.example.com/token',
  ],
  [401, 'Basic realm="Registry"', 'it wants a user and a password'],
  [403, undefined, 'it wants a credential'],
])('a registry that answers %i with the challenge %s: %s', (status, challenge, words) => {
  const [finding] = judgeRegistries([{ host: 'r.example', kinds: [], status, challenge }])
  expect(finding).toMatchObject({ level: 'ok', text: expect.stringContaining(words) })
})

describe('a tracker of another version', () => {
  test.each([
    ['in whatever words: ROUTE_UNKNOWN', /older version/],
    ['in whatever words: REQUESTS_TOO_MANY', /try again/],
    ['too many requests: toString', /too many requests/],
  ])('or a busy one: %s', (message, words) => {
    const [finding] = judgePort({ failure: { code: 'TRACKER_REFUSED', message } })
    expect(finding).toMatchObject({ level: 'unknown', text: expect.stringMatching(words) })
  })
})

describe('the report', () => {
  const finding = (level: Finding['level'], text = 'x'): Finding => ({ level, text })
  const report = (...levels: Finding['level'][]) => [
    { link: 'node' as const, findings: levels.map((one) => finding(one)) },
  ]

  test('exits with 1 for errors, 3 for warnings alone, 0 for whatever else', () => {
    expect(exitCodeOf(report('ok', 'info', 'unknown'))).toBe(0)
    expect(exitCodeOf(report('warning', 'unknown'))).toBe(3)
    expect(exitCodeOf(report('warning', 'error', 'ok'))).toBe(1)
  })

  test('stays within the terminal and within 100 columns, with colours on a terminal only', () => {
    const long = [{ link: 'registries' as const, findings: [finding('error', 'words '.repeat(60).trim())] }]
    for (const columns of [80, 100]) {
      const text = reportText(long, { columns, isColoured: false })
      expect(Math.max(...text.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(columns)
      expect(text).not.toContain('\u001b')
      expect(reportText(long, { columns, isColoured: true })).toContain('\u001b[')
    }
  })
})

test('a text from elsewhere is short, has no secret, and cannot steer a terminal', () => {
  expect(printable('a\u001b[2Jb\u009bc\u202ed\u0000')).toBe('a\\u{1b}[2Jb\\u{9b}c\\u{202e}d\\u{0}')
  expect(printable('x'.repeat(10_000)).length).toBeLessThan(400)
  expect(printable('http://user:hunter2@proxy.example:3128')).not.toContain('hunter2')
})

test('one tracker of several that does not answer is a warning, and all are an error', () => {
  const [one, other] = ['https://one.example:7443', 'https://other.example:7443']
  const right = { url: one, code: 'CERTIFICATE_REQUIRED' }
  const silent = (url: string) => ({ url, failure: { kind: 'silent' as const, reason: 'no answer in time' } })
  expect(judgeTrackers([right, silent(other)]).map(({ level, code }) => [level, code])).toEqual([
    ['ok', undefined],
    ['warning', 'TRACKER_UNREACHED'],
  ])
  expect(judgeTrackers([silent(one), silent(other)]).map(({ level }) => level)).toEqual(['error', 'error'])
})
