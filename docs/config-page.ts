import { TREE } from '../cli/tree.ts'
import { upConfig } from '../cli/up.ts'
import { configMarkdown } from '../core/config-help.ts'
import { configKeys } from '../core/config-keys.ts'
import { registryConfig } from '../core/registry-config.ts'
import { RENAMED_SETTINGS } from '../core/renamed-settings.ts'
import { nodeConfig } from '../node/config.ts'
import { IS_LIVE } from '../node/live-settings.ts'
import { trackerConfig } from '../tracker/config.ts'

const INTRO = `# Configuration

Written by \`npm run docs\` from the schemas that check it.

Every setting has three names: a flag, an environment variable, and a key of a JSON file (\`--config-file\`). Flags win over
the environment, the environment over the file. An unknown name in any of them stops the program, with the nearest known
one as a hint. An empty string counts as absent. Booleans are \`true\` or \`false\`. Addresses are \`host:port\`, IPv6 in
brackets; port 0 takes a free one. Secrets are never settings themselves: their settings name files.

\`\`\`
{
  "trackerUrl": "https://tracker.example.com:7443",
  "joinTokenFile": "/run/secrets/join-token",
  "registries": [{ "host": "registry.example.com", "caFile": "/etc/shoal/registry-ca.crt" }]
}
\`\`\`
`

const RELOAD =
  'A running node reads its settings again at `shoal reload` or SIGHUP: those marked `reload` count at once, in pulls that run too. Settings that cannot be used change nothing. Certificate files of a registry are read again when they change, without a reload.'

/** The text of docs/config.md. */
export function configPage(): string {
  const programs = [
    { program: 'node', schema: nodeConfig, summary: `${summaryOf('node')} ${RELOAD}`, isLive: IS_LIVE },
    { program: 'tracker', schema: trackerConfig, summary: summaryOf('tracker') },
    { program: 'up', schema: upConfig, summary: summaryOf('up') },
  ]
  return [INTRO, ...programs.map(configMarkdown), registries(), renamed()].join('\n')
}

function summaryOf(program: string): string {
  return TREE.children?.find(({ name }) => name === program)?.summary ?? ''
}

function registries(): string {
  const rows = configKeys('node', registryConfig).map(({ key, isRequired, defaultText, description }) => {
    const fallback = isRequired ? '**required**' : defaultText === undefined ? '' : `\`${defaultText}\``
    return `| \`${key}\` | ${fallback} | ${description} |`
  })
  return `## registries

In the file an array of objects with these keys. As a flag or in the environment the same as JSON, or just hosts:
\`--registries registry.example.com,other.example.com:5000\`.

| key | default | meaning |
|---|---|---|
${rows.join('\n')}
`
}

function renamed(): string {
  const rows = RENAMED_SETTINGS.map(
    ({ program, from, to, since }) => `| shoal ${program} | \`${from}\` | \`${to}\` | ${since} |\n`,
  )
  const table = `| program | old name | new name | since |\n|---|---|---|---|\n${rows.join('')}`
  return `## Renamed settings

An old name works for one release, as flag, environment variable, key and credential; the program warns. Both names at once are refused.

${rows.length === 0 ? 'No setting of the last release has another name now.\n' : table}`
}
