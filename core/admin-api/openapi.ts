import { z } from 'zod'
import { errorBody } from '../tracker-api.ts'
import { shoalVersion } from '../version.ts'
import type { Call } from './call.ts'
import { CALL_NAMES, callOf, split } from './calls.ts'

/**
 * The admin API as an OpenAPI 3.1 document. Its schemas are JSON Schema 2020-12, which zod writes by itself, so the table of
 * calls is all that it needs.
 */

const SECURITY = {
  token: {
    type: 'http',
    scheme: 'bearer',
    description: 'Of `shoal admin token create NAME --role ROLE`, on the tracker’s machine.',
  },
  certificate: { type: 'mutualTLS', description: 'Of `shoal admin certificate`, with the role admin.' },
}

export function openApiDocument() {
  const paths: Record<string, Record<string, object>> = {}
  for (const name of CALL_NAMES) {
    const one = callOf(name)
    const path = one.path.replaceAll(/:([a-zA-Z]+)/g, '{$1}')
    paths[path] = { ...paths[path], [one.method.toLowerCase()]: operation(name, one) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Shoal tracker: admin API',
      version: shoalVersion(),
      description:
        'Codes of errors: docs/errors.md. `x-shoal-role` is the least role that may call; `local`: only on the socket in the tracker’s data folder.',
    },
    security: Object.keys(SECURITY).map((scheme) => ({ [scheme]: [] })),
    paths,
    components: { securitySchemes: SECURITY, schemas: { Error: schemaOf(errorBody, 'output') } },
  }
}

function operation(name: string, one: Call): object {
  const { params, query, body } = split(one, one.example.input)
  const takesBody = Object.keys(one.body.shape).length > 0
  return {
    operationId: name,
    tags: [name.split('.')[0]],
    summary: one.summary,
    'x-shoal-role': one.right,
    ...(one.commands.length === 0 ? {} : { 'x-shoal-commands': one.commands }),
    parameters: [...parameters('path', one.params, params), ...parameters('query', one.query, query)],
    ...(takesBody && {
      requestBody: {
        required: true,
        content: { 'application/json': { schema: schemaOf(one.body, 'input'), example: body } },
      },
    }),
    responses: {
      [one.status]: {
        description: 'Done.',
        content: {
          [one.isStream ? 'text/event-stream' : 'application/json']: {
            schema: schemaOf(one.answer, 'output'),
          },
        },
      },
      default: {
        description: 'Refused; nothing was changed.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
      },
    },
  }
}

function parameters(where: 'path' | 'query', schema: Call['params'], example: Record<string, unknown>) {
  const { properties = {}, required = [] } = schemaOf(schema, 'input')
  return Object.entries(properties).map(([name, of]) => {
    const { description, ...rest } = of as { description?: string }
    return {
      ...{ name, in: where, required: where === 'path' || required.includes(name) },
      ...(description === undefined ? {} : { description }),
      schema: rest,
      ...(name in example && { example: example[name] }),
    }
  })
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output') {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io })
  return rest
}
