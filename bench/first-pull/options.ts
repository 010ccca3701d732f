import { parseArgs } from 'node:util'
import { UsageError } from '../../core/errors.ts'

export interface FirstPullOptions {
  isJson: boolean
  isHelp: boolean
}

export const FIRST_PULL_USAGE = `Usage: npm run bench:first-pull -- [--json]

From machines that know nothing of Shoal to a pull that is shared: a tracker and two machines with Docker, each a whole
Debian 12 with systemd, install the package, join and attach; then both pull an image. Counts the commands that a person
types, and takes the time from the first command to the end of the second pull. Building the package and fetching Debian
are not counted. Needs root and the Debian packages debootstrap, systemd-container, docker-registry and skopeo.

  --json   One JSON document on standard output; progress goes to standard error.
  --help   Prints this text.
`

/** @throws UsageError */
export function parseFirstPullOptions(argv: string[]): FirstPullOptions {
  const flag = { type: 'boolean', default: false } as const
  try {
    const { values } = parseArgs({ args: argv, options: { json: flag, help: flag } })
    return { isJson: values.json, isHelp: values.help }
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause, hint: '--help lists the flags.' })
  }
}
