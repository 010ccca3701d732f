/**
 * Tables of the SQLite store. All are `STRICT`, so that a wrong type is an error. A later version adds an entry; the
 * database's `user_version` is the number of applied entries.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE clusters (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, created_at_ms INTEGER NOT NULL,
    sealed_join_token BLOB NOT NULL, join_token_valid_until_ms INTEGER
  ) STRICT, WITHOUT ROWID;
  -- cluster '' is for the tracker's own admin authorities
  CREATE TABLE authorities (
    cluster TEXT NOT NULL, created_at_ms INTEGER NOT NULL, certificate_pem TEXT NOT NULL, sealed_key BLOB NOT NULL
  ) STRICT;
  CREATE INDEX authorities_by_cluster ON authorities (cluster, created_at_ms);
  CREATE TABLE batch_keys (
    cluster TEXT NOT NULL, created_at_ms INTEGER NOT NULL, public_key TEXT NOT NULL, sealed_key BLOB NOT NULL
  ) STRICT;
  CREATE INDEX batch_keys_by_cluster ON batch_keys (cluster, created_at_ms);
  CREATE TABLE nodes (
    cluster TEXT NOT NULL, node TEXT NOT NULL, address TEXT NOT NULL,
    joined_at_ms INTEGER NOT NULL, renewed_at_ms INTEGER NOT NULL, PRIMARY KEY (cluster, node)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE pulls (
    id TEXT PRIMARY KEY, cluster TEXT NOT NULL, node TEXT NOT NULL, registry TEXT NOT NULL, repository TEXT NOT NULL,
    subject TEXT NOT NULL, token_hash TEXT, spki BLOB NOT NULL,
    granted_at_ms INTEGER NOT NULL, expires_at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX pulls_by_grant ON pulls (granted_at_ms);
  CREATE TABLE pull_blobs (
    pull TEXT NOT NULL, swarm TEXT NOT NULL, digest TEXT NOT NULL, cluster TEXT NOT NULL, node TEXT NOT NULL,
    granted_at_ms INTEGER NOT NULL, completed_at_ms INTEGER, PRIMARY KEY (pull, swarm)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX pull_blobs_by_node ON pull_blobs (node, swarm, granted_at_ms);
  CREATE TABLE swarms (
    id TEXT PRIMARY KEY, cluster TEXT NOT NULL, registry TEXT NOT NULL, digest TEXT NOT NULL, bytes INTEGER NOT NULL,
    version INTEGER NOT NULL DEFAULT 0, epoch INTEGER NOT NULL DEFAULT 0, is_confirmed INTEGER NOT NULL DEFAULT 0
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE pieces (
    swarm TEXT NOT NULL, piece INTEGER NOT NULL, hash BLOB NOT NULL, node TEXT NOT NULL, pull TEXT NOT NULL,
    PRIMARY KEY (swarm, piece)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE leases (
    swarm TEXT NOT NULL, id TEXT NOT NULL, node TEXT NOT NULL, pull TEXT NOT NULL,
    first_piece INTEGER NOT NULL, pieces INTEGER NOT NULL, expires_at_ms INTEGER NOT NULL, PRIMARY KEY (swarm, id)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE completions (swarm TEXT NOT NULL, node TEXT NOT NULL, PRIMARY KEY (swarm, node)) STRICT, WITHOUT ROWID;
  CREATE TABLE disputes (
    swarm TEXT NOT NULL, kind TEXT NOT NULL, epoch INTEGER NOT NULL, piece INTEGER NOT NULL,
    publisher TEXT NOT NULL, publisher_pull TEXT NOT NULL, published_hash BLOB NOT NULL,
    reporter TEXT NOT NULL, reported_hash BLOB NOT NULL, at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX disputes_by_swarm ON disputes (swarm, at_ms);
  CREATE TABLE pieces_sha1 (swarm TEXT PRIMARY KEY, node TEXT NOT NULL, hashes BLOB NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE epoch_changes (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, cluster TEXT NOT NULL, swarm TEXT NOT NULL, epoch INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE revocations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, cluster TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL,
    registry TEXT, subject TEXT, at_ms INTEGER NOT NULL, is_clearing INTEGER NOT NULL DEFAULT 0,
    cleared_by INTEGER
  ) STRICT;
  CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
    cluster TEXT, target TEXT NOT NULL
  ) STRICT;
  `,
  `
  ALTER TABLE revocations ADD COLUMN token_hash TEXT;
  ALTER TABLE revocations ADD COLUMN ends_at_ms INTEGER;
  `,
  `
  -- key: what core/tracker-api.ts calls a token key, as JSON
  CREATE TABLE token_keys (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, probed_at_ms INTEGER NOT NULL, trusted_until_ms INTEGER NOT NULL,
    withdrawn_at_ms INTEGER
  ) STRICT, WITHOUT ROWID;
  ALTER TABLE pulls ADD COLUMN token_key TEXT;
  `,
  // The data folder and its backups had administrators' keys with certificates of a year. All of them end with their
  // authority. The next start makes another.
  `
  DELETE FROM authorities WHERE cluster = '';
  ALTER TABLE batch_keys ADD COLUMN ends_at_ms INTEGER;
  `,
  `
  -- holds: 21 bytes a swarm, its id and 1 for a seed
  CREATE TABLE presences (
    cluster TEXT NOT NULL, node TEXT NOT NULL, address TEXT NOT NULL, port INTEGER NOT NULL, holds BLOB NOT NULL,
    PRIMARY KEY (cluster, node)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE acceptances (
    id TEXT PRIMARY KEY, digest TEXT NOT NULL, until_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE memberships (
    id TEXT PRIMARY KEY, bytes INTEGER, until_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  `
  CREATE TABLE join_tokens (
    id TEXT PRIMARY KEY, cluster TEXT NOT NULL, sealed_hash BLOB NOT NULL, created_at_ms INTEGER NOT NULL,
    valid_until_ms INTEGER, uses_max INTEGER, uses INTEGER NOT NULL, withdrawn_at_ms INTEGER
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX join_tokens_by_cluster ON join_tokens (cluster, created_at_ms);
  INSERT INTO join_tokens
    SELECT lower(hex(randomblob(8))), id, sealed_join_token, created_at_ms, join_token_valid_until_ms, NULL, 0, NULL
    FROM clusters;
  ALTER TABLE clusters DROP COLUMN sealed_join_token;
  ALTER TABLE clusters DROP COLUMN join_token_valid_until_ms;
  ALTER TABLE revocations ADD COLUMN is_left INTEGER NOT NULL DEFAULT 0;
  `,
  `
  -- node '' is for the whole cluster
  CREATE TABLE pauses (
    cluster TEXT NOT NULL, node TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (cluster, node)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  ALTER TABLE nodes ADD COLUMN wire INTEGER NOT NULL DEFAULT 1;
  ALTER TABLE presences ADD COLUMN wire INTEGER NOT NULL DEFAULT 1;
  `,
  `
  -- terms: how a lease goes, as JSON
  ALTER TABLE leases ADD COLUMN terms TEXT;
  `,
  `
  -- sealed: the row's other columns; mark: a tracker's proof that it wrote the row
  ALTER TABLE token_keys ADD COLUMN sealed BLOB;
  ALTER TABLE acceptances ADD COLUMN mark BLOB;
  ALTER TABLE memberships ADD COLUMN mark BLOB;
  `,
  `
  -- a backup was restored; learned: signed copies of revocations that nodes brought
  CREATE TABLE restores (
    restored_at_ms INTEGER PRIMARY KEY, backup_at_ms INTEGER NOT NULL, revocations_from INTEGER NOT NULL,
    confirmed_at_ms INTEGER
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE restore_heard (
    cluster TEXT NOT NULL, node TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (cluster, node)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE restore_learned (
    cluster TEXT NOT NULL, id TEXT NOT NULL, copy TEXT NOT NULL, nodes INTEGER NOT NULL, PRIMARY KEY (cluster, id)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  CREATE TABLE admin_tokens (
    name TEXT PRIMARY KEY, role TEXT NOT NULL, hash TEXT NOT NULL UNIQUE, created_at_ms INTEGER NOT NULL,
    ends_at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  -- labels: names and values, as JSON
  CREATE TABLE node_marks (
    cluster TEXT NOT NULL, node TEXT NOT NULL, labels TEXT NOT NULL, is_drained INTEGER NOT NULL,
    PRIMARY KEY (cluster, node)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- sealed: the row's other columns
  ALTER TABLE admin_tokens ADD COLUMN sealed BLOB;
  `,
  `
  ALTER TABLE presences ADD COLUMN zone TEXT NOT NULL DEFAULT '';
  ALTER TABLE presences ADD COLUMN rack TEXT NOT NULL DEFAULT '';
  `,
]
