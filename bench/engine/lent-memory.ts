import { open, rm } from 'node:fs/promises'

const STEP_BYTES = 1024 * 1024

/**
 * Makes the kernel hold this much memory that the host has really lent: writes a file of this size and removes it. On
 * a virtual machine the first touch of a page that the host took back costs more than all of a transfer (measured:
 * 2.5 s a GiB against 0.7), and chance would decide which system meets such pages.
 */
export async function fillPageCache(path: string, bytes: number): Promise<void> {
  const file = await open(path, 'wx')
  try {
    const step = Buffer.alloc(STEP_BYTES, 1)
    for (let written = 0; written < bytes; written += STEP_BYTES) await file.write(step)
  } finally {
    await file.close()
    await rm(path)
  }
}
