#!/usr/bin/env node
// Plain JavaScript on purpose: a Node too old to run TypeScript must still be able to say so.
import module from 'node:module'
import { fileURLToPath } from 'node:url'
import v8 from 'node:v8'

const NODE_MAJOR_MIN = 24
if (Number(process.versions.node.split('.')[0]) < NODE_MAJOR_MIN) {
  process.stderr.write(
    `shoal: Node ${process.versions.node} is too old; Shoal needs Node ${NODE_MAJOR_MIN} or newer\n` +
      'hint: after `npm ci`, `npm run shoal -- …` runs it on the Node that comes with the dependencies.\n',
  )
  process.exit(1)
}

// A node lends its memory to workloads. Blobs never live in the JavaScript heap, so a small young generation costs
// little and saves up to 40 MiB.
v8.setFlagsFromString('--max-semi-space-size=2')
v8.setFlagsFromString('--semi-space-growth-factor=1')
// From the second start on the compiler that strips types is not loaded, in any thread: 30 MiB less. The cache is the
// package's own folder and not a shared temporary one, where another user could put code. Unwritable: no cache.
// Threads know of it through the environment only.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('../node_modules/.cache/shoal', import.meta.url))
module.enableCompileCache(process.env.NODE_COMPILE_CACHE)
const FLUSH_CACHE_MS = 5_000
setTimeout(() => module.flushCompileCache(), FLUSH_CACHE_MS).unref()

await import('../shoal.ts')
