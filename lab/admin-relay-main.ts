import { get } from 'node:http'
import { createInterface } from 'node:readline'

/**
 * Runs inside a node's network namespace, where the node's admin listener is on loopback. Each line on standard input
 * is a path to request; each line on standard output is the answer: `{"path", "status", "body"}`, status 0 for none.
 */

const PORT = Number(process.argv[2])
const PATIENCE_MS = 5000

function ask(path: string): void {
  const answer = (status: number, body: string) =>
    process.stdout.write(`${JSON.stringify({ path, status, body })}\n`)
  const request = get({ host: '127.0.0.1', port: PORT, path, timeout: PATIENCE_MS }, (response) => {
    let body = ''
    response.setEncoding('utf8')
    response.on('data', (text: string) => {
      body += text
    })
    response.once('end', () => answer(response.statusCode ?? 0, body))
    response.once('error', () => answer(0, ''))
  })
  request.once('timeout', () => request.destroy(new Error('no answer')))
  request.once('error', (error) => answer(0, error.message))
}

createInterface({ input: process.stdin }).on('line', ask)
