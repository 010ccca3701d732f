// How Shoal's programs run on Node: small. A node lends its memory to workloads.
import module from 'node:module'
import { fileURLToPath } from 'node:url'
import v8 from 'node:v8'

// Blobs never live in the JavaScript heap, so a small young generation costs little and saves up to 40 MiB.
// A tracker serves thousands of requests a second and runs where there is room: it keeps Node's own size.
if (process.argv[2] !== 'tracker') {
  v8.setFlagsFromString('--max-semi-space-size=2')
  v8.setFlagsFromString('--semi-space-growth-factor=1')
  // Piece buffers go to the verifying thread and come back, which V8 counts as memory that grows: with its own bound of
  // a heap this small it marked all of it up to three times a second (eight downloaders: a sixth of all CPU time).
  v8.setFlagsFromString('--heap-growing-percent=300')
}
// From the second start on the compiler that strips types is not loaded, in any thread: 30 MiB less. The cache is the
// package's own folder and not a shared temporary one, where another user could put code. Unwritable: no cache.
// Threads know of it through the environment only.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('../node_modules/.cache/shoal', import.meta.url))
module.enableCompileCache(process.env.NODE_COMPILE_CACHE)
const FLUSH_CACHE_MS = 5_000
setTimeout(() => module.flushCompileCache(), FLUSH_CACHE_MS).unref()
