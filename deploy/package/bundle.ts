import { type BuildOptions, build, type Metafile, type Plugin } from 'esbuild'
import { type Packed, PROGRAM_MODE, textFile } from './files.ts'
import { ROOT, sourceText } from './source.ts'

/** The program as a few JavaScript files: nothing is compiled when it starts, and nothing is looked for in folders. */

export interface Bundle {
  files: Packed[]
  /** The dependencies that have code in it, by their path in the lock file, sorted. */
  dependencies: string[]
}

/** The verifying thread is started by its name, and stands beside the code that starts it. */
const ENTRIES = { 'bin/shoal': 'bin/shoal.js', 'lib/verify-worker': 'client/store/verify-worker.ts' }
/** Dependencies in CommonJS load Node's own modules by `require`, which modules do not have. */
const REQUIRE = `import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);`
/** The deepest folder of a package in a file's path. */
const DEPENDENCY = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//

/** zod brings its messages in fifty languages, of which a node would keep 300 kB in memory. Nothing here asks for them. */
const WITHOUT_LOCALES: Plugin = {
  name: 'without-locales',
  setup({ onLoad }) {
    const contents = "export { default as en } from './en.js'"
    onLoad({ filter: /\/zod\/v4\/locales\/index\.js$/ }, () => ({ contents }))
  },
}

/** Short enough that the place of a defect says something. */
const LINE_CHARS = 160

/** What starts Node by the package's own path, wherever that is. */
const LAUNCHER = `#!/bin/sh
here=$(dirname -- "$(readlink -f -- "$0")")
exec "$here/node" "$here/shoal.js" "$@"
`

/** All of the program, small. */
export const BUNDLE_OPTIONS = {
  absWorkingDir: ROOT,
  entryPoints: ENTRIES,
  outdir: ROOT,
  chunkNames: 'lib/[name]-[hash]',
  bundle: true,
  splitting: true,
  // Paths stay relative to the checkout, wherever its dependencies are linked to.
  preserveSymlinks: true,
  format: 'esm',
  // The main file of jsonc-parser asks for others at run time.
  mainFields: ['module', 'main'],
  platform: 'node',
  target: 'node24',
  // V8 keeps all text in memory, and a file with one other letter, be it in a comment, twice. Names stay, for defects.
  charset: 'ascii',
  minifyWhitespace: true,
  lineLimit: LINE_CHARS,
  plugins: [WITHOUT_LOCALES],
  // They are all in one file of their own.
  legalComments: 'none',
  banner: { js: REQUIRE },
  metafile: true,
  write: false,
  logLevel: 'error',
} satisfies BuildOptions

export async function bundle(): Promise<Bundle> {
  const { outputFiles, metafile } = await build(BUNDLE_OPTIONS)
  const code = outputFiles.map(({ path, text }) => textFile(path.slice(ROOT.length + 1), text))
  const { name, version, license } = JSON.parse(sourceText('package.json'))
  const manifest = `${JSON.stringify({ name, version, license, type: 'module' }, null, 2)}\n`
  return {
    files: [
      ...code,
      textFile('bin/shoal', LAUNCHER, PROGRAM_MODE),
      textFile('package.json', manifest),
      textFile('LICENSE', sourceText('LICENSE')),
    ],
    dependencies: dependenciesIn(metafile),
  }
}

function dependenciesIn({ outputs }: Metafile): string[] {
  const paths = Object.values(outputs).flatMap(({ inputs }) => Object.keys(inputs))
  return [...new Set(paths.flatMap((path) => DEPENDENCY.exec(path)?.[1] ?? []))].sort()
}
