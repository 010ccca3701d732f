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
import { newClusterId, newJoinToken } from '../secrets.ts'

export const clusterCommand = command({
  positionals: ['name'],
  flags: { ...ADMIN_FLAGS, ...JOIN_TOKEN_FLAGS },
  async run(values, [name = '']) {
    if (values.out !== undefined) refuseExisting([values.out], values.force)
    const cluster = newClusterId()
    const joinToken = newJoinToken(cluster)
    const joinTokenValidForSeconds = joinTokenSeconds(values['valid-hours'])
    await ask(adminAccess(values), 'clusters.create', {
      cluster,
      name,
      joinTokenHash: joinTokenHash(joinToken),
      ...(joinTokenValidForSeconds === undefined ? {} : { joinTokenValidForSeconds }),
    })
    return deliverJoinToken(joinToken, values)
  },
})
