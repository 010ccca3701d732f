import type { RegistryHost } from '../../core/repository.ts'
import type { OnStep } from './apply.ts'
import type { CheckAnswer } from './check.ts'
import type { Run, Settings } from './plan.ts'

export interface Machine {
  /** Stands for `/`; another folder is a tree that is prepared for a machine. */
  root: string
  /** Its runtimes can be asked, and registries through them; not so in a tree. */
  isLive: boolean
  isRoot: boolean
  hostname: string
  run: Run
  /** Why a program refuses; undefined: it does not. */
  refusal(argv: string[]): Promise<string | undefined>
  check(registry: RegistryHost, settings: Settings): Promise<CheckAnswer>
  print(text: string): void
  /** Undefined where nobody can answer. */
  ask?: (question: string) => Promise<boolean>
  onStep?: OnStep
  now?: () => Date
}

export interface AttachOptions extends Settings {
  isDryRun: boolean
  isYes: boolean
  isSystemTrusted: boolean
  /** Restarts the runtime, so that the next pull goes through the node. */
  isRestarting: boolean
}
