import { randomBytes } from 'node:crypto'
import { beforeEach, describe, expect, it } from 'vitest'
import { digestFromHex } from '../../core/digest.ts'
import { Sealer } from '../../tracker/authority/sealer.ts'
import { StoredAnswers } from '../../tracker/pull/stored-answers.ts'
import type { AcceptanceRecord, Marked, MembershipRecord } from '../../tracker/store/memory.ts'

const ACCEPTANCE = { id: 'hash', digest: digestFromHex('a'.repeat(64)), untilMs: 9 }
const MEMBERSHIP = { id: 'registry team/app digest', bytes: 5, untilMs: 9 }

describe('answers that trackers keep for one another', () => {
  let acceptance: Marked<AcceptanceRecord>
  let membership: Marked<MembershipRecord>
  let answers: StoredAnswers
  const sealer = new Sealer(randomBytes(32))
  const store = { acceptance: async () => acceptance, membership: async () => membership }
  beforeEach(() => {
    answers = new StoredAnswers({ store, sealer })
    acceptance = answers.markedAcceptances([ACCEPTANCE])[0]!
    membership = answers.markedMemberships([MEMBERSHIP])[0]!
  })

  it('count at every tracker that has the data key', async () => {
    expect(await answers.acceptance('hash')).toMatchObject(ACCEPTANCE)
    expect(await answers.membership('registry team/app digest')).toMatchObject(MEMBERSHIP)
  })

  it('do not count when a row was written, changed or moved by who has not the key', async () => {
    const none = async () => {
      expect([await answers.acceptance('hash'), await answers.membership('x')]).toEqual([
        undefined,
        undefined,
      ])
    }
    const [own, member] = [acceptance, membership]
    for (const mark of [null, Buffer.alloc(32), Buffer.alloc(0)]) {
      acceptance = { ...own, mark }
      membership = { ...member, mark }
      await none()
    }
    acceptance = { ...own, untilMs: 10 }
    membership = { ...member, bytes: null }
    await none()
    acceptance = { ...own, id: 'another' }
    membership = { ...member, id: 'registry team/other digest' }
    await none()
    acceptance = { ...own, mark: member.mark }
    membership = { ...member, mark: own.mark }
    await none()
  })

  it('do not count any more once the data key was replaced', async () => {
    answers = new StoredAnswers({ store, sealer: new Sealer(randomBytes(32)) })
    expect(await answers.acceptance('hash')).toBeUndefined()
    sealer.adopt(new Sealer(randomBytes(32)))
    expect(await new StoredAnswers({ store, sealer }).membership('x')).toBeUndefined()
  })
})
