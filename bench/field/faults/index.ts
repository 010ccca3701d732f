import type { LabRequirement } from '../../../lab/machine/requirements.ts'
import { droppedPeerPort } from './dropped-peer-port.ts'
import type { Fault } from './fault.ts'
import { nodeRestart, trackerRestart } from './restarts.ts'
import { silentTracker } from './silent-tracker.ts'
import { slowPasswords, unshaped } from './unshaped.ts'

/** All situations in which something fails around a pull, or the machine is all there is. */
export const FAULTS: readonly Fault[] = [
  silentTracker,
  droppedPeerPort,
  nodeRestart,
  trackerRestart,
  unshaped,
  slowPasswords,
]

/** Besides the parts of every lab. */
export const FAULT_PARTS: readonly LabRequirement[] = ['iptables', 'perl']
