import { createLog } from '../../core/log.ts'

/** Run as a program by log.test.ts: logs, in every way we know, the secrets that its standard input lists. */
const chunks: Buffer[] = []
for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
const secrets = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, string>

const log = createLog({ level: 'trace', name: 'test' })
for (const secret of Object.values(secrets)) {
  log.info(`in a message: ${secret}`)
  log.info('as an argument: %s', secret)
  log.info({ text: secret, deep: { list: [secret], map: { text: `x ${secret} y` } } }, 'in fields')
  log.warn({ err: new Error(secret) }, 'in an error')
  log.error(new Error('outer', { cause: new Error('middle', { cause: new TypeError(secret) }) }))
  log.error(new AggregateError([new Error(secret)], 'several'))
  log.fatal(Object.assign(new Error('with fields'), { details: { body: secret } }))
  log.child({ pullId: secret }).debug('in a child')
  log.trace({ nested: JSON.stringify({ text: secret }) }, 'JSON in JSON')
}
const opaque = secrets.opaque
log.info({ headers: { authorization: `Basic ${opaque}` }, authorization: [opaque] }, 'headers')
log.info({ req: { headers: { Authorization: opaque, cookie: opaque } } }, 'a request')
log.info(
  { token: opaque, joinToken: opaque, a: { jwt: opaque, b: { key: opaque, c: { password: opaque } } } },
  'names',
)
log.info(
  { credential: { scheme: 'basic', value: opaque }, privateKeyPem: opaque, unlockKey: opaque },
  'credential',
)
log.info({ key: Buffer.from(opaque ?? '') }, 'bytes')
log.info({ digest: 'sha256:0f0f', peer: '10.0.0.1:7071' }, 'facts stay')
