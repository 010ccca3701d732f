import { registerHooks } from 'node:module'

// Loaded before a simulation: takes one policy rule out of the shipped source as it is read. Plain JavaScript, since
// threads load it before anything else.
const { file, rule, without } = JSON.parse(process.env.SHOAL_WITHOUT_RULE)

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context)
    if (!url.endsWith(`/${file}`)) return loaded
    const source = loaded.source.toString()
    if (source.split(rule).length !== 2) throw new Error(`not once in ${file}: ${rule}`)
    return { ...loaded, source: source.replace(rule, () => without) }
  },
})
