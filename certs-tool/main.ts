import { UsageError } from '../core/errors.ts'
import { nearestName } from '../core/nearest-name.ts'
import { type Command, runCommand } from './command.ts'
import { adminCertificateCommand } from './commands/admin-certificate.ts'
import { authorityCommand } from './commands/authority.ts'
import { clusterCommand } from './commands/cluster.ts'
import { inspectCommand } from './commands/inspect.ts'
import { joinTokenCommand } from './commands/join-token.ts'
import { resealCommand } from './commands/reseal.ts'
import {
  oldRotateAuthorityCommand,
  rotateAdminCommand,
  rotateAuthorityCommand,
  rotateSigningKeyCommand,
} from './commands/rotate.ts'
import { tokenKeysCommand } from './commands/token-keys.ts'
import { trackerTlsCommand } from './commands/tracker-tls.ts'
import { unlockCommand } from './commands/unlock.ts'
import { unlockKeyCommand } from './commands/unlock-key.ts'

const COMMANDS: Command[] = [
  authorityCommand,
  trackerTlsCommand,
  unlockKeyCommand,
  clusterCommand,
  joinTokenCommand,
  rotateAuthorityCommand,
  rotateSigningKeyCommand,
  rotateAdminCommand,
  adminCertificateCommand,
  resealCommand,
  tokenKeysCommand,
  unlockCommand,
  inspectCommand,
]
/** Accepted names that the help does not list. */
const OLD_COMMANDS: Command[] = [oldRotateAuthorityCommand]

/**
 * `shoal certs <command> …`.
 * @returns the text for standard output
 * @throws ShoalError with a hint
 */
export async function runCerts([name, ...argv]: string[]): Promise<string> {
  if (name === undefined || name === '--help' || name === 'help') return overview()
  const all = [...COMMANDS, ...OLD_COMMANDS]
  const found = all.find((one) => one.name === name)
  if (found !== undefined) return runCommand(found, argv)
  const [what, ...rest] = argv
  const foundOfTwoWords = all.find((one) => one.name === `${name} ${what}`)
  if (foundOfTwoWords !== undefined) return runCommand(foundOfTwoWords, rest)
  throw new UsageError(`there is no command ${JSON.stringify(name.slice(0, 80))}`, { hint: hintFor(name) })
}

function hintFor(name: string): string {
  const names = COMMANDS.map((one) => one.name)
  const longer = names.filter((one) => one.startsWith(`${name} `))
  if (longer.length > 0) return `There are: ${longer.join(', ')}.`
  const nearest = nearestName(name, names)
  return nearest === undefined ? 'shoal certs --help lists them.' : `Did you mean shoal certs ${nearest}?`
}

function overview(): string {
  const lines = COMMANDS.map((one) => `  ${one.name.padEnd(19)} ${one.summary}`)
  return `Makes and explains Shoal's certificates and secrets.\n\nUsage: shoal certs <command> [flags]\n\n${lines.join('\n')}\n\nshoal certs <command> --help lists the flags of one.\n`
}
