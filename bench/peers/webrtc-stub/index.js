/** WebTorrent checks for these and does without WebRTC where they are undefined. */
export const RTCPeerConnection = undefined
export const RTCSessionDescription = undefined
export const RTCIceCandidate = undefined
