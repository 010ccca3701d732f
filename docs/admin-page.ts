import { type Call, ROLES } from '../core/admin-api/call.ts'
import { CALL_NAMES, callOf } from '../core/admin-api/calls.ts'

const INTRO = `# The admin API and its commands

Written by \`npm run docs\` from the table of calls (\`core/admin-api/\`), from which the tracker's routes, \`shoal admin\` and the
OpenAPI document (\`GET /admin/v1/openapi.json\`) are made too.

## Where it is

| way | who | role |
|---|---|---|
| the socket \`admin.sock\` in the tracker's data folder | the tracker's own user, and root | admin |
| HTTPS at \`adminListen\`, with a certificate of \`shoal admin certificate\` | whoever has that file; it ends after 24 hours at most | admin |
| HTTPS at \`adminListen\`, with \`Authorization: Bearer\` and a token | whoever has the token, until it ends or is withdrawn | that of the token |

The listener is on loopback unless \`adminListen\` says otherwise. Its certificate is one of the tracker's own admin authority, for
\`localhost\`; other machines need \`adminTlsCertFile\` and \`adminTlsKeyFile\`. A locked tracker has no admin API.

On the tracker's machine commands use the socket: in the folder of \`--data-dir\`, or of the package's tracker, or of \`shoal up\` in the
current folder.

\`\`\`sh
shoal admin token create dashboard --role reader --ends 30d --out dashboard.token
shoal admin token ls --admins
shoal admin token withdraw dashboard
\`\`\`

A token is shown once: the tracker keeps its SHA-256. Tokens and certificates are made on the socket only, because over TLS whoever
stole one could make the next. Logins that fail are bounded per address (\`REQUESTS_TOO_MANY\`); the socket is not.

On another machine a command takes \`--admin-url\`, \`--admin-ca-file\` and \`--admin-token-file\`, or \`--profile site\` with the file
\`~/.config/shoal/site.json\` (mode 0600), whose paths count from its own folder:

\`\`\`json
{ "url": "https://tracker.example.com:7444", "caFile": "site-ca.crt", "tokenFile": "site.token" }
\`\`\`

## Rules of every call

- \`reader\` sees, \`operator\` runs the fleet, \`admin\` holds keys and clusters; each may do what those before it may. \`local\`: only on the socket.
- Unknown fields are refused. A refusal is \`{"error":{"code","message"}}\` and changes nothing; the codes are in [errors.md](errors.md).
- Every change is in the audit log with the caller's name: \`operator\` (socket), \`admin …\` (certificate), \`token NAME\`.
- Lists take \`limit\` (at most 1000) and \`cursor\`: the \`next\` of the answer before.
- Commands take the beginning of the id of a node, of a pull, or of a blob's swarm, as tables show it: four digits or more. Calls take
  the whole id, which \`--json\` shows.
`

/** The text of docs/admin.md. */
export function adminPage(): string {
  const rows = CALL_NAMES.map((name) => rowOf(name, callOf(name)))
  const head = `| call | API | command | role | what it does |\n|---|---|---|---|---|`
  return `${INTRO}\n## Calls\n\nRoles: ${ROLES.join(', ')}.\n\n${head}\n${rows.join('\n')}\n`
}

function rowOf(name: string, { method, path, commands, right, summary }: Call): string {
  const shown = commands.map((line) => `\`${line}\``).join(', ')
  return `| \`${name}\` | \`${method} ${path}\` | ${shown} | ${right} | ${summary} |`
}
