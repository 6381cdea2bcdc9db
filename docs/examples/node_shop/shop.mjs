// A shop in Node without dependencies: node --env-file=.env shop.mjs
// POST /orders/INV-001/pay {"phone": "254711000001"} asks for the money, and GET /orders/INV-001 says how it stands.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { push, query } from "./daraja.mjs";

// The prices are the shop's. A page that sends its own amount sells a laptop for one shilling.
// A real shop keeps orders and attempts in its database, and stores an attempt before it sends the push.
const orders = new Map([
  ["INV-001", { price: 1500, attempts: [] }],
  ["INV-002", { price: 250, attempts: [] }],
]);

function stateOf({ attempts }) {
  if (attempts.some(({ state }) => state === "paid")) return "paid";
  return attempts.at(-1)?.state ?? "new";
}

async function pay(name, order, phone) {
  if (!/^254[17]\d{8}$/.test(phone)) return [400, { error: "the phone must look like 254711000001" }];
  // While a prompt may still be answered, a second one could be paid, too.
  const before = stateOf(order);
  if (["asked", "unknown", "paid"].includes(before)) return [409, { state: before }];

  const attempt = { secret: randomUUID(), state: "unknown" };
  order.attempts.push(attempt);
  const callbackUrl = `${process.env.C2B_CALLBACK}/${attempt.secret}`;
  const answer = await push({ phone, amount: order.price, reference: name, callbackUrl });
  attempt.checkoutId = answer.checkoutId;
  // The callback can be faster than the answer to the push.
  if (attempt.state === "unknown") attempt.state = answer.state;
  return [attempt.state === "refused" ? 502 : 200, { state: attempt.state }];
}

async function look(order) {
  const attempt = order.attempts.at(-1);
  if (attempt?.state === "asked") {
    const result = await query(attempt.checkoutId).catch(() => "open");
    if (result !== "open" && attempt.state === "asked") attempt.state = result;
  }
  const receipts = order.attempts.flatMap(({ receipt }) => receipt ?? []);
  return [200, { price: order.price, state: stateOf(order), receipts }];
}

function callBack(secret, body) {
  // Safaricom signs nothing. Only Daraja knows the address that went with the push.
  const callback = body?.Body?.stkCallback;
  const order = [...orders.values()].find((one) => one.attempts.some((it) => it.secret === secret));
  if (order === undefined || callback === undefined) return [404, {}];
  const attempt = order.attempts.find((it) => it.secret === secret);
  const items = callback.CallbackMetadata?.Item ?? [];
  const values = Object.fromEntries(items.map(({ Name, Value }) => [Name, Value]));
  if (Number(callback.ResultCode) !== 0) {
    if (attempt.state !== "paid") attempt.state = "failed";
  } else if (Number(values.Amount) === order.price) {
    attempt.state = "paid"; // for good: no later message takes it back
    attempt.receipt = values.MpesaReceiptNumber;
  }
  return [200, { ResultCode: 0, ResultDesc: "Accepted" }];
}

async function answer(request) {
  const [, place, name, verb] = request.url.split("/");
  const order = orders.get(name);
  if (request.method === "GET" && place === "orders" && order) return look(order);
  if (request.method !== "POST") return [404, {}];
  const body = JSON.parse(Buffer.concat(await request.toArray()));
  if (place === "orders" && order && verb === "pay") return pay(name, order, String(body.phone));
  if (place === "payments" && name === "callback") return callBack(verb, body);
  return [404, {}];
}

const server = createServer(async (request, response) => {
  const [status, body] = await answer(request).catch(() => [400, { error: "that cannot be read" }]);
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
});
server.listen(process.env.PORT ?? 3000, () => console.log(`the shop listens on ${server.address().port}`));
process.on("SIGTERM", () => process.exit(0));
