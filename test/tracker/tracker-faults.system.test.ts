import { describeFaults, FEW_FAULTS } from './tracker-faults.ts'

describeFaults(FEW_FAULTS)
