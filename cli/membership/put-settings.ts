import { existsSync, mkdirSync, readFileSync, realpathSync, renameSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { writeNewFiles } from '../../certs-tool/key-files.ts'
import { ConfigError } from '../../core/config.ts'
import { writeLike } from '../attach/apply.ts'

/**
 * Puts settings into the node's file, beside those that are there; makes the file if there is none. Check the result as a
 * whole before: what is written is not checked here.
 * @throws ConfigError
 */
export function putSettings(path: string, settings: Record<string, string>): void {
  try {
    if (!existsSync(path)) {
      mkdirSync(dirname(path), { recursive: true })
      writeNewFiles([{ path, content: textOf(settings), isSecret: false }], false)
      return
    }
    const before: Record<string, unknown> = JSON.parse(readFileSync(path, 'utf8'))
    if (Object.entries(settings).every(([key, value]) => before[key] === value)) return
    const file = realpathSync(path)
    const draft = `${file}.new`
    rmSync(draft, { force: true })
    writeLike(file, draft, textOf({ ...before, ...settings }))
    renameSync(draft, file)
  } catch (cause) {
    throw new ConfigError(`cannot write the settings to ${path}`, {
      cause,
      hint: 'Run this as root, or name a file that you can write with --config-file.',
    })
  }
}

function textOf(settings: Record<string, unknown>): string {
  return `${JSON.stringify(settings, undefined, 2)}\n`
}
