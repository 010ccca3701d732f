import { execFileSync } from 'node:child_process'
import { LabRequirementError } from '../errors.ts'

/** Where this machine's own packages come from, or at least one of them. */
export function debianMirror(): string {
  const format = '$(ORIGIN) $(COMPONENT) $(SITE)'
  const targets = execFileSync('apt-get', ['indextargets', '--format', format, 'Identifier: Packages'])
  const mirror = /^Debian main (\S+)$/m.exec(String(targets))?.[1]
  if (mirror === undefined)
    throw new LabRequirementError('the apt sources of this machine name no mirror of Debian')
  return mirror
}
