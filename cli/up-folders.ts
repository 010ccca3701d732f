/** The data folder of `shoal up`, in the folder that it is started in. */
export const UP_DATA_DIR = './shoal-data'
/** The node's part of it. */
export const UP_NODE_DIR = 'node'
