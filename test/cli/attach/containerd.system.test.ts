import { tellAttachedContainerd } from './attach-containerd.ts'

tellAttachedContainerd([
  { name: "containerd of this machine's Debian", format: 2, folder: 'hosts.toml' },
  { name: 'containerd 1.7 of trixie', suite: 'trixie', format: 2, folder: 'certificate' },
])
