/** How the machine of the pages differs from a reader's. */

interface NotHere {
  line: RegExp
  reason: string
  /** The test that runs it. */
  test: string
}

/** Lines that are not run, because the machine of this test lacks what they are about. */
export const NOT_HERE: NotHere[] = [
  {
    line: /^npm ci$/,
    reason: 'installs the dependencies, as .ci/run does before any test',
    test: '.ci/run',
  },
  {
    line: /^npm ci && npm run package$/,
    reason: 'builds the packages, which takes a minute',
    test: 'test/deploy/package.system.test.ts',
  },
  {
    line: /^sudo (apt|dpkg) (install|purge|--install)\b/,
    reason: 'changes a whole Debian',
    test: 'test/deploy/package-story.full.test.ts',
  },
  {
    line: /^sha256sum --check /,
    reason: 'is about the packages that were built',
    test: 'test/deploy/reproducible.full.test.ts',
  },
  {
    line: /^docker compose /,
    reason: 'needs a Docker with Compose',
    test: 'test/runtimes/trixie-workloads.system.test.ts',
  },
  {
    line: /^sudo journalctl /,
    reason: 'needs the journal of systemd',
    test: 'test/deploy/package.system.test.ts',
  },
  {
    line: /^sudo shoal tracker unlock /,
    reason: 'is for a tracker with --autolock',
    test: 'test/certs-tool/tracker.test.ts',
  },
]

/** Nobody sits at a terminal to say yes. */
export const ASKS = /\bshoal (attach|detach|bugreport|join .*--attach)\b/

/** Exit codes besides 0 that are no failure. */
export const OTHER_CODES: { line: RegExp; codes: number[]; reason: string }[] = [
  { line: /shoal doctor --node/, codes: [1], reason: 'there is no second node here, and it says so' },
]

/** What a line must say, besides that it did not fail. */
export const SAYS: { line: RegExp; words: RegExp }[] = [
  { line: /^docker pull/, words: /through http:\/\/127\.0\.0\.1:7070/ },
  { line: /shoal (-- )?status\b(?!.*--json)/, words: /The node shares\./ },
  { line: /shoal doctor$/, words: /Nothing is wrong\./ },
  { line: /shoal explain/, words: /By source\n/ },
  { line: /shoal wait ready/, words: /^The node is ready\.$/m },
  { line: /shoal join .*--attach/, words: /docker is attached/ },
  { line: /cache ls$/, words: /team\/app:v1|0 blobs/ },
  { line: /cache verify/, words: /No damage: [1-9]/ },
  { line: /shoal leave/, words: /has left cluster/ },
]
