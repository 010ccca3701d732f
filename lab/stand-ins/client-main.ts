import { text } from 'node:stream/consumers'
import type { ClientJob } from './client.ts'
import { askFor, pullImage, pushImage } from './image-transfer.ts'
import { RegistrySession } from './registry-session.ts'

/** The stand-in client as a process. Standard input: what it is to do, as JSON. */

const job = JSON.parse(await text(process.stdin)) as ClientJob
const session = new RegistrySession(job)
try {
  if (job.act === 'push') await pushImage(session, job)
  else if (job.act === 'pull') await pullImage(session, job)
  else process.stdout.write(JSON.stringify(await askFor(session, job)))
} catch (error) {
  const { message, cause } = error as Error
  process.stderr.write(`${message}${cause instanceof Error ? `: ${cause.message}` : ''}\n`)
  process.exitCode = 1
} finally {
  await session.close()
}
