// The specification's own stack doing the gateway's whole job: what smartgate is compared with, in speed and in
// the rate-limit answers. Express, http-proxy-middleware (keep-alive agent), express-rate-limit over
// rate-limit-redis, helmet, cors, winston, jsonwebtoken.
//
// Environment: PORT, UPSTREAM (the URL of every service), REDIS_URL, JWT_SECRET (HS256), and when wanted
// HOST (127.0.0.1), ACCESS_LOG (a file; "-", the default, is standard output), CORS_ORIGINS (comma-separated),
// LIMITS (JSON, requests a window by role, merged over the specification's; null is unlimited).
import { randomUUID } from 'node:crypto'
import http from 'node:http'
import cors from 'cors'
import express from 'express'
import { ipKeyGenerator, rateLimit } from 'express-rate-limit'
import helmet from 'helmet'
import { createProxyMiddleware } from 'http-proxy-middleware'
import jwt from 'jsonwebtoken'
import { RedisStore } from 'rate-limit-redis'
import { createClient } from 'redis'
import winston from 'winston'

function required(name) {
  const value = process.env[name]
  if (!value) {
    console.error(`${name} is not set`)
    process.exit(2)
  }
  return value
}

const port = Number(required('PORT'))
const upstream = required('UPSTREAM')
const secret = required('JWT_SECRET')
const host = process.env.HOST || '127.0.0.1'
const accessLog = process.env.ACCESS_LOG || '-'
const origins = (process.env.CORS_ORIGINS || 'https://app.example.com').split(',')
const limits = { admin: null, manager: 120, user: 60, ...JSON.parse(process.env.LIMITS || '{}') }
const guestLimit = 10

const redis = createClient({ url: required('REDIS_URL') })
redis.on('error', (error) => console.error(`redis: ${error.message}`))
await redis.connect()

const access = winston.createLogger({
  format: winston.format.json(),
  transports: [
    accessLog === '-'
      ? new winston.transports.Console()
      : new winston.transports.File({ filename: accessLog })
  ]
})

function problem(req, res, status, code, message) {
  res.status(status).json({ code, message, requestId: req.id })
}

// One line a request, once it is over: finished, or left by the client.
function log(req, res, next) {
  const started = process.hrtime.bigint()
  req.id = randomUUID()
  res.setHeader('X-Request-ID', req.id)
  req.headers['x-request-id'] = req.id
  const path = req.path
  res.once('close', () => {
    access.info('request', {
      time: new Date().toISOString(),
      request_id: req.id,
      client: req.ip,
      method: req.method,
      path,
      status: res.statusCode,
      bytes: Number(res.getHeader('content-length') || 0),
      duration_ms: Number(process.hrtime.bigint() - started) / 1e6,
      user: req.user?.sub ?? null,
      role: req.user?.role ?? null,
      complete: res.writableFinished
    })
  })
  next()
}

// A valid, unexpired HS256 token that is not on the blacklist.
async function authenticate(req, res, next) {
  const [scheme, token] = (req.headers.authorization || '').split(' ')
  const refuse = () => {
    res.setHeader('WWW-Authenticate', 'Bearer')
    problem(req, res, 401, 'UNAUTHORIZED', 'A valid access token is required')
  }
  if (scheme.toLowerCase() !== 'bearer' || !token) return refuse()
  let claims
  try {
    claims = jwt.verify(token, secret, { algorithms: ['HS256'], clockTolerance: 60 })
  } catch {
    return refuse()
  }
  if (typeof claims !== 'object' || claims.exp === undefined) return refuse()
  if (claims.jti && (await redis.exists(`blacklist:${claims.jti}`))) return refuse()
  req.user = claims
  next()
}

function limitOf(req) {
  const role = req.user?.role
  return typeof role === 'string' && Object.hasOwn(limits, role) ? limits[role] : guestLimit
}

const limit = rateLimit({
  windowMs: 60_000,
  limit: limitOf,
  skip: (req) => limitOf(req) === null,
  keyGenerator: (req) => req.user?.sub ?? ipKeyGenerator(req.ip, 56),
  standardHeaders: 'draft-6',
  legacyHeaders: false,
  handler: (req, res) =>
    problem(req, res, 429, 'RATE_LIMIT_EXCEEDED', 'Too many requests, try again later'),
  store: new RedisStore({ prefix: 'rl:', sendCommand: (...args) => redis.sendCommand(args) })
})

const app = express()
app.disable('x-powered-by')
app.use(log)
app.use(helmet())
app.use(
  cors({
    origin: origins,
    credentials: true,
    exposedHeaders: [
      'RateLimit-Limit',
      'RateLimit-Remaining',
      'RateLimit-Reset',
      'RateLimit-Policy',
      'Retry-After',
      'X-Request-ID'
    ]
  })
)
app.get('/health', (req, res) => res.json({ status: 'ok' }))
app.use('/api/auth', limit)
app.use(['/api/users', '/api/credits', '/api/mcp'], authenticate, limit)
app.use(
  createProxyMiddleware({
    target: upstream,
    changeOrigin: true,
    xfwd: true,
    agent: new http.Agent({ keepAlive: true }),
    pathFilter: ['/api/auth', '/api/users', '/api/credits', '/api/mcp', '/public'],
    pathRewrite: { '^/api/auth': '' },
    on: {
      error: (error, req, res) => {
        if (res.headersSent || !res.status) res.destroy?.()
        else problem(req, res, 502, 'UPSTREAM_UNAVAILABLE', 'The service behind this path cannot be reached')
      }
    }
  })
)
app.use((req, res) => problem(req, res, 404, 'NOT_FOUND', 'There is nothing at this path'))

const server = app.listen(port, host, (error) => {
  if (error) {
    console.error(error.message)
    process.exit(1)
  }
  console.error(`listening on http://${host}:${server.address().port}`)
})

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    server.close(() => process.exit(0))
    server.closeAllConnections()
  })
}
