import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import type { LabProcesses } from '../machine/processes.ts'

/** The password file of a registry without a token server: Apache's htpasswd with bcrypt, as Distribution reads it. */

export const PASSWORDS_FILE = 'htpasswd'
/** Cost of the hash, which a registry pays for every request: the default of htpasswd tools is 5 to 12. */
const BCRYPT_COST = 10
const SALT_CHARACTERS = 22
const PATIENCE_MS = 10_000
/** Perl is part of every Debian, and its crypt knows bcrypt. The password comes by standard input. */
const HASH = 'my $password = <STDIN>; chomp $password; print crypt($password, $ARGV[0])'

export async function writePasswords(
  { processes }: { processes: LabProcesses },
  path: string,
  accounts: { user: string; password: string }[],
): Promise<void> {
  const lines = accounts.map(async ({ user, password }) => {
    const argv = ['perl', '-e', HASH, `$2b$${BCRYPT_COST}$${newSalt()}`]
    return `${user}:${await processes.run({ argv, input: `${password}\n`, timeoutMs: PATIENCE_MS })}\n`
  })
  writeFileSync(path, (await Promise.all(lines)).join(''), { mode: 0o600 })
}

/** The last character stands for two bits only: a dot is one that bcrypt gives back. */
function newSalt(): string {
  const letters = randomBytes(SALT_CHARACTERS).toString('hex')
  return `${letters.slice(0, SALT_CHARACTERS - 1)}.`
}
