// Safaricom's Daraja with Node's own fetch: a token, a push, a question about a push.
// The addresses and the credentials are those that `mpesa-stk simulate --print-env dotenv` prints, or your own.

const { env } = process;
// These answers prove that no prompt appeared. After any other one the phone may ring all the same.
const NO_PROMPT = [400, 401, 403, 404, 405, 413, 415, 422, 429];

/** Ask a phone for money. Returns what came of it: "asked", "refused" (no prompt appeared) or "unknown". */
export async function push({ phone, amount, reference, callbackUrl }) {
  let answer;
  try {
    answer = await post(env.CHECKOUT_URL, {
      TransactionType: "CustomerPayBillOnline",
      Amount: amount,
      PartyA: phone,
      PartyB: env.SHORTCODE,
      PhoneNumber: phone,
      CallBackURL: callbackUrl,
      AccountReference: reference,
      TransactionDesc: "Order",
    });
  } catch (error) {
    // Without a token the push was not sent. Otherwise it may have arrived, whatever happened to the answer.
    return { state: error instanceof NoToken ? "refused" : "unknown" };
  }
  if (answer.status === 200 && answer.body.ResponseCode === "0") {
    return { state: "asked", checkoutId: answer.body.CheckoutRequestID };
  }
  return { state: NO_PROMPT.includes(answer.status) ? "refused" : "unknown" };
}

/** Ask what became of a push. Returns "paid", "failed" or "open". */
export async function query(checkoutId) {
  const { status, body } = await post(env.MPESA_QUERY_CHECK_URL, { CheckoutRequestID: checkoutId });
  // "The transaction is being processed" comes with a 500. It is no result.
  if (status !== 200 || body.ResultCode === undefined) return "open";
  const code = String(body.ResultCode);
  if (code === "0") return "paid";
  // Only some codes are final. These are the usual ones; `mpesa-stk codes` lists them all.
  return ["1", "1032", "1037", "2001"].includes(code) ? "failed" : "open";
}

class NoToken extends Error {}

async function token() {
  const basic = btoa(`${env.CONSUMER_KEY}:${env.CONSUMER_SECRET}`);
  try {
    const answer = await fetch(env.ACCESS_TOKEN_URL, {
      headers: { Authorization: `Basic ${basic}` },
      signal: AbortSignal.timeout(10_000),
    });
    if (answer.status === 200) return (await answer.json()).access_token;
  } catch {
    // Nothing was asked for yet.
  }
  throw new NoToken();
}

async function post(url, fields) {
  const eastAfrica = new Date(Date.now() + 3 * 3_600_000).toISOString();
  const timestamp = eastAfrica.replace(/\D/g, "").slice(0, 14);
  const answer = await fetch(url, {
    method: "POST",
    redirect: "error",
    headers: { Authorization: `Bearer ${await token()}`, "Content-Type": "application/json" },
    body: JSON.stringify({
      BusinessShortCode: env.SHORTCODE,
      Password: btoa(env.SHORTCODE + env.PASS_KEY + timestamp),
      Timestamp: timestamp,
      ...fields,
    }),
    signal: AbortSignal.timeout(40_000),
  });
  return { status: answer.status, body: await answer.json() };
}
