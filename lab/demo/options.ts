import { parseArgs } from 'node:util'
import { UsageError } from '../../core/errors.ts'
import { nearestName } from '../../core/nearest-name.ts'

export interface DemoOptions {
  isJson: boolean
  isHelp: boolean
  /** The lab stays up after the report until it is interrupted. */
  isKept: boolean
  /** Data in the image, in MiB, over its two layers. */
  imageMib: number
  /** Undefined: real parts if all of them are here. */
  stage: 'real' | 'stand-ins' | undefined
}

const IMAGE_MIB_DEFAULT = 128
/** The image is on this disk about ten times: registry, stores of nodes and clients, drafts. */
const IMAGE_MIB_MAX = 4096
const FLAGS = ['--json', '--image-mib', '--keep', '--real', '--stand-ins', '--help']

export const DEMO_USAGE = `Usage: npm run demo -- [flags]

Starts a registry, a token server, a Shoal tracker and three nodes on this
machine, each node with a pulling client, and pulls a private image: first one
node, then the other two at once. Then those ask for it who must get nothing,
and the clients pull it once more without Shoal, to compare.

Registry and clients are Debian's docker-registry, dockerd, skopeo and podman,
each in a network namespace of its own, where this machine has them all and you
are root. Elsewhere stand-ins take their places, which need Node only, on
loopback.

  --real                Insists on the real parts: fails where one is missing,
                        and says which.
  --stand-ins           Uses the stand-ins wherever it runs.
  --image-mib <number>  Data in the image, in MiB. Default: ${IMAGE_MIB_DEFAULT}
  --json                One JSON document on standard output; progress goes to
                        standard error.
  --keep                Leaves everything running after the report, until Ctrl-C.
  --help                Prints this text.
`

/** @throws UsageError */
export function parseDemoOptions(argv: string[]): DemoOptions {
  const { values } = parsed(argv)
  if (values.real && values['stand-ins']) {
    throw new UsageError('--real and --stand-ins exclude each other', { hint: 'Leave one of them out.' })
  }
  return {
    stage: values.real ? 'real' : values['stand-ins'] ? 'stand-ins' : undefined,
    isJson: values.json ?? false,
    isHelp: values.help ?? false,
    isKept: values.keep ?? false,
    imageMib: parseMib(values['image-mib'] ?? String(IMAGE_MIB_DEFAULT)),
  }
}

function parsed(argv: string[]) {
  try {
    return parseArgs({
      args: argv,
      options: {
        json: { type: 'boolean' },
        help: { type: 'boolean' },
        keep: { type: 'boolean' },
        real: { type: 'boolean' },
        'stand-ins': { type: 'boolean' },
        'image-mib': { type: 'string' },
      },
    })
  } catch (cause) {
    const unknown = /Unknown option '(--?[^' ]+)/.exec((cause as Error).message)?.[1]
    const nearest = unknown && nearestName(unknown, FLAGS)
    const message = unknown === undefined ? (cause as Error).message : `unknown flag: ${unknown}`
    throw new UsageError(message, {
      cause,
      hint: nearest ? `Did you mean ${nearest}?` : 'npm run demo -- --help lists the flags.',
    })
  }
}

function parseMib(text: string): number {
  const mib = Number(text)
  if (!/^\d{1,4}$/.test(text) || mib < 1 || mib > IMAGE_MIB_MAX) {
    throw new UsageError(`not a number of MiB: ${text.slice(0, 40)}`, {
      hint: `--image-mib takes a whole number from 1 to ${IMAGE_MIB_MAX}.`,
    })
  }
  return mib
}
