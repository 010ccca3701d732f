import { joinTokenHash } from '../../core/join-token.ts'
import { createCluster } from '../admin-client.ts'
import {
  ADMIN_FLAGS,
  adminAccess,
  deliverJoinToken,
  JOIN_TOKEN_FLAGS,
  joinTokenSeconds,
} from '../admin-flags.ts'
import { command } from '../command.ts'
import { refuseExisting } from '../key-files.ts'
import { newClusterId, newJoinToken } from '../secrets.ts'

export const clusterCommand = command({
  name: 'cluster',
  summary: 'Creates a cluster on a running tracker and prints its join token once; nothing stores it.',
  positionals: ['name'],
  flags: { ...ADMIN_FLAGS, ...JOIN_TOKEN_FLAGS },
  async run(values, [name = '']) {
    if (values.out !== undefined) refuseExisting([values.out], values.force)
    const cluster = newClusterId()
    const joinToken = newJoinToken(cluster)
    const joinTokenValidForSeconds = joinTokenSeconds(values['valid-hours'])
    await createCluster(adminAccess(values), {
      cluster,
      name,
      joinTokenHash: joinTokenHash(joinToken),
      ...(joinTokenValidForSeconds === undefined ? {} : { joinTokenValidForSeconds }),
    })
    return deliverJoinToken(joinToken, values)
  },
})
