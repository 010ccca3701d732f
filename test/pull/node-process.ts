import { pino } from 'pino'
import type { BlobRequest } from '../../client/client.ts'
import { type ClientOptions, startClient } from '../../client/index.ts'
import { openRegistries } from '../../core/registry-client.ts'
import type { RegistryConfig } from '../../core/registry-config.ts'

/** A node in a process of its own, for stories in which it is killed. Tells its progress to its parent. */
const { options, request } = JSON.parse(process.argv[2]!) as {
  options: Omit<ClientOptions, 'registries' | 'log'> & { registries: RegistryConfig[] }
  request?: BlobRequest
}
const registries = openRegistries(options.registries)
const log = pino({ level: process.env.SHOAL_TEST_LOG ?? 'silent' }, pino.destination(2))
const client = await startClient({ ...options, registries, log })
const tell = () => process.send?.({ progress: client.progress() })
process.send?.({ isReady: true })
setInterval(tell, 10)
if (request) {
  const blob = await client.open(request)
  for await (const _ of blob.read(0, blob.bytes));
  blob.close()
  tell()
}
