// A shop in JavaScript, without a library: node pay.mjs <origin of Daraja> <address for the callback>
// It asks a phone for money, asks until the result is known, and prints it as JSON.

const [origin, callback] = process.argv.slice(2);
const shortcode = "174379";
const passkey = "bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919";

async function call(path, options) {
  const response = await fetch(origin + path, options);
  return { status: response.status, body: await response.json() };
}

const basic = btoa("simulated-consumer-key:simulated-consumer-secret");
const issued = await call("/oauth/v1/generate?grant_type=client_credentials", {
  headers: { Authorization: `Basic ${basic}` },
});

function post(path, fields) {
  const eastAfrica = new Date(Date.now() + 3 * 3600 * 1000).toISOString();
  const timestamp = eastAfrica.replace(/\D/g, "").slice(0, 14);
  return call(path, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${issued.body.access_token}`,
      "Content-Type": "application/json",
    },
    body: JSON.stringify({
      BusinessShortCode: shortcode,
      Password: btoa(shortcode + passkey + timestamp),
      Timestamp: timestamp,
      ...fields,
    }),
  });
}

const pushed = await post("/mpesa/stkpush/v1/processrequest", {
  TransactionType: "CustomerPayBillOnline",
  Amount: 100,
  PartyA: "254711000001",
  PartyB: shortcode,
  PhoneNumber: "254711000001",
  CallBackURL: callback,
  AccountReference: "INV-001",
  TransactionDesc: "Viatu",
});

let asked;
do {
  await new Promise((resolve) => setTimeout(resolve, 100));
  asked = await post("/mpesa/stkpushquery/v1/query", {
    CheckoutRequestID: pushed.body.CheckoutRequestID,
  });
} while (asked.body.errorMessage === "The transaction is being processed");

console.log(JSON.stringify({ issued: issued.status, pushed, asked }));
