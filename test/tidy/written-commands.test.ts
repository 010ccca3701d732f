import { describe, expect, it } from 'vitest'
import { CALL_NAMES, callOf } from '../../core/admin-api/calls.ts'
import { repositoryFiles, textOf } from './source-files.ts'
import { commandsIn, mistakeIn } from './written-commands.ts'

/**
 * Every command in the pages is one that exists, with flags and arguments that it takes. What the commands do on machines is run
 * by the tests in STORIES.
 */

const files = repositoryFiles()
const pages = files.filter((path) => /^(README|CONTRIBUTING|SECURITY|docs\/[a-z-]+)\.md$/.test(path))

/** For each page of commands, the tests that run its story with real parts. */
const STORIES: Record<string, string[]> = {
  'README.md': ['test/deploy/package-story.full.test.ts', 'test/lab/demo.system.test.ts'],
  // One machine; several machines; other runtimes; Compose.
  'docs/getting-started.md': [
    'test/cli/up.test.ts',
    'test/deploy/package-story.full.test.ts',
    'test/cli/attach/docker.system.test.ts',
    'test/cli/attach/containerd.system.test.ts',
    'test/runtimes/trixie-workloads.system.test.ts',
  ],
  // Settings; the cache; pause; join strings and the tracker's certificate; keys.
  'docs/operating.md': [
    'test/cli/reload.test.ts',
    'test/cli/cache.test.ts',
    'test/pull/paused-cluster.test.ts',
    'test/cli/join.test.ts',
    'test/certs-tool/rotate.test.ts',
  ],
  // A block; a pause of the cluster; revocations; the tracker; the disk; the registry.
  'docs/incidents.md': [
    'test/pull/blocked.test.ts',
    'test/pull/paused-cluster.test.ts',
    'test/tracker/revocations.test.ts',
    'test/pull/tracker-gone.test.ts',
    'test/pull/disk-full.system.test.ts',
    'test/pull/registry-gone.test.ts',
  ],
  'docs/troubleshooting.md': ['test/cli/doctor/faults.test.ts', 'test/cli/doctor/messages.full.test.ts'],
  'docs/lifecycle.md': [
    'test/deploy/package-story.full.test.ts',
    'test/pull/upgrade.system.test.ts',
    'test/deploy/reproducible.full.test.ts',
  ],
}

/** Programs of the system, and words of shells, that blocks of shell may have. */
const SYSTEM = new Set(
  'apt cd curl dpkg docker env git install journalctl mkdir node npm npx printf rm sha256sum shoal systemctl tar tee vitest'.split(
    ' ',
  ),
)

describe('commands in pages', () => {
  it('are found', () => {
    const all = pages.flatMap((path) => commandsIn(textOf(path)))
    expect(all.filter(({ words: [program] }) => program === 'shoal').length).toBeGreaterThan(200)
    expect(all.filter(({ isShell }) => isShell).length).toBeGreaterThan(60)
  })

  it.each(pages)('of %s are understood by the programs that they name', async (path) => {
    const mistakes = await Promise.all(
      commandsIn(textOf(path)).map(async (command) => {
        const mistake = await mistakeIn(command)
        return mistake === undefined ? [] : [`${command.line}: ${mistake}`]
      }),
    )
    expect(mistakes.flat()).toEqual([])
  })

  it.each(pages)('of %s in blocks of shell are those of known programs', (path) => {
    const programs = commandsIn(textOf(path)).flatMap(({ isShell, words }) => (isShell ? [words[0]!] : []))
    expect(programs.filter((program) => !SYSTEM.has(program))).toEqual([])
  })

  it.each([
    ['shoal statsu', 'there is no command'],
    ['sudo shoal status --wathc', "Unknown option '--wathc'"],
    ['shoal cache pin', 'lacks <image or digest>'],
    ['shoal pause now', 'too many arguments'],
    ['shoal guard run -- --cofnig-file x', "Unknown option '--cofnig-file'"],
    ['shoal admin key', 'a group'],
    ['shoal certs cluster main', 'an old name'],
    ['npm run dmeo', 'npm has no run dmeo'],
    ['npm run demo -- --kep', 'knows no --kep'],
    ['npm run --silent shoal -- jion -', 'there is no command'],
    ['cd x && npm start -- --registry x', "Unknown option '--registry'"],
  ])('are found to be wrong: %s', async (line, mistake) => {
    const commands = commandsIn(`\`\`\`sh\n${line}\n\`\`\``)
    const found = await Promise.all(commands.map(mistakeIn))
    expect(found.join()).toContain(mistake)
  })
})

describe('pages', () => {
  it('have their stories run by tests that exist', () => {
    const named = Object.entries(STORIES).flat(2)
    expect(named.filter((path) => !files.includes(path))).toEqual([])
  })

  it.each([...pages, 'CHANGELOG.md'])('%s links to pages and headings that exist', (path) => {
    const folder = path.startsWith('docs/') ? 'docs/' : ''
    const targets = [...textOf(path).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target)
    const own = targets.filter((target) => !/^[a-z]+:/.test(target))
    expect(own.filter((target) => !leadsSomewhere(path, folder, target))).toEqual([])
  })

  it.each(Object.keys(STORIES))('%s names codes that docs/errors.md or docs/status.md explains', (path) => {
    const known = textOf('docs/errors.md') + textOf('docs/status.md')
    const codes = [...textOf(path).matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map(([, code = '']) => code)
    expect(
      codes.filter((code) => !known.includes(`\`${code}\``) && !/^(NO|HTTPS)_PROXY$/.test(code)),
    ).toEqual([])
  })

  it('ask the tracker for what its admin API has', () => {
    const routes = CALL_NAMES.map((name) => new RegExp(`^${callOf(name).path.replaceAll(/:\w+/g, '[^/]+')}$`))
    const asked = Object.keys(STORIES).flatMap((path) =>
      [...textOf(path).matchAll(/http:\/\/localhost(\/admin\/[^\s'?]*)/g)].map(([, asked = '']) => asked),
    )
    expect(asked.length).toBeGreaterThan(2)
    expect(asked.filter((path) => !routes.some((route) => route.test(path)))).toEqual([])
  })
})

function leadsSomewhere(from: string, folder: string, target: string): boolean {
  const [file = '', heading] = target.split('#')
  const path = file === '' ? from : new URL(file, `file:///${folder}`).pathname.slice(1)
  if (!files.some((one) => one === path || (path.endsWith('/') && one.startsWith(path)))) return false
  return heading === undefined || headingsOf(path).includes(heading)
}

/** As GitHub names them. */
function headingsOf(path: string): string[] {
  return [...textOf(path).matchAll(/^#+ (.+)$/gm)].map(([, text = '']) =>
    text
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  )
}
