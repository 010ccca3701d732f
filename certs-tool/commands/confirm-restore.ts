import type { AnsweredFor } from '../../core/admin-api/calls.ts'
import { command } from '../../core/command.ts'
import { UsageError } from '../../core/errors.ts'
import { plainJson } from '../../core/plain-text.ts'
import { utcSecondsText } from '../../core/time-text.ts'
import { ask } from '../admin-client.ts'
import { ADMIN_FLAGS, adminAccess } from '../admin-flags.ts'

type RestoreReport = NonNullable<AnsweredFor<'restore.show'>['restore']>

/** `shoal tracker confirm-restore`: the operator's word that a restored tracker may grant again. */
export const confirmRestoreCommand = command({
  positionals: [],
  flags: {
    ...ADMIN_FLAGS,
    show: { type: 'boolean', description: 'Only shows what the tracker learned; changes nothing.' },
    json: { type: 'boolean', description: 'With --show: print the answer as JSON.' },
    unheard: {
      type: 'boolean',
      description:
        'Confirms although no node of a cluster was heard: what was revoked there since the backup is forgotten.',
    },
  },
  async run(values) {
    if (values.json && !values.show) {
      throw new UsageError('--json goes with --show', { hint: 'Nothing was changed.' })
    }
    const access = adminAccess(values)
    const { restore: report } = await ask(access, 'restore.show', {})
    if (values.json) return `${plainJson({ restore: report }, 2)}\n`
    if (report === null) return 'This tracker was not restored from a backup.\n'
    if (report.isGranting) return `${since(report)} It was confirmed, and grants.\n`
    const lines = [`${since(report)} It grants nothing yet.`, ...learnedLines(report)]
    if (values.show) return `${lines.join('\n')}\n`
    const { revocations } = await ask(access, 'restore.confirm', { isUnheard: values.unheard })
    lines.push(
      `Confirmed: the tracker grants again. Revocations put into force: ${revocations}.`,
      'Nodes that come back within a day are still asked, and what they bring is put into force at once.',
      'All tokens of the backup are withdrawn, of nodes and of administrators: `shoal admin token create` makes others.',
    )
    return `${lines.join('\n')}\n`
  },
})

function since({ backupAtMs, restoredAtMs }: RestoreReport): string {
  return `The tracker has the backup of ${utcSecondsText(backupAtMs)}, restored at ${utcSecondsText(restoredAtMs)}.`
}

/** Behind a revocation that also barred a user or token. */
const UNREADABLE =
  ', and a user or token that cannot be read: the secrets were sealed anew since. Revoke that again'

function learnedLines({ clusters, foreignCallers }: RestoreReport): string[] {
  const lines = clusters.flatMap(({ cluster, nodesHeard, nodesOnRecord, isKeyReplaced, learned }) => [
    `cluster ${cluster}: ${nodesHeard} of ${nodesOnRecord} nodes on record were heard`,
    ...learned.map(
      ({ kind, target, atMs, nodes, isWhole }) =>
        `  revoked since: ${kind} ${target}, ${utcSecondsText(atMs)}, from ${nodes === 1 ? 'one node' : `${nodes} nodes`}${isWhole ? '' : UNREADABLE}`,
    ),
    ...(isKeyReplaced
      ? ['  the signing key was changed since: the confirmation begins another change, as after a leak']
      : []),
  ])
  if (foreignCallers === 0) return lines
  return [
    ...lines,
    `Callers with certificates of an unknown authority: ${foreignCallers}. If an authority was changed since the backup, its nodes must join again,`,
    'and if that was after a leak, run `shoal admin key rotate authority CLUSTER --leaked` right after the confirmation.',
  ]
}
