import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import type { PageLine } from './page-lines.ts'
import type { LineResult } from './page-machine-main.ts'

const PROGRAM = fileURLToPath(new URL('page-machine-main.ts', import.meta.url))

/** Types lines on a machine of their own, one after the other. Nothing of it stays. */
export async function typeLines(lines: readonly PageLine[]): Promise<LineResult[]> {
  const flags = ['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc']
  const child = spawn('unshare', [...flags, process.execPath, PROGRAM], { stdio: ['pipe', 'pipe', 'pipe'] })
  child.stdin.end(JSON.stringify(lines))
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)])
  if ((await ended) !== 0)
    throw new Error(`the machine of the pages failed: ${errors}\n${output.slice(-60000)}`)
  return output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as LineResult)
}
