// The whole page: it loads the state, draws all parts, and says what is new.

import { NARROW, by, isNarrow, put, turnTo } from "./dom.js";
import { drawControls, startControls } from "./controls.js";
import { startJson } from "./json.js";
import { drawLedger, startLedger } from "./ledger.js";
import { accept, model, onPhone, page } from "./model.js";
import { askForList, drawPayments, startPayments } from "./payments.js";
import { drawPhone, startPhone, tick } from "./phone.js";
import { ask, listen } from "./server.js";
import { drawRefusal, drawTrouble, forgetStory, refusalWords, startStory, tellStory } from "./story.js";
import { idOf, money, resultOf } from "./text.js";

const TOLD_FOR = 8000;
const AGAIN_AFTER = 2000;
let loading = null;
let stale = false;
let hasTurned = false; // whether the reader picked a part of a narrow page

// Events that come while one is handled are handled together, afterwards.
page.refresh = () => {
  stale = true;
  loading ??= load();
  return loading;
};

async function load() {
  try {
    while (stale) {
      stale = false;
      await start();
      const [state, list] = await Promise.all([ask("/_sim/state"), askForList()]);
      const last = model.state;
      accept(state, list);
      if (last) announce(last, state);
      draw();
      await tellStory();
    }
  } catch (error) {
    fail(error.message);
  } finally {
    loading = null;
  }
}

// Say what failed, and try again if the simulator is there.
function fail(text) {
  for (const part of model.state ? [] : ["list-loading", "story-loading"]) put(by(part), `This cannot be loaded yet. ${text}`);
  page.tell(text, true);
  setTimeout(() => model.connected && page.refresh(), AGAIN_AFTER);
}

async function start() {
  if (model.names) return;
  model.names = await ask("/_sim/names");
  startControls(model.names);
}

function draw() {
  const isFresh = model.state.last === 0 && model.state.prompts.length === 0;
  document.body.classList.toggle("fresh", isFresh);
  if (isNarrow() && !hasTurned) turnTo(isFresh ? "payments" : "phone");
  drawControls();
  drawPhone();
  drawPayments();
  drawTrouble();
  drawRefusal();
  drawLedger();
}

page.redraw = () => {
  if (!model.state) return;
  draw();
  page.refresh();
};

// --- the connection ------------------------------------------------------------------------------------

function setConnected(is) {
  model.connected = is;
  if (is) forgetStory(); // another server may have taken this one's place
  put(by("connection"), is ? "connected" : "not connected");
  by("dot").className = is ? "dot on" : "dot off";
  by("screen").classList.toggle("off", !is);
  by("lost").hidden = is;
  put(by("lost"), is ? "" : `The simulator at ${location.host} does not answer. Start it again at this address, for example with mpesa-stk simulate. This page then connects by itself.`);
  for (const control of document.querySelectorAll("header .pair button, #controls button, #controls select, #ledger button")) control.disabled = !is;
  drawPhone();
}

// --- what is said --------------------------------------------------------------------------------------

let silence = null;

page.tell = (text, bad = false) => {
  put(by("told"), text);
  by("told").classList.toggle("bad", bad);
  clearTimeout(silence);
  silence = setTimeout(() => put(by("told"), ""), TOLD_FOR);
};

function announce(last, next) {
  const known = new Map(last.prompts.map((prompt) => [idOf(prompt), prompt]));
  const said = [];
  for (const prompt of next.prompts) {
    const old = known.get(idOf(prompt));
    const name = `${money(prompt)}, account ${prompt.reference}`;
    if (prompt.open && !old) said.push(`New prompt: ${money(prompt)} to ${prompt.business}, account ${prompt.reference}.`);
    if (!prompt.open && (!old || old.open)) said.push(`${name}: ${resultOf(prompt)}.`);
    const { trouble } = prompt.callback;
    if (trouble && old?.callback.trouble?.badge !== trouble.badge) said.push(`${name}: the callback was not delivered, ${trouble.badge}.`);
  }
  if (next.refusal && next.refusal.number !== last.refusal?.number) said.push(...refusalWords(next.refusal));
  if (said.length) put(by("announce"), said.join(" "));
}

// --- begin ---------------------------------------------------------------------------------------------

for (const tab of document.querySelectorAll("#tabs button")) {
  tab.addEventListener("click", () => {
    hasTurned = true;
    turnTo(tab.dataset.part);
    window.scrollTo(0, 0);
    if (tab.dataset.part === "phone" && model.state && onPhone()) by("pin").focus({ preventScroll: true });
  });
}
turnTo("phone");
NARROW.addEventListener("change", () => model.state && draw());
put(by("addresses"), [
  `ACCESS_TOKEN_URL=${location.origin}/oauth/v1/generate?grant_type=client_credentials`,
  `CHECKOUT_URL=${location.origin}/mpesa/stkpush/v1/processrequest`,
  `MPESA_QUERY_CHECK_URL=${location.origin}/mpesa/stkpushquery/v1/query`,
].join("\n"));
put(by("curl"),
  "curl -X POST http://127.0.0.1:8000/payments/checkout/ -H 'Content-Type: application/json' " +
  `-d '{"phone_number": "0718643064", "amount": 100, "reference": "INV-001"}'`);
startPhone();
startPayments();
startStory();
startJson();
startLedger();
setInterval(tick, 250);
listen({ connected: () => setConnected(true), lost: () => setConnected(false), changed: () => page.refresh() });
