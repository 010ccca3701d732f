import { createServer } from 'node:http'
import { connect } from 'node:net'

/** An HTTP proxy that knows CONNECT only. Argument: its port. */
const server = createServer((_request, response) => void response.writeHead(400).end())
server.on('connect', ({ url = '' }, client, head) => {
  const [host = '', port = '443'] = url.split(':')
  const upstream = connect(Number(port), host, () => {
    client.write('HTTP/1.1 200 OK\r\n\r\n')
    upstream.write(head)
    upstream.pipe(client)
    client.pipe(upstream)
  })
  upstream.on('error', () => client.destroy())
  client.on('error', () => upstream.destroy())
})
server.listen(Number(process.argv[2]), '0.0.0.0')
