import type { RuntimeName } from '../journal.ts'
import type { RuntimeKind } from '../plan.ts'
import { buildkit } from './buildkit.ts'
import { containerd } from './containerd.ts'
import { crio } from './cri-o.ts'
import { docker } from './docker.ts'
import { podman } from './podman.ts'

export const RUNTIME_KINDS: Record<RuntimeName, RuntimeKind<unknown>> = {
  docker: kind(docker),
  containerd: kind(containerd),
  podman: kind(podman),
  'cri-o': kind(crio),
  buildkit: kind(buildkit),
}

/** What a kind gathers is for its own plan alone. */
function kind<Facts>(one: RuntimeKind<Facts>): RuntimeKind<unknown> {
  return one as RuntimeKind<unknown>
}
