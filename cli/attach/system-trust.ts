import { AttachUnsupportedError } from './errors.ts'
import type { FileTree } from './file-tree.ts'
import type { PlannedEdit } from './plan.ts'

/** Where distributions keep authorities that an administrator adds, and what then makes their bundle anew. */
const LAYOUTS = [
  { folder: '/etc/pki/ca-trust/source/anchors', file: 'shoal.pem', update: ['update-ca-trust', 'extract'] },
  {
    folder: '/usr/local/share/ca-certificates',
    file: 'shoal.crt',
    // Without it Debian's program leaves the links to an authority that is gone.
    update: ['update-ca-certificates', '--fresh'],
  },
  {
    folder: '/etc/ca-certificates/trust-source/anchors',
    file: 'shoal.crt',
    update: ['trust', 'extract-compat'],
  },
  { folder: '/usr/share/pki/trust/anchors', file: 'shoal.pem', update: ['update-ca-certificates'] },
] as const

export const SYSTEM_TRUST_NOTE =
  'With --system-trust every program of this machine believes the node about the registries above: the authority can sign for no other name. The node makes a new authority at each start: run the update command below again after one.'

/** @throws AttachUnsupportedError */
export function systemTrust(tree: FileTree, authorityFile: string): { edit: PlannedEdit; command: string[] } {
  const layout = LAYOUTS.find(({ folder }) => tree.stat(folder)?.isDirectory())
  if (layout === undefined) {
    throw new AttachUnsupportedError('Shoal does not know where this system keeps its authorities', {
      hint: 'Leave --system-trust out, and add the authority by hand. Nothing was changed.',
    })
  }
  return {
    edit: {
      path: `${layout.folder}/${layout.file}`,
      after: { link: authorityFile },
      onlyWhile: authorityFile,
    },
    command: [...layout.update],
  }
}
