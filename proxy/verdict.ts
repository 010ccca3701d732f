/**
 * Whether a request may have its blob, and the blob's length if the registry gave it. `acceptedAtMs`: when the registry
 * itself accepted the request; undefined if the client vouches for it. `isByOther`: it accepted the caller for another blob.
 */
export type Verdict =
  | {
      refusal?: undefined
      acceptedAtMs: number | undefined
      bytes: number | undefined
      isByOther?: true
    }
  | { refusal: 'registry_refused' | 'registry_unproven' | 'registry_busy' | 'registry_limited' }
