// The controls: the scenario of new payments, failures, the outage, the clock, and the new start.

import { by, make, offer, put } from "./dom.js";
import { model, page } from "./model.js";
import { ask } from "./server.js";
import { local, toSecond } from "./text.js";

const OWN = ""; // the value of a scenario that has no name

export function startControls(names) {
  offer(by("scenario"), names.scenarios);
  offer(by("step"), names.steps, ({ words }) => words);
  offer(by("outcome"), names.outcomes);
  by("step").value = "push";
  by("outcome").value = "no-funds";
  offerFaults();
  by("fault").value = "busy";
  by("step").addEventListener("change", offerFaults);
  by("fault").addEventListener("change", drawFaultWords);
  by("scenario").addEventListener("change", () => play(by("scenario").value));
  by("script").addEventListener("submit", (event) => {
    event.preventDefault();
    const [step, fault] = [by("step").value, by("fault").value];
    control("/_sim/faults", { step, faults: [fault] }, () => `The next ${wordsOf(names.steps, step).words} fails with ${fault}.`);
  });
  by("clear").addEventListener("click", () => {
    control("/_sim/faults/clear", {}, () => "No request fails any more.");
    by("add-fault").focus();
  });
  by("outage").addEventListener("click", () =>
    control("/_sim/outage", { on: !model.state.outage.on }, ({ outage }) =>
      outage.on ? "Callbacks are lost from now on." : "Callbacks are delivered again."));
  const advance = (minutes) => () =>
    control("/_sim/clock", { advance: minutes * 60 }, (facts) => `It is now ${toSecond(facts.now)}.`);
  by("minute").addEventListener("click", advance(1));
  by("quarter").addEventListener("click", advance(15));
  by("more").addEventListener("click", () => {
    const isOpen = by("controls").classList.toggle("opened");
    by("more").setAttribute("aria-expanded", String(isOpen));
  });
  startReset();
}

function startReset() {
  by("reset").addEventListener("click", () => {
    put(by("sure-words"), "All payments, requests and outages are forgotten, and the ledger too. The first scenario is played again.");
    by("sure").showModal();
  });
  by("keep").addEventListener("click", () => by("sure").close());
  by("forget").addEventListener("click", () => {
    by("sure").close();
    Object.assign(model, { reading: null, picked: null, everything: false });
    put(by("ledger-told"), "");
    control("/_sim/reset", {}, () => "All is forgotten.");
  });
}

function play(name) {
  if (name !== OWN) control("/_sim/scenario", { name }, () => `New payments play ${name}.`);
}

export async function control(path, body, said) {
  try {
    page.tell(said(await ask(path, body)));
  } catch (error) {
    page.tell(error.message, true);
  }
  await page.refresh();
}

export function drawControls() {
  const { state } = model;
  put(by("business"), state.business);
  drawScenario(state);
  drawFaultWords();
  const scripted = Object.entries(state.scripted).map(([step, faults]) => `${wordsOf(model.names.steps, step).words} with ${faults.join(", then ")}`);
  by("scripted").hidden = scripted.length === 0;
  put(by("scripted-words"), `Next to fail: ${scripted.join("; ")}.`);
  by("outage").setAttribute("aria-pressed", String(state.outage.on));
  put(by("outage"), state.outage.on ? "Deliver callbacks" : "Lose all callbacks");
  by("out").hidden = !state.outage.on;
}

// The menu shows the scenario that is in force.
function drawScenario({ scenario, scenario_name: name }) {
  const menu = by("scenario");
  const own = menu.querySelector(`option[value="${OWN}"]`);
  if (name === null && !own) {
    const option = make("option", "", "your own scenario");
    option.value = OWN;
    menu.prepend(option);
  } else if (name !== null) own?.remove();
  if (menu.value !== (name ?? OWN)) menu.value = name ?? OWN;
  const known = wordsOf(model.names.scenarios, name);
  put(by("scenario-words"), known
    ? `In force: ${known.words}. Phone ${local(known.phone)} always does this.`
    : `In force: ${describe(scenario)}.`);
}

function wordsOf(groups, name) {
  return groups.flatMap(({ names }) => names).find((one) => one.name === name);
}

function offerFaults() {
  const groups = model.names.faults;
  offer(by("fault"), by("step").value === "pull" ? groups : groups.slice(0, -1));
  drawFaultWords();
}

function drawFaultWords() {
  const known = wordsOf(model.names.faults, by("fault").value);
  put(by("fault-words"), known ? `Daraja answers: ${known.words}.` : "");
}

// A scenario without a name, in words.
function describe(scenario) {
  const parts = [];
  const after = scenario.answer_after;
  if (after === null) parts.push("you answer on the phone");
  else parts.push(`${scenario.outcome}${after ? ` after ${after} s` : " at once"}`);
  if (scenario.callback_first) parts.push("callback before the push is answered");
  else if (scenario.callbacks !== 1) parts.push(scenario.callbacks ? `${scenario.callbacks} callbacks` : "no callback");
  if (scenario.callback_after) parts.push(`callback ${scenario.callback_after} s later`);
  if (scenario.shape !== "plain") parts.push(`callback with ${scenario.shape}`);
  if (scenario.query_outcome) parts.push(`query says ${scenario.query_outcome}`);
  if (scenario.queries_a_minute) parts.push(`${scenario.queries_a_minute} queries a minute`);
  if (scenario.push_fault) parts.push(`push: ${scenario.push_fault}`);
  if (scenario.query_fault) parts.push(`first query: ${scenario.query_fault}`);
  return parts.join(", ");
}
