import { OwnersService } from '../../owners/service.ts'

/** The service on descriptor 3, as `shoal owners` runs it, with another time until it ends: `<port of the proxy> <ms>`. */
const [port, idleMs] = process.argv.slice(2).map(Number)
await new OwnersService({ descriptor: 3, proxy: { host: '127.0.0.1', port: port! }, idleMs: idleMs! }).ended
