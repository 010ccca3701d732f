/** How text is laid out for whoever reads it. */
export interface TextStyle {
  /** Characters of a line. */
  columns: number
  /** Bold text, where the output shows it. */
  bold(text: string): string
}

/** Longer lines are hard to read, and tables end before this. */
const COLUMNS_MAX = 100
/** Narrower terminals wrap the lines themselves. */
const COLUMNS_MIN = 60

/** For a file, a pipe, a man page. */
export const PLAIN: TextStyle = { columns: COLUMNS_MAX, bold: (text) => text }

/** A terminal gets its own width, and escapes unless NO_COLOR is set (no-color.org) or it is a dumb one. */
export function styleFor(
  { isTTY, columns }: { readonly isTTY?: boolean; readonly columns?: number },
  env: NodeJS.ProcessEnv,
): TextStyle {
  if (isTTY !== true) return PLAIN
  const isPlain = (env.NO_COLOR ?? '') !== '' || env.TERM === 'dumb'
  const width = Math.max(COLUMNS_MIN, Math.min(COLUMNS_MAX, columns || COLUMNS_MAX))
  return { columns: width, bold: isPlain ? PLAIN.bold : (text) => `\x1b[1m${text}\x1b[22m` }
}
