import type {
  ImageBlobsAsked,
  ImageFilter,
  ImageLine,
  PullFilter,
  PullLine,
  SwarmFilter,
  SwarmLine,
} from './browse.ts'
import { imageLineOf, pullLineOf, swarmLineOf } from './records.ts'
import type { SqliteDatabase } from './sqlite-database.ts'

const PIECES = '(SELECT count(*) FROM pieces WHERE swarm = swarms.id) AS pieces'

export function swarmLineRows(db: SqliteDatabase, filter: SwarmFilter): SwarmLine[] {
  const { cluster, registry, digest, after, limit } = filter
  const find = `SELECT swarms.*, ${PIECES} FROM swarms
    WHERE (?1 IS NULL OR cluster = ?1) AND (?2 IS NULL OR registry = ?2) AND (?3 IS NULL OR digest = ?3) AND id > ?4
    ORDER BY id LIMIT ?5`
  return db.all(find, cluster, registry, digest, after, limit).map(swarmLineOf)
}

export function pullLineRows(db: SqliteDatabase, filter: PullFilter): PullLine[] {
  const { cluster, node, registry, repository, before, limit } = filter
  const find = `SELECT pulls.*, (SELECT count(*) FROM pull_blobs WHERE pull = pulls.id) AS blobs,
      (SELECT count(completed_at_ms) FROM pull_blobs WHERE pull = pulls.id) AS complete_blobs
    FROM pulls
    WHERE (?1 IS NULL OR cluster = ?1) AND (?2 IS NULL OR node = ?2) AND (?3 IS NULL OR registry = ?3)
      AND (?4 IS NULL OR repository = ?4) AND (?5 IS NULL OR (granted_at_ms, id) < (?5, ?6))
    ORDER BY granted_at_ms DESC, id DESC LIMIT ?7`
  const [atMs, pull] = [before?.grantedAtMs ?? null, before?.pull ?? null]
  return db.all(find, cluster, node, registry, repository, atMs, pull, limit).map(pullLineOf)
}

export function imageLineRows(db: SqliteDatabase, filter: ImageFilter): ImageLine[] {
  const { cluster, registry, repository, after, limit } = filter
  const find = `SELECT cluster, registry, repository, count(*) AS pulls, count(DISTINCT node) AS nodes,
      max(granted_at_ms) AS newest_at_ms
    FROM pulls
    WHERE (?1 IS NULL OR cluster = ?1) AND (?2 IS NULL OR registry = ?2) AND (?3 IS NULL OR repository = ?3)
      AND (cluster, registry, repository) > (?4, ?5, ?6)
    GROUP BY cluster, registry, repository ORDER BY cluster, registry, repository LIMIT ?7`
  const from = [after.cluster, after.registry, after.repository] as const
  return db.all(find, cluster, registry, repository, ...from, limit).map(imageLineOf)
}

export function imageBlobRows(
  db: SqliteDatabase,
  { cluster, registry, repository, after, limit }: ImageBlobsAsked,
): SwarmLine[] {
  const find = `SELECT swarms.*, ${PIECES} FROM swarms
    WHERE id > ?4 AND id IN (SELECT swarm FROM pull_blobs JOIN pulls ON pulls.id = pull_blobs.pull
      WHERE pulls.cluster = ?1 AND registry = ?2 AND repository = ?3)
    ORDER BY id LIMIT ?5`
  return db.all(find, cluster, registry, repository, after, limit).map(swarmLineOf)
}
