import { isIP, type Socket } from 'node:net'
import { ProxyHeaderMalformedError, ProxyHeaderMissingError } from '../errors.ts'

/**
 * The PROXY protocol, version 2 (HAProxy, "The PROXY protocol, Versions 1 & 2", section 2.2): before anything else a
 * balancer says for whom it opened the connection. Signature (12 bytes), version and command (1), family (1), length (2,
 * big-endian), then addresses and TLVs.
 */

const SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a])
const FIXED_BYTES = 16
/** Bound of a PROXY header with its TLVs, in bytes. Balancers send less than 300 bytes; the field could say 64 KiB. */
export const PROXY_HEADER_BYTES_MAX = 1024
/** How long a balancer may take for its PROXY header, which it sends at once. */
export const PROXY_HEADER_MS_MAX = 3_000

/** High four bits: version; low four: command. */
const LOCAL = 0x20
const PROXY = 0x21
/** High four bits: address family; low four: TCP. */
const TCP4 = 0x11
const TCP6 = 0x21
/** Source and destination address, then both ports. */
const ADDRESS_BYTES = { [TCP4]: 12, [TCP6]: 36 } as Record<number, number>

export interface ProxyHeader {
  /** Of the header; TLS begins after it. */
  bytes: number
  /** The address of whoever connected to the balancer; undefined for the balancer's own connections (LOCAL). */
  source: string | undefined
}

/**
 * @param received what came so far
 * @returns undefined while more is needed
 * @throws ProxyHeaderMissingError, ProxyHeaderMalformedError as soon as it cannot become a header
 */
export function readProxyHeader(received: Buffer): ProxyHeader | undefined {
  const seen = Math.min(received.length, SIGNATURE.length)
  if (!received.subarray(0, seen).equals(SIGNATURE.subarray(0, seen)))
    throw new ProxyHeaderMissingError(
      received.subarray(0, 6).toString('latin1').startsWith('PROXY ')
        ? 'the balancer speaks version 1 of the PROXY protocol'
        : 'the balancer sends no PROXY header of version 2',
    )
  if (received.length < FIXED_BYTES) return undefined
  const command = received[12]!
  const family = received[13]!
  const bytes = FIXED_BYTES + received.readUInt16BE(14)
  if (bytes > PROXY_HEADER_BYTES_MAX) throw malformed('it is too long')
  if (command !== LOCAL && command !== PROXY) throw malformed('its version or command is unknown')
  const addressBytes = ADDRESS_BYTES[family]
  // Section 2.2: a receiver ignores what a LOCAL header says.
  if (command === PROXY && addressBytes === undefined) throw malformed('it is for no TCP connection')
  if (command === PROXY && bytes < FIXED_BYTES + addressBytes!) throw malformed('its addresses are cut off')
  if (received.length < bytes) return undefined
  if (command === LOCAL) return { bytes, source: undefined }
  checkTlvs(received.subarray(FIXED_BYTES + addressBytes!, bytes))
  return { bytes, source: addressOf(family, received.subarray(FIXED_BYTES)) }
}

/** Section 2.2.1: type (1), length (2), value. What they say does not matter here. */
function checkTlvs(tlvs: Buffer): void {
  let at = 0
  while (at < tlvs.length) {
    if (at + 3 > tlvs.length) throw malformed('a TLV is cut off')
    at += 3 + tlvs.readUInt16BE(at + 1)
  }
  if (at !== tlvs.length) throw malformed('a TLV is longer than the header')
}

function addressOf(family: number, addresses: Buffer): string {
  if (family === TCP4) return [...addresses.subarray(0, 4)].join('.')
  const groups = Array.from({ length: 8 }, (_, index) => addresses.readUInt16BE(index * 2))
  // Of IPv4, in IPv6's form (RFC 4291 §2.5.5.2).
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff
  const text = isMapped
    ? [...addresses.subarray(12, 16)].join('.')
    : groups.map((group) => group.toString(16)).join(':')
  return isIP(text) === 6 ? new URL(`http://[${text}]`).hostname.slice(1, -1) : text
}

/**
 * Takes the header from the front of a new connection, and leaves everything after it.
 * @throws ProxyHeaderMissingError, ProxyHeaderMalformedError also when it does not come in time, or the connection ends before
 */
export function takeProxyHeader(socket: Socket): Promise<ProxyHeader> {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0)
    const done = () => {
      clearTimeout(timer)
      socket.off('readable', onReadable).off('close', onClose)
    }
    const fail = (error: unknown) => {
      done()
      reject(error)
    }
    const onClose = () => fail(malformed('the connection ended in it'))
    const onReadable = () => {
      try {
        for (
          let chunk = socket.read() as Buffer | null;
          chunk !== null;
          chunk = socket.read() as Buffer | null
        )
          received = Buffer.concat([received, chunk])
        const header = readProxyHeader(received)
        if (header === undefined) return
        done()
        if (received.length > header.bytes) socket.unshift(received.subarray(header.bytes))
        resolve(header)
      } catch (error) {
        fail(error)
      }
    }
    const timer = setTimeout(
      () => fail(new ProxyHeaderMissingError('the balancer sent no PROXY header in time')),
      PROXY_HEADER_MS_MAX,
    )
    timer.unref()
    socket.on('readable', onReadable).once('close', onClose)
  })
}

function malformed(why: string): ProxyHeaderMalformedError {
  return new ProxyHeaderMalformedError(`the PROXY header is malformed: ${why}`)
}
