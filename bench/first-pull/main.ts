import { type FirstPull, firstPull } from '../../lab/guests/first-pull.ts'
import { openSite, SITE_PARTS } from '../../lab/guests/site.ts'
import { tellFailure } from '../../lab/machine/program-failure.ts'
import { requireParts } from '../../lab/machine/requirements.ts'
import { closeOnSignals } from '../../lab/machine/run.ts'
import { FIRST_PULL_USAGE, parseFirstPullOptions } from './options.ts'

/** `npm run bench:first-pull`: from nothing to a pull that is shared. */

async function main(argv: string[]): Promise<void> {
  const options = parseFirstPullOptions(argv)
  if (options.isHelp) return void process.stdout.write(FIRST_PULL_USAGE)
  requireParts(SITE_PARTS)
  const say = (line: string) => void process.stderr.write(`${line}\n`)
  say('package and machines')
  const site = await openSite(['one', 'two'], (run) => closeOnSignals(run, say))
  try {
    const found = await firstPull(site, say)
    process.stdout.write(options.isJson ? `${JSON.stringify(found)}\n` : tableOf(found))
  } finally {
    await site.close()
  }
}

function tableOf({ commandsPerMachine, commandsTracker, seconds, peerShare }: FirstPull): string {
  return [
    `commands on each machine   ${commandsPerMachine}`,
    `commands on the tracker    ${commandsTracker}`,
    `seconds                    ${seconds.toFixed(1)}`,
    `from the other machine     ${(peerShare * 100).toFixed(1)} %`,
    '',
  ].join('\n')
}

await main(process.argv.slice(2)).catch((error: unknown) => {
  process.exitCode = tellFailure('bench:first-pull', error)
})
