/**
 * A 32-bit ELF executable of one segment: header, program header, code.
 *
 *   file offset 0   52 bytes   ELF header          loaded as a whole at LOAD_ADDRESS, readable and executable
 *              52   32         program header
 *              84              code, then the byte it writes
 *
 * source: man 5 elf
 */
const LOAD_ADDRESS = 0x08048000
const HEADER_BYTES = 52
const PROGRAM_HEADER_BYTES = 32
const CODE_OFFSET = HEADER_BYTES + PROGRAM_HEADER_BYTES
const ET_EXEC = 2
const EM_386 = 3
const PT_LOAD = 1
const READ_EXECUTE = 5

const INT_80 = [0xcd, 0x80] as const

/** `mov eax/ebx/ecx/edx, value`. */
function move(register: 'eax' | 'ebx' | 'ecx' | 'edx', value: number): number[] {
  const opcode = { eax: 0xb8, ecx: 0xb9, edx: 0xba, ebx: 0xbb }[register]
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return [opcode, ...bytes]
}

/** prctl(PR_SET_PDEATHSIG, SIGKILL); write(1, "\n", 1); for (;;) pause(). System calls as of 32-bit x86. */
function code(): number[] {
  const writeAndDie = (newline: number): number[] => [
    ...[...move('ebx', 1), ...move('ecx', 9), ...move('eax', 172), ...INT_80],
    ...[...move('ebx', 1), ...move('ecx', newline), ...move('edx', 1), ...move('eax', 4), ...INT_80],
  ]
  const pause = [...move('eax', 29), ...INT_80, 0xeb, 0xf7]
  const newline = LOAD_ADDRESS + CODE_OFFSET + writeAndDie(0).length + pause.length
  return [...writeAndDie(newline), ...pause, 0x0a]
}

/** The bytes of the executable. */
export function elf32Executable(): Buffer {
  const program = code()
  const file = Buffer.alloc(CODE_OFFSET + program.length)
  Buffer.from([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]).copy(file) // magic, 32 bits, little endian, version
  file.writeUInt16LE(ET_EXEC, 16)
  file.writeUInt16LE(EM_386, 18)
  file.writeUInt32LE(1, 20)
  file.writeUInt32LE(LOAD_ADDRESS + CODE_OFFSET, 24) // entry
  file.writeUInt32LE(HEADER_BYTES, 28) // where the program header is
  file.writeUInt16LE(HEADER_BYTES, 40)
  file.writeUInt16LE(PROGRAM_HEADER_BYTES, 42)
  file.writeUInt16LE(1, 44)
  const header = [PT_LOAD, 0, LOAD_ADDRESS, LOAD_ADDRESS, file.length, file.length, READ_EXECUTE, 0x1000]
  header.forEach((value, index) => file.writeUInt32LE(value, HEADER_BYTES + 4 * index))
  Buffer.from(program).copy(file, CODE_OFFSET)
  return file
}
