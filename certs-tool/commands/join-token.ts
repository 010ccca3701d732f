import { UsageError } from '../../core/errors.ts'
import { joinTokenHash } from '../../core/join-token.ts'
import { replaceJoinToken } from '../admin-client.ts'
import { ADMIN_FLAGS, adminAccess, deliverJoinToken, JOIN_TOKEN_FLAGS } from '../admin-flags.ts'
import { command } from '../command.ts'
import { refuseExisting } from '../key-files.ts'
import { newJoinToken, parseClusterId } from '../secrets.ts'

const HOUR_SECONDS = 3600
/** Ten years; without an end is said by leaving it out. */
const HOURS_MAX = 10 * 365 * 24

export const joinTokenCommand = command({
  name: 'join-token',
  summary:
    "Replaces a cluster's join token and prints the new one, once. The old one ends; nodes that joined stay.",
  positionals: ['cluster id'],
  flags: {
    ...ADMIN_FLAGS,
    'valid-hours': {
      type: 'string',
      value: 'number',
      description: 'Ends by itself after so long; absent: never.',
    },
    ...JOIN_TOKEN_FLAGS,
  },
  async run(values, [id = '']) {
    if (values.out !== undefined) refuseExisting([values.out], values.force)
    const cluster = parseClusterId(id)
    const hours = values['valid-hours']
    const validity = hours === undefined ? {} : { validForSeconds: parseHours(hours) * HOUR_SECONDS }
    const joinToken = newJoinToken(cluster)
    await replaceJoinToken(adminAccess(values), cluster, { hash: joinTokenHash(joinToken), ...validity })
    return deliverJoinToken(joinToken, values)
  },
})

function parseHours(text: string): number {
  if (!/^\d{1,6}$/.test(text) || Number(text) < 1 || Number(text) > HOURS_MAX) {
    throw new UsageError(`not a number of hours: ${text.slice(0, 80)}`, { hint: `Write 1 to ${HOURS_MAX}.` })
  }
  return Number(text)
}
