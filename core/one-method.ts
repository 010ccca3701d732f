import { HEDGE_MS, methodFor, type QuestionMethod } from './blob-question.ts'
import type { RegistryClient } from './registry-client.ts'
import type { RegistryHabits } from './registry-habits.ts'
import type { Repository } from './repository.ts'

/**
 * Asks questions whose answers are compared with each other, all by one method: a registry may answer HEAD otherwise than
 * GET. They are asked by HEAD. If that leads to no result within HEDGE_MS, or others find HEAD unreliable meanwhile, its
 * requests are ended, and all is asked anew by GET; then only those answers count. So a late HEAD gives nobody a choice of
 * answers, and a result is final.
 * @param ask settles as soon as the result is certain
 */
export async function byOneMethod<Result>(
  { habits }: RegistryClient,
  repository: Repository,
  ask: (by: QuestionMethod, signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const head = new AbortController()
  if (methodFor(habits, repository) === 'GET') return ask('GET', head.signal)
  const byHead = ask('HEAD', head.signal)
  // Where everything is late, GET is too.
  if (habits.has('late') || (await isSettledInTime(byHead, habits, repository))) return byHead
  head.abort(new Error('HEAD is late'))
  const movedAtMs = performance.now()
  const byGet = await ask('GET', new AbortController().signal)
  if (performance.now() - movedAtMs < HEDGE_MS) habits.note('headUnreliable', repository)
  return byGet
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
