import type { ListenAddress } from '../core/config.ts'
import { addressText } from '../core/network.ts'

/** What `shoal up` has started, as far as the person in front of it must know. */
export interface UpFacts {
  trackerUrl: string
  proxy: ListenAddress
  admin: ListenAddress
  /** Absolute. */
  dataDir: string
  /** Of the node; absolute. */
  nodeDir: string
  trackerDir: string
  registries: string[]
  /** Nobody but this machine can reach the tracker. */
  isLocalOnly: boolean
}

/** What to run next, and how to undo it. Printed once everything runs. */
export function upGuide(facts: UpFacts): string {
  const sections = [started(facts), dockerSection(facts), secondMachine(facts), undo(facts)]
  return `${sections.map((lines) => lines.join('\n')).join('\n\n')}\n`
}

function started({ trackerUrl, proxy, admin, dataDir, nodeDir, registries }: UpFacts): string[] {
  const lines = [
    'Shoal is up.',
    `  proxy       http://${addressText(proxy)}`,
    `  tracker     ${trackerUrl}`,
    `  status      npm run shoal -- status --data-dir ${nodeDir}`,
    `  health      http://${addressText(admin)}/healthz`,
    `  data        ${dataDir}`,
    `  registries  ${registries.length === 0 ? 'none yet' : registries.join(', ')}`,
  ]
  if (registries.length > 0) return lines
  return [
    ...lines,
    '',
    'No registry is configured yet, so all that Docker asks for passes through untouched. Stop with Ctrl-C and',
    'name the registries that you pull from:',
    '  npm start -- --registries registry.example.com,other.example.com:5000',
  ]
}

function dockerSection({ proxy, registries }: UpFacts): string[] {
  const image = `${registries[0] ?? 'registry.example.com'}/team/app:v1`
  return [
    'Point Docker on this machine at it: write /etc/systemd/system/docker.service.d/shoal.conf',
    '  [Service]',
    `  Environment="HTTPS_PROXY=http://${addressText(proxy)}"`,
    'then run',
    '  systemctl daemon-reload && systemctl restart docker',
    `  docker pull ${image}`,
    'Docker 23 and newer take it from /etc/docker/daemon.json as well:',
    `  {"proxies": {"https-proxy": "http://${addressText(proxy)}"}}`,
  ]
}

function secondMachine({ trackerDir, registries, isLocalOnly }: UpFacts): string[] {
  if (isLocalOnly) {
    return [
      'Only this machine can reach the tracker. To let others join, stop with Ctrl-C and start with',
      '  npm start -- --listen 0.0.0.0:7443 --registries …',
    ]
  }
  return [
    'Let another machine join: make a join string here with',
    `  npm run shoal -- admin token create --data-dir ${trackerDir}`,
    'run the line that it prints on the other machine, as root, and start the node there:',
    '  npm run shoal -- join SHOALJOIN-1-…',
    `  npm run shoal -- node ${registries.length > 0 ? `--registries ${registries.join(',')}` : '--registries-from-tracker'}`,
  ]
}

function undo({ dataDir }: UpFacts): string[] {
  return [
    'Undo: remove shoal.conf (or the proxies from daemon.json), then',
    '  systemctl daemon-reload && systemctl restart docker',
    `stop Shoal with Ctrl-C, and remove ${dataDir}.`,
  ]
}
