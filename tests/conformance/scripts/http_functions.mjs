// Registers HTTP endpoints as functions with the npm package `iii-sdk`, of whatever release is installed, and calls them.
//
// Arguments: the engine's URL, then JSON: `{"functions": {id: invocation}, "calls": [[id, payload]], "void": id, "gone": id}`.
// Prints one line of JSON per call, then one for the call of `gone` after it was unregistered. Its twin is http_functions.py.

import { createRequire } from 'node:module'
import { TriggerAction, registerWorker } from 'iii-sdk'

const oldest = createRequire(import.meta.url)('./node_modules/iii-sdk/package.json').version.startsWith('0.9.')
const [url, said] = process.argv.slice(2)
const scene = JSON.parse(said)
const iii = registerWorker(url, { workerName: 'http-functions' })

const register = (id, invocation) => {
  const described = { description: 'elsewhere', metadata: { of: 'partner' } }
  return oldest
    ? iii.registerFunction({ id, ...described }, invocation)
    : iii.registerFunction(id, invocation, described)
}

const call = async (function_id, payload) => {
  let outcome
  try {
    outcome = { result: (await iii.trigger({ function_id, payload })) ?? null }
  } catch ({ code, message }) {
    outcome = { error: { code, message } }
  }
  console.log(JSON.stringify(outcome))
}

const references = Object.fromEntries(Object.entries(scene.functions).map(([id, said]) => [id, register(id, said)]))
for (const [function_id, payload] of scene.calls) await call(function_id, payload)
await iii.trigger({ function_id: scene.void, payload: { void: true }, action: TriggerAction.Void() })
references[scene.gone].unregister()
await call(scene.gone, {})
process.stdin.resume()
process.stdin.on('end', () => iii.shutdown().then(() => process.exit(0)))
