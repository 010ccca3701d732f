import type {
  BrowseStore,
  ImageBlobsAsked,
  ImageFilter,
  ImageLine,
  PullFilter,
  PullLine,
  SwarmFilter,
  SwarmLine,
} from '../browse.ts'
import { imageLineOf, pullLineOf, swarmLineOf } from '../records.ts'
import type { PostgresDatabase } from './postgres-database.ts'

/** The part of the store that administrators look through. Texts are compared as bytes, as SQLite does. */
export function browseStore(db: PostgresDatabase): Omit<BrowseStore, 'audit'> {
  return {
    async swarmLines({ cluster, registry, digest, after, limit }: SwarmFilter): Promise<SwarmLine[]> {
      const rows = await db.run(
        (
          sql,
        ) => sql`SELECT swarms.*, (SELECT count(*) FROM pieces WHERE swarm = swarms.id) AS pieces FROM swarms
          WHERE (${cluster}::text IS NULL OR cluster = ${cluster}) AND (${registry}::text IS NULL OR registry = ${registry})
            AND (${digest}::text IS NULL OR digest = ${digest}) AND id COLLATE "C" > ${after}
          ORDER BY id COLLATE "C" LIMIT ${limit}`,
      )
      return rows.map(swarmLineOf)
    },

    async pullLines(filter: PullFilter): Promise<PullLine[]> {
      const { cluster, node, registry, repository, before, limit } = filter
      const [atMs, pull] = [before?.grantedAtMs ?? null, before?.pull ?? null]
      const rows = await db.run(
        (sql) => sql`SELECT pulls.*, (SELECT count(*) FROM pull_blobs WHERE pull = pulls.id) AS blobs,
            (SELECT count(completed_at_ms) FROM pull_blobs WHERE pull = pulls.id) AS complete_blobs
          FROM pulls
          WHERE (${cluster}::text IS NULL OR cluster = ${cluster}) AND (${node}::text IS NULL OR node = ${node})
            AND (${registry}::text IS NULL OR registry = ${registry})
            AND (${repository}::text IS NULL OR repository = ${repository})
            AND (${atMs}::bigint IS NULL OR (granted_at_ms, id COLLATE "C") < (${atMs}::bigint, ${pull}::text))
          ORDER BY granted_at_ms DESC, id COLLATE "C" DESC LIMIT ${limit}`,
      )
      return rows.map(pullLineOf)
    },

    async imageLines({ cluster, registry, repository, after, limit }: ImageFilter): Promise<ImageLine[]> {
      const rows = await db.run(
        (sql) => sql`SELECT cluster, registry, repository, count(*) AS pulls, count(DISTINCT node) AS nodes,
            max(granted_at_ms) AS newest_at_ms
          FROM pulls
          WHERE (${cluster}::text IS NULL OR cluster = ${cluster}) AND (${registry}::text IS NULL OR registry = ${registry})
            AND (${repository}::text IS NULL OR repository = ${repository})
            AND (cluster COLLATE "C", registry COLLATE "C", repository COLLATE "C")
              > (${after.cluster}::text, ${after.registry}::text, ${after.repository}::text)
          GROUP BY cluster, registry, repository
          ORDER BY cluster COLLATE "C", registry COLLATE "C", repository COLLATE "C" LIMIT ${limit}`,
      )
      return rows.map(imageLineOf)
    },

    async imageBlobs(asked: ImageBlobsAsked): Promise<SwarmLine[]> {
      const { cluster, registry, repository, after, limit } = asked
      const rows = await db.run(
        (
          sql,
        ) => sql`SELECT swarms.*, (SELECT count(*) FROM pieces WHERE swarm = swarms.id) AS pieces FROM swarms
          WHERE id COLLATE "C" > ${after} AND id IN (
            SELECT swarm FROM pull_blobs JOIN pulls ON pulls.id = pull_blobs.pull
            WHERE pulls.cluster = ${cluster} AND registry = ${registry} AND repository = ${repository})
          ORDER BY id COLLATE "C" LIMIT ${limit}`,
      )
      return rows.map(swarmLineOf)
    },
  }
}
