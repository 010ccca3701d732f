/** Lines of shell that a page tells its reader to type. */
export interface PageLine {
  page: string
  /** Of the page, from 1. */
  number: number
  /** Continued lines joined, without comments. */
  text: string
}

const BLOCK = /^```sh\n([\s\S]*?)^```$/gm

export function linesOfPage(page: string, text: string): PageLine[] {
  return [...text.matchAll(BLOCK)].flatMap((block) => {
    const [, body = ''] = block
    let number = text.slice(0, block.index).split('\n').length
    const found: PageLine[] = []
    let begun: PageLine | undefined
    for (const line of body.trimEnd().split('\n')) {
      number += 1
      begun ??= { page, number, text: '' }
      begun.text += line.replace(/\\$/, '').replace(/^\s+(?=\S)/, ' ')
      if (/(\\|\|)$/.test(line)) continue
      begun.text = begun.text.trim()
      if (begun.text !== '' && !begun.text.startsWith('#')) found.push(begun)
      begun = undefined
    }
    return found
  })
}
