import { completionScripts } from '../../cli/completion.ts'
import { type ManOptions, manPages } from '../../cli/man-pages.ts'
import { TREE } from '../../cli/tree.ts'
import { FILE_MODE, gzipped, type Packed, textFile } from './files.ts'

/** Where shells of Debian look for a package's completions, below `share/`. */
const COMPLETION_FILES: Record<string, string> = {
  bash: 'bash-completion/completions/shoal',
  zsh: 'zsh/vendor-completions/_shoal',
  fish: 'fish/vendor_completions.d/shoal.fish',
}

/** Man pages, compressed (Debian policy 12.1), and completions, from the tree of commands. Below `share/`. */
export async function manuals(options: ManOptions): Promise<Packed[]> {
  const pages = (await manPages(TREE, options)).map(({ file, text }) => ({
    path: `man/man1/${file}.gz`,
    mode: FILE_MODE,
    bytes: gzipped(Buffer.from(text)),
  }))
  const scripts = await completionScripts(TREE)
  return [
    ...pages,
    ...Object.entries(scripts).map(([shell, text]) => textFile(COMPLETION_FILES[shell]!, text)),
  ]
}
