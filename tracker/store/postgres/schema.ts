import type { StoreChange } from '../changes.ts'

/**
 * Tables of the PostgreSQL store, in a schema of their own. Names and columns are those of the SQLite store, so that both
 * share `records.ts`; truth is 0 or 1, times are milliseconds since 1970. Migrations go forward only.
 */
export const SCHEMA = 'shoal'

/** What a change of a table changes in the memory of trackers. */
export const CHANGES: Readonly<Record<string, StoreChange>> = {
  ...{ clusters: 'clusters', authorities: 'clusters', batch_keys: 'clusters' },
  ...{ pauses: 'pauses', revocations: 'revocations', token_keys: 'tokenKeys', epoch_changes: 'epochs' },
  meta: 'dataKey',
  registries_not_open: 'registriesNotOpen',
  restores: 'restore',
  admin_tokens: 'adminTokens',
  node_marks: 'nodeMarks',
}
/** Trackers that listen here read again what another one changed; the payload is the table's name. */
export const CHANGES_CHANNEL = 'shoal_changes'

export interface Migration {
  sql: string
  /**
   * The oldest program, by the number of migrations that it knows, which can go on after this one: trackers are upgraded one
   * after the other while the others run.
   */
  oldestProgram: number
}

/**
 * Nodes ask for what is newer than the newest number that they know, so a smaller number must never appear after a larger
 * one: until its transaction ends, whoever holds this advisory lock is the only one that numbers a row of the table.
 */
export function orderLock(table: 'revocations' | 'epoch_changes'): string {
  return `hashtext('shoal ${table}')`
}

/** Tables of the first version that trackers read again. A migration never changes, so later tables are not added here. */
const FIRST_CHANGES = [
  'clusters',
  'authorities',
  'batch_keys',
  'pauses',
  'revocations',
  'token_keys',
  'epoch_changes',
  'meta',
]

