/**
 * The transfer engine's public surface: `shoal node` starts one client and the proxy pulls blobs through it.
 * Nothing outside this folder imports any other file of it.
 */
export type {
  BlobKey,
  BlobProgress,
  BlobRequest,
  Client,
  ClientOptions,
  HeldBlob,
  ImagePlan,
  OpenBlob,
} from './client.ts'
export { startClient } from './node-client.ts'
