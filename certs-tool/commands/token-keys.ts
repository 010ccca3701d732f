import type { AnsweredFor } from '../../core/admin-api/calls.ts'
import { command } from '../../core/command.ts'
import { UsageError } from '../../core/errors.ts'
import { plainJson } from '../../core/plain-text.ts'
import { utcSecondsText } from '../../core/time-text.ts'
import { ask } from '../admin-client.ts'
import { ADMIN_FLAGS, adminAccess } from '../admin-flags.ts'

type TokenKeyLine = AnsweredFor<'tokenKeys.list'>['tokenKeys'][number]

/** Length of a token's own texts in the list. */
const TEXT_CHARS_MAX = 60

export const tokenKeysCommand = command({
  positionals: [],
  flags: {
    ...ADMIN_FLAGS,
    withdraw: {
      type: 'string',
      value: 'key id',
      description:
        'Withdraw this key from its registry: pulls under it end, and the tracker does not ask about it again. To trust it again, name it in tokenKeysFile.',
    },
    json: { type: 'boolean', description: 'Print a JSON array instead.' },
  },
  async run(values) {
    const access = adminAccess(values)
    const text = (keys: readonly TokenKeyLine[]) => (values.json ? `${plainJson(keys, 2)}\n` : listText(keys))
    if (values.withdraw === undefined) return text((await ask(access, 'tokenKeys.list', {})).tokenKeys)
    if (!/^[0-9a-f]{16}$/.test(values.withdraw)) {
      throw new UsageError(`not the id of a token key: ${values.withdraw.slice(0, 80)}`, {
        hint: 'It is the first column of `shoal admin key trusted`.',
      })
    }
    const { tokenKeys } = await ask(access, 'tokenKeys.withdraw', { id: values.withdraw })
    return text(tokenKeys)
  },
})

function listText(keys: readonly TokenKeyLine[]): string {
  if (keys.length === 0) return 'no token key was found by asking a registry\n'
  return keys.map((key) => `${lineOf(key)}\n`).join('')
}

function lineOf({ id, registry, issuer, audience, ...key }: TokenKeyLine): string {
  const standing =
    key.withdrawnAtMs === null
      ? `trusted from ${utcSecondsText(key.probedAtMs)} to ${utcSecondsText(key.trustedUntilMs)}`
      : `withdrawn ${utcSecondsText(key.withdrawnAtMs)}`
  return `${id}  ${registry}  issuer ${quoted(issuer)}, audience ${quoted(audience)}: ${standing}`
}

/** The signer of a token chooses these texts, so escape everything that may move a terminal's cursor. */
function quoted(text: string): string {
  return JSON.stringify(text.slice(0, TEXT_CHARS_MAX)).replace(/[^\x20-\x7e]/g, '?')
}
