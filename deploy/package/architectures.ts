/** What packages are built for, by Debian's name. */
export const ARCHITECTURES = ['amd64', 'arm64'] as const
export type Architecture = (typeof ARCHITECTURES)[number]

/** Node's names. */
export const CPUS: Record<Architecture, string> = { amd64: 'x64', arm64: 'arm64' }
