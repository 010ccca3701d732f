import type { AdminTokenStore } from './admin-tokens.ts'
import type { BrowseStore } from './browse.ts'
import type { NodeMarkStore } from './node-marks.ts'

/** The part of the store that only administrators use. */
export interface AdministrationStore extends AdminTokenStore, NodeMarkStore, BrowseStore {}
