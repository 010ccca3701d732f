/** In a locked tracker's data folder: HTTP over a Unix socket. `POST /` with the unlock key as the body. */
export const UNLOCK_SOCKET = 'unlock.sock'
/** In a running tracker's data folder: the admin API (HTTP) over a Unix socket, for the tracker's user and root. */
export const ADMIN_SOCKET = 'admin.sock'
