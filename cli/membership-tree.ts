import type { Entry } from './command-tree.ts'

/** `shoal join`, `shoal leave`, and what makes, renews and moves a tracker. Part of cli/tree.ts. */

export const JOIN: Entry = {
  name: 'join',
  summary:
    'Makes this machine a node of the cluster that a join string names. Running it again changes nothing.',
  examples: [
    {
      line: 'shoal join -',
      does: 'Reads the join string from standard input, so that no process list and no shell history has it.',
    },
    {
      line: 'shoal join SHOALJOIN-1-…',
      does: 'Takes it from the command line, as `shoal admin token create` prints it.',
    },
    {
      line: 'shoal join SHOALJOIN-1-… --zone east --rack r12',
      does: 'Also says where this machine stands, so that it downloads mostly from nodes near it.',
    },
    {
      line: 'shoal join SHOALJOIN-1-… --attach docker --registry registry.example.com',
      does: 'Also lets Docker on this machine pull through the node.',
    },
  ],
  command: async () => (await import('./membership/join.ts')).joinCommand,
}

export const LEAVE: Entry = {
  name: 'leave',
  summary:
    'Takes this machine out of its cluster: the tracker forgets it, and its identity and blobs are removed.',
  examples: [
    { line: 'shoal leave', does: 'Also works while the tracker is down. Running it again does nothing.' },
  ],
  command: async () => (await import('./membership/leave.ts')).leaveCommand,
}

export const TRACKER_INIT: Entry = {
  name: 'init',
  summary:
    'Makes everything that a tracker needs: authority, TLS certificate, unlock key, settings and the first cluster. Prints a join string.',
  examples: [
    {
      line: 'shoal tracker init --name tracker.example.com --registries registry.example.com',
      does: 'For nodes that reach this machine under that name.',
    },
    {
      line: 'shoal tracker init --autolock',
      does: 'Prints the unlock key and stores it nowhere: after each start the tracker waits for `shoal tracker unlock`.',
    },
  ],
  command: async () => (await import('./membership/tracker-init.ts')).trackerInitCommand,
}

export const TRACKER_RENEW: Entry = {
  name: 'renew',
  summary:
    'Replaces the HTTPS certificate of `shoal tracker init` by the next one, for the same names and from the same authority.',
  examples: [
    {
      line: 'shoal tracker renew',
      does: 'At least once in 397 days; nodes and join strings go on trusting the tracker. Restarts the tracker of the package.',
    },
  ],
  command: async () => (await import('./membership/tracker-renew.ts')).trackerRenewCommand,
}

export const TRACKER_MIGRATE: Entry = {
  name: 'migrate',
  summary:
    'Brings a PostgreSQL database to the schema that this version needs, as its owner. Trackers of the version before go on meanwhile.',
  examples: [
    {
      line: 'shoal tracker migrate --database-url postgres://shoal_owner@db.example.com/shoal',
      does: 'Reads the owner’s password from standard input, and lets the role shoal_tracker use the tables.',
    },
  ],
  command: async () => (await import('./membership/tracker-migrate.ts')).trackerMigrateCommand,
}

export const TRACKER_EXPORT: Entry = {
  name: 'export',
  summary: 'Writes a tracker’s whole state into a file, of one moment, also while the tracker runs.',
  examples: [
    { line: 'shoal tracker export tracker.jsonl', does: 'From the data folder of this machine’s tracker.' },
  ],
  command: async () => (await import('./membership/tracker-dump.ts')).trackerExportCommand,
}

export const TRACKER_IMPORT: Entry = {
  name: 'import',
  summary: 'Stores an export in a new, empty store: a data folder, or a database that was migrated.',
  examples: [
    {
      line: 'shoal tracker import tracker.jsonl --database-url postgres://shoal_owner@db.example.com/shoal',
      does: 'Moves the state to PostgreSQL, as the owner of the tables. Stop the tracker before the export.',
    },
  ],
  command: async () => (await import('./membership/tracker-dump.ts')).trackerImportCommand,
}

export const TRACKER_BACKUP: Entry = {
  name: 'backup',
  summary:
    'Writes a backup of the tracker’s state, of one moment, also while the tracker runs. Secrets stay sealed in it.',
  examples: [
    {
      line: 'shoal tracker backup tracker-2026-11-30.backup',
      does: 'From the data folder of this machine’s tracker. Keep the unlock key too, in another place.',
    },
    {
      line: 'shoal tracker backup tracker.backup --database-url postgres://shoal_tracker@/shoal',
      does: 'From PostgreSQL.',
    },
  ],
  command: async () => (await import('./membership/tracker-dump.ts')).trackerBackupCommand,
}

export const TRACKER_RESTORE: Entry = {
  name: 'restore',
  summary:
    'Stores a backup in a new, empty store. The tracker then grants nothing until `shoal tracker confirm-restore`.',
  examples: [
    {
      line: 'shoal tracker restore tracker-2026-11-30.backup',
      does: 'Into the data folder of this machine, for a tracker with the unlock key of the backup.',
    },
  ],
  command: async () => (await import('./membership/tracker-dump.ts')).trackerRestoreCommand,
}

export const TRACKER_CONFIRM_RESTORE: Entry = {
  name: 'confirm-restore',
  summary:
    'Lets a restored tracker grant again, with the revocations that it learned from nodes. Shows first what it learned.',
  examples: [
    {
      line: 'shoal tracker confirm-restore --show',
      does: 'Shows how many nodes were heard, and what they brought; changes nothing.',
    },
    { line: 'shoal tracker confirm-restore', does: 'Puts that into force, and grants again.' },
  ],
  command: async () => (await import('../certs-tool/commands/confirm-restore.ts')).confirmRestoreCommand,
}
