/** Times as people read them: one way for each, in pages, commands and errors. */

/** `4.2 s`, `3 min`, `2 h 5 min`, `6 days`, `10 years`. */
export function durationText(ms: number): string {
  const seconds = Math.max(0, ms) / 1000
  if (seconds < 0.0995) return `${Number((seconds * 1000).toPrecision(2))} ms`
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  if (seconds < 99.5) return `${Math.round(seconds)} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`
  const days = Math.round(hours / 24)
  return days < 730 ? `${days} days` : `${Math.round(days / 365)} years`
}

/** Short, for a column of a table: `5 min ago`, `3 h ago`; `now` within a minute. */
export function agoText(ms: number): string {
  const [amount, unit] = durationText(ms).split(' ')
  return ms < 60_000 ? 'now' : `${amount} ${unit} ago`
}

/** `2026-11-30 12:00 UTC`. @param at ISO 8601, or on the clock of `Date.now()` */
export function utcText(at: string | number): string {
  return `${new Date(at).toISOString().slice(0, 16).replace('T', ' ')} UTC`
}

/** `2026-11-30 12:00:05 UTC`. */
export function utcSecondsText(at: string | number): string {
  return `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}
