import { tellDockerWorkloads } from './workloads.ts'

tellDockerWorkloads('sid', 'classic')
tellDockerWorkloads('sid', 'containerd')
