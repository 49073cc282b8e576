import { describe, expect, it } from '@jest/globals'

import { decodeManifest, encodeManifest, type Manifest } from '../../src/image/manifest.js'
import { manifestOf, thrownBy } from './fixtures.js'

const MANIFEST = manifestOf([{ name: 'pages-1.img', bytes: 12288 }])
const INCREMENT: Manifest = {
  ...MANIFEST,
  kind: 'pre-dump',
  parent: { link: '../full', snapshotId: 'fedcba98-7654-3210-fedc-ba9876543210' },
  tracker: 'soft-dirty',
  fullBecause: 'the parent is of another process',
  counts: { ...MANIFEST.counts, pagesInParent: 5, cleanNotInParent: 2 },
}

/** The JSON of a valid manifest with `value` at `path`; undefined leaves the field out. */
function changed(path: readonly (string | number)[], value: unknown, manifest = MANIFEST): Uint8Array {
  const root: unknown = JSON.parse(Buffer.from(encodeManifest(manifest)).toString())
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
    expect(decodeManifest(encodeManifest(INCREMENT), 'x')).toEqual(INCREMENT)
  })

  it('of a full snapshot has no parent', () => {
    const text = Buffer.from(encodeManifest(MANIFEST)).toString()
    expect(JSON.parse(text)).not.toHaveProperty('parent')
    expect(decodeManifest(encodeManifest(MANIFEST), 'x').parent).toBeUndefined()
  })

  it('may have a parent without an id: CRIU gives its images none', () => {
    const byCriu = { ...INCREMENT, parent: { link: '/var/criu/1', snapshotId: '' } }
    expect(decodeManifest(encodeManifest(byCriu), 'x')).toEqual(byCriu)
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

  const paths = fieldPaths(INCREMENT).filter(([first, ...rest]) => {
    // Any step may have a time, and a full snapshot has no parent.
    if (first === 'stats') return rest.length === 0
    return first !== 'parent' || rest.length > 0
  })

  it('names each field that is missing', () => {
    for (const path of paths) {
      expect(complaint(changed(path, undefined, INCREMENT))).toMatch(
        new RegExp(`field .*${String(path.at(-1))} is missing`),
      )
    }
  })

  it('names each field that has the wrong type', () => {
    for (const path of paths)
      expect(complaint(changed(path, null, INCREMENT))).toContain(`${String(path.at(-1))} is not`)
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

  it.each([
    [['kind'], 'snapshot', 'field kind is unknown: snapshot'],
    [['kind'], '', 'field kind is unknown'],
    [['parent'], '../full', 'field parent is not an object'],
    [['parent', 'link'], undefined, 'field parent.link is missing'],
    [['parent', 'link'], 5, 'field parent.link is not a string'],
    [['parent', 'snapshotId'], undefined, 'field parent.snapshotId is missing'],
    [['parent', 'snapshotId'], 'the first one', 'field parent.snapshotId is not valid'],
    [['tracker'], 7, 'field tracker is not a string'],
    [['fullBecause'], undefined, 'field fullBecause is missing'],
    [['counts', 'pagesInParent'], -1, 'field counts.pagesInParent is not a whole number'],
    [['counts', 'cleanNotInParent'], '0', 'field counts.cleanNotInParent is not a whole number'],
  ])('of an increment refuses %j as %j', (path, value, expected) => {
    expect(complaint(changed(path, value, INCREMENT))).toContain(expected)
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
