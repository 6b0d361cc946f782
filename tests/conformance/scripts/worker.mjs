// A worker as an application writes one with the npm package `iii-sdk`, of whatever release is installed.
//
// Arguments: the engine's URL, the name of this worker, the names of all workers of the test. Its twin is worker.py:
// the two register the same functions and triggers under their names. It ends when its stdin ends.

import { createRequire } from 'node:module'

import { TriggerAction, registerWorker } from 'iii-sdk'

const [url, name, ...workers] = process.argv.slice(2)
const iii = registerWorker(url, { workerName: name })
const oldest = createRequire(import.meta.url)('./node_modules/iii-sdk/package.json').version.startsWith('0.9.')
const notes = []
const news = []
const bound = new Map()

// Release 0.9 wants an object where later ones take the id.
const register = (id, handler) => iii.registerFunction(oldest ? { id } : id, handler)

// What an application learns of a failed call: release 0.9 rejects with the error object of the wire.
const failure = ({ code, message }) => ({ code, text: oldest ? `${code}: ${message}` : message })

// The request object as it arrived, without live channels.
const seen = ({ request_body, response, ...rest }) => rest

const show = async (request) => ({ status_code: 200, body: { by: name, saw: seen(request) } })

const create = async (request) => ({
  status_code: 201,
  headers: { location: `/${name}/items/7`, 'x-worker': name },
  body: { by: name, saw: seen(request) },
})

const fail = async () => {
  throw new Error('stock is negative')
}

const add = async (data) => ({ sum: data.a + data.b, by: name, caller: data._caller_worker_id ?? null })

const same = async (data) => data

const note = async (data) => {
  notes.push(data)
}

const die = async () => process.kill(process.pid, 'SIGKILL')

const listNotes = async () => ({ status_code: 200, body: notes })

// Call the function `to` with the body; `void` asks for no answer.
const relay = async ({ query_params, body }) => {
  const action = 'void' in query_params ? { action: TriggerAction.Void() } : {}
  try {
    const result = await iii.trigger({ function_id: query_params.to, payload: body, ...action })
    return { status_code: 200, body: { result: result ?? null, worker_id: iii.workerId } }
  } catch (error) {
    return { status_code: 200, body: failure(error) }
  }
}

// Fire every trigger bound to this worker's own type.
const fire = async ({ body }) => {
  const triggers = [...bound.values()].sort((one, other) => (one.function_id < other.function_id ? -1 : 1))
  for (const { function_id, config } of triggers) {
    await iii.trigger({ function_id, payload: { from: name, config, body } })
  }
  return { status_code: 200, body: { fired: triggers.map(({ function_id }) => function_id) } }
}

// What the lists of release 0.9 read, and the news of functions that came last.
const lists = async () => {
  const [functions, workers, triggers] = await Promise.all([iii.listFunctions(), iii.listWorkers(), iii.listTriggers()])
  const body = {
    functions: functions.map((row) => row.function_id).sort(),
    workers: workers.map((row) => row.name ?? '').sort(),
    triggers: [...new Set(triggers.map((row) => row.trigger_type))].sort(),
    news,
  }
  return { status_code: 200, body }
}

const serve = (method, path, id, handler) => {
  const function_id = `${name}::${id}`
  register(function_id, handler)
  iii.registerTrigger({ type: 'http', function_id, config: { api_path: `${name}/${path}`, http_method: method } })
}

iii.registerTriggerType(
  { id: `${name}-hook`, description: 'fired by hand' },
  {
    registerTrigger: async (trigger) => {
      if ('refuse' in trigger.config) throw new Error('nobody may have this one')
      bound.set(trigger.id, trigger)
    },
    unregisterTrigger: async ({ id }) => {
      bound.delete(id)
    },
  },
)
for (const [id, handler] of Object.entries({ add, same, note, die })) register(`${name}::${id}`, handler)
serve('GET', 'items/:id', 'show', show)
serve('POST', 'items', 'create', create)
serve('GET', 'fail', 'fail', fail)
serve('POST', 'relay', 'relay', relay)
serve('POST', 'fire', 'fire', fire)
if (iii.listFunctions) {
  serve('GET', 'lists', 'lists', lists)
  iii.onFunctionsAvailable((functions) => news.push(functions.map((row) => row.function_id).sort()))
}
if (iii.registerService) iii.registerService({ id: name, description: 'nothing depends on it' })
for (const worker of workers) {
  iii.registerTrigger({ type: `${worker}-hook`, function_id: `${name}::note`, config: { refuse: name } })
  iii.registerTrigger({ type: `${worker}-hook`, function_id: `${name}::note`, config: { of: name } })
}
serve('GET', 'notes', 'notes', listNotes) // the last: when it answers, all is registered

process.stdin.resume()
process.stdin.on('end', () => iii.shutdown().then(() => process.exit(0)))
