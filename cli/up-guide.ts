import type { ListenAddress } from '../core/config.ts'
import { addressText } from '../core/network.ts'

/** What `shoal up` has started, as far as the person in front of it must know. */
export interface UpFacts {
  trackerUrl: string
  proxy: ListenAddress
  admin: ListenAddress
  /** Absolute. */
  dataDir: string
  authorityFile: string
  /** Of the node; absolute. */
  nodeDir: string
  trackerDir: string
  cluster: string
  /** Where a new join token goes. */
  newJoinTokenFile: string
  /** Absent when the token was replaced, or taken away after use. */
  joinTokenFile?: string
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

function secondMachine({
  trackerUrl,
  authorityFile,
  joinTokenFile,
  newJoinTokenFile,
  trackerDir,
  cluster,
  registries,
  isLocalOnly,
}: UpFacts): string[] {
  if (isLocalOnly) {
    return [
      'Only this machine can reach the tracker. To let others join, stop with Ctrl-C and start with',
      '  npm start -- --listen 0.0.0.0:7443 --registries …',
    ]
  }
  if (joinTokenFile === undefined) {
    return [
      'To let another machine join, make a new join token (the one before it ends), and start again:',
      `  npm run shoal -- admin token rotate ${cluster} --data-dir ${trackerDir} \\`,
      `    --out ${newJoinTokenFile}`,
    ]
  }
  const consent = registries.length > 0 ? `--registries ${registries.join(',')}` : '--registries-from-tracker'
  return [
    `Let another machine join: copy ${authorityFile} and ${joinTokenFile} into its clone of Shoal,`,
    'and run there, as root and after npm ci (it has all other settings of the registries from the tracker)',
    `  npm run shoal -- node --tracker-url ${trackerUrl} --tracker-ca-file authority.crt \\`,
    `    --join-token-file join-token ${consent}`,
  ]
}

function undo({ dataDir }: UpFacts): string[] {
  return [
    'Undo: remove shoal.conf (or the proxies from daemon.json), then',
    '  systemctl daemon-reload && systemctl restart docker',
    `stop Shoal with Ctrl-C, and remove ${dataDir}.`,
  ]
}
