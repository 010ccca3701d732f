/**
 * Characters that move a terminal's cursor, colour it or hide text: control and format characters (ECMA-48; Unicode's classes
 * Cc and Cf, with directions and characters without width), halves of characters, and line ends. Texts from outside may
 * have them: names of images, answers of registries.
 */
const NOT_PLAIN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu

/** The text on one line, with such characters spelled out (`\u{1b}`). Every page and table for people prints through this. */
export function plainText(text: string): string {
  return text.replace(NOT_PLAIN, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`)
}

/** JSON for scripts, which is as harmless on a terminal: the same characters as JSON escapes. */
export function plainJson(value: unknown, indent?: number): string {
  const text = JSON.stringify(value, undefined, indent) ?? 'null'
  return text.replace(NOT_PLAIN, (character) => (character === '\n' ? character : escaped(character)))
}

function escaped(character: string): string {
  const units = Array.from({ length: character.length }, (_, at) => character.charCodeAt(at))
  return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('')
}
