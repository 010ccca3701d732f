#!/usr/bin/env node
// Plain JavaScript on purpose: a Node too old to run TypeScript must still be able to say so.
const NODE_MAJOR_MIN = 24
if (Number(process.versions.node.split('.')[0]) < NODE_MAJOR_MIN) {
  process.stderr.write(
    `shoal: Node ${process.versions.node} is too old; Shoal needs Node ${NODE_MAJOR_MIN} or newer\n` +
      'hint: after `npm ci`, `npm run shoal -- …` runs it on the Node that comes with the dependencies.\n',
  )
  process.exit(1)
}

await import('./lean.js')
await import('../shoal.ts')
