/**
 * A program that needs only the kernel: prints one line and exits with status 0. It is the smallest proof that a
 * pulled image can run, and it needs no compiler and no package.
 */

export type ProgramArchitecture = 'amd64' | 'arm64'

const FILE_HEADER_BYTES = 64
const PROGRAM_HEADER_BYTES = 56
const CODE_OFFSET = FILE_HEADER_BYTES + PROGRAM_HEADER_BYTES
const LOAD_ADDRESS = 0x400000n
/** Length of the line: arm64's `movz` takes 16 bits. */
const LINE_BYTES_MAX = 4096
/** e_machine (System V ABI): EM_X86_64 and EM_AARCH64. */
const MACHINE = { amd64: 62, arm64: 183 } as const

/** @throws RangeError when the line is empty or longer than LINE_BYTES_MAX */
export function staticProgram(architecture: ProgramArchitecture, line: string): Buffer {
  const text = Buffer.from(`${line}\n`)
  if (text.length < 2 || text.length > LINE_BYTES_MAX) throw new RangeError('the line does not fit')
  const code = architecture === 'amd64' ? amd64Code(text.length) : arm64Code(text.length)
  const program = Buffer.concat([Buffer.alloc(CODE_OFFSET), code, text])
  writeFileHeader(program, MACHINE[architecture])
  writeProgramHeader(program)
  return program
}

/** The image architecture that runs on this machine. */
export function architectureOfThisMachine(): ProgramArchitecture {
  return process.arch === 'arm64' ? 'arm64' : 'amd64'
}

/** Linux system calls: 1 is write, 60 is exit; the number in eax, arguments in edi, rsi, edx. */
function amd64Code(lineBytes: number): Buffer {
  const code = Buffer.from([
    ...[0xb8, 1, 0, 0, 0], // mov eax, 1
    ...[0xbf, 1, 0, 0, 0], // mov edi, 1 (standard output)
    ...[0x48, 0x8d, 0x35, 0, 0, 0, 0], // lea rsi, [rip + distance to the line]
    ...[0xba, 0, 0, 0, 0], // mov edx, length of the line
    ...[0x0f, 0x05], // syscall
    ...[0xb8, 60, 0, 0, 0], // mov eax, 60
    ...[0x31, 0xff], // xor edi, edi
    ...[0x0f, 0x05], // syscall
  ])
  const afterLea = 17
  code.writeUInt32LE(code.length - afterLea, afterLea - 4)
  code.writeUInt32LE(lineBytes, afterLea + 1)
  return code
}

/** Linux system calls: 64 is write, 93 is exit; the number in x8, arguments in x0, x1, x2. */
function arm64Code(lineBytes: number): Buffer {
  const movz = (register: number, value: number) => 0xd2800000 + value * 0x20 + register
  const systemCall = 0xd4000001
  const instructions = [
    movz(8, 64),
    movz(0, 1),
    0, // adr x1, the line: filled in below, for its distance is counted in instructions
    movz(2, lineBytes),
    systemCall,
    movz(8, 93),
    movz(0, 0),
    systemCall,
  ]
  const adr = 2
  // A distance that is a multiple of four is stored in `immhi`, which begins at bit 5.
  instructions[adr] = 0x10000001 + (instructions.length - adr) * 0x20
  const code = Buffer.alloc(instructions.length * 4)
  for (const [index, instruction] of instructions.entries()) code.writeUInt32LE(instruction, index * 4)
  return code
}

/** Elf64_Ehdr (System V ABI, chapter 4). */
function writeFileHeader(program: Buffer, machine: number): void {
  program.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]) // magic, 64 bits, little-endian, version 1
  program.writeUInt16LE(2, 16) // e_type: executable at a fixed address
  program.writeUInt16LE(machine, 18)
  program.writeUInt32LE(1, 20) // e_version
  program.writeBigUInt64LE(LOAD_ADDRESS + BigInt(CODE_OFFSET), 24) // e_entry
  program.writeBigUInt64LE(BigInt(FILE_HEADER_BYTES), 32) // e_phoff
  program.writeUInt16LE(FILE_HEADER_BYTES, 52)
  program.writeUInt16LE(PROGRAM_HEADER_BYTES, 54)
  program.writeUInt16LE(1, 56) // e_phnum
}

/** Elf64_Phdr: the whole file, readable and executable, at LOAD_ADDRESS. */
function writeProgramHeader(program: Buffer): void {
  const at = FILE_HEADER_BYTES
  const alignment = 0x10000n // arm64 kernels may have pages of 64 KiB
  program.writeUInt32LE(1, at) // PT_LOAD
  program.writeUInt32LE(0b101, at + 4) // PF_R | PF_X
  program.writeBigUInt64LE(LOAD_ADDRESS, at + 16)
  program.writeBigUInt64LE(LOAD_ADDRESS, at + 24)
  program.writeBigUInt64LE(BigInt(program.length), at + 32)
  program.writeBigUInt64LE(BigInt(program.length), at + 40)
  program.writeBigUInt64LE(alignment, at + 48)
}
