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

/** What a command has of its process besides its arguments. */
export interface Outside {
  env: Readonly<Record<string, string | undefined>>
  /** Standard output, for what a command says while it runs. */
  output: {
    readonly isTerminal: boolean
    /** Of the terminal; where there is none, of a page. */
    readonly columns: number
    readonly rows: number
    write(text: string): void
    /** @returns what ends the listening */
    onResize(listener: () => void): () => void
  }
  /** Asks the person who runs the command; absent where nobody is there to answer. */
  ask?(question: string): Promise<boolean>
  /** Ends with the process's first signal to stop, once a command has asked for it; until then a signal ends the process. */
  stopped(): AbortSignal
  /** The exit code of a command that does not fail; otherwise 0. */
  exitWith(code: number): void
}

/** Its result is text for standard output; whatever fails is thrown as a ShoalError. */
export interface Command<F extends Flags = Flags> {
  /** Names of the arguments that are not flags, required unless they stand in brackets; the last may end in `…` for one or more. */
  positionals: string[]
  flags: F
  run(values: FlagValues<F>, positionals: string[], outside: Outside): Promise<string>
}

/** Ties the type of the values to the flags. */
export function command<const F extends Flags>(definition: Command<F>): Command {
  return definition as unknown as Command
}
