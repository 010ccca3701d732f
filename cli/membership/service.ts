import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'

const run = promisify(execFile)
/** How long systemctl may take. */
const SYSTEMCTL_MS_MAX = 30_000
/** Exists while systemd runs (sd_booted(3)). */
const SYSTEMD_FOLDER = '/run/systemd/system'
const UNIT_FOLDERS = ['/etc/systemd/system', '/usr/lib/systemd/system', '/lib/systemd/system']

export type ServiceState = 'absent' | 'started' | 'not started'

/** Whether a unit of the packages is installed, and systemd runs. */
export function hasUnit(unit: string): boolean {
  return existsSync(SYSTEMD_FOLDER) && UNIT_FOLDERS.some((folder) => existsSync(`${folder}/${unit}`))
}

/** Enables and starts a unit, if it is there. Never throws. */
export async function startUnit(unit: string): Promise<ServiceState> {
  if (!hasUnit(unit)) return 'absent'
  try {
    await run('systemctl', ['enable', '--now', unit], { timeout: SYSTEMCTL_MS_MAX })
    return 'started'
  } catch {
    return 'not started'
  }
}

/** Restarts a unit that runs, so that it reads its files anew. Never throws. */
export async function restartUnit(unit: string): Promise<'restarted' | 'not restarted'> {
  if (!hasUnit(unit)) return 'not restarted'
  try {
    await run('systemctl', ['is-active', '--quiet', unit], { timeout: SYSTEMCTL_MS_MAX })
    await run('systemctl', ['restart', unit], { timeout: SYSTEMCTL_MS_MAX })
    return 'restarted'
  } catch {
    return 'not restarted'
  }
}
