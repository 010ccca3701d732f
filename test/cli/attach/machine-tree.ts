import { spawnSync } from 'node:child_process'
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { attach, detach } from '../../../cli/attach/attach.ts'
import type { CheckAnswer } from '../../../cli/attach/check.ts'
import type { RuntimeName } from '../../../cli/attach/journal.ts'
import { RUNTIME_KINDS } from '../../../cli/attach/runtimes/runtimes.ts'
import type { AttachOptions, Machine } from '../../../cli/attach/surroundings.ts'
import { parseRegistryHost } from '../../../core/repository.ts'

/** A machine as a tree of files, with what its runtimes answer. */
export interface TreeOptions {
  files?: Record<string, string>
  /** Standard output by command line; the longest beginning counts. */
  answers?: Record<string, string>
  isRoot?: boolean
  /** What `dockerd --validate` says. */
  refusal?: string
  check?: () => Promise<CheckAnswer>
  ask?: Machine['ask']
  onStep?: Machine['onStep']
  /** Instead of `answers`. */
  run?: Machine['run']
}

/** As far as attach looks. */
export const PEM = '-----BEGIN CERTIFICATE-----\nTUlJQg==\n-----END CERTIFICATE-----\n'
export const AUTHORITY = '/var/lib/shoal/proxy-ca.crt'
export const DOCKER_28 = { 'dockerd --version': 'Docker version 28.5.2, build ecc6942' }
export const DOCKER_UNIT = {
  '/usr/lib/systemd/system/docker.service': '[Service]\nExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS\n',
}

export const SITE_HOSTS = `# The site's cache.
server = "https://registry.example.com"

[host."https://cache.example.com"]   # first
  capabilities = [ "pull",
     "resolve" ]
`
export const ODD_JSON =
  '{ "log-level":"warn",  // why\n\t"labels" : [ "a=1"\n,"b=2"],\n\n   "experimental":false }'

export class MachineTree implements Disposable {
  readonly root = mkdtempSync(join(tmpdir(), 'shoal-attach-'))
  readonly printed: string[] = []

  constructor(files: Record<string, string> = {}) {
    mkdirSync(join(this.root, 'var/lib'), { recursive: true })
    this.write({ [AUTHORITY]: PEM, ...files })
  }

  write(files: Record<string, string>): void {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(this.real(path)), { recursive: true })
      writeFileSync(this.real(path), text)
    }
  }

  real(path: string): string {
    return join(this.root, path)
  }

  read(path: string): string {
    return readFileSync(this.real(path), 'utf8')
  }

  picture(): Record<string, unknown> {
    return pictureOf(this.root)
  }

  machine({ answers = {}, refusal, isRoot = true, check, ask, onStep, run }: TreeOptions = {}): Machine {
    return {
      root: this.root,
      isLive: true,
      isRoot,
      hostname: 'host-a',
      run:
        run ??
        (async (argv) => {
          const line = argv.join(' ')
          const known = Object.keys(answers).filter((one) => line.startsWith(one))
          return answers[known.sort((one, other) => other.length - one.length)[0] ?? '']
        }),
      refusal: async () => refusal,
      check: check ?? (async () => ({ isShared: true, isWithoutLogin: false })),
      print: (text) => this.printed.push(text),
      ...(ask === undefined ? {} : { ask }),
      ...(onStep === undefined ? {} : { onStep }),
    }
  }

  attach(runtime: RuntimeName, options: TreeOptions & Partial<AttachOptions> = {}): Promise<string> {
    return attach(this.machine(options), RUNTIME_KINDS[runtime], {
      registries: ['registry.example.com'].map(parseRegistryHost),
      proxyUrl: 'http://127.0.0.1:7070',
      mirrorUrl: 'http://127.0.0.1:577',
      mirrorsOf: { 'registry.example.com': '127.0.0.1:578' },
      authorityFile: AUTHORITY,
      via: RUNTIME_KINDS[runtime].via,
      liveRestore: false,
      isDryRun: false,
      isYes: true,
      isSystemTrusted: false,
      isRestarting: false,
      ...options,
    })
  }

  detach(runtime: RuntimeName, options: TreeOptions = {}): Promise<string> {
    return detach(this.machine(options), runtime, { isYes: true, isDryRun: false })
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true })
  }
}

/** Everything below a folder that an administrator can see. */
export function pictureOf(root: string): Record<string, unknown> {
  const all: Record<string, unknown> = {}
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' })
  const attributes = attributesOf(names.map((name) => join(root, name)))
  for (const name of names) {
    const path = join(root, name)
    const found = lstatSync(path)
    const { mode, uid, gid, nlink, ino, mtimeMs } = found
    if (found.isDirectory()) all[name] = { mode, uid, gid }
    else if (found.isSymbolicLink()) all[name] = { link: readlinkSync(path), uid, gid }
    else if (!found.isFile()) all[name] = { mode, uid, gid }
    else {
      const text = readFileSync(path, 'utf8')
      all[name] = { text, mode, uid, gid, nlink, ino, mtimeMs, attributes: attributes[path] }
    }
  }
  return all
}

/** Of files and folders, where this machine can tell. */
function attributesOf(paths: string[]): Record<string, unknown> {
  const script =
    'import os,sys,json;print(json.dumps({p:[(n,os.getxattr(p,n,follow_symlinks=False).hex()) for n in sorted(os.listxattr(p,follow_symlinks=False))] for p in json.load(sys.stdin)}))'
  const { status, stdout } = spawnSync('python3', ['-c', script], {
    encoding: 'utf8',
    input: JSON.stringify(paths),
  })
  return status === 0 ? JSON.parse(stdout) : {}
}

/** @returns false where the file system has none */
export function setAttribute(path: string, name: string, value: string): boolean {
  const script = 'import os,sys;os.setxattr(sys.argv[1],sys.argv[2],sys.argv[3].encode())'
  return spawnSync('python3', ['-c', script, path, name, value]).status === 0
}
