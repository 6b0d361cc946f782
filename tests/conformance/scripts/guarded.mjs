// A worker on a guarded port, as an application writes one with the npm package `iii-sdk`, of whatever release.
//
// Arguments: the URL of the port, the token, the name of this worker. Its twin is guarded.py. It ends when its stdin ends.

import { registerWorker } from 'iii-sdk'

const [url, token, name] = process.argv.slice(2)
const iii = registerWorker(url, { workerName: name, headers: { 'X-Token': token } })

const call = async (function_id, payload) => {
  try {
    return { result: await iii.trigger({ function_id, payload }) }
  } catch (error) {
    return { code: error.code }
  }
}

const report = async () => {
  const listed = await call('engine::functions::list', {})
  const told = {
    shop: await call('shop::price', { sku: 'A-7' }),
    hidden: await call('hidden::price', { sku: 'A-7' }),
    listed: listed.result.functions.map((row) => row.function_id).sort(),
  }
  return { status_code: 200, body: told }
}

iii.registerFunction('report', report)
iii.registerFunction('bad', async () => null)
iii.registerTrigger({ type: 'http', function_id: 'report', config: { api_path: name, http_method: 'GET' } })
iii.registerTrigger({ type: 'http', function_id: 'bad', config: { api_path: `${name}/bad`, http_method: 'GET' } })

process.stdin.resume()
process.stdin.on('end', async () => {
  await iii.shutdown()
  process.exit(0)
})
