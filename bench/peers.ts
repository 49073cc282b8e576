/** Other tools, as `--against` names them: `criu=PATH`, `gcore`, `gcore=PATH`. */
import { criu, gcore, type Candidate } from './candidates.js'

/** The candidates that `words` name, each with or without a path. Throws for a tool that the benchmark does not know. */
export function peersFrom(words: readonly string[]): Candidate[] {
  return words
    .flatMap((word) => word.split(','))
    .map((word) => {
      const [name = '', path = name] = word.split('=')
      if (name === 'criu') return criu(path)
      if (name === 'gcore') return gcore(path)
      throw new Error(`--against ${word}: it knows criu=PATH and gcore[=PATH]`)
    })
}
