import { ALL_FAULTS, describeFaults } from './tracker-faults.ts'

describeFaults(ALL_FAULTS)
