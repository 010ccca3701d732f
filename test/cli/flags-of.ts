import type { Placed } from '../../cli/command-tree.ts'
import { settings } from '../../core/config.ts'

/** Every flag that a place of the tree understands, `--help` aside. */
export async function flagsOf({ entry }: Placed): Promise<string[]> {
  const [program, command] = await Promise.all([entry.program?.(), entry.command?.()])
  const own = program === undefined ? [] : settings(entry.name, program.schema).map(({ flag }) => flag)
  return [...own, ...Object.keys(command?.flags ?? {}).map((flag) => `--${flag}`)]
}
