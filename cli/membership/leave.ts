import { command } from '../../core/command.ts'
import { leaveFromHere } from '../../node/membership.ts'
import { environment, NODE_FLAGS, nodeSettings, silentLog } from './settings.ts'

export const leaveCommand = command({
  positionals: [],
  flags: NODE_FLAGS,
  async run(values) {
    const config = nodeSettings(values)
    const left = await leaveFromHere(config, { log: silentLog, env: environment })
    if (left === undefined) return 'This machine is in no cluster.\n'
    return `${linesOf(left, config.dataDir).join('\n')}\n`
  },
})

type Left = NonNullable<Awaited<ReturnType<typeof leaveFromHere>>>

function linesOf(left: Left, dataDir: string): string[] {
  const { cluster, wasRunning } = left
  const removed = [`Identity and blobs are removed from ${dataDir}.`]
  return [
    ...(cluster === undefined
      ? ['The identity was copied from another machine, so the tracker was not told.', ...removed]
      : [`This machine has left cluster ${cluster}.`, ...removed, ...trackerLines(left)]),
    ...(wasRunning ? ['The node that ran here was ended. Started again, it waits for `shoal join`.'] : []),
  ]
}

function trackerLines({ tracker, reason }: Left): string[] {
  switch (tracker) {
    case 'told':
      return ['The tracker has forgotten this node, and its certificates have ended.']
    case 'knew':
      return ['The tracker did not know this node any more.']
    case 'none':
      return ['Its certificate had ended, so the tracker was not told.']
    case 'silent':
      return [
        `The tracker could not be told: ${reason}.`,
        'It lists this node until its certificate ends, within 24 hours. The key is gone.',
      ]
  }
}
