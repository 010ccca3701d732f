/**
 * The transfer engine's public surface: `shoal node` starts one client and the proxy pulls blobs through it.
 * Nothing outside this folder imports any other file of it.
 */
export type {
  BlobKey,
  BlobProgress,
  BlobRequest,
  BytesBySource,
  Client,
  ClientOptions,
  ClientStatus,
  ImagePlan,
  OpenBlob,
  PushCopy,
  PushedBlobs,
  RegistryBlob,
  RegistryFound,
} from './client.ts'
export { CALL_OUTCOMES } from './client.ts'
export { startClient } from './node-client.ts'
