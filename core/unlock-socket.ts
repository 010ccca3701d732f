/** In a locked tracker's data folder: HTTP over a Unix socket. `POST /` with the unlock key as the body. */
export const UNLOCK_SOCKET = 'unlock.sock'
