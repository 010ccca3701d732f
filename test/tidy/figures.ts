import { type Node, SyntaxKind } from 'typescript/unstable/ast'
import { API } from 'typescript/unstable/sync'
import { isUpward, MAY_IMPORT } from './layers.ts'
import { circles, importsOf, isSource, partOf, ROOT, repositoryFiles, textOf } from './source-files.ts'

/**
 * `node test/tidy/figures.ts`: how large the code is and how it hangs together. To compare two states of it, run this in both.
 */
function main(): void {
  const files = repositoryFiles().filter(isSource)
  const parts = [...new Set(files.map(partOf))].filter((part) => part !== 'test').sort()
  const own = files.filter((path) => partOf(path) !== 'test')
  const imports = files.flatMap((path) => importsOf(path)).filter(({ to }) => files.includes(to))
  const between = imports.filter(({ from, to }) => partOf(from) !== partOf(to))
  const lengths = functionLengths(own)
  const lines = (paths: string[]) => paths.map((path) => textOf(path).split('\n').length - 1)
  const rows = [
    ['files of the programs', String(own.length)],
    ['files of tests', String(files.length - own.length)],
    ['imports of own files', String(imports.length)],
    [
      'imports against the order of parts',
      count(between, ({ from, to }) => !MAY_IMPORT[partOf(from)]?.includes(partOf(to))),
    ],
    ['imports against the order of rooms', count(imports, isUpward)],
    ['circles, with those of types', String(circles(imports).length)],
    ['circles that run', String(circles(imports.filter(({ isType }) => !isType)).length)],
    ['lines of a file: median, 90 %, longest', spread(lines(own))],
    ['lines of a function: median, 90 %, longest', spread(lengths)],
    ...parts.map((part) => [
      `lines of a file in ${part || 'the root'}`,
      spread(lines(own.filter((path) => partOf(path) === part))),
    ]),
  ]
  for (const [name = '', value = ''] of rows) process.stdout.write(`${name.padEnd(44)} ${value}\n`)
}

function count<T>(all: T[], isCounted: (one: T) => boolean): string {
  return String(all.filter(isCounted).length)
}

function spread(values: number[]): string {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
  return [at(0.5), at(0.9), sorted.at(-1)].join(' / ')
}

const FUNCTIONS = new Set([
  SyntaxKind.FunctionDeclaration,
  SyntaxKind.MethodDeclaration,
  SyntaxKind.Constructor,
  SyntaxKind.GetAccessor,
  SyntaxKind.SetAccessor,
  SyntaxKind.ArrowFunction,
  SyntaxKind.FunctionExpression,
])

/** From a function's name to its closing brace; of arrows, those with a body in braces. */
function functionLengths(paths: string[]): number[] {
  const api = new API({ cwd: ROOT })
  try {
    const [project] = api.updateSnapshot({ openProjects: [`${ROOT}/tsconfig.json`] }).getProjects()
    return paths.flatMap((path) => {
      const file = project?.program.getSourceFile(`${ROOT}/${path}`)
      if (file === undefined) return []
      const lengths: number[] = []
      const visit = (node: Node) => {
        const { body } = node as Node & { body?: Node }
        if (FUNCTIONS.has(node.kind) && body?.kind === SyntaxKind.Block) {
          lengths.push(file.text.slice(node.getStart(file), node.end).split('\n').length)
        }
        node.forEachChild(visit)
      }
      visit(file)
      return lengths
    })
  } finally {
    api.close()
  }
}

main()
