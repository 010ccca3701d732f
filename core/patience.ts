/** Waiting with an end. Whoever stops waiting does not stop the work: it goes on, and its later failure is ignored. */

/** Whether work settles in time, either way. */
export async function isSettledWithin(work: Promise<unknown>, patienceMs: number): Promise<boolean> {
  const late = Promise.withResolvers<boolean>()
  // After a look at the network: this process may have been the late one.
  const timer = setTimeout(() => setImmediate(() => late.resolve(false)), patienceMs)
  timer.unref()
  const settled = work.then(
    () => true,
    () => true,
  )
  return Promise.race([settled, late.promise]).finally(() => clearTimeout(timer))
}

/**
 * The result of work that settles in time.
 * @throws as the work; an Error when it is late
 */
export async function inTime<Result>(work: Promise<Result>, patienceMs: number): Promise<Result> {
  if (!(await isSettledWithin(work, patienceMs))) throw new Error('no answer in time')
  return work
}

/**
 * The result of work, for work that obeys a signal late or not at all: undici notices an abort only once the request
 * has a connection, and a silent host never gives one.
 * @throws as the work; the signal's reason when it aborts before
 */
export function untilAborted<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  const { promise, resolve, reject } = Promise.withResolvers<Result>()
  work.then(resolve, reject)
  // Later, so that an error of the work comes first: it says more.
  const abort = () => setImmediate(() => reject(signal.reason))
  signal.addEventListener('abort', abort, { once: true })
  if (signal.aborted) abort()
  return promise.finally(() => signal.removeEventListener('abort', abort))
}
