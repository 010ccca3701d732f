import { TrackerClient, type TrackerClientOptions } from '../../../client/membership/tracker-client.ts'
import { TrackerWatch } from '../../../client/membership/tracker-watch.ts'
import { Conditions } from '../../../core/conditions.ts'
import { createLog } from '../../../core/log.ts'

const log = createLog({ level: 'silent', name: 'test' })

/** Nobody sends heartbeats here, so silence means nothing: calls wait for as long as they may. */
class NoWatch extends TrackerWatch {
  override call<Answer>(send: (signal: AbortSignal) => Promise<Answer>): Promise<Answer> {
    return send(new AbortController().signal)
  }

  override probe<Answer>(send: () => Promise<Answer>): Promise<Answer> {
    return send()
  }
}

export type TrackerAccess = Omit<TrackerClientOptions, 'conditions' | 'watch'> & { conditions?: Conditions }

/** The tracker's API for a test that makes its calls itself. */
export function unwatchedTracker(access: TrackerAccess): TrackerClient {
  const { conditions = new Conditions({ log }), ...options } = access
  const watch = new NoWatch({ trackerUrl: options.trackerUrl ?? '', conditions })
  return new TrackerClient({ ...options, conditions, watch })
}
