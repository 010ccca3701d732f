/** A Unix socket in a locked tracker's data folder. Takes `POST /` over HTTP with the unlock key as the body. */
export const UNLOCK_SOCKET = 'unlock.sock'
/** A Unix socket in a running tracker's data folder. Serves the admin API (HTTP) to the tracker's user and root. */
export const ADMIN_SOCKET = 'admin.sock'
