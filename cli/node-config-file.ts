/** The node's settings, unless a command is told another file. */
export const NODE_CONFIG_FILE = '/etc/shoal/node.json'
