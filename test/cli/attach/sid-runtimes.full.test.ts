import { tellAttachedContainerd } from './attach-containerd.ts'
import { tellAttachedDocker } from './attach-docker.ts'

tellAttachedContainerd([{ name: 'containerd 2.1 of sid', suite: 'sid', format: 3, folder: 'hosts.toml' }])
tellAttachedDocker('sid')
