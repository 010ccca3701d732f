import { command } from '../../core/command.ts'
import { joinTokenHash } from '../../core/join-token.ts'
import { ask } from '../admin-client.ts'
import {
  ADMIN_FLAGS,
  adminAccess,
  deliverJoinToken,
  JOIN_TOKEN_FLAGS,
  joinTokenSeconds,
} from '../admin-flags.ts'
import { refuseExisting } from '../key-files.ts'
import { newJoinToken, parseClusterId } from '../secrets.ts'

export const joinTokenCommand = command({
  positionals: ['cluster id'],
  flags: { ...ADMIN_FLAGS, ...JOIN_TOKEN_FLAGS },
  async run(values, [id = '']) {
    if (values.out !== undefined) refuseExisting([values.out], values.force)
    const cluster = parseClusterId(id)
    const validForSeconds = joinTokenSeconds(values['valid-hours'])
    const joinToken = newJoinToken(cluster)
    await ask(adminAccess(values), 'joinTokens.replace', {
      cluster,
      hash: joinTokenHash(joinToken),
      ...(validForSeconds === undefined ? {} : { validForSeconds }),
    })
    return deliverJoinToken(joinToken, values)
  },
})
