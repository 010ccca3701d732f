import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

/** Whole stories and attacks: seconds each, as they wait out real bounds. */
const STORIES = ['test/pull/**/*.test.ts', 'test/attacks/**/*.test.ts', 'test/client/**/*fuzz.test.ts']
/** Two minutes of simulations on all cores: nothing that goes by the clock runs beside them. */
const POLICY = ['test/bench/policy-rules.test.ts']
const SYSTEM = ['**/*.system.test.ts']
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
 * daemons, registries and namespaces, one at a time; with SHOAL_TESTS=full also what is not always to be had. `last`: one check over all attacks.
 */
export default defineConfig({
  test: {
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
          name: 'system',
          include: isFull ? [...SYSTEM, ...FULL] : SYSTEM,
          exclude: ['**/node_modules/**'],
          env,
          retry,
          pool: 'forks',
          sequence: { groupOrder: 3 },
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
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
})
