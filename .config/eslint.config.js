// Code style as rules. Run from the project's top: `eslint -c .config/eslint.config.js`.

import { builtinModules } from 'node:module'
import js from '@eslint/js'
import { defineConfig } from 'eslint/config'
import tseslint from 'typescript-eslint'
import { documentedExports } from './eslint-documented-exports.js'

const TYPESCRIPT = ['src/**/*.ts', 'workers/**/*.ts', 'test/**/*.ts', 'bench/**/*.ts']
const SHIPPED = ['src/**/*.ts', 'workers/**/*.ts']
const CHECKS = ['test/**/*.ts', 'bench/**/*.ts']

/** Foreign layouts, which the type system cannot see into: the only files that may write `as`, beside a reason. */
const MAY_ASSERT = ['src/kernel/libc.ts', 'src/image/schema.ts', 'src/**/ffi*.ts']

/** The files whose purpose is to hand on what another file exports. */
const MAY_REEXPORT = ['src/index.ts', 'workers/**/*.ts']

const BARE_BUILTINS = builtinModules.filter((name) => !name.startsWith('node:') && !name.startsWith('_'))
const BARE_BUILTIN_PATTERN = `^(${BARE_BUILTINS.map((name) => name.replaceAll('/', '\\u002F')).join('|')})$`
const RELATIVE_PATTERN = '^\\.{1,2}\\u002F'

const BANNED_SYNTAX = [
  {
    selector: 'BinaryExpression[operator="instanceof"]',
    message: 'instanceof fails for what another thread or realm made: compare `.code` or `.name`.',
  },
  { selector: 'TSEnumDeclaration', message: 'Use a union of literals, or a readonly object `as const`.' },
  { selector: 'TSModuleDeclaration', message: 'A file is the only namespace.' },
  { selector: 'ExportDefaultDeclaration', message: 'Export by name: one thing has one name everywhere.' },
  {
    selector: 'ImportExpression[source.type!="Literal"]',
    message: 'A computed import hides a dependency from the layer check.',
  },
  {
    selector: `ImportExpression[source.value=/${BARE_BUILTIN_PATTERN}/]`,
    message: 'Import a builtin with its node: prefix.',
  },
  ...['ImportDeclaration', 'ImportExpression', 'ExportNamedDeclaration', 'ExportAllDeclaration'].map(
    (node) => ({
      selector: `${node}[source.value=/${RELATIVE_PATTERN}/]:not([source.value=/\\.js$/])`,
      message: 'A relative import ends in .js.',
    }),
  ),
]

const NO_BARREL = [
  { selector: 'ExportAllDeclaration', message: 'No barrel files: import from the file that defines it.' },
  {
    selector: 'ExportNamedDeclaration[source]',
    message: 'No barrel files: import from the file that defines it.',
  },
]

const BARREL_STAR = [
  { selector: 'ExportAllDeclaration', message: 'Name what is exported: a star makes every helper public.' },
]

export default defineConfig(
  { ignores: ['dist/', 'node_modules/'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error', reportUnusedInlineConfigs: 'error' } },
  js.configs.recommended,
  {
    files: TYPESCRIPT,
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: {
      parserOptions: { project: './tsconfig.json', tsconfigRootDir: `${import.meta.dirname}/..` },
    },
    rules: {
      eqeqeq: 'error',
      'no-restricted-imports': [
        'error',
        { paths: BARE_BUILTINS.map((name) => ({ name, message: `Import 'node:${name}'.` })) },
      ],
      'no-restricted-syntax': ['error', ...BANNED_SYNTAX, ...NO_BARREL],
      '@typescript-eslint/consistent-type-assertions': ['error', { assertionStyle: 'never' }],
      '@typescript-eslint/consistent-type-imports': ['error', { disallowTypeAnnotations: false }],
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        {
          allowNumber: true,
          allowAny: false,
          allowBoolean: false,
          allowNever: false,
          allowNullish: false,
          allowRegExp: false,
        },
      ],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-unnecessary-condition': [
        'error',
        { allowConstantLoopConditions: 'only-allowed-literals' },
      ],
      // A loop over a page's or a bitmap's index is a hot loop: an iterator there costs an object per step.
      '@typescript-eslint/prefer-for-of': 'off',
    },
  },
  {
    files: SHIPPED,
    plugins: { tidemark: { rules: { 'documented-exports': documentedExports } } },
    rules: {
      'tidemark/documented-exports': 'error',
      'max-lines': ['error', { max: 300 }],
      'max-lines-per-function': ['error', { max: 60, skipBlankLines: true, skipComments: true }],
    },
  },
  {
    files: MAY_REEXPORT,
    rules: { 'no-restricted-syntax': ['error', ...BANNED_SYNTAX, ...BARREL_STAR] },
  },
  {
    files: MAY_ASSERT,
    rules: { '@typescript-eslint/consistent-type-assertions': ['error', { assertionStyle: 'as' }] },
  },
  {
    // Architecture invariant: only the command knows of a terminal.
    files: SHIPPED,
    ignores: ['src/cli/**'],
    rules: {
      'no-console': 'error',
      'no-restricted-properties': [
        'error',
        ...['stdin', 'stdout', 'stderr', 'exit', 'exitCode', 'argv'].map((property) => ({
          object: 'process',
          property,
          message: 'Only src/cli knows of a terminal and of an exit status.',
        })),
      ],
    },
  },
  {
    // Architecture invariant: the core is pure, so what it answers depends on its arguments alone.
    files: ['src/core/**/*.ts'],
    rules: {
      'no-restricted-globals': [
        'error',
        ...[
          'process',
          'Buffer',
          'Date',
          'performance',
          'setTimeout',
          'setInterval',
          'setImmediate',
          'fetch',
        ].map((name) => ({ name, message: 'The core is pure: no Node, no clock.' })),
      ],
      'no-restricted-properties': [
        'error',
        { object: 'Math', property: 'random', message: 'The core is pure: no chance.' },
      ],
    },
  },
  {
    files: CHECKS,
    rules: {
      'max-lines': ['error', { max: 600 }],
      // Jest's matchers and its `describe` take methods and blocks as these two rules would not have them.
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/no-empty-function': 'off',
      '@typescript-eslint/require-await': 'off',
    },
  },
  {
    files: ['.config/*.{js,cjs}', '.ci/*.js'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', module: 'writable' } },
  },
)
