import type { SystemName } from '../report.ts'
import { aria2 } from './aria2.ts'
import { libtorrentPlain, libtorrentSsl } from './libtorrent.ts'
import { pump } from './pump.ts'
import { shoal } from './shoal.ts'
import type { BenchSystem } from './system.ts'
import { webtorrent } from './webtorrent.ts'

export function systemsNamed(names: SystemName[], options: { isRead: boolean }): BenchSystem[] {
  const systems = {
    shoal: shoal({ ...options, isEncrypted: false }),
    'shoal-encrypted': shoal({ ...options, isEncrypted: true }),
    pump,
    'libtorrent-ssl': libtorrentSsl,
    'libtorrent-plain': libtorrentPlain,
    webtorrent,
    aria2,
  }
  return names.map((name) => systems[name])
}
