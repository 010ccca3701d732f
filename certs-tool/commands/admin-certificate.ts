import { generateKeyPairSync } from 'node:crypto'
import { command } from '../../core/command.ts'
import { UsageError } from '../../core/errors.ts'
import { spkiOf } from '../../core/issue-certificate.ts'
import { ask } from '../admin-client.ts'
import { DATA_DIR_FLAG, trackerDataDir } from '../admin-flags.ts'
import { refuseExisting, writeNewFiles } from '../key-files.ts'

/** The same bound as in the tracker. */
const HOURS_MAX = 24

export const adminCertificateCommand = command({
  positionals: [],
  flags: {
    'data-dir': DATA_DIR_FLAG,
    'valid-hours': {
      type: 'string',
      value: 'number',
      default: '1',
      description: `The certificate ends after this time; at most ${HOURS_MAX}.`,
    },
    out: {
      type: 'string',
      value: 'file',
      default: 'admin.pem',
      description: 'File for key, certificate and authority (mode 0600).',
    },
    force: { type: 'boolean', description: 'Replace a file that exists.' },
  },
  async run({ 'data-dir': dataDir, 'valid-hours': hours, out, force }) {
    const validForSeconds = secondsOf(hours)
    refuseExisting([out], force)
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const publicKey = spkiOf(privateKey).toString('base64url')
    const { certificate, authorities } = await ask(
      { dataDir: trackerDataDir(dataDir) },
      'certificates.create',
      {
        publicKey,
        validForSeconds,
      },
    )
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
    const content = [key, certificate, ...authorities].map((pem) => `${pem.trimEnd()}\n`).join('')
    writeNewFiles([{ path: out, content, isSecret: true }], force)
    return `${out}  shoal admin … --admin-pem, for ${validForSeconds / 3600} h\n`
  },
})

/** @throws UsageError */
function secondsOf(hours: string): number {
  if (!/^\d{1,2}$/.test(hours) || Number(hours) < 1 || Number(hours) > HOURS_MAX) {
    throw new UsageError(`not a number of hours: ${hours.slice(0, 80)}`, { hint: `Write 1 to ${HOURS_MAX}.` })
  }
  return Number(hours) * 3600
}
