import { Retries } from '../handout/retries.ts'
import { AnswerTimes } from './answer-times.ts'
import { RangeWitnesses } from './range-witnesses.ts'
import { Refetches } from './refetches.ts'

/** What a tracker knows of a swarm and does not store: it is found out again. */
export class Unstored {
  readonly refetches = new Refetches()
  readonly answers = new AnswerTimes()
  readonly retries = new Retries()
  readonly rangeWitnesses = new RangeWitnesses()
}
