import { OwnersService } from '../../owners/service.ts'

/** The service on descriptor 3, as `shoal owners` runs it, with other times: `<port of the proxy> <idle ms> <window ms>`. */
const [port, idleMs, windowMs] = process.argv.slice(2).map(Number) as [number, number, number]
await new OwnersService({ descriptor: 3, proxy: { host: '127.0.0.1', port }, idleMs, windowMs }).ended
