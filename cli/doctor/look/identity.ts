import { X509Certificate } from 'node:crypto'
import { knownIdentity } from '../../../node/known.ts'
import { type About, isDenied } from '../about.ts'
import type { Ending, EndingsFacts } from '../judge/endings.ts'
import type { JoinedFacts } from '../judge/joined.ts'
import { endingOf } from './tracker.ts'

export interface IdentityLook {
  joined: JoinedFacts
  endings: Pick<EndingsFacts, 'certificates' | 'hidden'>
}

const ROTATE = 'Begin a change of the authority on the tracker: `shoal admin cluster rotate`.'

/** The node's certificate and its cluster's authorities, as the data folder has them. */
export function lookAtIdentity({ config, facts }: About): IdentityLook {
  const status = facts.status?.node
  const nowMs = Date.now()
  try {
    const { certificatePem, authoritiesPem } = knownIdentity(config)
    const own = certificatePem === undefined ? undefined : ownEnding(certificatePem)
    const authorities = authoritiesPem.map((pem) =>
      endingOf(new X509Certificate(pem), "the cluster's authority", ROTATE),
    )
    return {
      joined: { status, nowMs, certificate: own ?? 'none' },
      endings: { certificates: [...(own === undefined ? [] : [own]), ...authorities], hidden: [] },
    }
  } catch (error) {
    if (!isDenied(error)) throw error
    return {
      joined: { status, nowMs, certificate: 'hidden' },
      endings: { certificates: [], hidden: ["the node's certificate"] },
    }
  }
}

function ownEnding(pem: string): Ending {
  const { validFromDate, validToDate } = new X509Certificate(pem)
  return {
    what: "the node's certificate",
    beginsMs: validFromDate.getTime(),
    endsMs: validToDate.getTime(),
    isOwn: true,
  }
}
