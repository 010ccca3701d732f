import { type Content, FileTree } from './file-tree.ts'
import type { EditRecord } from './journal.ts'
import { restorationOf } from './restore.ts'

/** The files as they would be without one attachment, so that a plan of it does not begin with its own work. */
export class UnattachedView extends FileTree {
  readonly #edits: ReadonlyMap<string, EditRecord>

  constructor(root: string, edits: readonly EditRecord[]) {
    super(root)
    this.#edits = new Map(edits.map((edit) => [edit.path, edit]))
  }

  override read(path: string): Content {
    const found = super.read(path)
    const edit = this.#edits.get(path)
    if (edit === undefined) return found
    const back = restorationOf(edit, found)
    if (back.kind === 'remove') return undefined
    if (back.kind === 'put back') return edit.before
    return back.kind === 'merge' ? { text: back.text } : found
  }

  override list(folder: string): string[] {
    const isOwn = (name: string) => {
      const edit = this.#edits.get(`${folder}/${name}`)
      return edit !== undefined && edit.before === undefined
    }
    return super.list(folder).filter((name) => !isOwn(name) && !/^\..*\.shoal-(before|new)$/.test(name))
  }
}