const FIRST = `
  CREATE TABLE meta (name text PRIMARY KEY, value bytea NOT NULL);
  CREATE TABLE clusters (id text PRIMARY KEY, name text NOT NULL, created_at_ms bigint NOT NULL);
  -- cluster '' is for the trackers' own admin authorities
  CREATE TABLE authorities (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, cluster text NOT NULL, created_at_ms bigint NOT NULL,
    certificate_pem text NOT NULL, sealed_key bytea NOT NULL
  );
  CREATE INDEX authorities_by_cluster ON authorities (cluster, created_at_ms);
  CREATE TABLE batch_keys (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, cluster text NOT NULL, created_at_ms bigint NOT NULL,
    public_key text NOT NULL, sealed_key bytea NOT NULL, ends_at_ms bigint
  );
  CREATE INDEX batch_keys_by_cluster ON batch_keys (cluster, created_at_ms);
  CREATE TABLE join_tokens (
    id text PRIMARY KEY, cluster text NOT NULL, sealed_hash bytea NOT NULL, created_at_ms bigint NOT NULL,
    valid_until_ms bigint, uses_max bigint, uses bigint NOT NULL, withdrawn_at_ms bigint
  );
  CREATE INDEX join_tokens_by_cluster ON join_tokens (cluster, created_at_ms);
  CREATE TABLE nodes (
    cluster text NOT NULL, node text NOT NULL, address text NOT NULL, joined_at_ms bigint NOT NULL,
    renewed_at_ms bigint NOT NULL, wire integer NOT NULL, PRIMARY KEY (cluster, node)
  );
  CREATE TABLE pauses (
    cluster text NOT NULL, node text NOT NULL, at_ms bigint NOT NULL, PRIMARY KEY (cluster, node)
  );
  CREATE TABLE pulls (
    id text PRIMARY KEY, cluster text NOT NULL, node text NOT NULL, registry text NOT NULL, repository text NOT NULL,
    subject text NOT NULL, token_hash text, spki bytea NOT NULL, granted_at_ms bigint NOT NULL,
    expires_at_ms bigint NOT NULL, token_key text
  );
  CREATE INDEX pulls_by_grant ON pulls (granted_at_ms);
  CREATE TABLE pull_blobs (
    pull text NOT NULL REFERENCES pulls ON DELETE CASCADE, swarm text NOT NULL, digest text NOT NULL, cluster text NOT NULL,
    node text NOT NULL, granted_at_ms bigint NOT NULL, completed_at_ms bigint, PRIMARY KEY (pull, swarm)
  );
  CREATE INDEX pull_blobs_by_node ON pull_blobs (node, swarm, granted_at_ms);
  CREATE INDEX pull_blobs_by_swarm ON pull_blobs (swarm);
  CREATE TABLE swarms (
    id text PRIMARY KEY, cluster text NOT NULL, registry text NOT NULL, digest text NOT NULL, bytes bigint NOT NULL,
    version bigint NOT NULL DEFAULT 0, epoch bigint NOT NULL DEFAULT 0, is_confirmed smallint NOT NULL DEFAULT 0
  );
  CREATE TABLE pieces (
    swarm text NOT NULL, piece integer NOT NULL, hash bytea NOT NULL, node text NOT NULL, pull text NOT NULL,
    PRIMARY KEY (swarm, piece)
  );
  CREATE TABLE leases (
    swarm text NOT NULL, id text NOT NULL, node text NOT NULL, pull text NOT NULL, first_piece integer NOT NULL,
    pieces integer NOT NULL, expires_at_ms bigint NOT NULL, terms text, PRIMARY KEY (swarm, id)
  );
  CREATE TABLE completions (swarm text NOT NULL, node text NOT NULL, PRIMARY KEY (swarm, node));
  CREATE TABLE disputes (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, swarm text NOT NULL, kind text NOT NULL,
    epoch bigint NOT NULL, piece integer NOT NULL, publisher text NOT NULL, publisher_pull text NOT NULL,
    published_hash bytea NOT NULL, reporter text NOT NULL, reported_hash bytea NOT NULL, at_ms bigint NOT NULL
  );
  CREATE INDEX disputes_by_swarm ON disputes (swarm, at_ms);
  CREATE TABLE pieces_sha1 (swarm text PRIMARY KEY, node text NOT NULL, hashes bytea NOT NULL);
  CREATE TABLE epoch_changes (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, cluster text NOT NULL, swarm text NOT NULL,
    epoch bigint NOT NULL
  );
  CREATE TABLE revocations (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, cluster text NOT NULL, kind text NOT NULL,
    target text NOT NULL, registry text, subject text, token_hash text, at_ms bigint NOT NULL, ends_at_ms bigint,
    is_left smallint NOT NULL DEFAULT 0, is_clearing smallint NOT NULL DEFAULT 0, cleared_by bigint
  );
  CREATE TABLE token_keys (
    id text PRIMARY KEY, key text NOT NULL, probed_at_ms bigint NOT NULL, trusted_until_ms bigint NOT NULL,
    withdrawn_at_ms bigint
  );
  CREATE TABLE audit (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at_ms bigint NOT NULL, actor text NOT NULL,
    action text NOT NULL, cluster text, target text NOT NULL
  );
  CREATE INDEX audit_by_time ON audit (at_ms);
  -- holds is empty for a node that is gone; tracker: the process that hears of the node
  CREATE TABLE presences (
    cluster text NOT NULL, node text NOT NULL, address text NOT NULL, port integer NOT NULL, holds bytea NOT NULL,
    wire integer NOT NULL, tracker text NOT NULL, changed_at_ms bigint NOT NULL DEFAULT 0,
    changed_xid bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (cluster, node)
  );
  CREATE INDEX presences_by_change ON presences (changed_xid);
  CREATE TABLE trackers (id text PRIMARY KEY, seen_at_ms bigint NOT NULL);
  CREATE TABLE acceptances (id text PRIMARY KEY, digest text NOT NULL, until_ms bigint NOT NULL);
  CREATE INDEX acceptances_by_end ON acceptances (until_ms);
  CREATE TABLE memberships (id text PRIMARY KEY, bytes bigint, until_ms bigint NOT NULL);
  CREATE INDEX memberships_by_end ON memberships (until_ms);

  -- The trackers' role may only add to the audit log. Entries of more than 90 days go here, by the database's own clock.
  CREATE FUNCTION forget_audit(before_ms bigint) RETURNS void LANGUAGE sql SECURITY DEFINER
    SET search_path = ${SCHEMA}, pg_temp AS $$
    DELETE FROM audit WHERE at_ms < least(before_ms, (extract(epoch FROM clock_timestamp() - interval '90 days') * 1000)::bigint)
  $$;
  REVOKE ALL ON FUNCTION forget_audit FROM PUBLIC;

  -- One step on a swarm in one round trip, with the caller's rights. The change is a SwarmChange in the form that swarm-rows.ts
  -- gives it. False, and nothing is changed, if the swarm is at another version.
  CREATE FUNCTION save_swarm(swarm_id text, expected bigint, change jsonb) RETURNS boolean LANGUAGE plpgsql
    SET search_path = ${SCHEMA}, pg_temp AS $$
  DECLARE
    rises CONSTANT boolean := (change->>'dropCompletions')::boolean;
  BEGIN
    -- Before the swarm's row is locked, as by everybody: no deadlock.
    IF rises THEN PERFORM pg_advisory_xact_lock(${orderLock('epoch_changes')}); END IF;
    UPDATE swarms SET version = version + 1, epoch = (change->>'epoch')::bigint,
      is_confirmed = (change->>'isConfirmed')::boolean::integer
      WHERE id = swarm_id AND version = expected;
    IF NOT FOUND THEN RETURN false; END IF;
    DELETE FROM pieces WHERE swarm = swarm_id
      AND piece IN (SELECT value::integer FROM jsonb_array_elements_text(change->'dropPieces'));
    INSERT INTO pieces (swarm, piece, hash, node, pull)
      SELECT swarm_id, piece, decode(hash, 'base64'), node, pull
      FROM jsonb_to_recordset(change->'putPieces') AS it (piece integer, hash text, node text, pull text);
    DELETE FROM leases WHERE swarm = swarm_id
      AND id IN (SELECT value FROM jsonb_array_elements_text(change->'dropLeases'));
    INSERT INTO leases (swarm, id, node, pull, first_piece, pieces, expires_at_ms, terms)
      SELECT swarm_id, lease, node, pull, "firstPiece", it.pieces, "expiresAtMs", terms
      FROM jsonb_to_recordset(change->'putLeases') AS it
        (lease text, node text, pull text, "firstPiece" integer, pieces integer, "expiresAtMs" bigint, terms text)
      ON CONFLICT (swarm, id) DO UPDATE
        SET node = excluded.node, pull = excluded.pull, first_piece = excluded.first_piece,
          pieces = excluded.pieces, expires_at_ms = excluded.expires_at_ms, terms = excluded.terms;
    -- Completions and SHA-1 hashes end with their epoch. The nodes that hold the swarm hear of the rise.
    IF rises THEN
      DELETE FROM completions WHERE swarm = swarm_id;
      DELETE FROM pieces_sha1 WHERE swarm = swarm_id;
      INSERT INTO epoch_changes (cluster, swarm, epoch) SELECT cluster, id, epoch FROM swarms WHERE id = swarm_id;
    END IF;
    INSERT INTO completions (swarm, node)
      SELECT swarm_id, value FROM jsonb_array_elements_text(change->'addCompletions') ON CONFLICT DO NOTHING;
    INSERT INTO disputes (swarm, kind, epoch, piece, publisher, publisher_pull, published_hash, reporter,
        reported_hash, at_ms)
      SELECT swarm_id, kind, epoch, piece, publisher, "publisherPull", decode("publishedHash", 'base64'), reporter,
        decode("reportedHash", 'base64'), "atMs"
      FROM ROWS FROM (jsonb_to_recordset(change->'addDisputes') AS
        (kind text, epoch bigint, piece integer, publisher text, "publisherPull" text, "publishedHash" text,
          reporter text, "reportedHash" text, "atMs" bigint)) WITH ORDINALITY
        AS it (kind, epoch, piece, publisher, "publisherPull", "publishedHash", reporter, "reportedHash", "atMs", place)
      ORDER BY place;
    INSERT INTO audit (at_ms, actor, action, cluster, target)
      SELECT "atMs", actor, action, cluster, target
      FROM jsonb_to_recordset(change->'audit') AS it
        ("atMs" bigint, actor text, action text, cluster text, target text);
    RETURN true;
  END $$;
  REVOKE ALL ON FUNCTION save_swarm FROM PUBLIC;

  CREATE FUNCTION note_time() RETURNS trigger LANGUAGE plpgsql SET search_path = ${SCHEMA}, pg_temp AS $$
  BEGIN
    NEW.changed_at_ms := extract(epoch FROM clock_timestamp()) * 1000;
    NEW.changed_xid := pg_current_xact_id()::text::bigint;
    RETURN NEW;
  END $$;
  CREATE TRIGGER presences_timed BEFORE INSERT OR UPDATE ON presences FOR EACH ROW EXECUTE FUNCTION note_time();

  CREATE FUNCTION tell_change() RETURNS trigger LANGUAGE plpgsql SET search_path = ${SCHEMA}, pg_temp AS $$
  BEGIN PERFORM pg_notify('${CHANGES_CHANNEL}', TG_TABLE_NAME); RETURN NULL; END $$;
${FIRST_CHANGES.map(changeTold).join('\n')}
`

