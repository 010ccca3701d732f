import { isDeepStrictEqual } from 'node:util'
import { parse } from 'smol-toml'
import { AttachFileError } from './errors.ts'

/** Changes of TOML text that keep everything else of it. What was meant is checked by reading the result. */

export type TomlTable = { [key: string]: unknown }

/** @throws AttachFileError */
export function parseToml(path: string, text: string): TomlTable {
  try {
    return parse(text) as TomlTable
  } catch (cause) {
    const { line } = cause as { line?: number }
    const why = (cause as Error).message.split('\n')[0]
    throw new AttachFileError(`${path} is malformed${line === undefined ? '' : ` in line ${line}`}: ${why}`, {
      cause,
      hint: 'Correct the file, then run the command again. Nothing was changed.',
    })
  }
}

/**
 * `text` with these lines before the first table whose header matches, or at the end.
 * @throws AttachFileError when the result does not say what it should
 */
export function insertToml(
  path: string,
  text: string,
  { lines, before, expected }: { lines: string[]; before?: RegExp; expected: TomlTable },
): string {
  const at = before === undefined ? -1 : text.search(before)
  const added = `${lines.join('\n')}\n`
  const gap = text === '' || text.endsWith('\n') ? '' : '\n'
  const changed =
    at < 0
      ? `${text}${gap}${text === '' ? '' : '\n'}${added}`
      : `${text.slice(0, at)}${added}\n${text.slice(at)}`
  return checked(path, changed, expected)
}

/** `text` with another value of a key in one table. @throws AttachFileError */
export function setTomlKey(
  path: string,
  text: string,
  { header, key, value, expected }: { header: RegExp; key: string; value: string; expected: TomlTable },
): string {
  const lines = text.split('\n')
  const start = lines.findIndex((line) => header.test(line))
  const next = lines.findIndex((line, index) => index > start && /^\s*\[/.test(line))
  const end = next < 0 ? lines.length : next
  const isKey = (line: string) => new RegExp(`^\\s*["']?${key}["']?\\s*=`).test(line)
  const at = lines.findIndex((line, index) => index > start && index < end && isKey(line))
  const indent = /^\s*/.exec(lines[at < 0 ? start : at] ?? '')?.[0] ?? ''
  const line = `${indent}${at < 0 ? '  ' : ''}${key} = ${value}`
  if (start >= 0 && at < 0) lines.splice(start + 1, 0, line)
  else if (start >= 0) lines[at] = line
  return checked(path, lines.join('\n'), expected)
}

function checked(path: string, text: string, expected: TomlTable): string {
  let found: unknown
  try {
    found = parse(text)
  } catch {
    found = undefined
  }
  if (isDeepStrictEqual(plain(found), plain(expected))) return text
  throw new AttachFileError(`${path} is written in a way that Shoal cannot change safely`, {
    hint: `Bring it into the form of one [table] with its keys below, as \`containerd config dump\` prints it. Nothing was changed.`,
  })
}

/** Without the prototypes that tell a parser's tables from ours. */
function plain(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value))
}
