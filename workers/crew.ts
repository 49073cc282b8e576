/** Entry of a thread of the pool: one long task in which it serves jobs. */
export { serveJobs as default } from '../src/tasks/serve-jobs.js'
