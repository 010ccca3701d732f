import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { byteSize } from '../core/byte-size.ts'
import { type Command, command, type Outside } from '../core/command.ts'
import { TAR_END, tarHeader, tarPadding } from '../core/tar.ts'
import { CONTROL_FLAG } from '../guard/control.ts'
import { gatherParts, type ReportPart } from './bugreport-parts.ts'
import { BugReportError } from './errors.ts'
import { localNode, NODE_FLAGS, nodeConfigFile, nodeDataDir } from './local-node.ts'
import { runningSettings } from './running-settings.ts'
import { lookOf, tableLines } from './table.ts'

/** `shoal bugreport`: one archive for a maintainer. Invariant: nothing is in it that was not listed before it was written. */

/** Names of images are the business of whoever runs the node. */
const ARCHIVE_MODE = 0o600

export const bugreportCommand: Command = command({
  positionals: [],
  flags: {
    ...NODE_FLAGS,
    output: {
      type: 'string',
      value: 'file',
      description: 'The archive. Default: shoal-bugreport-TIME.tar.gz in this folder.',
    },
    yes: { type: 'boolean', description: 'Asks nothing.' },
    control: CONTROL_FLAG,
  },
  async run(values, _positionals, outside) {
    const now = new Date()
    const stamp = now.toISOString().slice(0, 19).replaceAll(/[-:]/g, '')
    const path = resolve(values.output ?? `shoal-bugreport-${stamp}Z.tar.gz`)
    const node = localNode(values, outside)
    const running = await runningSettings(node)
    const parts = await gatherParts({
      node,
      configFile: nodeConfigFile(values, outside),
      dataDir: running?.isTrusted ? running.settings.dataDir : nodeDataDir(values, outside),
      control: values.control,
    })
    outside.output.write(listText(parts, path, outside))
    if (!values.yes) await agreed(outside)
    const archive = gzipSync(archiveOf(parts, Math.floor(now.getTime() / 1000)))
    write(path, archive)
    return `Wrote ${path} (${byteSize(archive.length)}). Look through it before you send it to anybody.\n`
  },
})

function listText(parts: readonly ReportPart[], path: string, outside: Outside): string {
  const columns = [
    { title: '  FILE' },
    { title: 'SIZE', align: 'right' as const },
    { title: 'WHAT', isFlexible: true },
  ]
  const rows = parts.map(({ name, what, text }) => [
    `  ${name}`,
    text.startsWith('not available: ') ? 'none' : byteSize(Buffer.byteLength(text)),
    what,
  ])
  const lines = [
    `${path} will contain:`,
    ...tableLines(columns, rows, lookOf(outside)),
    'Tokens, passwords, keys, credentials and join strings are taken out. Names of hosts and images stay.',
  ]
  return `${lines.join('\n')}\n`
}

/** @throws BugReportError */
async function agreed(outside: Outside): Promise<void> {
  if (await outside.ask?.('Write it?')) return
  throw new BugReportError('nothing was written', {
    hint: outside.ask === undefined ? 'No terminal to ask on. Pass --yes.' : 'You answered no.',
  })
}

function archiveOf(parts: readonly ReportPart[], timeS: number): Buffer {
  const files = parts.flatMap(({ name, text }) => {
    const content = Buffer.from(text)
    const header = tarHeader({ name: `shoal-bugreport/${name}`, mode: 0o600, bytes: content.length, timeS })
    return [header, content, tarPadding(content.length)]
  })
  return Buffer.concat([...files, TAR_END])
}

/** Never over a file or through a link that is there. @throws BugReportError */
function write(path: string, archive: Buffer): void {
  try {
    writeFileSync(path, archive, { flag: 'wx', mode: ARCHIVE_MODE })
  } catch (cause) {
    throw new BugReportError(`cannot write ${path}: ${(cause as Error).message}`, {
      cause,
      hint: 'Name another place with --output.',
    })
  }
}
