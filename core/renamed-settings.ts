/**
 * Settings that have a new name. The old one works for one release, in every place where settings are read, with a
 * warning; help and completion do not show it. A test (test/tidy/last-release.test.ts) compares with the last release, and
 * says when a row has to go.
 */
export interface RenamedSetting {
  program: 'node' | 'tracker' | 'up'
  /** The old name, as in the file. */
  from: string
  to: string
  /** The release that brings the new name, and the only one in which the old name works. */
  since: string
}

export const RENAMED_SETTINGS: readonly RenamedSetting[] = []
