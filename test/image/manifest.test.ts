import { describe, expect, it } from '@jest/globals'

import { decodeManifest, encodeManifest } from '../../src/image/manifest.js'
import { manifestOf, thrownBy } from './fixtures.js'

const MANIFEST = manifestOf([{ name: 'pages-1.img', bytes: 12288 }])

/** The JSON of a valid manifest with `value` at `path`; undefined leaves the field out. */
function changed(path: readonly (string | number)[], value: unknown): Uint8Array {
  const root: unknown = JSON.parse(Buffer.from(encodeManifest(MANIFEST)).toString())
  return Buffer.from(JSON.stringify(replaceAt(root, path, value)))
}

function replaceAt(node: unknown, path: readonly (string | number)[], value: unknown): unknown {
  const [key, ...rest] = path
  if (key === undefined) return value
  if (Array.isArray(node)) {
    return node.map((item: unknown, index) => (index === key ? replaceAt(item, rest, value) : item))
  }
  if (typeof node !== 'object' || node === null) throw new Error('no such field')
  return Object.fromEntries(
    Object.entries(node).map(([name, item]) => [name, name === key ? replaceAt(item, rest, value) : item]),
  )
}

function complaint(bytes: Uint8Array): string {
  const error = thrownBy(() => decodeManifest(bytes, '/d/tidemark.json'))
  expect(error).toMatchObject({ code: 'BAD_IMAGE', details: { path: '/d/tidemark.json' } })
  return String(error)
}

/** The paths of all fields in `node`. */
function fieldPaths(node: unknown, path: readonly (string | number)[] = []): (string | number)[][] {
  if (Array.isArray(node)) return node.flatMap((item, index) => fieldPaths(item, [...path, index]))
  if (typeof node !== 'object' || node === null) return []
  return Object.entries(node).flatMap(([name, item]) => [
    [...path, name],
    ...fieldPaths(item, [...path, name]),
  ])
}

describe('a manifest', () => {
  it('comes back as it was', () => {
    expect(decodeManifest(encodeManifest(MANIFEST), 'x')).toEqual(MANIFEST)
  })

  it('is text that ends with a line', () => {
    expect(Buffer.from(encodeManifest(MANIFEST)).toString()).toMatch(
      /^\{\n {2}"formatVersion": 1,\n[^]*\}\n$/,
    )
  })

  it('may have fields that this version does not know', () => {
    const extended = { ...MANIFEST, later: 1, target: { ...MANIFEST.target, later: 2 } }
    expect(decodeManifest(Buffer.from(JSON.stringify(extended)), 'x')).toEqual(MANIFEST)
  })

  const paths = fieldPaths(MANIFEST).filter(([first, ...rest]) => first !== 'stats' || rest.length === 0)

  it('names each field that is missing', () => {
    for (const path of paths) {
      expect(complaint(changed(path, undefined))).toMatch(
        new RegExp(`field .*${String(path.at(-1))} is missing`),
      )
    }
  })

  it('names each field that has the wrong type', () => {
    for (const path of paths)
      expect(complaint(changed(path, null))).toContain(`${String(path.at(-1))} is not`)
  })

  it.each([
    [['snapshotId'], 'not-a-uuid', 'field snapshotId is not valid: "not-a-uuid"'],
    [['createdAt'], 'yesterday', 'field createdAt is not valid'],
    [['pageSize'], 4095, 'field pageSize is not a power of two'],
    [['pageSize'], 0, 'field pageSize is not a power of two'],
    [['target', 'auxRandom'], '00', 'field target.auxRandom is not valid'],
    [['target', 'pid'], -1, 'field target.pid is not a whole number'],
    [['counts', 'runs'], 1.5, 'field counts.runs is not a whole number'],
    [['files', 0, 'name'], '../x', 'field files[0].name is not valid'],
    [['files', 0, 'bytes'], 2 ** 60, 'field files[0].bytes is not a whole number'],
    [['missing', 0, 'start'], '4096', 'field missing[0].start is not valid'],
    [['warnings', 0], 7, 'field warnings[0] is not a string'],
    [['stats', 'freezeUs'], 'long', 'field stats.freezeUs is not a number'],
    [['target'], [], 'field target is not an object'],
  ])('refuses %j as %j', (path, value, expected) => {
    expect(complaint(changed(path, value))).toContain(expected)
  })

  it('of another format says so, and what to do', () => {
    expect(complaint(changed(['formatVersion'], 2))).toMatch(
      /formatVersion 2 is unknown, .* reads 1: use the version/,
    )
  })

  it('that is cut off anywhere is refused', () => {
    const bytes = encodeManifest(MANIFEST)
    for (let length = 0; length < bytes.length - 2; length += 7) {
      expect(complaint(bytes.subarray(0, length))).toContain('no JSON, or truncated')
    }
  })

  it('that is not an object or not UTF-8 is refused', () => {
    expect(complaint(Buffer.from('[]'))).toContain('the whole is not an object')
    expect(complaint(Uint8Array.of(0x22, 0xff, 0x22))).toContain('no JSON')
  })
})
