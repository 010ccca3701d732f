import { request } from 'node:https'

/**
 * A plain client of a lab's registry, to be run on one of its hosts. Reads a question
 * from standard input and prints `{"status", "bytes", "text"}`.
 */

interface Question {
  url: string
  authorization?: string
  range?: string
  /** Hangs up when this many bytes have come. */
  abortAfter?: number
}

let input = ''
for await (const chunk of process.stdin) input += chunk
const { url, authorization, range, abortAfter } = JSON.parse(input) as Question

const headers = { ...(authorization && { authorization }), ...(range && { range }) }
const asking = request(url, { headers }, (response) => {
  let bytes = 0
  let text = ''
  const isText = /json/.test(response.headers['content-type'] ?? '')
  const conclude = () => {
    const answer = { status: response.statusCode, bytes, text: isText ? text : '' }
    process.stdout.write(JSON.stringify(answer), () => process.exit())
  }
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (isText) text += chunk
    if (abortAfter === undefined || bytes < abortAfter) return
    response.destroy()
    conclude()
  })
  response.once('end', conclude)
  response.once('error', () => {})
})
asking.end()
