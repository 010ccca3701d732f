import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Lock, ROOT } from './source.ts'

const LICENCE_FILE = /^(licen[cs]e|notice|copying)/i
const RULE = '='.repeat(78)

export interface Licensed {
  name: string
  version: string
  /** SPDX. */
  licence: string
  texts: string[]
}

/** The texts of all that is packed with Shoal, one after the other. */
export function licencesText(all: Licensed[]): string {
  const sections = all.map(({ name, version, licence, texts }) => {
    const found = texts.length === 0 ? [`The package says no more than this: ${licence}.`] : texts
    const title = `${RULE}\n${name} ${version} (${licence})\n${RULE}`
    return [title, ...found.map((text) => text.trim())].join('\n\n')
  })
  return `Shoal is distributed with the following software.\n\n${sections.join('\n\n')}\n`
}

/** Of a dependency, from its folder. */
export function licenceOf(path: string, lock: Lock): Licensed {
  const { version, license = 'see the text' } = lock[path]!
  const folder = join(ROOT, path)
  const files = readdirSync(folder)
    .filter((file) => LICENCE_FILE.test(file))
    .sort()
  const texts = files.map((file) => readFileSync(join(folder, file), 'utf8'))
  return { name: nameOf(path), version, licence: license, texts }
}

/** `node_modules/a/node_modules/@b/c` is `@b/c`. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)
}
