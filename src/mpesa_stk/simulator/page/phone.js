// The phone: the prompt, its PIN, the messages, and the prompts that were left unanswered.

import { button, by, make, put } from "./dom.js";
import { ended, model, now, onPhone, page, queue, secondsLeft, waiting } from "./model.js";
import { ask, pathOf } from "./server.js";
import { clockFace, idOf, local, money, toDay, toMinute, toSecond } from "./text.js";

const pin = by("pin");
const answering = new Set(); // prompts whose answer is on its way
let shown = null;            // the prompt on the screen
let before = null;           // the element that had the focus when a prompt came

export function drawPhone() {
  if (!model.state) return;
  const open = waiting();
  const current = onPhone();
  put(by("own-number"), current ? local(current.phone_number) : model.connected ? "ready" : "no network");
  put(by("right-pin"), model.state.pin);
  drawMessages(open.length > queue().length);
  drawAside(open.filter((prompt) => model.aside.has(idOf(prompt))));
  document.title = open.length ? `(${open.length}) Daraja simulator` : "Daraja simulator";
  by("ringing").hidden = open.length === 0;
  put(by("ringing"), String(open.length));
  by("handset").classList.toggle("idle", !current);
  if (current) {
    put(by("prompt-text"), `Do you want to pay ${money(current)} to ${current.business} Account ${current.reference}?`);
    const others = queue().length - 1;
    put(by("queue"), others ? `${others} more waiting` : "");
  }
  turn(current);
  for (const id of ["send", "cancel", "ignore", "end"]) by(id).disabled = !current || answering.has(shown) || !model.connected;
  tick();
}

// Show another prompt, or none, and move the focus with it.
function turn(current) {
  const id = current && idOf(current);
  if (id === shown) return;
  const focused = document.activeElement;
  const isInside = by("handset").contains(focused);
  const first = shown === null;
  shown = id;
  pin.value = "";
  fault("");
  if (current) {
    if (first) before = isInside ? null : focused;
    by("veil").hidden = false;
    if (!isBusy(focused)) pin.focus({ preventScroll: true });
    return;
  }
  by("veil").hidden = true;
  if (!isInside) return;
  const back = before && before !== document.body && before.isConnected ? before : by("screen");
  before = null;
  back.focus({ preventScroll: true });
}

// A reader who fills something in, or moves through the list by keyboard, keeps the focus.
const BUSY = "input:not([type=checkbox]), select, .row:focus-visible, dialog *";
const isBusy = (element) => element && element !== pin && element.matches(BUSY);

function drawMessages(someAside) {
  const over = ended().slice(0, 2);
  const key = over.map(idOf).join(" ");
  const box = by("messages");
  if (box.dataset.key !== key) {
    box.dataset.key = key;
    box.replaceChildren(...over.map((prompt) => make("div", "message", ...messageOf(prompt))));
  }
  by("quiet").hidden = over.length > 0 || someAside;
}

function messageOf(prompt) {
  const title = make("b", "", prompt.paid ? `${prompt.receipt_number} Confirmed.` : "Not paid.");
  const text = prompt.paid
    ? `${money(prompt)} paid to ${prompt.business}, account ${prompt.reference}, at ${toMinute(prompt.ends)}.`
    : `${money(prompt)}, account ${prompt.reference}: ${wordsFor(prompt.answer)}.`;
  return [title, make("span", "", text)];
}

function wordsFor(outcome) {
  const known = model.names?.outcomes[0].names.find(({ name }) => name === outcome);
  return known?.words ?? outcome;
}

function drawAside(prompts) {
  const key = prompts.map(idOf).join(" ");
  const box = by("ignored");
  if (box.dataset.key === key) return;
  box.dataset.key = key;
  box.replaceChildren(...prompts.map((prompt) => {
    const left = make("span", "number");
    left.dataset.ends = idOf(prompt);
    const text = make("span", "", `Unanswered: ${money(prompt)}, ${prompt.reference}, ends in `, left);
    const show = button("Show again", () => {
      model.aside.delete(idOf(prompt));
      model.picked = idOf(prompt);
      page.redraw();
    });
    return make("div", "put-away", text, show);
  }));
}

// Draw the times. It is called four times a second.
export function tick() {
  if (!model.state) return;
  if (model.connected) {
    put(by("time"), `${toSecond(now())} EAT`);
    put(by("clock"), toMinute(now()));
    put(by("date"), toDay(now()));
  }
  const open = new Map(waiting().map((prompt) => [idOf(prompt), prompt]));
  for (const left of document.querySelectorAll("[data-ends]")) {
    const prompt = open.get(left.dataset.ends);
    if (prompt) put(left, clockFace(secondsLeft(prompt)));
  }
  const current = open.get(shown);
  if (!current) return;
  const whole = Date.parse(current.ends) - Date.parse(current.opened);
  const part = whole > 0 ? Math.min(1, Math.max(0, (Date.parse(current.ends) - now()) / whole)) : 0;
  put(by("countdown"), `ends in ${clockFace(secondsLeft(current))}`);
  by("left").style.transform = `scaleX(${part.toFixed(3)})`;
}

function fault(text) {
  put(by("pin-fault"), text);
  pin.setAttribute("aria-invalid", text ? "true" : "false");
}

async function answer(body) {
  const id = shown;
  if (!id || answering.has(id) || !model.connected) return;
  answering.add(id);
  drawPhone();
  try {
    await ask(`${pathOf(id)}/answer`, body);
  } catch (error) {
    page.tell(error.message, true);
    if (id === shown) fault(error.message);
  }
  await page.refresh();
  answering.delete(id);
  drawPhone();
}

export function startPhone() {
  by("prompt").addEventListener("submit", (event) => {
    event.preventDefault();
    if (/^\d{4}$/.test(pin.value)) {
      answer({ pin: pin.value });
    } else {
      fault("A PIN has four digits.");
      pin.focus();
    }
  });
  pin.addEventListener("input", () => {
    pin.value = pin.value.replace(/\D/g, "");
    fault("");
  });
  by("handset").addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.target.matches("select") || !shown) return;
    event.preventDefault();
    answer({ outcome: "cancelled" });
  });
  by("cancel").addEventListener("click", () => answer({ outcome: "cancelled" }));
  by("ignore").addEventListener("click", () => {
    if (!shown) return;
    model.aside.add(shown);
    page.redraw();
    by("ignored").querySelector("button")?.focus();
  });
  by("other").addEventListener("submit", (event) => {
    event.preventDefault();
    answer({ outcome: by("outcome").value });
  });
}
