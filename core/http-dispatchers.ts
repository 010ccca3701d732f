import api from 'undici/lib/api/index.js'
import buildConnector from 'undici/lib/core/connect.js'
import Agent from 'undici/lib/dispatcher/agent.js'
import Client from 'undici/lib/dispatcher/client.js'
import Dispatcher from 'undici/lib/dispatcher/dispatcher.js'
import Pool from 'undici/lib/dispatcher/pool.js'

/**
 * undici without its unused parts (fetch, WebSocket, caches, mocks): 2 MiB of a node's memory instead of 12. All code on
 * nodes takes undici's classes from here.
 */

// The package's own index does this too: without it a dispatcher has no `request` and `stream`.
Object.assign(Dispatcher.prototype, api)

export { Agent, buildConnector, Client, Pool }
