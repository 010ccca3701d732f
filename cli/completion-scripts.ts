/** What can follow a command's name. */
export interface CompletionPlace {
  path: string[]
  children: CompletionWord[]
  flags: CompletionFlag[]
  /** The arguments that are no flags name files. */
  isOfFiles: boolean
}

export interface CompletionWord {
  name: string
  description: string
}

export interface CompletionFlag extends CompletionWord {
  /** What follows the flag: nothing, a path, one of some words, or text that no shell can know. */
  value: 'none' | 'path' | 'text' | string[]
}

/**
 * The completion scripts. Each first walks the words to the place that they lead to (`shoal admin key`), then offers what
 * that place has: values after a flag that takes some, flags after a dash, else commands or files.
 */
export const SCRIPTS: Record<string, (places: CompletionPlace[]) => string> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
}

function bashScript(places: CompletionPlace[]): string {
  return `# bash completion of shoal, written by \`shoal completion bash\`.
_shoal() {
  local at=shoal current=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} i
  local commands='' flags='' files=''
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at \${COMP_WORDS[i]}" in
      ${patterns(pathsBelow(places))}) at="$at \${COMP_WORDS[i]}" ;;
    esac
  done
  COMPREPLY=()
  case "$at $before" in
${valueCases(places, {
  path: 'compopt -o default 2> /dev/null; return',
  text: 'return',
  words: (words) => `COMPREPLY=($(compgen -W ${quoted(words.join(' '))} -- "$current")); return`,
})}
  esac
  case "$at" in
${places.map((place) => `    ${quoted(nameOf(place))}) commands=${quoted(wordList(place.children))} flags=${quoted(wordList(place.flags))} files=${place.isOfFiles ? 'yes' : "''"} ;;`).join('\n')}
  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$current"))
  elif [[ -n $files ]]; then
    compopt -o default 2> /dev/null
  else
    COMPREPLY=($(compgen -W "$commands" -- "$current"))
  fi
}
complete -F _shoal shoal
`
}

function zshScript(places: CompletionPlace[]): string {
  return `#compdef shoal
# zsh completion of shoal, written by \`shoal completion zsh\`.
_shoal() {
  local at=shoal i files=''
  local -a commands flags
  for ((i = 2; i < CURRENT; i++)); do
    case "$at \${words[i]}" in
      ${patterns(pathsBelow(places))}) at="$at \${words[i]}" ;;
    esac
  done
  case "$at \${words[CURRENT-1]}" in
${valueCases(places, {
  path: '_files; return',
  text: 'return',
  words: (words) => `compadd -- ${words.map(quoted).join(' ')}; return`,
})}
  esac
  case "$at" in
${places.map((place) => `    ${quoted(nameOf(place))})\n      commands=(${described(place.children)})\n      flags=(${described(place.flags)})\n      files=${place.isOfFiles ? 'yes' : "''"} ;;`).join('\n')}
  esac
  if [[ \${words[CURRENT]} == -* ]]; then
    _describe -o flag flags
  elif [[ -n $files ]]; then
    _files
  else
    _describe command commands
  fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _shoal "$@"
else
  compdef _shoal shoal
fi
`
}

function fishScript(places: CompletionPlace[]): string {
  return `# fish completion of shoal, written by \`shoal completion fish\`.
function __shoal_is
  set -l at shoal
  for word in (commandline -opc)[2..-1]
    switch "$at $word"
      case ${pathsBelow(places).map(fishQuoted).join(' ')}
        set at "$at $word"
    end
  end
  test "$at" = "$argv"
end
complete -c shoal -f
${places.flatMap(fishLines).join('\n')}
`
}

function fishLines(place: CompletionPlace): string[] {
  const at = `complete -c shoal -n ${fishQuoted(`__shoal_is ${nameOf(place)}`)}`
  const commands = place.children.map(
    ({ name, description }) => `${at} -a ${name} -d ${fishQuoted(description)}`,
  )
  const flags = place.flags.map(({ name, description, value }) => {
    const after =
      value === 'none'
        ? ''
        : value === 'path'
          ? ' -r -F'
          : value === 'text'
            ? ' -x'
            : ` -x -a ${fishQuoted(value.join(' '))}`
    return `${at} -l ${name.slice(2)}${after} -d ${fishQuoted(description)}`
  })
  return [...commands, ...flags, ...(place.isOfFiles ? [`${at} -F`] : [])]
}

interface ValueActions {
  path: string
  text: string
  words(words: string[]): string
}

/** One case a kind of value, for bash and zsh. */
function valueCases(places: CompletionPlace[], actions: ValueActions): string {
  const all = places.flatMap((place) =>
    place.flags.map(({ name, value }) => ({
      pattern: `${nameOf(place)} ${name}`,
      action: actionOf(value, actions),
    })),
  )
  const byAction = Map.groupBy(all, ({ action }) => action)
  byAction.delete(undefined)
  return [...byAction]
    .map(([action, of]) => `    ${patterns(of.map(({ pattern }) => pattern))}) ${action} ;;`)
    .join('\n')
}

function actionOf(value: CompletionFlag['value'], { path, text, words }: ValueActions): string | undefined {
  if (value === 'none') return undefined
  if (value === 'path') return path
  return value === 'text' ? text : words(value)
}

function pathsBelow(places: CompletionPlace[]): string[] {
  return places.filter(({ path }) => path.length > 1).map(nameOf)
}

function nameOf({ path }: CompletionPlace): string {
  return path.join(' ')
}

function patterns(texts: string[]): string {
  return texts.map(quoted).join(' | ')
}

function wordList(words: CompletionWord[]): string {
  return words.map(({ name }) => name).join(' ')
}

function described(words: CompletionWord[]): string {
  return words.map(({ name, description }) => quoted(`${name}:${description}`)).join(' ')
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
