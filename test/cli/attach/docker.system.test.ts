import { tellAttachedDocker } from './attach-docker.ts'

tellAttachedDocker('trixie')
