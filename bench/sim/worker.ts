import { parentPort, workerData } from 'node:worker_threads'
import { type SimOptions, simulate } from './simulate.ts'

/** One run in a thread of its own. */
parentPort!.postMessage(simulate(workerData as SimOptions))
