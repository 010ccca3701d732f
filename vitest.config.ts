import { rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

/** Whole stories and attacks: seconds each, as they wait out real bounds. */
const STORIES = ['test/pull/**/*.test.ts', 'test/attacks/**/*.test.ts', 'test/client/**/*fuzz.test.ts']
/** Two minutes of simulations on all cores: nothing that goes by the clock runs beside them. */
const POLICY = ['test/bench/policy-rules.test.ts']
const SYSTEM = ['**/*.system.test.ts']
/** Of them those that do not go by the clock, and are alone in namespaces or roots of their own. */
const APART = [
  'test/debian-12.system.test.ts',
  'test/{deploy,interop,runtimes,tracker}/**/*.system.test.ts',
  'test/cli/attach/**/*.system.test.ts',
]
/** What `npm run test:full` adds: parts that may vanish from Debian, and what takes minutes. */
const FULL = ['**/*.full.test.ts']
const isFull = process.env.SHOAL_TESTS === 'full'
/** Sums up what the attacks of this run were served. */
const LAST = ['test/attacks/all-attacks.test.ts']

/**
 * Stories go by the clock, and a CI's machine is shared: there each has a second try, and those that needed it are named
 * before the totals. By hand none has.
 */
const retry = process.env.CI === 'true' ? 1 : 0

/** Attacks write down here what they were served (test/attacks/ledger.ts). */
const env = { SHOAL_ATTACK_LEDGER: join(tmpdir(), `shoal-attacks-${process.pid}.jsonl`) }
process.once('exit', () => rmSync(env.SHOAL_ATTACK_LEDGER, { force: true }))

/**
 * `fast`: what `npm run check` runs. `stories`: clusters in one process, no root, no Debian parts. `policy`: each rule of
 * the swarm's policy and a simulated swarm that is worse without it. `system`: real
 * daemons, registries and namespaces, one at a time; with SHOAL_TESTS=full also what is not always to be had. `apart`: such
 * with a place of their own, side by side. `last`: one check over all attacks.
 */
export default defineConfig({
  test: {
    // vitest's own default leaves a processor free; tests wait more than they compute.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    projects: [
      {
        test: {
          name: 'fast',
          include: ['**/*.test.ts'],
          exclude: [...STORIES, ...POLICY, ...SYSTEM, ...FULL, '**/node_modules/**'],
          pool: 'forks',
          sequence: { groupOrder: 0 },
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'stories',
          include: STORIES,
          exclude: [...SYSTEM, ...LAST],
          env,
          retry,
          pool: 'forks',
          sequence: { groupOrder: 1 },
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'policy',
          include: POLICY,
          pool: 'forks',
          sequence: { groupOrder: 2 },
          maxConcurrency: 2,
        },
      },
      {
        test: {
          name: 'apart',
          include: APART,
          exclude: ['**/node_modules/**'],
          env,
          retry,
          pool: 'forks',
          sequence: { groupOrder: 3 },
          testTimeout: 240_000,
          hookTimeout: 240_000,
        },
      },
      {
        test: {
          name: 'system',
          include: isFull ? [...SYSTEM, ...FULL] : SYSTEM,
          exclude: [...APART, '**/node_modules/**'],
          env,
          retry,
          pool: 'forks',
          sequence: { groupOrder: 4 },
          fileParallelism: false,
          testTimeout: 240_000,
          hookTimeout: 240_000,
        },
      },
      {
        test: {
          name: 'last',
          include: LAST,
          env,
          pool: 'forks',
          sequence: { groupOrder: 5 },
        },
      },
    ],
  },
})
