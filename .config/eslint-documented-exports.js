// A lint rule: every export has a TSDoc. A re-export is documented where it is defined.

/** The rule, for a plugin of an ESLint config. */
export const documentedExports = {
  meta: {
    type: 'suggestion',
    schema: [],
    messages: { missing: 'Document this export: what it returns, units, bounds, what it throws.' },
  },
  create(context) {
    return {
      ExportNamedDeclaration(node) {
        if (node.declaration === null || isLaterOverload(node)) return
        const comment = context.sourceCode.getCommentsBefore(node).at(-1)
        if (comment?.type !== 'Block' || !comment.value.startsWith('*')) {
          context.report({ node, messageId: 'missing' })
        }
      },
    }
  },
}

/** Whether `node` goes on with the overloads of a function whose first signature carries the documentation. */
function isLaterOverload(node) {
  const siblings = node.parent.body
  const previous = siblings[siblings.indexOf(node) - 1]?.declaration
  return previous?.type === 'TSDeclareFunction' && previous.id?.name === node.declaration.id?.name
}
