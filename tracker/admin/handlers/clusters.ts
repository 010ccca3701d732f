import type { Cluster, Rotation } from '../../authority/cluster.ts'
import type { KeyRotation } from '../../authority/signing-key.ts'
import type { AdminParts, Handlers } from '../handler.ts'

export function clusterHandlers({ clusters, joinTokens, joinAddress }: AdminParts) {
  return {
    'clusters.list': () => ({ clusters: clusters.list().map(lineOf) }),
    'clusters.create': async (
      { joinTokenHash: hash, joinTokenValidForSeconds: validForSeconds, ...asked },
      by,
    ) => {
      const { cluster, name } = await clusters.create({ ...asked, joinToken: { hash, validForSeconds } }, by)
      return { cluster, name }
    },
    'joinTokens.list': async ({ cluster }, { nowMs }) => ({
      joinTokens: await joinTokens.list(cluster, nowMs),
    }),
    'joinTokens.create': async ({ cluster, ...token }, by) => ({
      joinToken: await joinTokens.add(cluster, token, { replaces: false }, by),
    }),
    'joinTokens.replace': async ({ cluster, ...token }, by) => {
      await joinTokens.add(cluster, token, { replaces: true }, by)
      return { cluster }
    },
    'joinTokens.withdraw': async ({ cluster, token }, by) => {
      await joinTokens.withdraw(cluster, token, by)
      return {}
    },
    'joinAddress.show': () => joinAddress(),
    'authorities.rotate': async ({ cluster, ...how }, by) => ({
      cluster,
      rotation: rotationOf(await clusters.addAuthority(cluster, how, by)),
    }),
    'authorities.withdraw': async ({ cluster, ...how }, by) => ({
      cluster,
      ...(await clusters.withdrawAuthority(cluster, how, by)),
    }),
    'signingKeys.rotate': async ({ cluster, ...how }, by) => ({
      cluster,
      rotation: keyRotationOf(await clusters.addSigningKey(cluster, how, by)),
    }),
    'signingKeys.withdraw': async ({ cluster, ...how }, by) => {
      await clusters.withdrawSigningKey(cluster, how, by)
      return { cluster }
    },
  } satisfies Partial<Handlers>
}

function lineOf({ cluster, name, trust, rotation, keyRotation }: Cluster) {
  return {
    cluster,
    name,
    authorities: trust.authorities,
    rotation: rotation === undefined ? null : rotationOf(rotation),
    signingKeys: trust.batchKeys,
    keyRotation: keyRotation === undefined ? null : keyRotationOf(keyRotation),
  }
}

function rotationOf({ issuesAtMs, previousEndsAtMs }: Rotation) {
  return { issuesAtMs, previousEndsAtMs }
}

function keyRotationOf({ signsAtMs, previousEndsAtMs }: KeyRotation) {
  return { signsAtMs, previousEndsAtMs }
}
