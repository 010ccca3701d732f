#!/usr/bin/env node
// Plain JavaScript on purpose: a Node too old to run TypeScript still starts Shoal, on the Node that comes with it.
import { fileURLToPath } from 'node:url'
import { isThisNodeNewEnough, launch } from './pinned-node.js'

if (isThisNodeNewEnough()) {
  await import('./lean.js')
  await import('../cli/shoal.ts')
} else {
  launch([fileURLToPath(import.meta.url), ...process.argv.slice(2)])
}
