const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')

/** 203.0.113.7:1025 to 10.0.0.1:7443. */
export const TCP4_PART = Buffer.from('cb007107' + '0a000001' + '0401' + '1d13', 'hex')
/** 2001:db8::7 to 2001:db8::1. */
export const TCP6_PART = Buffer.from(
  '20010db8000000000000000000000007' + '20010db8000000000000000000000001' + '0401' + '1d13',
  'hex',
)

/** A header of the PROXY protocol, version 2, as a balancer sends it. */
export function headerOf({ command = 0x21, family = 0x11, body = TCP4_PART as Buffer }): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(body.length)
  return Buffer.concat([SIGNATURE, Buffer.from([command, family]), length, body])
}
