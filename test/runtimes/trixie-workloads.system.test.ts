import { tellDockerWorkloads } from './workloads.ts'

tellDockerWorkloads('trixie', 'classic')
tellDockerWorkloads('trixie', 'containerd')
