/** What a command is, without its name: `cli/tree.ts` names it and says where it stands. */

/** A flag of a command. Every flag but a boolean takes a value. */
export interface Flag {
  type: 'string' | 'boolean'
  /** May be given more than once. */
  multiple?: boolean
  /** Placeholder of the value in the help; shells complete `file` and `folder`. */
  value?: string
  description: string
  default?: string
}

export type Flags = Record<string, Flag>

export type FlagValues<F extends Flags> = {
  [Name in keyof F]: F[Name]['type'] extends 'boolean'
    ? boolean
    : F[Name] extends { multiple: true }
      ? string[]
      : F[Name] extends { default: string }
        ? string
        : string | undefined
}

/** Its result is text for standard output; whatever fails is thrown as a ShoalError. */
export interface Command<F extends Flags = Flags> {
  /** Names of the arguments that are not flags, all required; the last may end in `…` for one or more. */
  positionals: string[]
  flags: F
  run(values: FlagValues<F>, positionals: string[]): Promise<string>
}

/** Ties the type of the values to the flags. */
export function command<const F extends Flags>(definition: Command<F>): Command {
  return definition as unknown as Command
}
