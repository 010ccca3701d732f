// How Shoal's programs run on Node: small. A node lends its memory to workloads.
import { existsSync } from 'node:fs'
import module from 'node:module'
import { fileURLToPath } from 'node:url'
import v8 from 'node:v8'

// glibc reads these at start only, so the process starts itself anew (same process id, 50 ms). Left alone, it takes
// memory for buffers of megabytes from its growing heap as soon as one was freed, and returns little of it. Lower
// thresholds save 20 MiB more under a layer of gigabytes, and cost a fifth of the CPU time of eight downloaders.
const MALLOC = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: String(1024 * 1024),
  MALLOC_TRIM_THRESHOLD_: String(4 * 1024 * 1024),
}
const isShort = !['node', 'tracker', 'up'].includes(process.argv[2])
const isSet = Object.keys(MALLOC).some((name) => name in process.env)
if (process.platform === 'linux' && !isShort && !isSet) {
  const args = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  process.execve(process.execPath, args, { ...process.env, ...MALLOC })
}
// A guard is small without it, but the node that it starts finds it in its environment and need not start anew: the
// guard's sockets would not survive that.
if (process.argv[2] === 'guard') Object.assign(process.env, MALLOC)
// Blobs never live in the JavaScript heap, so a small young generation costs little and saves up to 40 MiB.
// A tracker serves thousands of requests a second and runs where there is room: it keeps Node's own size.
if (process.argv[2] !== 'tracker') {
  v8.setFlagsFromString('--max-semi-space-size=2')
  v8.setFlagsFromString('--semi-space-growth-factor=1')
  // Piece buffers go to the verifying thread and come back, which V8 counts as memory that grows: with its own bound of
  // a heap this small it marked all of it up to three times a second (eight downloaders: a sixth of all CPU time).
  v8.setFlagsFromString('--heap-growing-percent=100')
}
// From the second start on the compiler that strips types is not loaded, in any thread: 30 MiB less. The cache is the
// checkout's own folder and not a shared temporary one, where another user could put code. Unwritable: no cache. A
// package has no such folder: there the service manager names one, or there is none.
// Threads know of it through the environment only.
const DEPENDENCIES = fileURLToPath(new URL('../node_modules', import.meta.url))
if (existsSync(DEPENDENCIES)) process.env.NODE_COMPILE_CACHE ??= `${DEPENDENCIES}/.cache/shoal`
if (process.env.NODE_COMPILE_CACHE) {
  module.enableCompileCache(process.env.NODE_COMPILE_CACHE)
  const FLUSH_CACHE_MS = 5_000
  setTimeout(() => module.flushCompileCache(), FLUSH_CACHE_MS).unref()
}
