// The same as guarded.mjs for release 0.9 of the npm package, which sends no headers: the token is in the URL.

import { registerWorker } from 'iii-sdk'

const [url, token, name] = process.argv.slice(2)
const iii = registerWorker(`${url}&token=${token}`, { workerName: name })

const call = async (function_id, payload) => {
  try {
    return { result: await iii.trigger({ function_id, payload }) }
  } catch (error) {
    return { code: error.code ?? String(error) }
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

iii.registerFunction({ id: 'report' }, report)
iii.registerFunction({ id: 'bad' }, async () => null)
iii.registerTrigger({ type: 'http', function_id: 'report', config: { api_path: name, http_method: 'GET' } })
iii.registerTrigger({ type: 'http', function_id: 'bad', config: { api_path: `${name}/bad`, http_method: 'GET' } })

process.stdin.resume()
process.stdin.on('end', async () => {
  await iii.shutdown()
  process.exit(0)
})
