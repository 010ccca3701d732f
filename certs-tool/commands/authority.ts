import { join } from 'node:path'
import { command } from '../../core/command.ts'
import { writeNewFiles } from '../key-files.ts'
import {
  AUTHORITY_DAYS_DEFAULT,
  LAB_AUTHORITY_NAME,
  makeLabAuthority,
  parseDays,
} from '../tracker-certificates.ts'

export const AUTHORITY_CERTIFICATE_FILE = 'authority.crt'
export const AUTHORITY_KEY_FILE = 'authority.key'

export const authorityCommand = command({
  positionals: [],
  flags: {
    'out-dir': { type: 'string', value: 'folder', default: '.', description: 'Folder for the files.' },
    name: { type: 'string', default: LAB_AUTHORITY_NAME, description: 'Common name.' },
    days: {
      type: 'string',
      value: 'number',
      default: String(AUTHORITY_DAYS_DEFAULT),
      description: 'Validity.',
    },
    force: { type: 'boolean', description: 'Replace files that exist.' },
  },
  async run(values) {
    const authority = await makeLabAuthority({ name: values.name, days: parseDays(values.days) })
    const certificate = join(values['out-dir'], AUTHORITY_CERTIFICATE_FILE)
    const key = join(values['out-dir'], AUTHORITY_KEY_FILE)
    const files = [
      { path: key, content: authority.privateKeyPem, isSecret: true },
      { path: certificate, content: authority.certificatePem, isSecret: false },
    ]
    writeNewFiles(files, values.force)
    return [
      `${certificate}  give it to every node (--tracker-ca-file)`,
      `${key}  keep it; shoal certs tracker-tls needs it\n`,
    ].join('\n')
  },
})
