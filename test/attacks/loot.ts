/**
 * What attackers of this process got so far. Of blobs, of secrets, or of what lies behind a forbidden address. Apart
 * from `ledger.ts`, as attackers also run without a test around them.
 */
export const loot = { bytes: 0 }
