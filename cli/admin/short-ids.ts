/** Ids are cut to what tells them apart, in tables; `--json` has all of them. */

const ID_CHARS = 12
export const shortId = (id: string) => id.slice(0, ID_CHARS)
/** The first twelve digits are the time, which pulls of one moment share. */
const PULL_ID_CHARS = 16
export const shortPull = (id: string) => id.slice(0, PULL_ID_CHARS)
/** In a text: of nodes (40 digits) and pulls (32). */
export const shortIds = (text: string) =>
  text.replace(/\b[0-9a-f]{32}(?:[0-9a-f]{8})?\b/g, (id) => (id.length === 40 ? shortId(id) : shortPull(id)))
export const shortDigest = (digest: string) => digest.replace(/^sha256:/, '').slice(0, ID_CHARS)
