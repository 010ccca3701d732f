import { command } from '../../core/command.ts'
import { leaveFromHere } from '../../node/membership.ts'
import { NODE_FLAGS, nodeSettings, silentLog } from './settings.ts'

export const leaveCommand = command({
  positionals: [],
  flags: NODE_FLAGS,
  async run(values) {
    const config = nodeSettings(values)
    const left = await leaveFromHere(config, { log: silentLog, env: process.env })
    return `${linesOf(left, config.dataDir).join('\n')}\n`
  },
})

type Left = Awaited<ReturnType<typeof leaveFromHere>>

function linesOf(left: Left, dataDir: string): string[] {
  const { cluster, wasRunning } = left
  if (cluster === undefined) return [`This machine is in no cluster. ${dataDir} has no identity and no blobs.`]
  return [
    `This machine has left cluster ${cluster}. Its identity and blobs are removed from`,
    `  ${dataDir}`,
    ...trackerLines(left),
    ...(wasRunning ? ['The node that ran here was ended. Started again, it waits for `shoal join`.'] : []),
  ]
}

function trackerLines({ tracker, reason }: Left): string[] {
  switch (tracker) {
    case 'told':
      return ['The tracker has forgotten it, and its certificates have ended.']
    case 'knew':
      return ['The tracker had forgotten it before.']
    case 'none':
      return ['Its certificate had ended, so the tracker was not told.']
    case 'silent':
      return [
        `The tracker could not be told: ${reason}.`,
        'It lists this node until its certificate ends, within 24 hours. The key is gone.',
      ]
  }
}
