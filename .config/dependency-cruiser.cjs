// The layers as rules; imports go one way:
//
//                  errors
//                    ^
//                  core            pure: no package, no node: module
//                 ^    ^
//             image    kernel      image: the only protobufjs   kernel: the only koffi
//               ^       ^   ^
//               |    track  tasks <- workers
//               |       ^     ^
//               +---- engine -+    the only piscina
//                       ^
//                   index.ts <- cli    the only yargs and cli-progress
//
// Run from the project's top: `depcruise -c .config/dependency-cruiser.cjs src workers test bench`.

const ERRORS = '^src/errors[.]ts$'
const IN_A_LAYER = '^src/((errors|index)[.]ts$|(core|image|kernel|track|tasks|engine|cli)/)'
const inLayer = (name) => `^src/${name}/`
const inPackage = (name) => `^node_modules/(@types/)?${name}/`

/** A rule that `from` imports only what `allowed` lists; node: modules too if `builtins`. */
function layer(name, from, allowed, { builtins = false } = {}) {
  return {
    name: `layer-${name}`,
    comment: `${name} may import only ${allowed.join(' ') || 'nothing'}${builtins ? ' and node: modules' : ''}`,
    severity: 'error',
    from: { path: from },
    to: { pathNot: allowed, ...(builtins ? { dependencyTypesNot: ['core'] } : {}) },
  }
}

/** A rule that within the shipped code only `home` imports the package `name`. */
function onlyIn(home, name) {
  return {
    name: `only-${home.replaceAll('/', '-')}-knows-${name}`,
    comment: `${name} is imported in ${home} and nowhere else`,
    severity: 'error',
    from: { path: '^(src|workers)/', pathNot: `^${home}/` },
    to: { path: inPackage(name) },
  }
}

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    layer('errors', ERRORS, ['^$']),
    layer('core', inLayer('core'), [ERRORS, inLayer('core')]),
    layer('image', inLayer('image'), [ERRORS, inLayer('(core|image)'), inPackage('protobufjs')], {
      builtins: true,
    }),
    layer('kernel', inLayer('kernel'), [ERRORS, inLayer('(core|kernel)'), inPackage('koffi')], {
      builtins: true,
    }),
    layer('track', inLayer('track'), [ERRORS, inLayer('(core|kernel|track)')]),
    layer('tasks', inLayer('tasks'), [ERRORS, inLayer('(core|kernel|track|tasks)'), '^worker_threads$']),
    layer('workers', '^workers/', [ERRORS, inLayer('tasks'), '^worker_threads$']),
    layer(
      'engine',
      inLayer('engine'),
      [ERRORS, inLayer('(core|image|kernel|track|tasks|engine)'), inPackage('piscina')],
      {
        builtins: true,
      },
    ),
    layer('index', '^src/index[.]ts$', [ERRORS, inLayer('(core|image|kernel|engine)')]),
    layer(
      'cli',
      inLayer('cli'),
      [ERRORS, '^src/index[.]ts$', inLayer('cli'), inPackage('(yargs|cli-progress)')],
      {
        builtins: true,
      },
    ),
    onlyIn('src/image', 'protobufjs'),
    onlyIn('src/kernel', 'koffi'),
    onlyIn('src/engine', 'piscina'),
    onlyIn('src/cli', 'yargs'),
    onlyIn('src/cli', 'cli-progress'),
    {
      name: 'no-file-outside-the-layers',
      comment:
        'src holds errors.ts, index.ts and the layers; a new folder needs a place in the drawing above',
      severity: 'error',
      from: { path: '^src/', pathNot: IN_A_LAYER },
      to: {},
    },
    {
      name: 'no-import-from-outside-the-layers',
      comment: 'the same for a file that imports nothing',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^src/', pathNot: IN_A_LAYER },
    },
    {
      name: 'index-exports-only-types-of-core',
      comment: 'the functions of core are not public: only the types that the public signatures name',
      severity: 'error',
      from: { path: '^src/index[.]ts$' },
      to: { path: inLayer('core'), dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-checks-in-src',
      comment: 'what ships never imports what checks it',
      severity: 'error',
      from: { path: '^(src|workers)/' },
      to: { path: '^(test|bench)/' },
    },
    {
      name: 'no-dev-dependency-in-src',
      comment: 'what ships imports only `dependencies`',
      severity: 'error',
      from: { path: '^(src|workers)/' },
      to: { dependencyTypes: ['npm-dev'], pathNot: '^node_modules/@types/' },
    },
    {
      name: 'no-undeclared-package',
      comment: 'a package that package.json does not name is there by accident',
      severity: 'error',
      from: {},
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown', 'undetermined'] },
    },
    {
      name: 'no-unresolvable',
      comment: 'an import that leads nowhere',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'no-cycle',
      comment: 'imports go one way, inside a layer too',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'no-orphan',
      comment: 'a file that neither imports nor is imported',
      severity: 'error',
      from: { orphan: true, path: '^(src|workers)/', pathNot: '^src/(index|cli/main)[.]ts$' },
      to: {},
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    // Types count: an `import type` ties two layers as an import does.
    tsPreCompilationDeps: 'specify',
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
}
