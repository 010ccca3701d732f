const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']

/** An amount of bytes for people: `20 GiB`, `1.5 MiB`, `300 bytes`. */
export function byteSize(bytes: number): string {
  let unit = 0
  let amount = bytes
  for (; amount >= 1024 && unit < UNITS.length - 1; unit++) amount /= 1024
  return `${Math.round(amount * 10) / 10} ${UNITS[unit]}`
}