/** Trackers of the version before go on: they write rows without seals and marks, which do not count. */
const SEALED = `
  -- sealed: the row's other columns; mark: a tracker's proof that it wrote the row
  ALTER TABLE token_keys ADD COLUMN sealed bytea;
  ALTER TABLE acceptances ADD COLUMN mark bytea;
  ALTER TABLE memberships ADD COLUMN mark bytea;
  CREATE TABLE registries_not_open (registry text PRIMARY KEY);
${changeTold('registries_not_open')}
`

const RESTORES = `
  -- a backup was restored; learned: signed copies of revocations that nodes brought
  CREATE TABLE restores (
    restored_at_ms bigint PRIMARY KEY, backup_at_ms bigint NOT NULL, revocations_from bigint NOT NULL,
    confirmed_at_ms bigint
  );
  CREATE TABLE restore_heard (
    cluster text NOT NULL, node text NOT NULL, at_ms bigint NOT NULL, PRIMARY KEY (cluster, node)
  );
  CREATE TABLE restore_learned (
    cluster text NOT NULL, id text NOT NULL, copy text NOT NULL, nodes integer NOT NULL, PRIMARY KEY (cluster, id)
  );
${changeTold('restores')}
`

/** Trackers of the version before go on: they refuse tokens of administrators, and know no marks of nodes. */
const ADMINISTRATION = `
  CREATE TABLE admin_tokens (
    name text PRIMARY KEY, role text NOT NULL, hash text NOT NULL UNIQUE, created_at_ms bigint NOT NULL,
    ends_at_ms bigint NOT NULL
  );
  CREATE TABLE node_marks (
    cluster text NOT NULL, node text NOT NULL, labels text NOT NULL, is_drained smallint NOT NULL,
    PRIMARY KEY (cluster, node)
  );
${['admin_tokens', 'node_marks'].map(changeTold).join('\n')}
`

// Such a row without a seal does not count.
const SEALED_ADMINISTRATORS = `
  -- sealed: the row's other columns
  ALTER TABLE admin_tokens ADD COLUMN sealed bytea;
`

/** Trackers of the version before go on: they name peers as if all were in one place. */
const LOCATIONS = `
  ALTER TABLE presences ADD COLUMN zone text NOT NULL DEFAULT '', ADD COLUMN rack text NOT NULL DEFAULT '';
`

/** Whoever listens hears of a change of the table once its transaction has ended. */
function changeTold(table: string): string {
  return `  CREATE TRIGGER ${table}_changed AFTER INSERT OR UPDATE OR DELETE ON ${table} EXECUTE FUNCTION tell_change();`
}

export const POSTGRES_MIGRATIONS: readonly Migration[] = [
  { sql: FIRST, oldestProgram: 1 },
  { sql: SEALED, oldestProgram: 1 },
  { sql: RESTORES, oldestProgram: 1 },
  { sql: ADMINISTRATION, oldestProgram: 1 },
  { sql: SEALED_ADMINISTRATORS, oldestProgram: 1 },
  { sql: LOCATIONS, oldestProgram: 1 },
]
