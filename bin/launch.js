// `node bin/launch.js <program> [arguments]`, for npm's scripts: runs it on the Node that comes with the dependencies,
// whatever Node npm itself runs on. The program is a file of this package, or a command of one of its dependencies.
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { launch } from './pinned-node.js'

const PACKAGE = fileURLToPath(new URL('..', import.meta.url))
const [program, ...argv] = process.argv.slice(2)
const folder = program.includes('/') ? '.' : 'node_modules/.bin'
launch([resolve(PACKAGE, folder, program), ...argv])
