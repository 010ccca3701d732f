import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import addFormats from 'ajv-formats'
import { ROOT } from '../tidy/source-files.ts'

const SCHEMAS = 'node_modules/@cyclonedx/cyclonedx-library/res/schema'
const schemaOf = (name: string) =>
  JSON.parse(readFileSync(join(ROOT, SCHEMAS, `${name}.SNAPSHOT.schema.json`), 'utf8'))

/** @returns what of a bill of materials is against the schema of CycloneDX 1.6 */
export function sbomFaults(content: unknown): string[] {
  const ajv = new Ajv({ strict: false, allErrors: true })
  for (const name of ['spdx', 'jsf-0.82'])
    ajv.addSchema(schemaOf(name), `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json`)
  addFormats.default(ajv)
  // Ajv has no such formats; nothing here has an address of a person or a URL with letters of its own.
  for (const format of ['idn-email', 'iri-reference']) ajv.addFormat(format, true)
  const isRight = ajv.compile(schemaOf('bom-1.6'))
  return isRight(content)
    ? []
    : isRight.errors!.map(({ instancePath, message }) => `${instancePath} ${message}`)
}
