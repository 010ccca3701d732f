import { joinTokenHash } from '../../core/join-token.ts'
import { replaceJoinToken } from '../admin-client.ts'
import {
  ADMIN_FLAGS,
  adminAccess,
  deliverJoinToken,
  JOIN_TOKEN_FLAGS,
  joinTokenSeconds,
} from '../admin-flags.ts'
import { command } from '../command.ts'
import { refuseExisting } from '../key-files.ts'
import { newJoinToken, parseClusterId } from '../secrets.ts'

export const joinTokenCommand = command({
  name: 'join-token',
  summary:
    "Replaces a cluster's join token and prints the new one once. The old one ends; joined nodes stay.",
  positionals: ['cluster id'],
  flags: { ...ADMIN_FLAGS, ...JOIN_TOKEN_FLAGS },
  async run(values, [id = '']) {
    if (values.out !== undefined) refuseExisting([values.out], values.force)
    const cluster = parseClusterId(id)
    const validForSeconds = joinTokenSeconds(values['valid-hours'])
    const joinToken = newJoinToken(cluster)
    await replaceJoinToken(adminAccess(values), cluster, {
      hash: joinTokenHash(joinToken),
      ...(validForSeconds === undefined ? {} : { validForSeconds }),
    })
    return deliverJoinToken(joinToken, values)
  },
})
