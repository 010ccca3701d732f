import { readFileSync } from 'node:fs'
import { startTokenServer, type TokenServerOptions } from './token-server.ts'

/** The token server as a process: it must be in the registry's network namespace. Argument: its options, as JSON. */
const options = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as TokenServerOptions
const server = await startTokenServer(options)
process.once('SIGTERM', () => void server.close())
