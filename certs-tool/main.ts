import { UsageError } from '../core/errors.ts'
import { nearestName } from '../core/nearest-name.ts'
import { type Command, runCommand } from './command.ts'
import { authorityCommand } from './commands/authority.ts'
import { clusterCommand } from './commands/cluster.ts'
import { inspectCommand } from './commands/inspect.ts'
import { joinTokenCommand } from './commands/join-token.ts'
import { resealCommand } from './commands/reseal.ts'
import { rotateAuthorityCommand } from './commands/rotate-authority.ts'
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
  resealCommand,
  tokenKeysCommand,
  unlockCommand,
  inspectCommand,
]

/**
 * `shoal certs <command> …`.
 * @returns the text for standard output
 * @throws ShoalError with a hint
 */
export async function runCerts([name, ...argv]: string[]): Promise<string> {
  if (name === undefined || name === '--help' || name === 'help') return overview()
  const found = COMMANDS.find((candidate) => candidate.name === name)
  if (found !== undefined) return runCommand(found, argv)
  const nearest = nearestName(
    name,
    COMMANDS.map((candidate) => candidate.name),
  )
  throw new UsageError(`there is no command ${JSON.stringify(name.slice(0, 80))}`, {
    hint: nearest === undefined ? 'shoal certs --help lists them.' : `Did you mean shoal certs ${nearest}?`,
  })
}

function overview(): string {
  const lines = COMMANDS.map((one) => `  ${one.name.padEnd(16)} ${one.summary}`)
  return `Makes and explains Shoal's certificates and secrets.\n\nUsage: shoal certs <command> [flags]\n\n${lines.join('\n')}\n\nshoal certs <command> --help lists the flags of one.\n`
}
