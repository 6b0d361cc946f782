-- For wrk: the request of http_load.py, and in the end the figures, unrounded, as one line of JSON.
wrk.method = "POST"
wrk.body = os.getenv("BENCH_BODY")
wrk.headers["user-agent"] = "bench"
wrk.headers["accept"] = "*/*"
wrk.headers["content-type"] = "application/json"

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"calls": %d, "took_us": %d, "p50_us": %d, "p99_us": %d, "refused": %d, "broken": %d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
