/**
 * How much longer than on a machine of one's own a test waits before it gives up: in the virtual machine of test/vm the
 * processor is emulated. What a test measures is not multiplied, only how long it hopes.
 */
export const PATIENCE = process.env.RUN_IN_VM === undefined ? 1 : 6
