/**
 * Node's `http`, for every process that runs on. An `import` of its values reads all its members, and `WebSocket` among
 * them loads the undici inside Node, which nothing here uses: a tenth of the time until a node listens.
 */
export const { createServer, request, STATUS_CODES } = process.getBuiltinModule('node:http')
