// A shop on somebody else's client: node pay.cjs <client> <origin of the simulator> <address for the callback>
// It pushes, asks for the result, and prints both answers as JSON. NODE_PATH says where the client is.
"use strict";

const http = require("http");
const https = require("https");

const [client, origin, callback] = process.argv.slice(2);
const shortcode = "174379";
const passkey = "bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919";
const key = "simulated-consumer-key";
const secret = "simulated-consumer-secret";
const phone = "254711000001";

// What is meant for the sandbox goes to the simulator instead. Nothing goes anywhere else.
https.request = (options, answered) => {
  const wanted = options.hostname ?? options.host;
  if (wanted !== "sandbox.safaricom.co.ke") throw new Error(`not for ${wanted}`);
  const { hostname, port } = new URL(origin);
  const { path, method, headers } = options;
  return http.request({ hostname, port, path, method, headers }, answered);
};

const shops = {
  async "mpesa-api"({ Mpesa }) {
    const mpesa = new Mpesa({ clientKey: key, clientSecret: secret, securityCredential: "x" }, "sandbox");
    const pushed = await mpesa.lipaNaMpesaOnline({
      BusinessShortCode: shortcode,
      passKey: passkey,
      Amount: 100,
      PartyA: phone,
      PartyB: shortcode,
      PhoneNumber: phone,
      CallBackURL: callback,
      AccountReference: "Invoice 2026-0001",
    });
    const id = pushed.CheckoutRequestID;
    const asked = await mpesa.lipaNaMpesaQuery({
      BusinessShortCode: shortcode,
      passKey: passkey,
      CheckoutRequestID: id,
    });
    return { pushed, asked };
  },
  async "mpesa-node"(Mpesa) {
    const mpesa = new Mpesa({
      consumerKey: key,
      consumerSecret: secret,
      environment: "sandbox",
      lipaNaMpesaShortCode: shortcode,
      lipaNaMpesaShortPass: passkey,
    });
    const pushed = await mpesa.lipaNaMpesaOnline(phone, 100, callback, "Invoice 2026-0001");
    const asked = await mpesa.lipaNaMpesaQuery(pushed.data.CheckoutRequestID);
    return { pushed: pushed.data, asked: asked.data };
  },
};

shops[client](require(client)).then(
  (told) => console.log(JSON.stringify(told)),
  (error) => {
    console.error(error.response?.data ?? error);
    process.exitCode = 1;
  },
);
