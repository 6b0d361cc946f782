// A worker with data channels, written with the npm package `iii-sdk` of whatever release is installed.
//
// Arguments: the engine's URL, the name of this worker. Its twin is streams.py. It ends when its stdin ends.

import { createHash } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { createRequire } from 'node:module'

import * as sdk from 'iii-sdk'

// Until release 0.20 it was part of the package itself.
const { http } = sdk.http ? sdk : await import('@iii-dev/helpers/http')
const { registerWorker } = sdk
const [url, name] = process.argv.slice(2)
const iii = registerWorker(url, { workerName: name })
const oldest = createRequire(import.meta.url)('./node_modules/iii-sdk/package.json').version.startsWith('0.9.')

// Release 0.9 wants an object where later ones take the id.
const register = (id, handler) => iii.registerFunction(oldest ? { id } : id, handler)

const digest = (data) => ({ size: data.length, sha: createHash('sha256').update(data).digest('hex') })
const ended = (stream, last) => new Promise((resolve, reject) => {
  stream.on('error', reject)
  stream.end(last, resolve)
})
const readAll = async (reader) => {
  const chunks = []
  for await (const chunk of reader.stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

// Write a text and so many bytes to the writer in the data, and end the stream.
const fill = async (data) => {
  const { writer } = data.in['a list'][0]
  writer.sendMessage(`from ${name}`)
  await ended(writer.stream, Buffer.from(Uint8Array.from({ length: data.size }, (_, number) => number % 251)))
  return { by: name }
}

// Read all that comes out of the reader in the data.
const drain = async (data) => {
  const reader = data.deep.er[1]
  const texts = []
  reader.onMessage((text) => texts.push(text))
  return { texts, ...digest(await readAll(reader)) }
}

// Have the workers `from` and `to` talk through a new channel; tells what arrived.
const pipe = async ({ body }) => {
  const made = await iii.trigger({ function_id: 'engine::channels::create', payload: {} })
  const filled = { in: { 'a list': [{ writer: made.writer }] }, size: body.size }
  const drained = { deep: { er: [null, made.reader] } }
  const results = await Promise.all([
    iii.trigger({ function_id: `${body.from}::fill`, payload: filled }),
    iii.trigger({ function_id: `${body.to}::drain`, payload: drained }),
  ])
  return { status_code: 200, body: results[1] }
}

// Answer piece by piece.
const download = async ({ response }) => {
  response.sendMessage(JSON.stringify({ type: 'set_status', status_code: 206 }))
  response.sendMessage(JSON.stringify({ type: 'set_headers', headers: { 'content-type': 'text/csv' } }))
  for (const number of [0, 1, 2]) response.stream.write(Buffer.from(`${number},`))
  await ended(response.stream, Buffer.alloc(200_000, 'x'))
}

// Tell what the body was.
const upload = async ({ request_body }) => ({ status_code: 200, body: digest(await readAll(request_body)) })

// Take a body of any size, and tell what it was.
const store = http(async (req, res) => {
  const sha = createHash('sha256')
  let size = 0
  for await (const piece of req.request_body.stream) {
    size += piece.length
    sha.update(piece)
  }
  res.status(201)
  res.headers({ 'content-type': 'application/json', 'x-kind': req.headers['content-type'] })
  res.stream.end(JSON.stringify({ size, sha: sha.digest('hex') }))
})

// Send as many pieces of 64 KiB as the path says, each filled with its number.
const fetch = http(async (req, res) => {
  res.status(206)
  res.headers({ 'content-type': 'application/octet-stream' })
  for (let number = 0; number < Number(req.path_params.count); number += 1) {
    if (!res.stream.write(Buffer.alloc(65536, number % 256))) await once(res.stream, 'drain')
  }
  res.stream.end()
})

// Send three events, each but the first when the one before it has been acknowledged.
const acknowledged = new EventEmitter()
const events = http(async (req, res) => {
  res.headers({ 'content-type': 'text/event-stream' })
  for (const number of [0, 1, 2]) {
    const next = once(acknowledged, 'event')
    res.stream.write(Buffer.from(`data: ${number}\n\n`))
    await next
  }
  res.stream.end()
})

// Say that an event has arrived.
const acknowledge = async () => {
  acknowledged.emit('event')
  return { status_code: 204 }
}

const serve = (method, id, handler, rest = '') => {
  const function_id = `${name}::${id}`
  register(function_id, handler)
  iii.registerTrigger({ type: 'http', function_id, config: { api_path: `${name}/${id}${rest}`, http_method: method } })
}

for (const [id, handler] of Object.entries({ fill, drain })) {
  register(`${name}::${id}`, handler)
}
serve('POST', 'pipe', pipe)
serve('GET', 'download', download)
serve('POST', 'store', store)
serve('GET', 'fetch', fetch, '/:count')
serve('GET', 'events', events)
serve('POST', 'acknowledge', acknowledge)
serve('POST', 'upload', upload) // the last: when it answers, all is registered

process.stdin.resume()
process.stdin.on('end', () => iii.shutdown().then(() => process.exit(0)))
