import { HEDGE_MS, methodFor, type QuestionMethod } from './blob-question.ts'
import type { RegistryClient } from './registry-client.ts'
import type { RegistryHabits } from './registry-habits.ts'
import type { Repository } from './repository.ts'

/**
 * Asks questions whose answers are compared with each other, all by one method: a registry may answer HEAD otherwise than
 * GET. They are asked by HEAD. If that leads to no result within HEDGE_MS, or another question finds HEAD unreliable meanwhile, all are
 * asked by GET as well. The first result counts, whatever it says, and ends the other requests: a second one would be a
 * second chance.
 * @param ask settles as soon as its result is certain
 */
export async function byOneMethod<Result>(
  { habits }: RegistryClient,
  repository: Repository,
  ask: (by: QuestionMethod, signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const decided = new AbortController()
  if (methodFor(habits, repository) === 'GET') return ask('GET', decided.signal)
  const byHead = ask('HEAD', decided.signal)
  // Where everything is late, GET is too.
  if (habits.has('late') || (await isSettledInTime(byHead, habits, repository))) return byHead
  const byGet = ask('GET', decided.signal).then((result) => {
    if (!decided.signal.aborted) habits.note('headUnreliable', repository)
    return result
  })
  // If neither method answers, HEAD's error is thrown.
  return Promise.any([byHead, byGet])
    .catch(() => byHead)
    .finally(() => decided.abort(new Error('decided by the other method')))
}

async function isSettledInTime(
  byHead: Promise<unknown>,
  habits: RegistryHabits,
  repository: Repository,
): Promise<boolean> {
  const late = Promise.withResolvers<boolean>()
  // After a look at the network: this process may have been the late one.
  const timer = setTimeout(() => setImmediate(() => late.resolve(false)), HEDGE_MS)
  const stop = habits.watch(() => methodFor(habits, repository) === 'GET' && late.resolve(false))
  const settled = byHead.then(
    () => true,
    () => true,
  )
  return Promise.race([settled, late.promise]).finally(() => {
    clearTimeout(timer)
    stop()
  })
}
