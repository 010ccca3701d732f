import { defineConfig } from 'vitest/config'

/** `fast`: no root, no Debian parts, in parallel. `system`: real daemons, registries and namespaces, one at a time. */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'fast',
          include: ['**/*.test.ts'],
          exclude: ['**/*.system.test.ts', '**/node_modules/**'],
          pool: 'forks',
          sequence: { groupOrder: 0 },
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'system',
          include: ['**/*.system.test.ts'],
          pool: 'forks',
          sequence: { groupOrder: 1 },
          fileParallelism: false,
          testTimeout: 240_000,
          hookTimeout: 240_000,
        },
      },
    ],
  },
})
