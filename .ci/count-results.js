// The last line of a CI run: `N passed, N failed, N skipped`, summed from the JSON results of every test run.
//
//     node .ci/count-results.js FAILED_STEPS [EXIT_STATUS=RESULTS.json ...]
//
// FAILED_STEPS is how many steps other than test runs failed (a lint, an install); each adds one to "failed", since
// a green count beside a red lint would be read as green. Exits with 1 if anything failed, else 0.

import { readFileSync } from 'node:fs'

/** The counts of one test run: its results as Jest wrote them, or undefined where it wrote none that can be read. */
function countRun(results, exitStatus) {
  if (!Number.isInteger(results?.numTotalTests)) return { passed: 0, failed: 1, skipped: 0 }
  const passed = results.numPassedTests
  // A suite that could not load has no tests to fail.
  let failed = results.numFailedTests + results.numRuntimeErrorTestSuites
  // Nothing tested is nothing shown; and a run may fail with every test green (a leak, a timeout, a global hook).
  if (failed === 0 && (passed === 0 || exitStatus !== 0 || results.success !== true)) failed = 1
  return { passed, failed, skipped: results.numPendingTests + results.numTodoTests }
}

/** The sum over all runs, `{ results, exitStatus }` each, and the steps that failed beside them. */
function countResults(failedSteps, runs) {
  const total = { passed: 0, failed: failedSteps, skipped: 0 }
  for (const { results, exitStatus } of runs) {
    const run = countRun(results, exitStatus)
    total.passed += run.passed
    total.failed += run.failed
    total.skipped += run.skipped
  }
  if (total.passed === 0 && total.failed === 0) total.failed = 1
  return total
}

function readRun(argument) {
  const [, exitStatus, path] = /^(\d+)=(.+)$/.exec(argument) ?? []
  let results
  try {
    results = JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    results = undefined
  }
  return { results, exitStatus: Number(exitStatus) }
}

const [failedSteps, ...runs] = process.argv.slice(2)
const { passed, failed, skipped } = countResults(Number(failedSteps), runs.map(readRun))
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
process.exitCode = failed === 0 ? 0 : 1
