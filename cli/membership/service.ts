import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'

const run = promisify(execFile)
/** A service manager answers within this. */
const SYSTEMCTL_MS_MAX = 30_000
/** It is there while systemd runs (sd_booted(3)). */
const SYSTEMD_FOLDER = '/run/systemd/system'
const UNIT_FOLDERS = ['/etc/systemd/system', '/usr/lib/systemd/system', '/lib/systemd/system']

export type ServiceState = 'absent' | 'started' | 'not started'

/** Enables and starts a unit of the packages, where it is installed and systemd runs. Never throws. */
export async function startUnit(unit: string): Promise<ServiceState> {
  const isInstalled = UNIT_FOLDERS.some((folder) => existsSync(`${folder}/${unit}`))
  if (!isInstalled || !existsSync(SYSTEMD_FOLDER)) return 'absent'
  try {
    await run('systemctl', ['enable', '--now', unit], { timeout: SYSTEMCTL_MS_MAX })
    return 'started'
  } catch {
    return 'not started'
  }
}
